"""When full rounds of the garbage collector are gone."""

from __future__ import annotations

import gc
import subprocess
import sys

from gateway.garbage import ANYWAY, BUSY_PATIENCE, MANY, PATIENCE, Rounds


def gone(rounds: Rounds, ended: int, calls: int, load: float, seconds: int) -> list[int]:
    """In which of so many seconds."""
    return [second for second in range(1, seconds + 1) if rounds.due(ended, calls, load)]


def test_nothing_is_looked_for_while_no_call_has_ended() -> None:
    assert gone(Rounds(), 0, 170, 0.95, round(2 * ANYWAY)) == [ANYWAY, 2 * ANYWAY]


def test_what_the_last_call_left_goes_soon() -> None:
    rounds = Rounds()
    assert gone(rounds, 0, 1, 0.1, 5) == []
    assert gone(rounds, 1, 0, 0.0, 100) == [2], "not in the second of its end: it is still closing"
    assert gone(rounds, 2, 0, 0.0, 100) == [2]


def test_with_room_it_goes_every_ten_seconds_and_near_capacity_every_minute() -> None:
    for load, patience in ((0.3, PATIENCE), (0.9, BUSY_PATIENCE)):
        rounds = Rounds()
        seconds = [second for second in range(1, 301) if rounds.due(second // 2, 100, load)]
        assert seconds == [round(patience) * n for n in range(1, 300 // round(patience) + 1)]


def test_many_ended_calls_are_worth_it_at_any_time() -> None:
    rounds = Rounds()
    assert not rounds.due(MANY, 100, 1.0)
    assert rounds.due(MANY, 100, 1.0)
    assert not rounds.due(MANY, 100, 1.0)


def test_a_process_that_spares_the_collector_goes_no_full_round_by_itself() -> None:
    code = """
import gc
from gateway.garbage import spare_the_collector
spare_the_collector()
before, kept = gc.get_stats(), []
for _ in range(200_000):
    ring = []
    ring.append(ring)
    kept.append([kept])
after = gc.get_stats()
for generation in (0, 2):
    print(after[generation]["collections"] - before[generation]["collections"])
print(gc.get_freeze_count())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    short, full, frozen = map(int, told)
    assert 10 <= short <= 30, "400,000 objects"
    assert full == 0
    assert frozen > 1_000
    assert gc.get_threshold()[2] < 1_000, "this process is another"


def test_a_call_that_ends_in_the_second_of_a_round_is_for_the_next() -> None:
    rounds = Rounds()
    assert not rounds.due(1, 0, 0.0)
    assert rounds.due(2, 0, 0.0)
    assert rounds.due(2, 0, 0.0)
    assert not rounds.due(2, 0, 0.0)
