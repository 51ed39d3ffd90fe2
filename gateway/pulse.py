"""How hard the worker works: event-loop lag, and the share of one core it uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BEAT = 0.05
"""Seconds between two looks at the loop's lag."""

BUSY = ((0.55, 0.02), (0.70, 0.04), (0.80, 0.06))
"""(share of the core up to which, uplink chunk in seconds). A message to the model costs about 40 µs of CPU whatever its size:
small chunks are latency saved while there is room, large ones are calls saved near capacity."""

LARGEST_CHUNK = 0.1

CALM = 0.2
"""The load has to fall this far below a step before the chunk shrinks again. More than the larger chunk itself saves, or it would
flutter: 40 ms instead of 20 are 25 messages a call-second less, up to 0.09 of the core, and from 60 ms on a call's packets are
taken in a row, up to 0.15 of it."""


def chunk_for(load: float, current: float) -> float:
    """The uplink chunk (seconds) at `load` (0..1 of a core), with hysteresis around `current`."""
    for limit, chunk in BUSY:
        if load <= limit - (CALM if current > chunk else 0.0):
            return chunk
    return LARGEST_CHUNK


class Pulse:
    """Beats every 50 ms on the loop; `on_lag(seconds)` each beat, `on_second(load)` once a second."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_lag: Callable[[float], None],
        on_second: Callable[[float], None],
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._loop = loop
        self._on_lag = on_lag
        self._on_second = on_second
        self._cpu = cpu
        self._cpu_before = cpu()
        self._second_before = loop.time()
        self._due = loop.time() + BEAT
        self._timer = loop.call_at(self._due, self._beat)

    @property
    def late(self) -> float:
        """Seconds since a beat was due; large when the loop stands still. Read from outside the loop's callbacks too."""
        return max(0.0, self._loop.time() - self._due)

    def stop(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        now = self._loop.time()
        self._on_lag(now - self._due)
        if now - self._second_before >= 1.0:
            cpu = self._cpu()
            self._on_second((cpu - self._cpu_before) / (now - self._second_before))
            self._cpu_before, self._second_before = cpu, now
        self._due = now + BEAT
        self._timer = self._loop.call_at(self._due, self._beat)
