"""The socket under a model session: writing without waiting, waiting when it must, letting go of a far end that doesn't read."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.model import connection
from gateway.model.base import ModelSession
from gateway.model.connection import SEND_BUFFER, USER_TIMEOUT, LiveConnection, masked_text
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from tests.model.far_end import FarEnd, far_end

T = TypeVar("T")
DEADLINE = 10.0
loops = pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])


def run(loop: Any, main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


def model_for(end: FarEnd, *, fast: bool = True) -> GeminiModel:
    return GeminiModel(GeminiSettings("KEY", base_url=end.base_url, ca_file=end.ca_file, fast_frames=fast))


class Deaf:
    """A far end that reads nothing until it is told to."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()

    async def __call__(self, end: FarEnd, ws: ServerConnection) -> None:
        sock = ws.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        ws.transport.pause_reading()
        await self.wake.wait()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)  # a small window is emptied slowly
        ws.transport.resume_reading()
        await end.record(ws)


async def fill(session: ModelSession) -> tuple[int, asyncio.Future[None]]:
    """Send numbered half seconds until one has to wait: how many there are, and the one that waits."""
    sent = 0
    while True:
        sending = asyncio.ensure_future(session.send_audio(sent.to_bytes(2, "big") * 8_000))
        sent += 1
        await asyncio.wait((sending,), timeout=0.2)
        if not sending.done():
            return sent, sending


@loops
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "sdk"])
def test_a_sender_waits_for_room_and_nothing_is_lost(tmp_path: Path, loop: Any, fast: bool) -> None:
    async def main() -> None:
        deaf = Deaf()
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, deaf) as end:
            model = model_for(end, fast=fast)
            async with model.session(Profile()) as session:
                sent, sending = await fill(session)
                deaf.wake.set()
                await sending
                await session.end_audio()
                numbers = []
                while "audio" in (message := next(iter((await end.messages.get()).values()))):
                    data = message["audio"]["data"].replace("-", "+").replace("_", "/")
                    numbers.append(int.from_bytes(base64.b64decode(data)[:2], "big"))
                assert numbers == list(range(sent))
            await model.close()

    run(loop, main())


@loops
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "sdk"])
def test_hanging_up_on_a_far_end_that_does_not_read_takes_no_longer_than_promised(
    tmp_path: Path, loop: Any, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_LIMIT", 0.3)

    async def main() -> None:
        deaf = Deaf()
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, deaf) as end:
            model = model_for(end, fast=fast)
            now = asyncio.get_running_loop().time
            async with model.session(Profile()) as session:
                _, sending = await fill(session)
                sending.cancel()
                began = now()
            assert now() - began < 1.0
            deaf.wake.set()
            await model.close()

    run(loop, main())


@loops
def test_sessions_that_open_at_once_keep_to_their_own_sockets(tmp_path: Path, loop: Any) -> None:
    """Each task finds the connection that it made itself."""
    heard: dict[str, set[bytes]] = {}

    async def script(end: FarEnd, ws: ServerConnection) -> None:
        voice = end.setups[-1]["setup"]["generationConfig"]["speechConfig"]["voice_config"]["prebuilt_voice_config"]["voice_name"]
        async for raw in ws:
            assert isinstance(raw, str), "the service takes text frames"
            heard.setdefault(voice, set()).add(base64.b64decode(raw.split('"data":"')[1].split('"')[0]))

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, script) as end:
            model = model_for(end)

            async def call(name: str) -> None:
                async with model.session(Profile(voice=name)) as session:
                    for _ in range(5):
                        await session.send_audio(name.encode())
                        await asyncio.sleep(0)

            async with asyncio.TaskGroup() as calls:
                for n in range(12):
                    calls.create_task(call(f"Voice{n:03}"))
            await model.close()

    run(loop, main())
    assert heard == {f"Voice{n:03}": {f"Voice{n:03}".encode()} for n in range(12)}


@given(
    st.one_of(st.binary(max_size=300), st.sampled_from([125, 126, 65_535, 65_536]).map(bytes)), st.binary(min_size=4, max_size=4)
)
def test_a_frame_by_hand_is_what_websockets_reads(message: bytes, key: bytes) -> None:
    far = ServerProtocol(state=State.OPEN)
    far.receive_data(masked_text(message, key) + masked_text(b"next", key))
    first, then = far.events_received()
    assert isinstance(first, Frame)
    assert isinstance(then, Frame)
    assert (first.opcode, first.fin, bytes(first.data)) == (Opcode.TEXT, True, message)
    assert bytes(then.data) == b"next"


@loops
def test_every_frame_has_a_key_of_its_own(tmp_path: Path, loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6455 §10.3: not to be foretold."""
    keys: list[bytes] = []

    def note(message: bytes, key: bytes) -> bytes:
        keys.append(key)
        return masked_text(message, key)

    monkeypatch.setattr(connection, "masked_text", note)

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, FarEnd.record) as end:
            model = model_for(end)
            async with model.session(Profile()) as session:
                for _ in range(20):
                    await session.send_audio(bytes(640))
                for _ in range(20):
                    await end.messages.get()
            await model.close()

    run(loop, main())
    assert len(set(keys)) == len(keys) == 20


@loops
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "sdk"])
def test_what_is_posted_and_what_is_sent_arrive_in_order(tmp_path: Path, loop: Any, fast: bool) -> None:
    """Whoever may post does; a full buffer says so before anything is posted into it."""

    async def main() -> None:
        deaf = Deaf()
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, deaf) as end:
            model = model_for(end, fast=fast)
            async with model.session(Profile()) as session:
                sent = posted = 0
                sending: asyncio.Future[None] | None = None
                while sending is None or sending.done():
                    pcm = sent.to_bytes(2, "big") * 8_000
                    sent += 1
                    if session.free:
                        session.post_audio(pcm)
                        posted += 1
                        await asyncio.sleep(0)
                    else:
                        sending = asyncio.ensure_future(session.send_audio(pcm))
                        await asyncio.wait((sending,), timeout=0.2)
                assert not session.free
                assert (posted > 0) is fast
                deaf.wake.set()
                await sending
                await session.end_audio()
                numbers = []
                while "audio" in (message := next(iter((await end.messages.get()).values()))):
                    data = message["audio"]["data"].replace("-", "+").replace("_", "/")
                    numbers.append(int.from_bytes(base64.b64decode(data)[:2], "big"))
                assert numbers == list(range(sent))
            await model.close()

    run(loop, main())


@loops
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_posting_into_a_connection_that_breaks_raises_nothing(tmp_path: Path, loop: Any, whose: str) -> None:
    """The caller's packet that brings the audio is not to blame; the reader hears of it."""

    async def script(end: FarEnd, ws: ServerConnection) -> None:
        await ws.recv()
        ws.transport.abort()
        await end.record(ws)

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, script if whose == "theirs" else FarEnd.record) as end:
            model = model_for(end)
            async with model.session(Profile()) as session:
                link = LiveConnection.take()
                await session.send_audio(bytes(640))
                if whose == "ours":
                    link.abort()
                    for _ in range(10):
                        link.post(b"{}")
                while link.free:
                    link.post(b"{}")
                    await asyncio.sleep(0)
                assert link.state is not State.OPEN or link.congested
            await model.close()

    run(loop, main())


@loops
def test_limits_that_only_the_socket_knows(tmp_path: Path, loop: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), far_end(tmp_path, FarEnd.record) as end:
            model = model_for(end)
            async with model.session(Profile()):
                sock = LiveConnection.take().transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER  # Linux doubles it for its own use
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT * 1000
            await model.close()

    run(loop, main())
