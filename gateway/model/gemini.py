"""Gemini Live as a `Model`: opens sessions with the google-genai SDK and tells calls what happens in them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from socket import gaierror

from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from gateway.errors import PacketError
from gateway.events import ModelClosed, ModelConnected
from gateway.model.base import ModelEvent, ModelSession, ToolAnswer
from gateway.model.connection import CLOSE_TIMEOUT, WRITE_LIMIT, FastLink, Link, LiveConnection, SdkLink
from gateway.profile import Profile
from gateway.wire.gemini import Downlink
from gateway.wire.gemini_faults import (
    DNS,
    GARBAGE,
    NO_ADDRESS,
    NOT_LIVE,
    SETTINGS,
    STALLED,
    TLS,
    UNCONFIRMED,
    UNREACHABLE,
    Failure,
    closed,
    rejected,
    scrub,
    timed_out,
)
from gateway.wire.gemini_setup import Capabilities, capabilities, connect_config, instruction

log = logging.getLogger(__name__)

DEFAULT_MODEL = "gemini-3.8-live"
DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/"
DEFAULT_API_VERSION = "v1beta"
"""Every public page of the Live service is v1beta, although the SDK defaults to v1."""

CONNECTS_AT_ONCE = 8
"""A connect costs 2–3 ms of CPU in one piece (TLS): eight at the same moment are one 20 ms tick of everybody else's audio."""

OPEN_TIMEOUT = 8.0
MAX_MESSAGE_BYTES = 16 * 2**20
MAX_QUEUE = 256
"""Messages read and not yet taken before the socket pauses: 16, the default, is four seconds of speech in one burst."""

CONNECT_ERRORS = (errors.APIError, ConnectionClosed, InvalidHandshake, InvalidURI, OSError, TypeError, ValueError, AttributeError)
"""What the SDK's connect raises. The last three are its parser on an odd first message."""

LINK_ERRORS = (errors.APIError, ConnectionClosed, OSError)
"""How an open link ends. A TimeoutError is an OSError."""


@dataclass(frozen=True, slots=True)
class GeminiSettings:
    """Where the service is and how to talk to it."""

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    """Always TLS: the SDK turns http and ws into wss."""
    ca_file: str | None = None
    """PEM file trusted instead of the system's authorities (the emulator's certificate)."""
    model: str = DEFAULT_MODEL
    api_version: str = DEFAULT_API_VERSION
    fast_frames: bool = True
    """False: nothing but the SDK's session on the audio path."""
    setup_timeout: float = 10.0
    """Seconds from asking for a session to its confirmation."""


class GeminiModel:
    """Opens model sessions; one per worker and event loop. Building it blocks for about 0.1 s: do it before serving."""

    def __init__(self, settings: GeminiSettings) -> None:
        self._settings = settings
        self._connects = asyncio.Semaphore(CONNECTS_AT_ONCE)
        context = ssl.create_default_context(cafile=settings.ca_file)
        socket_options: dict[str, object] = {
            "ssl": context,
            "compression": None,  # base64 of speech hardly shrinks, and costs 0.1–0.6 ms a message
            "ping_interval": None,  # the service has been seen to answer pings 30 s late; the default would hang up on it
            "max_size": MAX_MESSAGE_BYTES,
            "max_queue": MAX_QUEUE,
            "write_limit": WRITE_LIMIT,
            "open_timeout": OPEN_TIMEOUT,
            "close_timeout": CLOSE_TIMEOUT,
            "proxy": None,
            "create_connection": LiveConnection,
        }
        # Everything the SDK would otherwise look up in the environment is given: only the command line reads that.
        self._client = genai.Client(
            vertexai=False,
            api_key=settings.api_key,
            http_options=types.HttpOptions(
                base_url=settings.base_url or DEFAULT_BASE_URL,
                api_version=settings.api_version,
                async_client_args=socket_options,
                client_args={"verify": context},
            ),
        )

    async def warm_up(self) -> None:
        """Have the SDK build its models now (0.1 s) and not in the middle of the first call."""
        config = types.LiveConnectConfig(**connect_config(Profile(voice="Puck", system_instruction="-"), capabilities("")))
        types.LiveConnectParameters(model=self._settings.model, config=config).model_dump(exclude_none=True)
        types.LiveServerMessage.model_validate({"setupComplete": {}}).model_dump(exclude_none=True)
        if not self._settings.fast_frames:
            types.LiveClientRealtimeInput(audio=types.Blob(data=b"", mime_type="audio/pcm")).model_dump(mode="json")

    def session(self, profile: Profile) -> AbstractAsyncContextManager[ModelSession]:
        """Open a session with the profile's options. Entering raises ModelRefused or ModelUnavailable."""
        return self._session(profile)

    async def close(self) -> None:
        """Let go of the SDK's clients. Sessions must be closed before."""
        await self._client.aio.aclose()
        self._client.close()

    @asynccontextmanager
    async def _session(self, profile: Profile) -> AsyncIterator[ModelSession]:
        model = profile.model or self._settings.model
        can = capabilities(model)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with AsyncExitStack() as stack:
            session = await self._connect(stack, model, profile, can)
            connection = LiveConnection.take()
            # The SDK closes with 1011 when its block is left by an exception, which is a call's normal way out. We are the
            # ones who hang up: say 1000 before that.
            stack.push_async_callback(connection.close)
            link: Link = FastLink(connection) if self._settings.fast_frames else SdkLink(session)
            yield GeminiSession(connection, link, can, connected_after=loop.time() - began)

    async def _connect(self, stack: AsyncExitStack, model: str, profile: Profile, can: Capabilities) -> AsyncSession:
        limit = self._settings.setup_timeout
        deadline = asyncio.timeout(limit)
        try:
            config = types.LiveConnectConfig(**connect_config(profile, can))
        except ValueError as exc:
            log.warning("! model session not opened: %s (%s)", SETTINGS.text, describe(exc))
            raise SETTINGS.error() from exc
        try:
            async with deadline, self._connects:
                session = await stack.enter_async_context(self._client.aio.live.connect(model=model, config=config))
        except CONNECT_ERRORS as exc:
            failure = timed_out(limit) if deadline.expired() else classify(exc)
            log.warning("! model session not opened: %s (%s)", failure.text, describe(exc))
            raise failure.error() from exc
        if session.setup_complete is None:
            log.warning("! model session not opened: its first message was no setupComplete")
            raise UNCONFIRMED.error()
        return session


