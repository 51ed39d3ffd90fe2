"""Tests in real time on a machine that has no time to spare.

What a real-time engine in this process makes of sound says nothing while the process itself waits for the processor. Such a trial
is made again; a trial that fails while the process had all the time it wanted is a failure, at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

TRIALS = 4
STEP = 0.02
STARVED = 0.1
"""Share of its time that a loop waited for the processor, although it was due."""


async def judged(trial: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> tuple[T, int]:
    """What the trial gave, and how many it took: until it is good, or the process was not starved, or `TRIALS` are made.

    A trial that came to no end in its own time (TimeoutError) was not good.
    """
    loop = asyncio.get_running_loop()
    for made in range(1, TRIALS + 1):
        late: list[float] = []
        watch, began = asyncio.create_task(_watch(late)), loop.time()
        try:
            result = await trial()
        except TimeoutError:
            if made == TRIALS or not _starved(late, loop.time() - began):
                raise
            continue
        finally:
            watch.cancel()
        if made == TRIALS or good(result) or not _starved(late, loop.time() - began):
            return result, made
    raise AssertionError("a trial is made at least once")


def _starved(late: list[float], seconds: float) -> bool:
    return sum(late) >= STARVED * seconds


async def _watch(late: list[float]) -> None:
    """How late this loop wakes, one number for every `STEP` it meant to sleep."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + STEP
        await asyncio.sleep(STEP)
        late.append(max(0.0, loop.time() - due))
