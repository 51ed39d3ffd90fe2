"""The emulator on real sockets: what the shell adds to the session."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import ssl
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.emulator import Emulator, EmulatorSettings, run_emulator
from gateway.emulator.faults import OptionError, parse_options
from gateway.emulator.script import ScriptError
from gateway.emulator.voices import PersonaError
from gateway.errors import ConfigError
from tests.emulator.playing import MODEL, audio, loud, quiet
from tests.emulator.sdk import QUICK

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
CONSTRAINED = LIVE.replace("v1beta", "v1alpha") + "Constrained"


@asynccontextmanager
async def connected(
    emulator: Emulator, path: str = LIVE, *, plain: bool = False, setup: bool = True, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A raw client, set up."""
    headers = {"x-goog-api-key": "KEY", **options.pop("headers", {})}
    if plain:
        url = f"ws://127.0.0.1:{emulator.plain_port}{path}"
    else:
        url = emulator.base_url.replace("https", "wss") + path
        options["ssl"] = ssl.create_default_context(cafile=str(emulator.ca_file))
    arguments: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None, "close_timeout": 1, **options}
    async with asyncio.timeout(20), websockets.connect(url, additional_headers=headers, **arguments) as line:
        if setup:
            await line.send(orjson.dumps({"setup": {"model": MODEL}}).decode())
            assert orjson.loads(await line.recv()) == {"setupComplete": {}}
        yield line


async def until(line: ClientConnection, field: str) -> list[dict[str, Any]]:
    """Messages up to the one with this serverContent field."""
    seen: list[dict[str, Any]] = []
    while not seen or field not in seen[-1].get("serverContent", {}):
        seen.append(orjson.loads(await line.recv()))
    return seen


def with_emulator(body: Callable[[Emulator], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        before = set(asyncio.all_tasks())
        async with Emulator(**{**QUICK, **settings}) as emulator:
            await body(emulator)
        assert set(asyncio.all_tasks()) == before, "whoever starts a task ends it"

    asyncio.run(run())


async def fetch(emulator: Emulator, path: str, **options: Any) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    method = "POST" if "data" in options else "GET"
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, emulator.base_url + path, ssl=context, **options) as answer,
    ):
        return answer.status, await answer.read()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/ws/other",
        LIVE.replace("v1beta", "v2"),
        LIVE + "x",
        LIVE.replace("Bidi", "Mono"),
        "/ws" + LIVE[3:].replace(".", "x"),
    ],
)
def test_other_paths_are_not_found(path: str) -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(emulator, path):
                pass
        assert refused.value.response.status_code == 404
        assert orjson.loads(refused.value.response.body or b"")["error"]["status"] == "NOT_FOUND"

    with_emulator(body)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_the_upgrade_may_be_refused(status: int) -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(emulator, headers={"x-goog-api-key": f"KEY~http_{status}"}):
                pass
        assert refused.value.response.status_code == status
        assert orjson.loads(refused.value.response.body or b"")["error"]["code"] == status
        assert len(emulator.sessions) == 0

    with_emulator(body)


def test_an_unknown_key_may_be_refused_by_http() -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(emulator):
                pass
        assert refused.value.response.status_code == 401

    with_emulator(body, api_keys=frozenset({"GOOD"}), refuse_keys_by_http=True)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?key=KEY", {"x-goog-api-key": ""}),
        ("?access_token=KEY", {"x-goog-api-key": ""}),
        ("", {"x-goog-api-key": "", "Authorization": "Bearer KEY"}),
        ("?key=KEY~persona%3Dtone", {"x-goog-api-key": ""}),
    ],
)
def test_credentials_come_in_many_places(query: str, headers: dict[str, str]) -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, LIVE + query, headers=headers):
            pass
        assert emulator.sessions[0].persona == ("tone" if "persona" in query else "parrot")
        assert "KEY" not in str(emulator.sessions[0].headers)
        assert "KEY" not in emulator.sessions[0].path

    with_emulator(body, api_keys=frozenset({"KEY"}))


