"""Gemini Live as a `Model`: opens sessions with the google-genai SDK and tells calls what happens in them."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from google import genai
from google.auth.credentials import Credentials
from google.genai import types

from gateway.dialog.history import History
from gateway.model.base import CALL, ModelSession
from gateway.model.connection import CLOSE_TIMEOUT, WRITE_LIMIT, FastLink, Link, LiveConnection, SdkLink, when_secure
from gateway.model.failures import CONNECT_ERRORS, OPEN_TIMEOUT, NotConnected, classify, describe
from gateway.model.session import GeminiSession, Socket
from gateway.profile import Endpointing, Profile
from gateway.wire.gemini_breaker import Breaker
from gateway.wire.gemini_faults import SETTINGS, UNCONFIRMED, Failure, timed_out
from gateway.wire.gemini_session import Course
from gateway.wire.gemini_setup import Backend, capabilities, connect_config

log = logging.getLogger(__name__)

DEFAULT_MODEL = "gemini-3.8-live"
DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/"
DEFAULT_API_VERSION = "v1beta"
"""Every public page of the Live service is v1beta, although the SDK defaults to v1."""

CONNECTS_AT_ONCE = 8
"""A connect costs 2–3 ms of CPU in one piece (TLS): eight at the same moment are one 20 ms tick of everybody else's audio."""

MAX_MESSAGE_BYTES = 16 * 2**20
MAX_QUEUE = 256
"""Messages read and not yet taken before the socket pauses: 16, the default, is four seconds of speech in one burst."""


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
    patience: float = 20.0
    """Seconds without a connection in the middle of a call, after which the session is given up: the caller has hung up."""
    backend: Backend = Backend.DEVELOPER
    project: str = ""
    """Vertex AI: the Google Cloud project; empty: the key is one of Vertex AI in express mode."""
    location: str = ""
    """Vertex AI: its region."""
    tag_header: str = ""
    """HTTP header that tells the far end which call a socket is for (only our own emulator is told); empty: none."""
    credentials: Credentials | None = field(default=None, repr=False)
    """Vertex AI with a project: who we are; None: the environment's application default credentials."""


class GeminiModel:
    """Opens model sessions; one per worker and event loop. Building it blocks for about 0.1 s: do it before serving."""

    def __init__(self, settings: GeminiSettings) -> None:
        self._settings = settings
        self._draw = random.Random()
        self._breaker = Breaker(self._draw)
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
        vertex = settings.backend is Backend.VERTEX
        self._client = genai.Client(
            vertexai=vertex,
            api_key=None if vertex and settings.project else settings.api_key,
            project=settings.project or None,
            location=settings.location or None,
            credentials=settings.credentials,
            http_options=types.HttpOptions(
                base_url=settings.base_url or DEFAULT_BASE_URL,
                api_version=settings.api_version,
                async_client_args=socket_options,
                client_args={"verify": context},
            ),
        )

    async def warm_up(self) -> None:
        """Have the SDK build its models now (0.1 s) and not in the middle of the first call."""
        can = capabilities("", self._settings.backend)
        config = types.LiveConnectConfig(**connect_config(Profile(voice="Puck", system_instruction="-"), can))
        types.LiveConnectParameters(model=self._settings.model, config=config).model_dump(exclude_none=True)
        types.LiveServerMessage.model_validate({"setupComplete": {}}).model_dump(exclude_none=True)
        if not self._settings.fast_frames:
            types.LiveClientRealtimeInput(audio=types.Blob(data=b"", mime_type="audio/pcm")).model_dump(mode="json")

    def session(self, profile: Profile, history: History | None = None) -> AbstractAsyncContextManager[ModelSession]:
        """See `Model`."""
        return self._session(profile, history)

    async def close(self) -> None:
        """Let go of the SDK's clients. Sessions must be closed before."""
        await self._client.aio.aclose()
        self._client.close()

    @asynccontextmanager
    async def _session(self, profile: Profile, history: History | None) -> AsyncIterator[ModelSession]:
        can = capabilities(profile.model or self._settings.model, self._settings.backend)
        loop = asyncio.get_running_loop()
        course = Course(
            can,
            self._breaker,
            self._draw,
            loop.time(),
            patience=self._settings.patience,
            first_patience=self._settings.setup_timeout,
            history=history,
            marked=profile.listening.endpointing is not Endpointing.MODEL,
            nudges=profile.tool_nudge > 0,
        )
        session = GeminiSession(self._dial, profile, can, course, loop)
        try:
            await session.open()
            yield session
        finally:
            await session.close()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """A place among those who connect. It is free again when TLS stands: the service may take its time over the rest."""
        await self._connects.acquire()
        place = [self._connects]

        def leave() -> None:
            while place:
                place.pop().release()

        before = when_secure.set(leave)
        try:
            yield
        finally:
            when_secure.reset(before)
            leave()

    async def _dial(self, profile: Profile, handle: str, *, seeded: bool, limit: float) -> Socket:
        """See `model.session.Dial`."""
        model = profile.model or self._settings.model
        deadline = asyncio.timeout(limit)
        async with AsyncExitStack() as stack:
            try:
                can = capabilities(model, self._settings.backend)
                config = types.LiveConnectConfig(**connect_config(profile, can, handle, seeded=seeded))
                if self._settings.tag_header and (call := CALL.get()):
                    config.http_options = types.HttpOptions(headers={self._settings.tag_header: call})
            except ValueError as exc:
                raise _not_connected(SETTINGS, exc) from exc
            try:
                async with deadline, self._place():
                    session = await stack.enter_async_context(self._client.aio.live.connect(model=model, config=config))
            except CONNECT_ERRORS as exc:
                raise _not_connected(timed_out(limit) if deadline.expired() else classify(exc), exc) from exc
            connection = LiveConnection.take()
            if session.setup_complete is None:
                await connection.close()
                log.warning("! model session not opened: its first message was no setupComplete")
                raise NotConnected(UNCONFIRMED)
            link: Link = FastLink(connection) if self._settings.fast_frames else SdkLink(session)
            return Socket(connection, link, stack.pop_all())
        raise AssertionError("either opened or raised")


def _not_connected(failure: Failure, exc: BaseException) -> NotConnected:
    log.warning("! model session not opened: %s (%s)", failure.text, describe(exc))
    return NotConnected(failure)
