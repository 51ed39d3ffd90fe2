"""How many may be connected, and how slow they may be; what is answered where there is no application to ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from gateway.http.connection import MAX_PER_ADDRESS, Room
from gateway.http.listen import Listener, listen
from gateway.http.problem import problems
from gateway.http.watch import Unwatched, timed

GET = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = bytes(32 * 1024 * 1024)
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(body: Callable[[Listener, Room], Awaitable[None]], **room: Any) -> None:
    """One test against a small application."""

    async def main() -> None:
        app = web.Application(middlewares=[timed(Unwatched()), problems])
        app.add_routes([web.get("/now", _now), web.get("/bug", _bug), web.get("/large", _large)])
        space = Room(**room)
        listener = await listen(app, "127.0.0.1", 0, space)
        try:
            async with asyncio.timeout(20):
                await body(listener, space)
        finally:
            await listener.close()

    asyncio.run(main())


async def _now(_: web.Request) -> web.Response:
    return web.Response(text="now")


async def _bug(_: web.Request) -> web.Response:
    raise ZeroDivisionError("canary")


async def _large(_: web.Request) -> web.Response:
    return web.Response(body=LARGE)


async def connect(listener: Listener, *say: bytes) -> Peer:
    reader, writer = await asyncio.open_connection(listener.host, listener.port)
    for piece in say:
        writer.write(piece)
    return reader, writer


async def response(peer: Peer) -> tuple[int, dict[str, str], bytes]:
    """The next response on this connection."""
    reader, _ = peer
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    return int(head[0].split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def problem(peer: Peer, status: int, code: str) -> dict[str, str]:
    """A problem, and the end of the connection; its headers."""
    got, headers, body = await response(peer)
    assert (got, headers["content-type"]) == (status, "application/problem+json"), body
    assert json.loads(body)["code"] == code
    assert await peer[0].read() == b"", "the connection ends"
    peer[1].close()
    return headers


async def gone(room: Room) -> None:
    """Until nobody is connected."""
    while room.connections:
        await asyncio.sleep(0)
    assert not room.addresses


def test_a_full_house_says_so_and_has_room_again() -> None:
    async def body(listener: Listener, room: Room) -> None:
        first = [await connect(listener, GET) for _ in range(2)]
        for peer in first:
            assert (await response(peer))[0] == 200
        headers = await problem(await connect(listener, GET), 503, "too_many_connections")
        assert int(headers["retry-after"]) > 0
        assert (room.connections, room.refused) == (2, 1)
        for _, writer in first:
            writer.close()
        await gone(room)
        peer = await connect(listener, GET)
        assert (await response(peer))[0] == 200
        peer[1].close()

    run(body, most=2)


def test_one_address_has_its_share() -> None:
    async def body(listener: Listener, room: Room) -> None:
        peer = await connect(listener, GET)
        assert (await response(peer))[0] == 200
        headers = await problem(await connect(listener, GET), 429, "too_many_connections")
        assert int(headers["retry-after"]) > 0
        peer[1].close()
        await gone(room)

    run(body, per_address=1, strict=True)


def test_a_proxy_on_this_machine_speaks_for_everybody() -> None:
    room = Room()
    assert all(room.enter("127.0.0.1") is None for _ in range(2 * MAX_PER_ADDRESS))
    assert all(room.enter("203.0.113.1") is None for _ in range(MAX_PER_ADDRESS))
    refused = room.enter("203.0.113.1")
    assert refused is not None
    assert refused.status == 429
    assert room.enter("203.0.113.2") is None
    assert room.enter("") is None
    room.leave("203.0.113.1")
    assert room.enter("203.0.113.1") is None


@pytest.mark.parametrize("said", [b"", b"GET /now HT", b"GET /now HTTP/1.1\r\nHost: x\r\nX: y\r\n"])
def test_a_head_that_takes_too_long(said: bytes) -> None:
    async def body(listener: Listener, room: Room) -> None:
        await problem(await connect(listener, said), 408, "request_timeout")
        await gone(room)

    run(body, head_timeout=0.1)


def test_a_head_that_grows_byte_by_byte_has_one_deadline() -> None:
    async def body(listener: Listener, room: Room) -> None:
        peer = await connect(listener, b"GET /")
        ended = asyncio.ensure_future(problem(peer, 408, "request_timeout"))
        while not ended.done():
            peer[1].write(b"x")
            await asyncio.wait([ended], timeout=0.05)
        await ended
        await gone(room)

    run(body, head_timeout=0.3)


def test_a_second_head_has_a_deadline_and_an_idle_connection_has_not() -> None:
    async def body(listener: Listener, room: Room) -> None:
        peer = await connect(listener, GET)
        assert (await response(peer))[0] == 200
        idle = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.3, idle.set_result, None)  # longer than a head may take
        await idle
        peer[1].write(GET)
        assert (await response(peer))[0] == 200
        peer[1].write(GET[:20])
        assert await peer[0].read() == b""
        peer[1].close()
        await gone(room)

    run(body, head_timeout=1.0)


def test_whoever_does_not_read_is_cut_off() -> None:
    async def body(listener: Listener, room: Room) -> None:
        _, writer = await connect(listener, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        while not room.connections:
            await asyncio.sleep(0)
        await gone(room)
        writer.close()

    run(body, unread_timeout=0.2)


def test_whoever_reads_gets_it_all() -> None:
    async def body(listener: Listener, _: Room) -> None:
        peer = await connect(listener, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await response(peer))[2] == LARGE
        peer[1].close()

    run(body)


def test_a_bug_is_a_problem_without_words_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def body(listener: Listener, _: Room) -> None:
        peer = await connect(listener, b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, told = await response(peer)
        assert (status, headers["content-type"]) == (500, "application/problem+json")
        assert b"canary" not in told
        peer[1].close()

    run(body)
    assert [record.exc_info[1] for record in caplog.records if record.exc_info and record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found"),
        (b"PATCH /now HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"GET /now HTTP/1.1\r\nHost: x\r\nExpect: the best\r\n\r\n", 417, "expectation_failed"),
        (b"GET /now HTTP/1.1\r\nHost: x\r\nExpect: \xd7\r\n\r\n", 417, "expectation_failed"),
        (b"not http at all\r\n\r\n", 400, "bad_request"),
        (b"GET /now HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 400, "bad_request"),
    ],
)
def test_whatever_the_server_itself_refuses_is_a_problem(said: bytes, status: int, code: str) -> None:
    async def body(listener: Listener, _: Room) -> None:
        peer = await connect(listener, said)
        got, headers, told = await response(peer)
        assert (got, headers["content-type"]) == (status, "application/problem+json"), told
        assert json.loads(told)["code"] == code
        assert headers["server"] == "gateway"
        peer[1].close()

    run(body)


def test_a_client_that_leaves_in_the_middle_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def body(listener: Listener, room: Room) -> None:
        for _ in range(5):
            peer = await connect(listener, b"GET /large HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
            await peer[0].read(10)
            peer[1].transport.abort()
        await gone(room)

    run(body)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
