"""Another socket for a session: when, how often, with or without the handle, and when to give up.

What is learnt from a failure is told in two halves: to the breaker what would happen to every call, here what concerns this one.
"""

from __future__ import annotations

import random

from gateway.wire.gemini_breaker import Breaker
from gateway.wire.gemini_faults import UNREACHABLE, Failure, Kind
from gateway.wire.gemini_moves import GiveUp, Wait

CONNECT_LIMIT = 5.0
"""Seconds for one connect in the middle of a call."""
FIRST_PAUSE = 0.25
MAX_PAUSE = 4.0
SLOW_PAUSE = 1.0
WITH_HANDLE = 2
"""Tries with one handle: it may be poisoned."""
FIRST_TRIES = 2
"""Connects for a call that has not begun."""
FIRST_SHARE = 0.6
"""Of the patience for the first of them, so that one that hangs leaves time for another."""
CHANCE = 2
"""Announced ends in a row, each soon after the last, that may be chance and cost no pause."""
OUT_OF_ORDER = "the model service is not available at the moment"


class Retry:
    """One session's. Seconds after which it gives up: `patience` without a socket, `first_patience` without the first."""

    def __init__(self, breaker: Breaker, draw: random.Random, now: float, *, patience: float, first_patience: float) -> None:
        self.failure: Failure | None = None
        """What went wrong last."""
        self._breaker = breaker
        self._draw = draw
        self._patience = patience
        self._first = True  # there was no socket yet
        self._next_at = now
        self._give_up_at = now + first_patience
        self._fatal: Failure | None = None
        self._tries = 0  # failed ones in a row
        self._early = 0  # sockets in a row that had to be left as soon as they were there
        self._with_handle = 0
        self._second_chance = True  # a session that has worked may have come to hold something that is refused

    @property
    def hopeless(self) -> GiveUp | None:
        """The next try would meet the same."""
        return GiveUp(self._fatal) if self._fatal is not None else None

    def next(self, now: float) -> float | Wait | GiveUp:
        """The limit in seconds of the connect to make now, or what to do instead. A number takes the breaker's leave."""
        if now >= self._give_up_at or (self._first and self._tries >= FIRST_TRIES):
            return GiveUp(self.failure or UNREACHABLE)
        if now < self._next_at:
            return Wait(min(self._next_at, self._give_up_at))
        if again := self._breaker.may_connect(now):
            if self._first:
                # Nobody is talking yet: a plain answer is better than waiting for somebody else's luck.
                return GiveUp(self.failure or Failure(self._breaker.code, OUT_OF_ORDER, slow=True))
            return Wait(min(again, self._give_up_at))
        left = self._give_up_at - now
        if self._first:
            return left if self._tries else left * FIRST_SHARE
        return min(CONNECT_LIMIT, left)

    # --- what became of it ---

    def ready(self) -> None:
        """The connect has succeeded. Whether the socket is any good shows later: `settled`, `proven`."""
        self._breaker.succeeded()
        self._first = False

    def abandoned(self) -> None:
        """The connect is not waited for any more."""
        self._breaker.abandoned()

    def proven(self) -> None:
        """The handle has led to a session that works."""
        self._with_handle = 0

    def begin(self, now: float) -> None:
        """A socket that was good is gone: another one, now, with all patience."""
        self._tries = self._early = 0
        self._next_at, self._give_up_at = now, now + self._patience

    def refused(self, failure: Failure, now: float, *, handle: bool) -> bool:
        """The connect came to nothing. True: not with this handle again."""
        if failure.kind in (Kind.NETWORK, Kind.BUSY, Kind.SERVICE) and not blames(failure, handle=handle):
            self._breaker.failed(now, failure.code, slow=failure.slow)
        else:
            self._breaker.abandoned()
        return self._failed(failure, now, now, handle=handle)

    def lost(self, failure: Failure, now: float, *, resumed: bool, settled: bool, ready_at: float) -> bool:
        """A socket is gone that was ready at `ready_at`; `resumed`: with the present handle. True: not with that one again."""
        if not settled:
            return self._failed(failure, now, ready_at, handle=resumed)
        self.failure = failure
        if failure.refused:
            return self._is_last_straw(failure)
        if failure.slow:
            self._next_at = now + SLOW_PAUSE * self._draw.uniform(1.0, 1.5)
        return self._is_suspect(failure, handle=resumed)

    def left_early(self, now: float, ready_at: float) -> None:
        """A socket had to be left as soon as it was there: the service is, so there is no end to the patience."""
        self._early += 1
        self._next_at, self._give_up_at = now, now + self._patience
        if self._early > CHANCE:
            self._rest(now, ready_at, self._early - CHANCE)

    def _failed(self, failure: Failure, now: float, began: float, *, handle: bool) -> bool:
        self.failure = failure
        if failure.refused:
            if drop := self._is_last_straw(failure):
                self._next_at = now
            return drop
        if handle and failure.drop_handle:
            self._next_at = now
            return True
        drop = self._is_suspect(failure, handle=handle)
        self._tries += 1
        self._rest(now, began, self._tries, SLOW_PAUSE if failure.slow else 0.0)
        return drop

    def _rest(self, now: float, began: float, times: int, least: float = 0.0) -> None:
        """The longer nothing holds, the longer the pause, which a socket that was there for a moment has had part of."""
        pause = max(least, min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(times - 1, 8)))
        self._next_at = max(now, began + pause * self._draw.uniform(1.0, 1.5))

    def _is_suspect(self, failure: Failure, *, handle: bool) -> bool:
        if not blames(failure, handle=handle) and not (handle and failure.code == "timeout"):
            return False
        self._with_handle += 1
        if self._with_handle < WITH_HANDLE:
            return False
        self._with_handle = 0
        return True

    def _is_last_straw(self, failure: Failure) -> bool:
        """Refused. True: once more without the handle, for what a session that has worked was set up with is not wrong."""
        if failure.kind is not Kind.SETTINGS or not self._second_chance or self._first:
            self._fatal = failure
            return False
        self._second_chance = False
        return True


def blames(failure: Failure, *, handle: bool) -> bool:
    """What goes wrong with a handle may be the handle's fault, and then says nothing about the service."""
    return handle and failure.kind in (Kind.SERVICE, Kind.SETTINGS, Kind.HANDLE)
