"""The loop's ticker."""

from __future__ import annotations

import asyncio

from gateway.telemetry.loop import TASKS_EVERY, watch_loop


class Seen:
    """Collects what the ticker tells; `enough` is set after `ticks`."""

    def __init__(self, ticks: int) -> None:
        self.lags: list[float] = []
        self.tasks: list[int] = []
        self.enough = asyncio.Event()
        self._ticks = ticks

    def loop_lag(self, seconds: float) -> None:
        self.lags.append(seconds)
        if len(self.lags) == self._ticks:
            self.enough.set()

    def set_tasks(self, tasks: int) -> None:
        self.tasks.append(tasks)


def spin(seconds: float) -> None:
    """Block the loop, as a bug would."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        pass


def watch(ticks: int, block: float = 0.0) -> Seen:
    async def body() -> Seen:
        seen = Seen(ticks)
        task = asyncio.create_task(watch_loop(seen, 0.002))
        if block:
            asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(spin, block))
        async with asyncio.timeout(10):
            await seen.enough.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return seen

    return asyncio.run(body())


def test_a_blocked_loop_shows_once() -> None:
    seen = watch(8, block=0.08)
    assert sum(lag > 0.05 for lag in seen.lags) == 1
    assert min(seen.lags) >= 0.0


def test_tasks_are_counted_now_and_then() -> None:
    seen = watch(TASKS_EVERY + 1)
    assert seen.tasks[0] == 2
    assert len(seen.tasks) == 2
