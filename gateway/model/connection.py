"""The two ways to move Live messages over one socket.

The socket itself is ours on both, through the SDK's public `create_connection` setting. `FastLink` builds the frames by hand
and reads them past the SDK's models; `SdkLink` uses the SDK's session for every message. Both say the same to the rest: one
ordered sender, one reader, and objects in the service's own spelling for `wire.gemini.Downlink`.

What a message costs, µs of CPU over TLS loopback on a busy machine (`tests/bench/live_frames.py`), by hand against the SDK: 100
ms up 44 and 138, 240 ms of speech down 71 and 176, a transcription 67 and 94, the end of a turn 99 and 196. Of what is left, TLS,
websockets and the loop take nine tenths. Audio that is posted while the session is free: 40 for 100 ms where a task and the
frames of websockets took 55 (sixty sessions in turn); 17 of it are the TLS record and the write of the system.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, cast

from google.genai import errors, types
from google.genai.live import AsyncSession
from websockets.asyncio.client import ClientConnection
from websockets.frames import CloseCode
from websockets.protocol import State

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without its compiled part
    from websockets.utils import apply_mask

from gateway.dialog.history import Said
from gateway.errors import PacketError
from gateway.model.base import ToolAnswer
from gateway.wire.gemini import (
    ACTIVITY_END,
    ACTIVITY_START,
    AUDIO_END,
    AUDIO_MIME,
    audio_frame,
    clean,
    content_frame,
    declaration_frame,
    instruction_frame,
    parse,
    seed_frame,
    text_frame,
    tool_frame,
    tool_response,
)

SEND_PATIENCE = 5.0
"""Seconds a full send buffer may stay full. A pause of the network is shorter; a service that has stopped reading is not."""

WRITE_LIMIT = 16 * 1024
"""Bytes in the socket's user-space buffer (0.4 s of audio) above which the sender waits, and the uplink gives way."""

SEND_BUFFER = 32 * 1024
"""Bytes asked of the kernel for unsent audio. The default grows to megabytes: a minute of speech that arrives late."""

CLOSE_TIMEOUT = 2.0
"""Seconds for the far end to say goodbye too."""

CLOSE_LIMIT = CLOSE_TIMEOUT + 1.0
"""Seconds for all of hanging up, room in the send buffer for our own goodbye included."""

TEXT_AT_ONCE, MASKED = 0x81, 0x80
"""Of a WebSocket frame: its first byte, for a whole text message; the bit of its second that says it is masked."""

USER_TIMEOUT = 10.0
"""Seconds after which unacknowledged data breaks the connection (RFC 5482): audio flows all the time, so silence is an outage."""


class Link(Protocol):
    """One open socket to the service after setup. Raises what the SDK and websockets raise; `model.gemini` classifies it."""

    @property
    def free(self) -> bool:
        """`post_audio` may be called: the socket is open and has room."""

    def post_audio(self, pcm: bytes) -> None:
        """`send_audio` without waiting."""

    async def send_audio(self, pcm: bytes) -> None:
        """PCM16 LE mono 16 kHz. Raises TimeoutError when the service has not been reading for SEND_PATIENCE."""

    async def end_audio(self) -> None:
        """The caller's audio pauses."""

    async def send_text(self, text: str, *, ordered: bool) -> None:
        """A user's turn: as clientContent when `ordered`, else as realtime input."""

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """A function's result."""

    async def activity(self, speaking: bool) -> None:
        """The caller's turn begins or ends."""

    async def instruct(self, text: str) -> None:
        """Another system instruction from now on."""

    async def declare(self, functions: list[dict[str, Any]]) -> None:
        """Other functions from now on."""

    async def seed(self, turns: Sequence[Said], *, complete: bool) -> None:
        """The conversation so far; see `wire.gemini.seed_frame`."""

    async def receive(self) -> Mapping[str, Any]:
        """The next message. Raises PacketError when it can't be read (the socket stays usable)."""


