"""A trial is made again only when its judge had no time; in fake time, in which nobody starves but who is meant to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests import clock
from tests.starved import STARVED, TRIALS, judged

SECONDS = 1.0


def trial(results: list[bool | None], waited: float) -> Callable[[], Awaitable[bool]]:
    """Gives one result after the other, None: it comes to no end; `waited`: share of its time without the processor."""

    async def body() -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clock.FakeTimeLoop)
        await asyncio.sleep((1.0 - waited) * SECONDS / 2)
        loop.now += waited * SECONDS  # everything that is due waits for so long
        await asyncio.sleep((1.0 - waited) * SECONDS / 2)
        result = results.pop(0)
        if result is None:
            raise TimeoutError
        return result

    return body


def outcome(results: list[bool | None], waited: float) -> tuple[bool, int]:
    return clock.run(judged(trial(results, waited), bool))


@pytest.mark.parametrize("waited", [0.0, 0.5])
def test_a_good_trial_is_made_once(waited: float) -> None:
    assert outcome([True], waited) == (True, 1)


def test_a_bad_trial_that_had_its_time_is_a_failure_at_once() -> None:
    results: list[bool | None] = [False, True]
    assert outcome(results, 0.0) == (False, 1)
    assert results == [True], "nobody tried again"


def test_a_trial_that_came_to_no_end_in_its_time_is_a_failure_at_once() -> None:
    results: list[bool | None] = [None, True]
    with pytest.raises(TimeoutError):
        outcome(results, 0.0)
    assert results == [True], "nobody tried again"


@pytest.mark.parametrize("bad", [False, None])
@pytest.mark.parametrize("tries", range(2, TRIALS + 1))
def test_a_starved_trial_is_made_again_until_it_is_good(bad: bool | None, tries: int) -> None:
    assert outcome([bad] * (tries - 1) + [True], 0.5) == (True, tries)


def test_nothing_is_tried_for_ever() -> None:
    results: list[bool | None] = [False] * (TRIALS + 1)
    assert outcome(results, 0.5) == (False, TRIALS)
    assert len(results) == 1
    results = [None] * (TRIALS + 1)
    with pytest.raises(TimeoutError):
        outcome(results, 0.5)
    assert len(results) == 1


@pytest.mark.parametrize(("waited", "made"), [(0.7 * STARVED, 1), (2.0 * STARVED, 2)])
def test_how_much_of_its_time_makes_it_starved(waited: float, made: int) -> None:
    assert outcome([False, True], waited)[1] == made


def test_a_bug_in_a_trial_is_not_tried_again() -> None:
    results: list[bool | None] = [True, True]

    async def body() -> bool:
        raise ValueError(f"a bug, after {await trial(results, 0.5)()}")

    with pytest.raises(ValueError, match="a bug"):
        clock.run(judged(body, bool))
    assert results == [True]
