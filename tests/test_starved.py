"""A trial is made again only when its judge had no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.starved import TRIALS, judged


def trial(results: list[bool], busy: bool) -> Callable[[], Awaitable[bool]]:
    async def body() -> bool:
        for _ in range(5):
            await asyncio.sleep(0)
            end = time.monotonic() + 0.05
            while busy and time.monotonic() < end:
                pass  # the loop waits for the processor
            await asyncio.sleep(0.01)
        return results.pop(0)

    return body


@pytest.mark.parametrize(
    ("results", "made"), [([True], 1), ([False, True], 2), ([False, False, True], 3), ([False] * TRIALS, TRIALS)]
)
def test_a_starved_trial_is_made_again_until_it_is_good(results: list[bool], made: int) -> None:
    assert asyncio.run(judged(trial(list(results), busy=True), bool)) == (results[-1], made)


def test_a_good_trial_is_made_once() -> None:
    assert asyncio.run(judged(trial([True], busy=False), bool)) == (True, 1)


def test_a_starved_trial_that_never_ends_is_made_again() -> None:
    outcomes = [False, True]
    trials = trial([True], busy=True)

    async def body() -> bool:
        if outcomes.pop(0):
            return await trials()
        await trial([True], busy=True)()
        raise TimeoutError

    assert asyncio.run(judged(body, bool)) == (True, 2)


def test_a_trial_that_never_ends_is_not_made_for_ever() -> None:
    async def body() -> bool:
        await trial([True] * 2, busy=True)()
        raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(judged(body, bool))
