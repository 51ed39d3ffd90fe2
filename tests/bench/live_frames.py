"""What one message to or from the model costs, both ways through the SDK: `python -m tests.bench.live_frames`.

µs of this process's CPU per message over TLS loopback with uvloop, the far end in another process. Up: 20 and 100 ms of the
caller's audio, each written in a loop iteration of its own. Down: 40 and 240 ms of speech, a transcription, the end of a turn
with its token counts; each sent alone, as they come from the service. Smallest and median of several rounds: the machine
is noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection

from gateway.events import TokensUsed
from gateway.model.base import ModelEvent, ModelSession
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from tests.model.far_end import FarEnd, far_end, pretty, speech

MESSAGES = 500
ROUNDS = 7
PACE = 0.001
"""Seconds between two messages."""

DOWN: dict[str, Any] = {
    "down 40 ms": speech(bytes(range(240)) * 8),
    "down 240 ms": speech(bytes(range(240)) * 48),
    "transcription": {"serverContent": {"outputTranscription": {"text": " word"}}},
    "turn end": {
        "serverContent": {"turnComplete": True},
        "usageMetadata": {
            "promptTokenCount": 310,
            "responseTokenCount": 92,
            "totalTokenCount": 402,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 250}],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 92}],
        },
    },
}
UP = {"up 20 ms": 0.02, "up 100 ms": 0.1}


async def _answer(_: FarEnd, socket: ServerConnection) -> None:
    """Whoever sends the name of a row as text gets MESSAGES of it; audio is swallowed."""
    async for raw in socket:
        text = raw if isinstance(raw, str) else raw.decode()
        if len(text) > 400:
            continue
        for name, message in DOWN.items():
            if f'"{name}"' in text:
                frame = pretty(message)
                for _n in range(MESSAGES):
                    await socket.send(frame)
                    await asyncio.sleep(PACE)


def _serve(directory: str, pipe: Connection) -> None:
    async def main() -> None:
        async with far_end(Path(directory), _answer) as end:
            pipe.send((end.base_url, end.ca_file))
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(main())


@asynccontextmanager
async def _session(where: tuple[str, str], fast: bool) -> AsyncIterator[ModelSession]:
    model = GeminiModel(GeminiSettings("KEY", base_url=where[0], ca_file=where[1], fast_frames=fast))
    async with model.session(Profile(model="gemini-3.1-flash-live-preview")) as session:
        yield session
    await model.close()


async def _idle() -> float:
    """CPU of waiting as often as a round does."""
    began = time.process_time()
    for _ in range(MESSAGES):
        await asyncio.sleep(PACE)
    return time.process_time() - began


async def _up(session: ModelSession, pcm: bytes) -> float:
    began = time.process_time()
    for _ in range(MESSAGES):
        if session.free:  # as `call.feed` does it
            session.post_audio(pcm)
        else:
            await session.send_audio(pcm)
        await asyncio.sleep(PACE)
    return time.process_time() - began


async def _down(session: ModelSession, events: AsyncIterator[ModelEvent], name: str) -> float:
    await session.send_text(name)
    began = time.process_time()
    left = MESSAGES
    while left:
        event = await anext(events)
        left -= not isinstance(event, TokensUsed)  # the account of a turn comes with its end
    return time.process_time() - began


async def _measure(where: tuple[str, str], fast: bool) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {}
    async with _session(where, fast) as session:
        events = aiter(session.events())
        await anext(events)  # ModelConnected
        for _ in range(ROUNDS):
            idle = await _idle()
            for name, seconds in UP.items():
                spent = await _up(session, bytes(round(32_000 * seconds)))
                rows.setdefault(name, []).append(max(0.0, spent - idle) / MESSAGES * 1e6)
            for name in DOWN:
                rows.setdefault(name, []).append(await _down(session, events, name) / MESSAGES * 1e6)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    here, there = multiprocessing.get_context("spawn").Pipe()
    with tempfile.TemporaryDirectory() as directory:
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(directory, there))
        server.start()
        try:
            where = here.recv()
            results = {way: uvloop.run(_measure(where, way == "fast")) for way in ("fast", "sdk")}
        finally:
            here.send(None)
            server.join()
    table = {
        way: {name: {"min": round(min(spent), 1), "median": round(statistics.median(spent), 1)} for name, spent in rows.items()}
        for way, rows in results.items()
    }
    if as_json:
        print(json.dumps(table, indent=2))
        return
    print(f"{'µs CPU per message':<20}{'fast min':>10}{'median':>8}{'SDK min':>10}{'median':>8}")
    for name in (*UP, *DOWN):
        fast, sdk = table["fast"][name], table["sdk"][name]
        print(f"{name:<20}{fast['min']:>10}{fast['median']:>8}{sdk['min']:>10}{sdk['median']:>8}")


if __name__ == "__main__":
    main()
