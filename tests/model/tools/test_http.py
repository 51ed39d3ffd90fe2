"""Webhooks: what is posted, what is taken for an answer, and where nothing is ever sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.model.tools.http import CheckedResolver, HttpTools, NotAllowed, header_text
from gateway.model.tools.request import ToolError
from gateway.toolspec import ToolKind, ToolSpec, Webhook
from tests.model.tools.asking import request

LOOPBACK = (ip_network("127.0.0.0/8"),)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names(AbstractResolver):
    """Every name is one of `addresses`, one after another."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        del family
        address = self.addresses[min(self.asked, len(self.addresses) - 1)]
        self.asked += 1
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        return None


def post(
    answer: Answer,
    *,
    host: str = "127.0.0.1",
    networks: tuple[Any, ...] = LOOPBACK,
    names: Names | None = None,
    limit: int = 1000,
    scheme: str = "http",
) -> tuple[object, list[web.Request]]:
    """What the tool gives when its webhook answers so; and the requests that arrived."""
    seen: list[web.Request] = []

    async def handle(asked: web.Request) -> web.StreamResponse:
        await asked.read()
        seen.append(asked)
        return await answer(asked)

    async def body() -> object:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with AsyncExitStack() as stack:
                webhook = Webhook(f"{scheme}://{host}:{runner.addresses[0][1]}/hook", (host,), networks, "sesame")
                tools = HttpTools(names)
                await tools.open([webhook], stack)
                tool = ToolSpec("order", ToolKind.HTTP, webhook=webhook, output_limit=limit)
                return await tools.run(request(tool, {"number": "A-17"}))
        finally:
            await runner.cleanup()

    try:
        return asyncio.run(body()), seen
    except ToolError as error:
        return error, seen


def says(status: int = 200, **response: Any) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, **response)

    return answer


def test_what_is_posted() -> None:
    value, (asked,) = post(says(text='{"state": "shipped"}', content_type="application/json"))
    assert value == {"state": "shipped"}
    assert (asked.method, asked.path) == ("POST", "/hook")
    assert asked.headers["Idempotency-Key"] == "fc1"
    assert asked.headers["Authorization"] == "Bearer sesame"
    body = asyncio.run(asked.json())
    assert body == {
        "tool": "order",
        "arguments": {"number": "A-17"},
        "tool_call_id": "fc1",
        "call_id": "c1",
        "profile": "default",
    }


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (says(text="plain words"), "plain words"),
        (says(204), None),
        (says(201, text="", content_type="application/json"), None),
        (says(text="7", content_type="application/vnd.x+json"), ToolError),
        (says(text="[1,", content_type="application/json"), ToolError),
        (says(body=b"\x00\x01", content_type="image/png"), ToolError),
        (says(text="x", headers={"Content-Encoding": "br"}), ToolError),
        (says(400, text="no"), ToolError),
        (says(404), ToolError),
        (says(500), ToolError),
        (says(302, headers={"Location": "http://169.254.169.254/"}), ToolError),
        (says(307, headers={"Location": "/elsewhere"}), ToolError),
    ],
)
def test_answers(answer: Answer, value: object) -> None:
    given, seen = post(answer)
    if value is ToolError:
        assert isinstance(given, ToolError)
    else:
        assert given == value
    assert len(seen) == 1, "no redirect was followed, nothing asked twice"


def test_no_more_is_read_than_may_be_told() -> None:
    given, _ = post(says(text="x" * 5_000_000), limit=1000)
    assert isinstance(given, str)
    assert len(given) == 1001, "one more, so that it is known to be cut"
    given, _ = post(says(text="[" + "1," * 100_000 + "1]", content_type="application/json"), limit=1000)
    assert isinstance(given, str)


def test_what_did_not_arrive_is_sent_once_more_with_the_same_key() -> None:
    answers = iter([503, 200])

    async def flaky(_: web.Request) -> web.StreamResponse:
        return web.Response(status=next(answers), text="there")

    given, seen = post(flaky)
    assert given == "there"
    assert [asked.headers["Idempotency-Key"] for asked in seen] == ["fc1", "fc1"]
    given, seen = post(says(503))
    assert isinstance(given, ToolError)
    assert len(seen) == 2


OTHERS = (ip_network("10.9.0.0/16"),)
"""Networks of one's own, so that plain http may be used at all; this machine is not among them."""


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "fe80::1"])
def test_a_name_that_resolves_to_what_is_not_allowed_is_not_asked(address: str) -> None:
    with pytest.raises(NotAllowed):
        asyncio.run(CheckedResolver(OTHERS, Names(address)).resolve("hook.example", 80))


def test_what_is_allowed_of_several_addresses_is_kept() -> None:
    async def body() -> None:
        (found,) = await CheckedResolver(OTHERS, Names("10.9.0.1")).resolve("hook.example", 80)
        assert found["host"] == "10.9.0.1"

    asyncio.run(body())


def test_a_listener_on_this_machine_is_not_reached_by_name() -> None:
    given, seen = post(says(text="secret"), host="hook.example", networks=OTHERS, names=Names("127.0.0.1"))
    assert isinstance(given, ToolError)
    assert seen == []
    given, seen = post(says(text="fine"), host="hook.example", networks=LOOPBACK, names=Names("127.0.0.1"))
    assert (given, len(seen)) == ("fine", 1)


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """DNS rebinding: the address that was looked at is the one that is connected to; the next connection is looked at again."""

    async def hang_up(asked: web.Request) -> web.StreamResponse:
        assert asked.transport is not None
        asked.transport.close()
        return web.Response()

    given, seen = post(hang_up, host="hook.example", networks=LOOPBACK, names=Names("127.0.0.1", "10.0.0.1"))
    assert isinstance(given, ToolError)
    assert len(seen) == 1, "the second attempt resolved to somebody else"


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost"])
def test_odd_spellings_of_this_machine(host: str) -> None:
    given, seen = post(says(text="secret"), host=host, networks=OTHERS)
    assert isinstance(given, ToolError)
    assert seen == []


def test_nobody_listens() -> None:
    async def body() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))  # bound, not listening
            webhook = Webhook(f"http://127.0.0.1:{held.getsockname()[1]}/", ("127.0.0.1",), LOOPBACK)
            async with AsyncExitStack() as stack:
                tools = HttpTools()
                await tools.open([webhook], stack)
                with pytest.raises(ToolError, match="reached"):
                    await tools.run(request(ToolSpec("order", ToolKind.HTTP, webhook=webhook)))

    asyncio.run(body())


def test_a_key_fits_a_header() -> None:
    assert header_text("function-call-1") == "function-call-1"
    assert header_text("a\r\nX: y ü") == "a__X:_y__"
    assert len(header_text("x" * 1000)) == 128