_newest: ContextVar[LiveConnection] = ContextVar("gateway_newest_connection")

when_secure: ContextVar[Callable[[], None]] = ContextVar("gateway_when_secure", default=lambda: None)
"""What the connection that this task makes next calls when TLS stands; the upgrade and the setup follow."""


class LiveConnection(ClientConnection):
    """A websockets connection that can be written to without waiting, and that lets go of a far end which doesn't read.

    Named in the SDK's `create_connection` setting; the task that connects finds its own with `take()`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.congested = False
        """The send buffer is full: whoever sends will wait."""
        _newest.set(self)
        self._when_secure = when_secure.get()

    @staticmethod
    def take() -> LiveConnection:
        """The connection that this task has made last."""
        return _newest.get()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol: limits that can only be set on the socket."""
        super().connection_made(transport)
        self._when_secure()
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(USER_TIMEOUT * 1000))

    def pause_writing(self) -> None:
        """asyncio.Protocol: the send buffer is over its limit."""
        super().pause_writing()
        self.congested = True

    def resume_writing(self) -> None:
        """asyncio.Protocol: there is room again."""
        super().resume_writing()
        self.congested = False

    @property
    def free(self) -> bool:
        """`post` may be called: the connection is open, and there is room in the buffer."""
        return not self.congested and self.protocol.state is State.OPEN

    def post(self, message: bytes) -> None:
        """Send a text message of UTF-8 bytes at once, as `send` does, by hand: no queue, no lock, no deadline."""
        # Nothing else is on its way: websockets writes whatever it has before it returns, and nobody sends in fragments. A TLS
        # transport that is breaking takes it without a word; the reader hears of that.
        self.transport.write(masked_text(message, os.urandom(4)))

    async def write(self, message: bytes) -> None:
        """Send a text message of UTF-8 bytes. Raises ConnectionClosed, or TimeoutError after SEND_PATIENCE."""
        if self.free:
            self.post(message)
        else:
            async with asyncio.timeout(SEND_PATIENCE):
                await self.send(message, text=True)

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Hang up. The base class waits without a limit for room in the send buffer before its close timeout begins."""
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                await super().close(code, reason)
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Break the connection now; whoever reads sees it end."""
        self.transport.abort()


def masked_text(message: bytes, key: bytes) -> bytes:
    """A client's WebSocket frame with a whole text message, masked with the four bytes of `key` (RFC 6455 §5.2)."""
    size = len(message)
    if size < 126:
        head = struct.pack("!BB", TEXT_AT_ONCE, MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", TEXT_AT_ONCE, MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", TEXT_AT_ONCE, MASKED | 127, size)
    return b"".join((head, key, apply_mask(message, key)))


class FastLink:
    """Frames by hand, messages by orjson."""

    def __init__(self, connection: LiveConnection) -> None:
        self._connection = connection

    @property
    def free(self) -> bool:
        """See `Link`."""
        connection = self._connection  # as `LiveConnection.free` says, without the way there
        return not connection.congested and connection.protocol.state is State.OPEN

    def post_audio(self, pcm: bytes) -> None:
        """See `Link`."""
        self._connection.post(audio_frame(pcm))

    async def send_audio(self, pcm: bytes) -> None:
        """See `Link`."""
        await self._connection.write(audio_frame(pcm))

    async def end_audio(self) -> None:
        """See `Link`."""
        await self._connection.write(AUDIO_END)

    async def send_text(self, text: str, *, ordered: bool) -> None:
        """See `Link`."""
        await self._connection.write(content_frame(text) if ordered else text_frame(text))

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """See `Link`."""
        await self._connection.write(tool_frame(answer))

    async def activity(self, speaking: bool) -> None:
        """See `Link`."""
        await self._connection.write(ACTIVITY_START if speaking else ACTIVITY_END)

    async def instruct(self, text: str) -> None:
        """See `Link`."""
        await self._connection.write(instruction_frame(text))

    async def declare(self, functions: list[dict[str, Any]]) -> None:
        """See `Link`."""
        await self._connection.write(declaration_frame(functions))

    async def seed(self, turns: Sequence[Said], *, complete: bool) -> None:
        """See `Link`."""
        await self._connection.write(seed_frame(turns, complete=complete))

    async def receive(self) -> Mapping[str, Any]:
        """See `Link`."""
        return parse(await self._connection.recv(decode=False))