class GeminiSession:
    """One call's session with the service. Implements `ModelSession`.

    How the link ended is reported once, by `events`. The senders never raise: what they are given after the end goes
    nowhere, as it would a moment before.
    """

    def __init__(self, connection: LiveConnection, link: Link, can: Capabilities, *, connected_after: float) -> None:
        self._connection = connection
        self._link = link
        self._can = can
        self._connected_after = connected_after
        self._downlink = Downlink()
        self._failure: Failure | None = None  # known before the socket has told the reader

    async def send_audio(self, pcm: bytes) -> None:
        """Caller's audio, PCM16 LE mono 16 kHz."""
        await self._sent(self._link.send_audio(pcm))

    async def end_audio(self) -> None:
        """The caller's audio pauses: the model should not wait for more of it."""
        await self._sent(self._link.end_audio())

    async def send_text(self, text: str) -> None:
        """Typed words of the caller: a turn of its own."""
        await self._sent(self._link.send_text(text, ordered=self._can.content_any_time))

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """Give the model a tool's result."""
        await self._sent(self._link.answer_tool(answer))

    async def activity(self, speaking: bool) -> None:
        """The caller begins or ends a turn."""
        await self._sent(self._link.activity(speaking))

    async def update(self, profile: Profile) -> None:
        """Another instruction from now on."""
        await self._sent(self._link.instruct(instruction(profile, self._can)))

    async def prompt(self, text: str) -> None:
        """The gateway's own instruction: the model answers it aloud. To the service it is a user's turn."""
        await self.send_text(text)

    async def events(self) -> AsyncIterator[ModelEvent]:
        """Everything the model does. Ends by raising ModelRefused or ModelUnavailable, after a ModelClosed."""
        loop, downlink = asyncio.get_running_loop(), self._downlink
        yield ModelConnected(self._connected_after)
        while True:
            try:
                message = await self._link.receive()
            except PacketError as exc:
                yield downlink.unreadable(exc)
            except LINK_ERRORS as exc:
                failure = self._failure or classify(exc)
                log.warning("! model session ended: %s (%s)", failure.text, describe(exc))
                break
            else:
                for event in downlink.receive(message, loop.time()):
                    yield event
            if downlink.hopeless:
                failure = GARBAGE
                log.warning("! model session given up: %d messages in a row can't be read", downlink.skipped_in_a_row)
                break
        self._failure = failure
        yield ModelClosed(failure.code)
        raise failure.error()

    async def _sent(self, sending: Coroutine[None, None, None]) -> None:
        if self._failure is not None:
            sending.close()
            return
        try:
            await sending
        except TimeoutError:
            # The reader would never hear of this by itself.
            self._failure = STALLED
            self._connection.abort()
        except LINK_ERRORS:
            pass  # the reader has heard of it, or will


def classify(exc: BaseException) -> Failure:
    """What an exception of the SDK, websockets or the system says about the connection."""
    match exc:
        case errors.APIError(code=code, details=details):
            return closed(code, details if isinstance(details, str) else "")
        case ConnectionClosed(rcvd=rcvd):
            return closed(rcvd.code, rcvd.reason) if rcvd is not None else closed(1006, "")
        case InvalidStatus(response=response):
            return rejected(response.status_code)
        case InvalidHandshake():
            return NOT_LIVE
        case InvalidURI() | UnicodeEncodeError():
            return NO_ADDRESS
        case TimeoutError():
            return timed_out(OPEN_TIMEOUT)
        case gaierror():
            return DNS
        case ssl.SSLError():
            return TLS
        case OSError():
            return UNREACHABLE
        case _:
            return UNCONFIRMED  # the SDK's parser choked on the first message


def describe(exc: BaseException) -> str:
    """An exception for our log: its type and what it says, without addresses and keys."""
    return f"{type(exc).__name__}: {scrub(str(exc))}"
