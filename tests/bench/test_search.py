"""The search for the capacity, without a machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.measure import Bench, Run, judge, load
from tests.bench.process import busy_shares, json_lines
from tests.bench.search import capacity, found, in_turns, verdict


def machine(limit: int, *, tells_up_to: int = 10_000) -> tuple[Callable[[int], Run], list[int]]:
    """Runs that pass up to `limit` calls, and are void above `tells_up_to`; and the sizes that were tried."""
    tried: list[int] = []

    def attempt(size: int) -> Run:
        tried.append(size)
        void = "core 1" if size > tells_up_to else ""
        return Run("fake", "talker", size, 30.0, faults=() if size <= limit else ("slow",), void=void)

    return attempt, tried


@pytest.mark.parametrize("limit", [0, 1, 39, 40, 41, 87, 88, 110, 203])
def test_the_capacity_is_found(limit: int) -> None:
    attempt, tried = machine(limit)
    calls = found(capacity(start=40, step=20, resolution=2), attempt)
    assert calls <= limit < calls + 2
    assert len(tried) < 40


def test_what_the_machine_cannot_tell_is_not_claimed() -> None:
    attempt, _ = machine(500, tells_up_to=90)
    assert 88 <= found(capacity(start=40, step=20, resolution=2), attempt) <= 90


def test_a_run_of_one_comes_after_a_run_of_the_other() -> None:
    """Until one of them is done."""
    order: list[str] = []

    def noted(name: str, attempt: Callable[[int], Run]) -> Callable[[int], Run]:
        def noting(size: int) -> Run:
            order.append(name)
            return attempt(size)

        return noting

    ours, tried = machine(110)
    textbook, tried_too = machine(31)
    searches = [
        (capacity(start=80, step=20, resolution=4), noted("o", ours)),
        (capacity(start=10, step=4, resolution=1), noted("t", textbook)),
    ]
    calls = in_turns(searches)
    assert 106 <= calls[0] <= 110
    assert calls[1] == 31
    both = 2 * min(len(tried), len(tried_too))
    assert "".join(order[:both]) == "ot" * (both // 2)
    assert len(set(order[both:])) == 1


def test_the_median_of_three_decides() -> None:
    good, bad = (Run("fake", "talker", 5, 30.0, faults=faults) for faults in ((), ("slow",)))
    for runs, passes in (((good, good), True), ((bad, good, good), True), ((good, bad, bad), False), ((bad, bad), False)):
        search = verdict(5)
        assert next(search) == 5
        for run in runs[:-1]:
            assert search.send(run) == 5
        with pytest.raises(StopIteration) as end:
            search.send(runs[-1])
        assert end.value.value is passes


def judged(**load: object) -> Run:
    good = {"connected": 2, "packets": {"rate_least": 50.0}, "gap": {"p99_worst_stream": 0.03}}
    run = Run("fake", "talker", 2, 10.0, load=good | load, cpu=5.0, cores=(0.5, 0.4), uplink_least=1.0)
    judge(run, talking=True)
    return run


def test_what_does_not_pass() -> None:
    assert judged().passed
    assert judged(connected=1).faults == ("only 1 connected",)
    assert judged(packets={"rate_least": 49.4}).faults == ("slowest stream 49.4/s",)
    assert judged(gap={"p99_worst_stream": 0.07}).faults == ("p99 gap 70 ms",)


def test_a_busy_other_core_voids_a_run() -> None:
    run = judged()
    run.cores = (0.5, 0.85)
    judge(run, talking=True)
    assert run.void
    assert not run.passed


def test_a_run_without_an_end_is_void() -> None:
    run = Run("fake", "talker", 2, 10.0)
    judge(run, talking=True)
    assert run.void
    assert "void" in run.line()


def test_reading_what_processes_say() -> None:
    assert list(json_lines(iter(['{"a": 1}\n', "noise\n", "[1]\n", '{"b": 2}']))) == [{"a": 1}, {"b": 2}]
    assert busy_shares([(1.0, 2.0)], [(1.5, 3.0)]) == [0.5]


def test_a_load_tool_that_breaks_off_says_why() -> None:
    nobody = Bench("ours", None, None, "http://127.0.0.1:1/whip")  # type: ignore[arg-type]
    *_, last = load(nobody, 0, 1.0, ramp=0.0)
    assert last["event"] == "broken"
    assert "--calls" in last["why"]
    run = Run("ours", "talker", 0, 30.0, void=f"it broke off: {last['why']}")
    judge(run, talking=True)
    assert "--calls" in run.void
