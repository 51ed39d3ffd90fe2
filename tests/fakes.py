"""A leg and a model for fake time. As small as the interfaces they stand in for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway.dialog.history import History
from gateway.dialog.transcript import CutOff
from gateway.errors import ModelError
from gateway.events import CallEvent, CallInfo, EndReason, LegKind
from gateway.legs.base import Ability, LegSink
from gateway.media.audio import PTIME, AudioFrame
from gateway.model.base import ModelEvent, ToolAnswer, Updated
from gateway.profile import Profile


class FakeLeg:
    """Plays at once what it is sent."""

    kind = LegKind.WEBRTC

    def __init__(self, *, rate: int = 24_000) -> None:
        self.rate = rate
        self.can = frozenset({Ability.CONTINUOUS, Ability.TELL})
        self.sink: LegSink | None = None
        self.sent: list[AudioFrame | None] = []
        self.told: list[CallEvent] = []
        self.closed: EndReason | None = None
        self.clears = 0
        self.room = 9
        self.prepared: deque[AudioFrame] = deque()

    def start(self, sink: LegSink) -> None:
        self.sink = sink

    def send(self, frame: AudioFrame | None) -> None:
        assert self.closed is None, "sent after close"
        self.sent.append(frame)
        if frame is not None and self.sink is not None:
            self.sink.played(frame.seconds)

    def prepare(self, frames: Sequence[AudioFrame]) -> None:
        """Each is sent when the clock comes to it."""
        assert self.sink is not None
        assert not self.sink.ahead
        assert len(frames) <= self.room
        self.prepared.extend(frames)
        self.sink.ahead.extend([self._send_prepared] * len(frames))

    def _send_prepared(self) -> None:
        self.send(self.prepared.popleft())

    def resynced(self) -> None:
        assert self.sink is not None
        self.sink.ahead.append(self._send_prepared)

    def clear(self) -> float:
        self.clears += 1
        if self.sink is None:
            return 0.0
        assert len(self.prepared) == len(self.sink.ahead)
        unsent = len(self.prepared) * PTIME
        self.prepared.clear()
        self.sink.ahead.clear()
        return unsent

    def tell(self, event: CallEvent) -> None:
        self.told.append(event)

    def send_digits(self, digits: str) -> None:
        raise AssertionError(f"this leg cannot send {digits}")

    async def transfer(self, target: str) -> None:
        raise AssertionError(f"this leg cannot transfer to {target}")

    async def close(self, reason: EndReason) -> None:
        self.closed = self.closed or reason

    def heard(self) -> bytes:
        """What the caller has heard of the model so far."""
        return b"".join(frame.pcm for frame in self.sent if frame is not None)


class FakeSession:
    """A model session driven by the test: `say()` puts events, `sent` and `texts` are what came."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.texts: list[str] = []
        self.prompts: list[str] = []
        self.cuts: list[CutOff] = []
        self.answers: list[ToolAnswer] = []
        self.updates: list[Profile] = []
        self.ends = 0
        self.closed = False
        self._events: asyncio.Queue[ModelEvent | ModelError | None] = asyncio.Queue(maxsize=10_000)

    def say(self, *events: ModelEvent | ModelError | None) -> None:
        """Events to come, an error to raise, or None: the service ended the session."""
        for event in events:
            self._events.put_nowait(event)

    @property
    def free(self) -> bool:
        return True

    def post_audio(self, pcm: bytes) -> None:
        self.sent += pcm

    async def send_audio(self, pcm: bytes) -> None:
        self.sent += pcm

    async def end_audio(self) -> None:
        self.ends += 1

    async def send_text(self, text: str) -> None:
        self.texts.append(text)

    async def answer_tool(self, answer: ToolAnswer) -> None:
        self.answers.append(answer)

    async def update(self, profile: Profile) -> Updated:
        self.updates.append(profile)
        return Updated.TOLD

    async def cut_off(self, answer: CutOff) -> None:
        self.cuts.append(answer)

    async def prompt(self, text: str) -> None:
        self.prompts.append(text)

    async def events(self) -> AsyncIterator[ModelEvent]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, ModelError):
                raise event
            yield event


class FakeModel:
    """Opens FakeSessions after `delay` seconds, or fails with `error`."""

    name = "fake"

    def __init__(self, *, delay: float = 0.1, error: ModelError | None = None) -> None:
        self.delay = delay
        self.error = error
        self.sessions: list[FakeSession] = []
        self.history: History | None = None

    @asynccontextmanager
    async def session(self, profile: Profile, history: History | None = None) -> AsyncIterator[FakeSession]:
        assert profile.name
        self.history = history
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        session = FakeSession()
        self.sessions.append(session)
        try:
            yield session
        finally:
            session.closed = True


class Diary:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []

    def __call__(self, info: CallInfo, event: CallEvent) -> None:
        assert info.call_id
        self.events.append(event)

    def of(self, kind: type) -> list[CallEvent]:
        """The events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def silence(seconds: float, rate: int = 16_000) -> list[AudioFrame]:
    """Frames of silence."""
    return [AudioFrame(bytes(2 * int(rate * PTIME)), rate)] * round(seconds / PTIME)
