"""The worker's one clock: a 20 ms grid in 5 ms slots, calls spread over the slots.

A task and a timer per call cost a third of the capacity (design, §5). Deadlines sit at `start + n * slot`, so that a late wake-up
delays one tick, never the ones after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from gateway.media.audio import PTIME

SLOTS = 4
SLOT = PTIME / SLOTS
GIVE_UP_AFTER = 5 * PTIME
"""Seconds behind the grid (a stalled loop, a suspended process) after which missed ticks are dropped: catching up would send a
burst that the far end has to throw away."""

EARLY = 0.001
"""Seconds by which a tick may come too soon. uvloop counts whole milliseconds, so its timer rings up to half of one early; to
wait for the rest would be to ring again at once, and again, for a fifth of the time that there is nothing else to do."""


class Ticked(Protocol):
    """What stands on the clock."""

    @property
    def ahead(self) -> deque[Callable[[], None]]:
        """What is done on its coming ticks instead, one of these each. Always the same deque."""

    def resynced(self) -> None:
        """Called on a tick in place of the front of `ahead` when ticks were dropped: that one and those behind it are late."""

    def tick(self, now: float, late: float) -> None:
        """20 ms have passed. `late`: seconds since this tick was due."""

    def fail(self, exc: Exception) -> None:
        """Its tick raised."""


class Clock:
    """Ticks every call once per 20 ms while there are any; sleeps otherwise.

    `before` runs before the ticks of a slot, or of all slots that are being made up for: what has come in meanwhile is taken
    first, for on a busy loop a tick could otherwise take for lost what only nobody has read. `idle` is called when it goes to
    sleep: then `before` is not.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        before: Callable[[], None] | None = None,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._before = before
        self._idle = idle
        # With what is to be done ahead of them: on most ticks near capacity a call itself need not be touched.
        self._slots: list[dict[Ticked, deque[Callable[[], None]]]] = [{} for _ in range(SLOTS)]
        self._slot = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.resyncs = 0
        """Times the grid was given up because the loop stood still too long."""

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots)

    def add(self, call: Ticked) -> None:
        """Tick `call` from now on, in the emptiest slot."""
        min(self._slots, key=len)[call] = call.ahead
        if self._timer is None:
            self._due = self._loop.time()
            self._timer = self._loop.call_at(self._due, self._run)

    def discard(self, call: Ticked) -> None:
        """Tick it no more. Harmless when it is not there."""
        for slot in self._slots:
            slot.pop(call, None)

    def stop(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        if self._before is not None:
            self._before()
        now = self._loop.time()
        if now - self._due > GIVE_UP_AFTER:
            self.resyncs += 1
            self._due = now
            for slot in self._slots:
                for call, ahead in slot.items():
                    if ahead:
                        ahead[0] = call.resynced
        while self._due - now < EARLY:
            late = max(0.0, now - self._due)
            for call, ahead in tuple(self._slots[self._slot].items()):
                try:
                    if ahead:
                        ahead.popleft()()
                    else:
                        call.tick(now, late)
                except Exception as exc:  # guarded dispatch: a bug ends one call, never its neighbours
                    call.fail(exc)
            self._slot = (self._slot + 1) % SLOTS
            self._due += SLOT
            now = self._loop.time()
        if len(self):
            self._timer = self._loop.call_at(self._due, self._run)
        else:
            self._timer = None
            if self._idle is not None:
                self._idle()