def test_a_token_by_query_as_a_browser_sends_it() -> None:
    async def body(emulator: Emulator) -> None:
        status, raw = await fetch(emulator, "/v1alpha/auth_tokens", data=b"", headers={"x-goog-api-key": "KEY"})
        assert status == 200
        token = orjson.loads(raw)["name"]
        async with connected(emulator, f"/{CONSTRAINED}?access_token={token}", headers={"x-goog-api-key": ""}):
            pass
        for path, headers, body, wanted in (
            ("/v1/auth_tokens", {"x-goog-api-key": "KEY"}, b"", 404),
            ("/v1alpha/auth_tokens", {}, b"", 403),
            ("/v1alpha/auth_tokens", {"x-goog-api-key": "BAD"}, b"", 400),
            ("/v1alpha/auth_tokens", {"x-goog-api-key": "KEY"}, b"{", 400),
        ):
            assert (await fetch(emulator, path, data=body, headers=headers))[0] == wanted

    with_emulator(body, api_keys=frozenset({"KEY"}))


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?persona=counter&gap=9", {}),
        ("", {"x-emulator-persona": "counter", "x-emulator-faults": "gap=9"}),
        ("", {"x-goog-api-key": "KEY~persona=counter&gap=9"}),
    ],
)
def test_personas_and_faults_per_session(query: str, headers: dict[str, str]) -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, LIVE + query, headers=headers):
            assert emulator.sessions[0].persona == "counter"
            assert emulator.sessions[0].faults == ("gap",)
        async with connected(emulator):
            assert emulator.sessions[1].persona == "parrot"
        with pytest.raises(InvalidStatus) as refused:
            async with connected(emulator, headers={"x-emulator-faults": "earthquake"}):
                pass
        assert refused.value.response.status_code == 400

    with_emulator(body)


def test_without_tls_on_the_plain_port() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, plain=True) as line:
            await line.send(orjson.dumps({"realtimeInput": {"text": "hi"}}))
            assert len(await until(line, "turnComplete")) > 5

    with_emulator(body, plain_port=0)


def test_a_reset_is_a_reset() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, headers={"x-emulator-faults": "abrupt_1006=0.05"}) as line:
            with pytest.raises(ConnectionClosed) as lost:
                await line.recv()
            assert lost.value.rcvd is None
            assert emulator.sessions[0].close == ("server", 1006, "reset")

    with_emulator(body)


def test_a_half_open_connection_neither_reads_nor_writes_nor_ends() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, headers={"x-emulator-faults": "half_open=0.05"}) as line:
            await emulator.until(lambda: emulator.sessions[0].close)
            waiter = await line.ping()
            heard = emulator.sessions[0].received_messages
            for _ in range(20):
                await line.send(orjson.dumps(audio(quiet(0.1))))
            done, _ = await asyncio.wait({asyncio.ensure_future(waiter), asyncio.ensure_future(line.recv())}, timeout=0.2)
            assert not done
            assert emulator.sessions[0].received_messages == heard
            assert line.state is websockets.State.OPEN

    with_emulator(body)


def test_pings() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line:
            await (await line.ping())
        async with connected(emulator, headers={"x-emulator-faults": "pong_delay=0.2"}) as line:
            begun = asyncio.get_running_loop().time()
            await (await line.ping())
            assert asyncio.get_running_loop().time() - begun > 0.19
        async with connected(emulator, headers={"x-emulator-faults": "no_pong"}) as line:
            pong = await line.ping()
            await line.send(orjson.dumps({"realtimeInput": {"text": "hi"}}))
            await until(line, "turnComplete")
            assert not pong.done()

    with_emulator(body)


def test_a_slow_reader() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, headers={"x-emulator-faults": "slow_read=50"}) as line:
            begun = asyncio.get_running_loop().time()
            for _ in range(6):
                await line.send(orjson.dumps(audio(quiet(0.1))))
            await emulator.until(lambda: emulator.sessions[0].heard.seconds >= 0.59)
            assert asyncio.get_running_loop().time() - begun > 0.25

    with_emulator(body)


def test_a_message_that_is_too_long() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line:
            await line.send("x" * 70_000)
            with pytest.raises(ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        await emulator.until(lambda: emulator.sessions[0].close)
        assert emulator.sessions[0].close is not None
        assert emulator.sessions[0].close[:2] == ("server", 1009)

    with_emulator(body, max_message_bytes=65_536)


def test_compression_may_be_declined_per_session() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator, compression="deflate") as line:
            assert line.protocol.extensions
        async with connected(emulator, compression="deflate", headers={"x-emulator-faults": "deflate_off"}) as line:
            assert not line.protocol.extensions

    with_emulator(body)


