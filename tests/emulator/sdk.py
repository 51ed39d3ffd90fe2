"""The unmodified google-genai SDK against an emulator."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.genai.live import AsyncSession

from gateway.emulator import Emulator

MODEL = "gemini-3.8-live"
CONFIG: dict[str, Any] = {"response_modalities": ["AUDIO"]}
QUICK: dict[str, Any] = {"first_chunk": 0.02, "speed": 0.0, "await_playback": False, "setup_delay": 0.0, "transcript_delay": 0.0}
"""An emulator that does not imitate the service's delays."""


def client(
    emulator: Emulator, key: str = "KEY", *, version: str = "v1beta", base_url: str = "", **websocket: Any
) -> genai.Client:
    """A client that trusts the emulator."""
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    arguments: dict[str, Any] = {
        "ssl": context,
        "compression": None,
        "ping_interval": None,
        "close_timeout": 1,
        "open_timeout": 5,
    }
    return genai.Client(
        api_key=key,
        http_options=types.HttpOptions(
            base_url=base_url or emulator.base_url,
            api_version=version,
            async_client_args={**arguments, **websocket},
            client_args={"verify": context},
        ),
    )


@asynccontextmanager
async def live(
    emulator: Emulator, words: str = "", *, model: str = MODEL, config: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[AsyncSession]:
    """A session; `words` are options for the emulator, sent with the key. The client is kept alive as long as the session."""
    maker = client(emulator, f"KEY~{words}" if words else "KEY", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        async with (
            asyncio.timeout(20),
            maker.aio.live.connect(model=model, config=CONFIG if config is None else config) as session,
        ):
            yield session


async def speak(session: AsyncSession, pcm: bytes, *, rate: int = 16_000, chunk: float = 0.1) -> None:
    """Send audio as fast as it goes."""
    size = round(chunk * rate) * 2
    for at in range(0, len(pcm), size):
        await session.send_realtime_input(audio=types.Blob(data=pcm[at : at + size], mime_type=f"audio/pcm;rate={rate}"))


async def turn(session: AsyncSession) -> list[types.LiveServerMessage]:
    """All messages up to turnComplete."""
    return [message async for message in session.receive()]


def sound_of(messages: list[types.LiveServerMessage]) -> bytes:
    """Audio in these messages."""
    parts = [
        part.inline_data.data or b""
        for message in messages
        if message.server_content and message.server_content.model_turn
        for part in message.server_content.model_turn.parts or []
        if part.inline_data
    ]
    return b"".join(parts)


def words_of(messages: list[types.LiveServerMessage]) -> str:
    """Output transcription in these messages."""
    return "".join(
        message.server_content.output_transcription.text or ""
        for message in messages
        if message.server_content and message.server_content.output_transcription
    )


async def closed_with(session: AsyncSession) -> tuple[int, str]:
    """(code, reason) with which the server ends this session; what comes before is passed over."""

    async def listen() -> None:
        while True:
            await turn(session)

    with pytest.raises(genai.errors.APIError) as failure:
        await listen()
    return failure.value.code, str(failure.value.details)
