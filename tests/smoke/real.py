"""A look at the model service itself, for less than a cent: `GEMINI_API_KEY=… python -m tests.smoke.real [--model NAME]`.

First our own session: setup, a spoken question, a spoken answer, transcripts, usage, and one resumption. Then facts about the
service that its documentation does not settle, each by a connection of its own that is closed before the model says a word; what
is not as expected there is reported, not failed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.dialog.prices import price_of
from gateway.events import ModelSwapped, TokensUsed
from gateway.model.base import AudioOut, InputTranscript, ModelEvent, ModelSession, OutputTranscript, TurnComplete
from gateway.model.gemini import DEFAULT_BASE_URL, DEFAULT_MODEL, GeminiModel, GeminiSettings
from gateway.profile import Profile
from gateway.wire.gemini_faults import scrub
from tests.audio import resampled, speech

RATE = 16_000
CHUNK = 0.1
QUESTION = "What is the capital of France?"
AGAIN = "In one word: which country did I ask about?"
PATIENCE = 30.0
"""Seconds for any one step."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is looked at."""

    key: str
    base_url: str = DEFAULT_BASE_URL
    ca_file: str | None = None
    model: str = DEFAULT_MODEL


@dataclass
class Finding:
    """What our own session came to. Seconds."""

    setup: float = 0.0
    asked_at: float = 0.0
    """Loop time at which the last of the question was sent."""
    answered_after: float = 0.0
    """From the end of the question to the first audio."""
    events: list[ModelEvent] = field(default_factory=list)
    arrived: list[tuple[float, int]] = field(default_factory=list)
    """(when, bytes) of every piece of the first answer."""
    resumed: str = ""
    """How the swap went; `ok`: a resumption handle was taken."""
    second_answer: str = ""

    def text(self, kind: type[InputTranscript] | type[OutputTranscript]) -> str:
        """All of one transcript."""
        return "".join(event.text for event in self.events if isinstance(event, kind))

    @property
    def spoken(self) -> float:
        """Duration of the model's audio."""
        return sum(len(event.pcm) for event in self.events if isinstance(event, AudioOut)) / 48_000

    def usd(self, model: str) -> float:
        """What it cost by our price table."""
        price = price_of(model)
        used = [event for event in self.events if isinstance(event, TokensUsed)]
        if price is None:
            return 0.0
        return sum(price.micro_usd(event.direction, event.modality, event.kind, event.tokens) for event in used) / 1e6

    def lines(self, model: str) -> list[str]:
        """For people."""
        used = {
            f"{event.direction} {event.modality} {event.kind}": event.tokens
            for event in self.events
            if isinstance(event, TokensUsed)
        }
        sizes = [size for _, size in self.arrived]
        took = self.arrived[-1][0] - self.arrived[0][0] if self.arrived else 0.0
        played = sum(sizes) / 48_000
        return [
            f"setup {self.setup:.2f} s, first audio {self.answered_after:.2f} s after the question, {played:.1f} s of answer",
            f"heard {self.text(InputTranscript)!r}, said {self.text(OutputTranscript)!r}",
            f"tokens {used}, about ${self.usd(model):.5f}",
            f"pieces of audio: bytes {sizes[:3]}…, {played / took if took else 0:.1f} times as fast as it plays",
            f"resumed: {self.resumed}; then it said {self.second_answer!r}",
        ]


def question() -> bytes:
    """A question as PCM16 16 kHz, spoken by espeak-ng where there is one, else some seconds of the suite's own voice."""
    if shutil.which("espeak-ng") is None:
        return speech(RATE, 4.0)
    spoken = subprocess.run(
        ["espeak-ng", "-v", "en-us", "-s", "140", "--stdout", QUESTION], check=True, capture_output=True
    ).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        # A stream's header does not know its length.
        return resampled(spoken[44:], file.getframerate(), RATE)


