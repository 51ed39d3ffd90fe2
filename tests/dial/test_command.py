"""The call as a whole: against a real gateway, and against servers that refuse it."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import statistics
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gateway.dial import DialSettings, dial
from gateway.dial.command import refusal, whip_url
from gateway.dial.errors import DialError
from tests.audio import segment_correlations, speech
from tests.e2e.running import running_gateway

QUESTION_RATE = 22_050


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A second and a half of speech at a rate nobody else uses."""
    path = tmp_path / "question.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(QUESTION_RATE)
        file.writeframes(speech(QUESTION_RATE, 1.5))
    return path


async def ring(settings: DialSettings) -> tuple[int, str, str]:
    """Exit status, what was told, and what was complained about."""
    out, complaints = io.StringIO(), io.StringIO()
    async with asyncio.timeout(60):
        status = await dial(settings, out=out, complaints=complaints)
    return status, out.getvalue(), complaints.getvalue()


def test_a_question_is_answered_and_the_answer_is_saved(question: Path, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[profiles.quiet]\ntitle = "No greeting"\n')
    saved = tmp_path / "answer.wav"

    async def body() -> None:
        async with running_gateway("--emulator", "--config", str(config)) as gateway:
            settings = DialSettings(gateway.url, question, saved, json=True, profile="quiet")
            status, told, complaints = await ring(settings)
            assert (status, complaints) == (0, "")
            events = [json.loads(line) for line in told.splitlines()]
            assert [event["event"] for event in events] == ["connected", "caller", "model", "turn", "ended"]
            assert events[3]["end"] == "completed"
            assert events[3]["response"] > 0.2
            assert events[4]["reason"] == "caller_hung_up"
            await gateway.nobody_left()
            ended = gateway.said("call ended")
            assert [line["fields"]["cause"] for line in ended] == ["caller_hung_up"]
            # A parrot: what was saved is what was said.
            with wave.open(str(saved), "rb") as file:
                heard = file.readframes(file.getnframes())
                assert (file.getframerate(), file.getnchannels()) == (24_000, 1)
            assert len(heard) / 48_000 == pytest.approx(events[4]["heard"], abs=0.01)
            voices = speech(24_000, 1.5)
            assert statistics.median(segment_correlations(voices, heard, 24_000, slack=0.1)) > 0.8

    asyncio.run(body())


def test_a_call_of_a_set_length(question: Path) -> None:
    async def body() -> None:
        async with running_gateway("--emulator") as gateway:
            loop = asyncio.get_running_loop()
            began = loop.time()
            status, told, complaints = await ring(DialSettings(gateway.url, question, seconds=1.5))
            assert (status, complaints) == (0, "")
            assert loop.time() - began >= 1.5
            assert told.splitlines()[0] == f"connected to {gateway.url}"
            assert told.splitlines()[-1].startswith("ended after ")
            await gateway.nobody_left()

    asyncio.run(body())


def test_a_call_that_the_gateway_ends_says_by_what(question: Path, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[profiles.default]\ngreeting = ""\nmax_duration = 2\nmax_duration_warning = 0\n')

    async def body() -> None:
        async with running_gateway("--emulator", "--config", str(config)) as gateway:
            status, told, complaints = await ring(DialSettings(gateway.url, question, seconds=60))
            assert (status, complaints) == (0, "")
            assert re.fullmatch(r"ended after (1 answer|\d+ answers) by max_duration", told.splitlines()[-1])
            await gateway.nobody_left()

    asyncio.run(body())


def test_a_model_that_refuses_is_one_line(question: Path) -> None:
    async def body() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            environ = {
                "GEMINI_API_KEY": "test",
                "GATEWAY_GEMINI_BASE_URL": f"https://127.0.0.1:{nobody.getsockname()[1]}",
            }
            async with running_gateway(**environ) as gateway:
                status, _, complaints = await ring(DialSettings(gateway.url, question))
                assert status == 1
                assert complaints == "gateway: the model service can't be reached\n"

    asyncio.run(body())


@asynccontextmanager
async def answering(respond: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """An HTTP server where the gateway should be."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "headers", "line"),
    [
        (401, "", {}, "the API key is missing or wrong (401)"),
        (401, '{"detail": "No such key."}', {}, "No such key. (401)"),
        (503, '{"title": "Full"}', {"Retry-After": "30"}, "Full (503); try again in 30 s"),
        (503, "", {"Retry-After": "soon"}, "the gateway takes no call now (503)"),
        (404, "<html>", {}, "no WHIP endpoint there (404)"),
        (302, "", {"Location": "/elsewhere"}, "the call was not taken (302)"),
        (200, "v=0", {}, "the call was not taken (200)"),
        (201, "hello", {"Location": "/whip/1"}, "the answer can't be used: "),
        (201, "v=0", {}, "URL: answered without naming the call; is it a WHIP server?"),
    ],
)
def test_who_does_not_take_the_call_is_quoted_in_one_line(
    question: Path, status: int, body: str, headers: dict[str, str], line: str
) -> None:
    seen: list[web.Request] = []

    async def respond(request: web.Request) -> web.Response:
        seen.append(request)
        assert request.method == "DELETE" or (await request.text()).startswith("v=0")
        return web.Response(status=status, text=body, headers=headers)

    async def main() -> None:
        async with answering(respond) as url:
            code, told, complaints = await ring(DialSettings(url, question, key="s3cret", profile="shop"))
        assert (code, told) == (1, "")
        assert complaints.startswith("gateway: " + line.replace("URL", url))
        assert complaints.count("\n") == 1
        assert seen[0].path_qs == "/whip?profile=shop"
        assert seen[0].headers["Authorization"] == "Bearer s3cret"
        # A call that was opened is closed again.
        assert [request.method for request in seen] == ["POST", "DELETE"][: 2 if "Location" in headers and status == 201 else 1]

    asyncio.run(main())


def test_nobody_is_there(question: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        status, _, complaints = asyncio.run(ring(DialSettings(url, question)))
    assert status == 1
    assert complaints == f"gateway: {url}: Connection refused\n"


@pytest.mark.parametrize("url", ["http://[::1", "127.0.0.1:8080", ""])
def test_an_address_that_is_none_is_one_line(question: Path, url: str) -> None:
    status, _, complaints = asyncio.run(ring(DialSettings(url, question)))
    assert status == 1
    assert complaints.startswith(f"gateway: {url}: not an ")
    assert complaints.count("\n") == 1


def test_no_recording(tmp_path: Path) -> None:
    status, _, complaints = asyncio.run(ring(DialSettings("http://127.0.0.1:1", tmp_path / "missing.wav")))
    assert status == 1
    assert complaints == f"gateway: {tmp_path / 'missing.wav'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("url", "profile", "endpoint"),
    [
        ("http://127.0.0.1:8080", "", "http://127.0.0.1:8080/whip"),
        ("http://127.0.0.1:8080/", "a b", "http://127.0.0.1:8080/whip?profile=a+b"),
        ("https://voice.example/gw", "", "https://voice.example/gw/whip"),
        ("https://voice.example/gw/whip", "x", "https://voice.example/gw/whip?profile=x"),
        ("https://voice.example/gw/whip/", "", "https://voice.example/gw/whip/"),
    ],
)
def test_where_the_endpoint_is(url: str, profile: str, endpoint: str) -> None:
    assert str(whip_url(url, profile)) == endpoint


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host", "http://", "http://[::1", "http://host:99999"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(DialError, match="not an"):
        whip_url(url, "")


def test_a_refusal_is_one_line_whatever_it_says() -> None:
    for body in ("", "[]", '{"detail": "a\\nb"}', "{", "null", "[" * 100_000):
        assert "\n" not in refusal(400, body, "")