class SdkLink:
    """The SDK's own path, message by message. Slower; for comparison, and for the day the fast one is in doubt."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._turn = session.receive()

    @property
    def free(self) -> bool:
        """See `Link`. The SDK's session always waits."""
        return False

    def post_audio(self, pcm: bytes) -> None:
        """See `Link`."""
        raise AssertionError(f"{len(pcm)} bytes posted, and never free")

    async def send_audio(self, pcm: bytes) -> None:
        """See `Link`."""
        async with asyncio.timeout(SEND_PATIENCE):
            await self._session.send_realtime_input(audio=types.Blob(data=pcm, mime_type=AUDIO_MIME))

    async def end_audio(self) -> None:
        """See `Link`."""
        async with asyncio.timeout(SEND_PATIENCE):
            await self._session.send_realtime_input(audio_stream_end=True)

    async def send_text(self, text: str, *, ordered: bool) -> None:
        """See `Link`."""
        text = clean(text)
        async with asyncio.timeout(SEND_PATIENCE):
            if ordered:
                turn = types.Content(role="user", parts=[types.Part(text=text)])
                await self._session.send_client_content(turns=turn, turn_complete=True)
            else:
                await self._session.send_realtime_input(text=text)

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """See `Link`."""
        async with asyncio.timeout(SEND_PATIENCE):
            response = types.FunctionResponse(**tool_response(answer))
            await self._session.send_tool_response(function_responses=response)

    async def activity(self, speaking: bool) -> None:
        """See `Link`."""
        async with asyncio.timeout(SEND_PATIENCE):
            if speaking:
                await self._session.send_realtime_input(activity_start=types.ActivityStart())
            else:
                await self._session.send_realtime_input(activity_end=types.ActivityEnd())

    async def instruct(self, text: str) -> None:
        """See `Link`."""
        async with asyncio.timeout(SEND_PATIENCE):
            await self._session.send_context_update(system_instruction=clean(text))

    async def declare(self, functions: list[dict[str, Any]]) -> None:
        """See `Link`."""
        declared = [types.FunctionDeclaration(**function) for function in functions]
        async with asyncio.timeout(SEND_PATIENCE):
            await self._session.send_context_update(tools=[types.Tool(function_declarations=declared)] if declared else [])

    async def seed(self, turns: Sequence[Said], *, complete: bool) -> None:
        """See `Link`."""
        contents: list[types.Content | types.ContentDict] = [
            types.Content(role=said.role.value, parts=[types.Part(text=clean(said.text))]) for said in turns
        ]
        async with asyncio.timeout(SEND_PATIENCE):
            await self._session.send_client_content(turns=contents, turn_complete=complete)

    async def receive(self) -> Mapping[str, Any]:
        """See `Link`. The SDK's iterator ends with every turn and with every error; a new one goes on where it stopped."""
        while True:
            try:
                message = await anext(self._turn)
            except StopAsyncIteration:
                self._turn = self._session.receive()
                continue
            except errors.APIError as exc:
                self._turn = self._session.receive()
                # A close has its reason here; an error object in a message comes whole, and the socket is still open.
                if not isinstance(exc.details, str):
                    raise PacketError("error_object") from None
                raise
            except (TypeError, ValueError, AttributeError, RecursionError):
                # What the SDK's parser throws at odd messages; pydantic's ValidationError is a ValueError.
                self._turn = self._session.receive()
                raise PacketError("sdk") from None
            return cast(Mapping[str, Any], message.model_dump(exclude_none=True, by_alias=True))
