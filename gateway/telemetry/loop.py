"""How late the event loop is: a ticker on a grid, as the media path feels it."""

from __future__ import annotations

import asyncio
from typing import Protocol

INTERVAL = 0.05
TASKS_EVERY = 20
"""Ticks between two counts of the loop's tasks: counting walks them all."""


class LagSink(Protocol):
    """What the ticker tells; `Metrics` is one."""

    def loop_lag(self, seconds: float) -> None:
        """The tick came so many seconds late."""

    def set_tasks(self, tasks: int) -> None:
        """Tasks on the loop."""


async def watch_loop(sink: LagSink, interval: float = INTERVAL) -> None:
    """Tell `sink` every `interval` seconds how late the tick came; ends when cancelled.

    Ticks that were missed while the loop was blocked are skipped, not made up for: one long block is one observation.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    ticks = 0
    while True:
        if ticks % TASKS_EVERY == 0:
            sink.set_tasks(len(asyncio.all_tasks(loop)))
        ticks += 1
        due = max(due + interval, loop.time())
        await asyncio.sleep(due - loop.time())
        sink.loop_lag(max(0.0, loop.time() - due))
