"""One timer for many waits gives up each as a timeout of its own would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.alarm import Alarm
from tests import clock


class Waits:
    """The same waits with an alarm and with timeouts; what became of each, and when."""

    def __init__(self, at: Callable[[float], AbstractContextManager[None] | AbstractAsyncContextManager[object]]) -> None:
        self.at = at
        self.became: list[tuple[float, str]] = []

    async def wait(self, limit: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        how = "came"
        try:
            within = self.at(loop.time() + limit)
            if isinstance(within, AbstractContextManager):
                with within:
                    await asyncio.sleep(seconds)
            else:
                async with within:
                    await asyncio.sleep(seconds)
        except TimeoutError:
            how = "given up"
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        finally:
            self.became.append((round(loop.time() - clock.START, 6), how))


def steps() -> st.SearchStrategy[list[tuple[float, float, float]]]:
    """(limit, seconds until it would have come, pause after it) of waits, none of them at the same moment as its limit.

    All of them in steps of twice the `EARLY` by which an alarm may ring too soon: so no limit is that much ahead of another's.
    """
    limit = st.sampled_from([0.05, 0.1, 1.0])
    return st.lists(st.tuples(limit, st.sampled_from([0.012, 0.074, 0.33, 3.1]), st.sampled_from([0.0, 0.008, 0.6])), max_size=30)


@given(steps(), st.floats(0.001, 9.0))
def test_it_gives_up_when_a_timeout_would_and_leaves_other_cancellations_alone(
    waits: list[tuple[float, float, float]], cancelled_after: float
) -> None:
    async def body(alarm: bool) -> tuple[list[tuple[float, str]], int]:
        loop = asyncio.get_running_loop()
        one = Alarm(loop)
        waiter = Waits(one.at if alarm else asyncio.timeout_at)

        async def all_of_them() -> int:
            for limit, seconds, pause in waits:
                await waiter.wait(limit, seconds)
                await asyncio.sleep(pause)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        task = asyncio.ensure_future(all_of_them())
        stop = loop.call_later(cancelled_after + 0.0005, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            assert await task == 0
        stop.cancel()
        one.stop()
        return waiter.became, task.cancelling()

    assert clock.run(body(alarm=True)) == clock.run(body(alarm=False))


def test_whoever_is_cancelled_at_the_same_moment_is_cancelled() -> None:
    async def body(alarm: bool) -> int:
        loop = asyncio.get_running_loop()
        waiter = Waits(Alarm(loop).at if alarm else asyncio.timeout_at)
        task = asyncio.ensure_future(waiter.wait(1.0, 5.0))
        await asyncio.sleep(0.0)
        loop.call_at(clock.START + 1.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waiter.became == [(1.0, "cancelled")]
        return task.cancelling()

    assert clock.run(body(alarm=True)) == clock.run(body(alarm=False)) == 1


def test_a_wait_within_a_cancellation_is_given_up_like_any_other() -> None:
    """As in the cleanup of a task that is being cancelled. (`asyncio.timeout_at` of Python 3.11.2, Debian's, says cancelled.)"""

    async def body() -> list[tuple[float, str]]:
        loop = asyncio.get_running_loop()
        waiter = Waits(Alarm(loop).at)

        async def cleaning_up() -> None:
            try:
                await asyncio.sleep(10.0)
            finally:
                await waiter.wait(1.0, 5.0)

        task = asyncio.ensure_future(cleaning_up())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return waiter.became

    assert clock.run(body()) == [(1.5, "given up")]


def test_what_goes_wrong_while_it_gives_up_is_told_as_it_is() -> None:
    async def body(alarm: bool) -> int:
        loop = asyncio.get_running_loop()
        within = Alarm(loop).at if alarm else asyncio.timeout_at

        async def clumsy() -> None:
            try:
                await asyncio.sleep(5.0)
            finally:
                raise LookupError("a bug")

        async def wait() -> None:
            waits = within(loop.time() + 1.0)
            if isinstance(waits, Alarm):
                with waits:
                    await clumsy()
            else:
                async with waits:
                    await clumsy()

        with pytest.raises(LookupError):
            await wait()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert clock.run(body(alarm=True)) == clock.run(body(alarm=False)) == 0


def test_waits_that_are_nearly_over_when_they_begin() -> None:
    """The handle that uvloop gives for their end can't be asked when it is."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        alarm = Alarm(loop)
        for ahead in (0.0003, 1.0, -0.2, 0.0001, 0.0004):
            with alarm.at(loop.time() + ahead):
                pass
        with pytest.raises(TimeoutError), alarm.at(loop.time() + 0.0002):
            await asyncio.sleep(1.0)
        alarm.stop()

    clock.run(body())


def test_one_timer_does_for_many_waits() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        alarm = Alarm(loop)
        timers = set()
        for _ in range(100):
            with alarm.at(loop.time() + 1.0):
                await asyncio.sleep(0.02)
            timers.add(alarm._timer)
        assert len(timers) == 3, "in two seconds"
        alarm.stop()
        assert alarm._timer is None

    clock.run(body())


@pytest.mark.parametrize("early", [0.0004, 0.2])
def test_a_timer_that_rings_early_is_set_again_or_taken_for_punctual(early: float) -> None:
    """uvloop's ring by up to half a millisecond."""

    async def body() -> float:
        loop = asyncio.get_running_loop()
        alarm = Alarm(loop)
        with contextlib.suppress(TimeoutError), alarm.at(loop.time() + 1.0 - early):
            await asyncio.sleep(0.0)
        with pytest.raises(TimeoutError), alarm.at(clock.START + 1.0):
            await asyncio.sleep(5.0)
        return loop.time() - clock.START

    assert clock.run(body()) == pytest.approx(1.0 - (early if early < 0.001 else 0.0), abs=1e-6)


def test_two_cannot_wait_at_once() -> None:
    async def body() -> None:
        alarm = Alarm(asyncio.get_running_loop())
        with alarm.at(2_000.0), pytest.raises(AssertionError, match="one wait at a time"), alarm.at(2_000.0):
            raise LookupError
        alarm.stop()

    clock.run(body())