def test_the_record_over_http() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line:
            for _ in range(3):
                await line.send(orjson.dumps(audio(loud(0.3))))
            await line.send(orjson.dumps(audio(quiet(0.8))))
            await until(line, "turnComplete")
            session_id = emulator.sessions[0].session_id
            status, raw = await fetch(emulator, "/emu/sessions")
            assert [item["id"] for item in orjson.loads(raw)["sessions"]] == [session_id]
            for name in (session_id, "latest"):
                view = orjson.loads((await fetch(emulator, f"/emu/sessions/{name}"))[1])
                assert view["turns"] == 1
                assert view["setup"] == {"model": MODEL}
            _, raw = await fetch(emulator, f"/emu/sessions/{session_id}/audio.wav")
            with wave.open(io.BytesIO(raw)) as file:
                assert file.getframerate() == 16_000
                assert file.readframes(10**6) == emulator.sessions[0].received
            _, raw = await fetch(emulator, f"/emu/sessions/{session_id}/answer.wav")
            with wave.open(io.BytesIO(raw)) as file:
                assert file.getframerate() == 24_000
                assert file.readframes(10**6) == emulator.sessions[0].sent != b""
        for path in ("/emu/sessions/nobody", "/emu/sessions/nobody/audio.wav", f"/emu/sessions/{session_id}/other.wav"):
            assert (await fetch(emulator, path))[0] == 404
        assert status == 200

    with_emulator(body)


