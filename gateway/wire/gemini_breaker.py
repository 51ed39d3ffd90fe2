"""When the service is down for all: one connect tries the door for every call that waits.

    CLOSED ──FAILURES in a row──▶ OPEN ──its time──▶ PROBING ──answered──▶ CLOSED
                                    ▲──────failed──────┘

Shared by the calls of one worker that use one service. It counts what says something about the service (refused, timed out,
overloaded), not what says something about one session (a stale handle, a bad setting).
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping

FAILURES = 2
"""In a row, whoever made them, without a success between: more would be a storm of every call's own attempts."""

FIRST_PAUSE = 0.25
SLOW_PAUSE = 1.0
"""When the service says that it has too much to do."""
MAX_PAUSE = 4.0
PROBE_LIMIT = 12.0
"""Seconds after which a probe that nobody has reported on is forgotten; longer than any connect may take."""
ASK_AGAIN = 0.2
"""Seconds after which those who wait for a probe look at its result."""


class Door(enum.Enum):
    """Of the service, as far as this worker knows."""

    CLOSED = "closed"  # the circuit is closed: current flows, everybody may connect
    OPEN = "open"
    PROBING = "probing"


class Step(enum.Enum):
    """What moves it."""

    TRIP = "trip"
    PROBE = "probe"
    SUCCESS = "success"
    FAILURE = "failure"
    ABANDON = "abandon"


MOVES: Mapping[Door, Mapping[Step, Door]] = {
    Door.CLOSED: {Step.TRIP: Door.OPEN, Step.SUCCESS: Door.CLOSED, Step.FAILURE: Door.CLOSED, Step.ABANDON: Door.CLOSED},
    # Connects that were on their way when it opened end in any order.
    Door.OPEN: {Step.PROBE: Door.PROBING, Step.SUCCESS: Door.CLOSED, Step.FAILURE: Door.OPEN, Step.ABANDON: Door.OPEN},
    Door.PROBING: {Step.SUCCESS: Door.CLOSED, Step.FAILURE: Door.OPEN, Step.ABANDON: Door.OPEN},
}


class Breaker:
    """Ask `may_connect` before every connect; tell it how each one ended."""

    def __init__(self, draw: random.Random) -> None:
        self.door = Door.CLOSED
        self.code = ""
        """Of the failure that keeps it open."""
        self._draw = draw
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._probe_at = 0.0
        self._forget_at = 0.0

    def may_connect(self, now: float) -> float:
        """0: yes, now (and while the door is not closed, this connect is the probe). Else the time to ask again."""
        if self.door is Door.CLOSED:
            return 0.0
        if self.door is Door.PROBING:
            if now < self._forget_at:
                return now + ASK_AGAIN
            self._move(Step.ABANDON)
        if now < self._probe_at:
            return self._probe_at
        self._move(Step.PROBE)
        self._forget_at = now + PROBE_LIMIT
        return 0.0

    def succeeded(self) -> None:
        """The service has set up a session."""
        self._move(Step.SUCCESS)
        self._failures, self._pause, self.code = 0, FIRST_PAUSE, ""

    def failed(self, now: float, code: str, *, slow: bool = False) -> None:
        """A connect failed in a way that would happen to others, too."""
        probing = self.door is Door.PROBING
        self._failures += 1
        self.code = code
        if self.door is Door.CLOSED:
            if self._failures >= FAILURES:
                self._move(Step.TRIP)
                self._rest(now, slow)
            return
        self._move(Step.FAILURE)
        if probing:
            self._rest(now, slow)

    def abandoned(self) -> None:
        """A connect was given up before it was known how it would end."""
        self._move(Step.ABANDON)

    def _rest(self, now: float, slow: bool) -> None:
        pause = max(self._pause, SLOW_PAUSE if slow else 0.0)
        self._probe_at = now + pause * self._draw.uniform(0.75, 1.25)
        self._pause = min(MAX_PAUSE, pause * 2)

    def _move(self, step: Step) -> None:
        self.door = MOVES[self.door][step]
