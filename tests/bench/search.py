"""How many calls pass: up in steps, then halving the bracket."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.measure import Run

VOIDS = 4
"""Void runs of one size after which it is given up."""


def verdict(size: int, attempt: Callable[[int], Run]) -> bool | None:
    """Whether `size` calls pass: the median of three runs, two when they agree. None when every run was void."""
    passed = failed = voids = 0
    while passed < 2 and failed < 2:
        run = attempt(size)
        if run.void:
            voids += 1
            if voids == VOIDS:
                return None
        elif run.passed:
            passed += 1
        else:
            failed += 1
    return passed == 2


def capacity(attempt: Callable[[int], Run], *, start: int, step: int, resolution: int) -> int:
    """The largest number of calls found to pass, at most `resolution` below the smallest found to fail; 0 when none passes.

    Where runs are void because the other core is full, the last number that passed is the answer: the machine cannot tell more.
    """
    good, size = 0, start
    bad: int | None = None
    while bad is None or bad - good > resolution:
        if verdict(size, attempt):
            good = size
        else:
            bad = size
        size = good + step if bad is None else (good + bad) // 2
        if size == good:
            break
    return good