def test_faults_ordered_over_http() -> None:
    async def order(emulator: Emulator, **body: Any) -> int:
        return (await fetch(emulator, "/emu/faults", data=orjson.dumps(body)))[0]

    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line:
            assert await order(emulator, session="latest", faults="close_1011=0") == 200
            with pytest.raises(ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011
        assert await order(emulator, session="next", faults="http_503", count=2) == 200
        for expected in (503, 503, None):
            if expected is None:
                async with connected(emulator):
                    assert await order(emulator, session="all", faults="starve=0.5") == 200
                    assert emulator.sessions[-1].faults == ("starve",)
            else:
                with pytest.raises(InvalidStatus):
                    async with connected(emulator):
                        pass
        assert await order(emulator, session="latest", faults="starve") == 404
        assert await order(emulator, session="next", faults="earthquake") == 400
        assert await order(emulator, session="next") == 400
        assert (await fetch(emulator, "/emu/faults", data=b"[]"))[0] == 400
        _, raw = await fetch(emulator, "/emu/faults")
        assert {"name": "half_open", "takes": "a moment", "does": "stop reading and writing, keep TCP"} in orjson.loads(raw)[
            "faults"
        ]

    with_emulator(body)


def test_every_upgrade_is_counted_and_a_standing_order_holds_until_it_is_lifted() -> None:
    async def body(emulator: Emulator) -> None:
        assert (await fetch(emulator, "/emu/faults", data=orjson.dumps({"session": "every", "faults": "http_429"})))[0] == 200
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                async with connected(emulator):
                    pass
        emulator.world.set_defaults("")
        async with connected(emulator):
            pass
        assert [status for _, status in emulator.world.upgrades] == [429, 429, 429, 101]
        assert orjson.loads((await fetch(emulator, "/emu/sessions"))[1])["upgrades"] == {"429": 3, "101": 1}

    with_emulator(body)


def test_an_outage() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line, connected(emulator, plain=True) as other:
            async with emulator.outage():
                for lost in (line, other):
                    with pytest.raises(ConnectionClosed):
                        await lost.recv()
                for plain in (False, True):
                    with pytest.raises(ConnectionRefusedError):
                        async with connected(emulator, plain=plain):
                            pass
            for plain in (False, True):
                async with connected(emulator, plain=plain):
                    pass

    with_emulator(body, plain_port=0)


def test_every_port_in_use_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
        with pytest.raises(ConfigError) as refused:
            run_emulator(EmulatorSettings(port=ports[0], plain_port=ports[1]))
    assert refused.value.faults == tuple(f"can't listen on 127.0.0.1, port {port}: Address already in use" for port in ports)


def test_faults_ordered_in_process() -> None:
    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line:
            assert emulator.break_session(emulator.sessions[0].session_id, parse_options("goaway=0,0.1"))
            assert orjson.loads(await line.recv()) == {"goAway": {"timeLeft": "0.1s"}}
            with pytest.raises(ConnectionClosed):
                await line.recv()
        async with connected(emulator, headers={"x-emulator-tag": "call 7"}) as line, connected(emulator):
            assert emulator.break_session("call 7", parse_options("close_1001=0"))
            with pytest.raises(ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert not emulator.break_session("", parse_options("close_1001=0"))
        await emulator.until(lambda: not emulator.world.running)
        assert not emulator.break_session(emulator.sessions[0].session_id, parse_options("gap"))

    with_emulator(body)


def test_models_over_rest() -> None:
    async def body(emulator: Emulator) -> None:
        for version in ("v1beta", "v1"):
            names = [row["name"] for row in orjson.loads((await fetch(emulator, f"/{version}/models"))[1])["models"]]
            assert MODEL in names
        assert (await fetch(emulator, "/v1beta/models/gemini-3.8-live"))[0] == 200
        assert (await fetch(emulator, "/v1beta/models/other"))[0] == 404

    with_emulator(body)


async def leave_four_sessions_behind() -> None:
    """Open sessions that are in all kinds of trouble, then leave the emulator."""
    async with Emulator(**QUICK) as emulator:
        context = ssl.create_default_context(cafile=str(emulator.ca_file))
        url = emulator.base_url.replace("https", "wss") + LIVE
        sockets = [
            await websockets.connect(
                url, ssl=context, ping_interval=None, additional_headers={"x-emulator-faults": faults, "x-goog-api-key": "K"}
            )
            for faults in ("", "half_open=0", "setup_hang", "slow_read=60000")
        ]
        for line in sockets:
            await line.send(orjson.dumps({"setup": {"model": MODEL}}).decode())
        await emulator.until(lambda: emulator.sessions[1].close)
        folder = emulator.ca_file.parent
    assert not folder.exists()
    for line in sockets:
        await line.wait_closed()
    assert [record.close is not None for record in emulator.sessions] == [True] * 4
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_leaving_ends_every_session_and_every_socket() -> None:
    async def run() -> None:
        await leave_four_sessions_behind()  # once for what a loop opens on first use
        files = len(os.listdir("/proc/self/fd"))
        await leave_four_sessions_behind()
        assert len(os.listdir("/proc/self/fd")) == files

    asyncio.run(run())


def test_until_gives_up() -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(TimeoutError):
            await emulator.until(lambda: False, 0.02)

    with_emulator(body)


def test_faulty_settings_are_refused_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(PersonaError):
        Emulator(persona="nobody")
    with pytest.raises(OptionError):
        Emulator(faults="earthquake")
    (tmp_path / "s.json").write_text("{}")
    with pytest.raises(ScriptError):
        Emulator(scenario=tmp_path / "s.json")
    with pytest.raises(TypeError):
        Emulator(nonsense=1)


def test_a_scenario_makes_the_persona(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"faults": "starve=0.9", "turns": [{"count": 0.5}]}')

    async def body(emulator: Emulator) -> None:
        async with connected(emulator) as line:
            await line.send(orjson.dumps({"realtimeInput": {"text": "hi"}}))
            await until(line, "turnComplete")
        assert emulator.sessions[0].persona == "script"
        assert emulator.sessions[0].faults == ("starve",)
        assert emulator.sessions[0].said.seconds == 0.5

    with_emulator(body, scenario=tmp_path / "s.json")


def test_as_a_process_it_says_where_it_is_and_ends_when_told() -> None:
    async def run() -> str:
        code = "from gateway.emulator import EmulatorSettings, run_emulator; raise SystemExit(run_emulator(EmulatorSettings()))"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().split()[-1]
            ca_file = (await process.stdout.readline()).decode().split()[-1]
            context = ssl.create_default_context(cafile=ca_file)
            async with aiohttp.ClientSession() as http, http.get(f"{url}/emu/sessions", ssl=context) as answer:
                listed = await answer.json()
                assert listed.pop("at") > 0
                assert listed == {"sessions": [], "upgrades": {}}
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        return ca_file

    assert not Path(asyncio.run(run())).exists()