async def converse(service: Service) -> Finding:
    """One spoken turn, a broken connection, a resumption, one more turn. Raises ModelError, TimeoutError."""
    finding = Finding()
    settings = GeminiSettings(service.key, base_url=service.base_url, ca_file=service.ca_file, model=service.model)
    model = GeminiModel(settings)
    try:
        await model.warm_up()
        began = time.monotonic()
        profile = Profile(system_instruction="Answer every question at once, in one short sentence.", model=service.model)
        async with model.session(profile) as session:
            finding.setup = time.monotonic() - began
            await _talk(session, finding)
    finally:
        await model.close()
    return finding


async def _talk(session: Any, finding: Finding) -> None:
    async def read() -> None:
        async for event in session.events():
            finding.events.append(event)
            if isinstance(event, AudioOut) and not _count(finding, TurnComplete):
                finding.arrived.append((event.at, len(event.pcm)))

    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                if reader.done():
                    reader.result()  # why the session is over
                    raise AssertionError("the session ended without an error")
                await asyncio.wait([reader], timeout=0.02)

    reader = asyncio.create_task(read())
    said = asyncio.create_task(_speak(session, question(), finding))
    try:
        await until(lambda: _count(finding, TurnComplete) >= 1 and finding.spoken > 0)
        finding.answered_after = finding.arrived[0][0] - finding.asked_at
        # Both come after the turn, as a rule.
        await until(lambda: bool(session._course.downlink.handle) and _count(finding, InputTranscript) > 0)
        session._socket.connection.abort()
        await until(lambda: _count(finding, ModelSwapped) >= 1)
        finding.resumed = next(event.result for event in finding.events if isinstance(event, ModelSwapped))
        before, turns = finding.text(OutputTranscript), _count(finding, TurnComplete)
        await session.prompt(AGAIN)
        await until(lambda: _count(finding, TurnComplete) > turns and finding.text(OutputTranscript) != before)
        finding.second_answer = finding.text(OutputTranscript).removeprefix(before)
    finally:
        for task in (said, reader):
            task.cancel()
        await asyncio.wait([said, reader])


async def _speak(session: ModelSession, pcm: bytes, finding: Finding) -> None:
    """The question, then silence for as long as we are let, in real time: without audio the service waits for ever."""
    loop = asyncio.get_running_loop()
    size, due, at = round(RATE * CHUNK) * 2, loop.time(), 0
    while True:
        await session.send_audio(pcm[at : at + size].ljust(size, b"\0"))
        if at < len(pcm) <= at + size:
            finding.asked_at = loop.time()
        at += size
        due += CHUNK
        await asyncio.sleep(max(0.0, due - loop.time()))


def _count(finding: Finding, kind: type) -> int:
    return sum(isinstance(event, kind) for event in finding.events)


# --- facts that the documentation leaves open ---


async def facts(service: Service) -> list[str]:
    """One line each. Nothing here makes the model speak."""
    looks: list[tuple[str, Callable[[Service], Awaitable[str]]]] = [
        ("v1 (the SDK's default) serves the model", lambda it: _setup(it, version="v1")),
        ("permessage-deflate", _deflate),
        ("a key that is none", lambda it: _setup(it, key="AIzaSyNoSuchKey0000000000000000000000000")),
        ("a stale handle", lambda it: _setup(it, sessionResumption={"handle": "bm8gc3VjaCBoYW5kbGU"})),
        ("an unknown voice", lambda it: _setup(it, generationConfig=_voice("Nobody"))),
        ("an unknown model", lambda it: _setup(it, model="gemini-0-nothing")),
        ("513 functions", lambda it: _setup(it, tools=[{"functionDeclarations": [_function(n) for n in range(513)]}])),
        ("a NON_BLOCKING function", lambda it: _setup(it, tools=[{"functionDeclarations": [_function(0, "NON_BLOCKING")]}])),
        ("an ephemeral token on v1beta", _token),
        ("the first messages, on the wire", _first_messages),
    ]
    found = []
    for name, look in looks:
        try:
            async with asyncio.timeout(PATIENCE):
                said = await look(service)
        except (OSError, InvalidHandshake, aiohttp.ClientError) as exc:
            said = f"{type(exc).__name__}: {scrub(str(exc))}"
        found.append(f"{name}: {said}")
    return found


