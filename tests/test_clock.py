"""The 20 ms grid in fake time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import pytest
import uvloop

from gateway.clock import SLOT, Clock
from tests import clock as fake


class Ear:
    """Notes its ticks; raises at the `bad`th."""

    def __init__(self, bad: int = 0) -> None:
        self.ticks: list[float] = []
        self.late: list[float] = []
        self.bad = bad
        self.resyncs = 0
        self.failed: Exception | None = None
        self.ahead: deque[Callable[[], None]] = deque()

    def tick(self, now: float, late: float) -> None:
        self.ticks.append(now)
        self.late.append(late)
        if len(self.ticks) == self.bad:
            raise ValueError("a bug")

    def resynced(self) -> None:
        self.resyncs += 1

    def fail(self, exc: Exception) -> None:
        self.failed = exc


def test_fifty_ticks_a_second_on_the_grid_and_calls_spread() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        ears = [Ear() for _ in range(8)]
        for ear in ears:
            clock.add(ear)
        await asyncio.sleep(10.001)
        clock.stop()
        for ear in ears:
            assert 500 <= len(ear.ticks) <= 501
            assert ear.ticks[-1] - ear.ticks[0] == pytest.approx(0.02 * (len(ear.ticks) - 1))
        assert len({round(ear.ticks[0], 4) for ear in ears}) == 4  # two calls in each of four slots

    fake.run(body())


def test_a_late_wake_up_delays_one_tick_and_a_long_stall_drops_ticks() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, fake.FakeTimeLoop)
        clock, ear = Clock(loop), Ear()
        clock.add(ear)
        await asyncio.sleep(0.101)
        before = len(ear.ticks)
        loop.now += 0.05  # three ticks late: they are caught up at once
        await asyncio.sleep(0.049)
        assert len(ear.ticks) - before == 5
        assert max(ear.late) >= 0.03
        loop.now += 3.0
        await asyncio.sleep(0.02)
        assert clock.resyncs == 1
        assert len(ear.ticks) - before <= 8
        clock.stop()

    fake.run(body())


def test_a_bug_in_one_tick_fails_that_call_and_nobody_else() -> None:
    async def body() -> None:
        clock = Clock(asyncio.get_running_loop())
        ears = [Ear(bad=3 if n == 4 else 0) for n in range(10)]
        for ear in ears:
            clock.add(ear)
        await asyncio.sleep(1.001)
        clock.stop()
        assert isinstance(ears[4].failed, ValueError)
        assert all(ear.failed is None and len(ear.ticks) >= 50 for n, ear in enumerate(ears) if n != 4)

    fake.run(body())


def test_what_stands_ahead_is_done_instead_of_ticks_one_each() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        clock, ear, done = Clock(loop), Ear(), list[float]()
        clock.add(ear)
        await asyncio.sleep(0.001)
        ear.ahead.extend([lambda: done.append(loop.time())] * 3)
        await asyncio.sleep(0.1)
        assert done == pytest.approx([ear.ticks[0] + 0.02 * n for n in (1, 2, 3)])
        assert ear.ticks[1:] == pytest.approx([ear.ticks[0] + 0.02 * n for n in (4, 5)])
        ear.ahead.extend([lambda: done.append(loop.time())] * 3)
        ear.ahead.clear()
        await asyncio.sleep(0.02)
        assert len(done) == 3
        assert len(ear.ticks) == 4, "the tick after something was taken back is the call's own"
        clock.stop()

    fake.run(body())


def test_when_ticks_are_dropped_the_call_hears_of_it_instead_of_what_stood_ahead_of_the_next() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, fake.FakeTimeLoop)
        clock, done = Clock(loop), list[float]()
        ears = [Ear(), Ear()]
        for ear in ears:
            clock.add(ear)
        await asyncio.sleep(0.015)
        ears[0].ahead.extend([lambda: done.append(loop.time())] * 3)
        loop.now += 1.0
        await asyncio.sleep(0.055)
        assert [ear.resyncs for ear in ears] == [1, 0]
        assert len(done) == 2
        clock.stop()

    fake.run(body())


def test_a_bug_in_what_stands_ahead_fails_that_call_and_nobody_else() -> None:
    async def body() -> None:
        clock, ears = Clock(asyncio.get_running_loop()), [Ear(), Ear()]
        for ear in ears:
            clock.add(ear)
        ears[0].ahead.append(lambda: [][0])
        await asyncio.sleep(0.101)
        clock.stop()
        assert isinstance(ears[0].failed, IndexError)
        assert ears[1].failed is None
        assert len(ears[1].ticks) >= 5

    fake.run(body())


def test_an_idle_clock_sleeps() -> None:
    async def body() -> None:
        told: list[str] = []
        clock = Clock(asyncio.get_running_loop(), before=lambda: told.append("read"), idle=lambda: told.append("idle"))
        ear = Ear()
        clock.add(ear)
        await asyncio.sleep(0.1)
        clock.discard(ear)
        clock.discard(ear)
        await asyncio.sleep(0.1)
        count = len(ear.ticks)
        assert clock._timer is None
        assert told.count("idle") == 1
        assert told[-1] == "idle", "nobody reads any more"
        clock.add(ear)
        await asyncio.sleep(0.1)
        assert len(ear.ticks) > count
        assert told.count("idle") == 1
        clock.stop()

    fake.run(body())


def test_what_has_come_is_taken_before_the_ticks() -> None:
    async def body() -> None:
        told: list[str] = []

        class Mouth(Ear):
            def tick(self, now: float, late: float) -> None:
                super().tick(now, late)
                told.append("tick")

        clock = Clock(asyncio.get_running_loop(), before=lambda: told.append("read"))
        clock.add(Mouth())
        await asyncio.sleep(0.101)
        clock.stop()
        assert told.count("tick") >= 5
        assert all(told[at - 1] == "read" for at, what in enumerate(told) if what == "tick")

    fake.run(body())


def test_a_timer_that_rings_early_is_not_rung_again_and_again() -> None:
    """uvloop counts whole milliseconds: a deadline a hair beyond one rings before it is reached."""

    async def body() -> int:
        rung = 0

        def count() -> None:
            nonlocal rung
            rung += 1

        clock = Clock(asyncio.get_running_loop(), before=count)
        clock.add(Ear())
        await asyncio.sleep(100 * SLOT)
        clock.stop()
        return rung

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(body()) <= 110
