"""One model session in fake time, with its shell and its service played by the test."""

from __future__ import annotations

import random
from typing import Any

from gateway.dialog.history import History
from gateway.events import ModelSwapped
from gateway.model.base import ModelEvent
from gateway.wire.gemini_breaker import Breaker
from gateway.wire.gemini_faults import Failure, closed, rejected
from gateway.wire.gemini_moves import Connect, GiveUp, Leave, Listen, Phase, Wait
from gateway.wire.gemini_reel import Ask, Item, Strip
from gateway.wire.gemini_session import Course
from gateway.wire.gemini_setup import Capabilities, capabilities
from tests.audio import noise, tone

RATE = 16_000
BROKEN = closed(1006, "")
INTERNAL = closed(1011, "Internal error encountered.")
STALE = closed(1008, "BidiGenerateContent session not found")
INVALID = closed(1007, "Request contains an invalid argument.")
QUOTA = closed(1011, "You exceeded your current quota")
LIFETIME = closed(1011, "Deadline expired before operation could complete.")
BUSY = rejected(429)

SPEECH: dict[str, Any] = {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAAA" * 6400}}]}}
"""0.4 s of an answer."""


class Play:
    """One session, its shell and its service. `now` moves when something takes time."""

    def __init__(
        self,
        can: Capabilities | None = None,
        *,
        breaker: Breaker | None = None,
        history: History | None = None,
        patience: float = 20.0,
        marked: bool = False,
        nudges: bool = True,
        seed: int = 1,
        opened: bool = True,
    ) -> None:
        self.now = 100.0
        self.breaker = breaker or Breaker(random.Random(seed))
        self.course = Course(
            can or capabilities("gemini-3.8-live"),
            self.breaker,
            random.Random(seed),
            self.now,
            patience=patience,
            first_patience=10.0,
            history=history,
            marked=marked,
            nudges=nudges,
        )
        self.events: list[ModelEvent] = []
        self.sent: list[Item] = []
        """On the present socket."""
        self.pongs = True
        """The service answers pings."""
        if opened:
            self.connect()

    # the shell

    def connect(self, seconds: float = 0.1) -> Connect:
        """The next decision is to connect; it succeeds."""
        how = self.decide()
        assert isinstance(how, Connect), how
        self.now += seconds
        self.sent = []
        self.events += self.course.ready(self.now, seconds)
        self.pump()
        return how

    def refuse(self, failure: Failure, seconds: float = 0.1) -> Connect:
        """The next decision is to connect; it fails."""
        how = self.decide()
        assert isinstance(how, Connect), how
        self.now += seconds
        self.events += self.course.failed(failure, self.now)
        return how

    def decide(self) -> Any:
        return self.course.decide(self.now)

    def wait(self) -> Connect | GiveUp:
        """Sleep as often as told."""
        while isinstance(found := self.decide(), Wait):
            assert found.until is not None, "nothing would ever wake it"
            assert found.until > self.now
            self.now = found.until
        assert isinstance(found, Connect | GiveUp)
        return found

    def pump(self) -> None:
        while self.course.phase is Phase.OPEN and (item := self.course.reel.take()) is not None:
            self.sent.append(item)
            self.course.sent(item, self.now)
            if (ping := self.course.ping(self.now)) is not None and self.pongs:
                self.course.pong(ping, self.now + 0.01)

    def lose(self, failure: Failure = BROKEN) -> None:
        self.events += self.course.lost(failure, self.now)

    def leave(self, *, clean: bool = True, seconds: float = 0.05) -> None:
        assert isinstance(self.decide(), Leave)
        self.now += seconds
        self.events += self.course.left(self.now, clean=clean)

    def pass_time(self, seconds: float, step: float = 0.1) -> Any:
        """The caller is silent for so long, or until something else than listening is to be done: that."""
        for _ in range(round(seconds / step)):
            if not isinstance(found := self.decide(), Listen):
                return found
            self.now += step
            self.course.heard(bytes(round(RATE * step) * 2), self.now)
            self.pump()
        return self.decide()

    # the caller

    def hears(self, pcm: bytes) -> None:
        for at in range(0, len(pcm) - 3199, 3200):
            self.now += 0.1
            self.course.heard(pcm[at : at + 3200], self.now)
            self.pump()

    def asks(self, seconds: float = 1.0) -> int:
        """A question, and a second of waiting; gives where it begins."""
        self.hears(noise(RATE, 1.0, 20.0))
        begin = self.course.reel.end
        self.hears(tone(300, RATE, seconds))
        self.hears(noise(RATE, 1.0, 20.0))
        return begin

    # the service

    def says(self, **message: Any) -> None:
        self.events += self.course.read(message, self.now)

    def content(self, **content: Any) -> None:
        self.says(serverContent=content)

    def handle(self, handle: str = "H", **more: Any) -> None:
        self.says(sessionResumptionUpdate={"newHandle": handle, "resumable": True, **more})

    def answers(self, words: str = "It rains.", *, handle: str = "H") -> None:
        """A whole answer, and the handle that stands for it."""
        self.content(outputTranscription={"text": words}, **SPEECH)
        self.content(generationComplete=True)
        self.now += 0.5
        self.content(turnComplete=True)
        if handle:
            self.handle(handle)

    def goes_away(self, left: float) -> None:
        self.says(goAway={"timeLeft": f"{left}s"})

    # what came of it

    @property
    def swaps(self) -> list[ModelSwapped]:
        return [event for event in self.events if isinstance(event, ModelSwapped)]

    @property
    def audio_sent(self) -> float:
        """Seconds, on the present socket."""
        return sum(len(item.pcm) for item in self.sent if isinstance(item, Strip)) / (2 * RATE)

    @property
    def asked(self) -> list[str]:
        return [item.text for item in self.sent if isinstance(item, Ask)]