def _function(number: int, behavior: str = "") -> dict[str, Any]:
    return {"name": f"f{number}", "description": "Does nothing."} | ({"behavior": behavior} if behavior else {})


def _voice(name: str) -> dict[str, Any]:
    return {"responseModalities": ["AUDIO"], "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": name}}}}


@asynccontextmanager
async def _socket(
    service: Service, *, version: str = "v1beta", key: str = "", deflate: bool = False
) -> AsyncIterator[ClientConnection]:
    where = service.base_url.rstrip("/").replace("https://", "wss://")
    path = f"/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
    async with connect(
        where + path,
        ssl=ssl.create_default_context(cafile=service.ca_file),
        additional_headers={"x-goog-api-key": key or service.key},
        compression="deflate" if deflate else None,
        ping_interval=None,
        close_timeout=2,
        proxy=None,
    ) as socket:
        yield socket


async def _setup(service: Service, *, version: str = "v1beta", key: str = "", model: str = "", **fields: Any) -> str:
    """Set up a session and leave: whether it was confirmed, else how it was refused."""
    setup = {"model": f"models/{model or service.model}", "generationConfig": {"responseModalities": ["AUDIO"]}} | fields
    try:
        async with _socket(service, version=version, key=key) as socket:
            await socket.send(json.dumps({"setup": setup}))
            first = await socket.recv()
            return "taken" if "setupComplete" in json.loads(first) else f"its first message is {first[:80]!r}"
    except ConnectionClosed as exc:
        return f"closed with {exc.rcvd.code}: {scrub(exc.rcvd.reason)}" if exc.rcvd else "the connection broke"
    except InvalidStatus as exc:
        return f"HTTP {exc.response.status_code} in place of the socket"


async def _deflate(service: Service) -> str:
    async with _socket(service, deflate=True) as socket:
        return "negotiated" if socket.protocol.extensions else "not negotiated"


async def _token(service: Service) -> str:
    context = ssl.create_default_context(cafile=service.ca_file)
    url = f"{service.base_url.rstrip('/')}/v1beta/auth_tokens"
    headers = {"x-goog-api-key": service.key}
    async with aiohttp.ClientSession() as http, http.post(url, json={}, headers=headers, ssl=context) as response:
        return f"HTTP {response.status}"


async def _first_messages(service: Service) -> str:
    """A silent second with every extra asked for: frame types, escapes and whether `resumable` is said when it is false."""
    setup = {
        "model": f"models/{service.model}",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "sessionResumption": {},
        "inputAudioTranscription": {},
    }
    seen: list[str] = []
    try:
        async with _socket(service) as socket:
            await socket.send(json.dumps({"setup": setup}))
            data = base64.b64encode(bytes(round(RATE * CHUNK) * 2)).decode()
            frame = json.dumps({"realtimeInput": {"audio": {"data": data, "mimeType": f"audio/pcm;rate={RATE}"}}})
            await socket.send(frame)
            async with asyncio.timeout(2.0):
                while len(seen) < 5:
                    raw = await socket.recv()
                    kind = "text" if isinstance(raw, str) else "binary"
                    seen.append(f"{kind} {scrub(' '.join(json.dumps(json.loads(raw)).split()))}")
    except (TimeoutError, ConnectionClosed):
        pass
    return "; ".join(seen) or "none"


async def main(argv: list[str]) -> int:
    """Prints what was found. Exit status 1 when our own session does not work, 2 without a key."""
    flags = argparse.ArgumentParser(prog="python -m tests.smoke.real")
    flags.add_argument("--model", default=DEFAULT_MODEL)
    model = flags.parse_args(argv).model
    key = os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY")
    if not key:
        print("no GEMINI_API_KEY or GOOGLE_API_KEY", file=sys.stderr)
        return 2
    service = Service(key, model=model)
    finding = await converse(service)
    print("\n".join([*finding.lines(model), *await facts(service)]))
    return 0 if finding.resumed == "ok" else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
