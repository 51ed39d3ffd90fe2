"""How many calls pass: up or down in steps, then halving the bracket. Two gateways in turns, for a machine whose speed drifts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from tests.bench.measure import Run

VOIDS = 4
"""Void runs of one size after which it is given up."""

Attempt = Callable[[int], Run]
"""Makes a run with so many calls."""

Search = Generator[int, Run, int]
"""Gives the number of calls to try next, takes the run, and returns what was looked for."""


def verdict(size: int) -> Generator[int, Run, bool | None]:
    """Whether `size` calls pass: the median of three runs, two when they agree. None when every run was void."""
    passed = failed = voids = 0
    while passed < 2 and failed < 2:
        run = yield size
        if run.void:
            voids += 1
            if voids == VOIDS:
                return None
        elif run.passed:
            passed += 1
        else:
            failed += 1
    return passed == 2


def capacity(*, start: int, step: int, resolution: int) -> Search:
    """The largest number of calls found to pass, at most `resolution` below the smallest found to fail; 0 when none passes.

    Where runs are void because the other core is full, the last number that passed is the answer: the machine cannot tell more.
    """
    good, size = 0, start
    bad: int | None = None
    while bad is None or bad - good > resolution:
        if (yield from verdict(size)):
            good = size
        else:
            bad = size
        if bad is None:
            size = good + step
        elif not good and bad > step:
            size = bad - step
        else:
            size = (good + bad) // 2
        if size == good:
            break
    return good


def found(search: Search, attempt: Attempt) -> int:
    """What `search` finds with `attempt`."""
    return in_turns([(search, attempt)])[0]


def in_turns(searches: Sequence[tuple[Search, Attempt]]) -> list[int]:
    """What each finds, a run of one after a run of the other: so what the machine does meanwhile, it does to all of them."""
    results: dict[int, int] = {}
    sizes = {place: next(search) for place, (search, _) in enumerate(searches)}
    while sizes:
        for place, size in list(sizes.items()):
            search, attempt = searches[place]
            try:
                sizes[place] = search.send(attempt(size))
            except StopIteration as end:
                del sizes[place]
                results[place] = end.value
    return [results[place] for place in range(len(searches))]
