"""The bad network is as bad as it says, and the same every time."""

from __future__ import annotations

import itertools

import pytest

from tests.netem import Netem, Outage

SENT = [(number * 0.02, number) for number in range(50_000)]


def test_a_good_network_only_delays() -> None:
    assert Netem(1, delay=0.03).deliver(SENT[:3]) == [(0.03, 0), (0.05, 1), (0.07, 2)]


def test_the_same_seed_is_the_same_network() -> None:
    trouble = {"loss": 0.1, "burst": 2.0, "jitter": 0.05, "duplicate": 0.05, "reorder": 0.1}
    assert Netem(3, **trouble).deliver(SENT) == Netem(3, **trouble).deliver(SENT)  # type: ignore[arg-type]
    assert Netem(3, **trouble).deliver(SENT) != Netem(4, **trouble).deliver(SENT)  # type: ignore[arg-type]


@pytest.mark.parametrize("burst", [1.0, 1.5, 2.0, 3.0])
def test_loss_has_the_mean_and_the_bursts_it_was_asked_for(burst: float) -> None:
    came = {number for _, number in Netem(5, loss=0.1, burst=burst).deliver(SENT)}
    runs = [len(list(run)) for lost, run in itertools.groupby(number not in came for _, number in SENT) if lost]
    assert sum(runs) / len(SENT) == pytest.approx(0.1, abs=0.01)
    expected = 1 / 0.9 if burst == 1.0 else burst  # independent losses meet by chance
    assert sum(runs) / len(runs) == pytest.approx(expected, rel=0.05)


def test_jitter_spreads_and_overtakes_unless_order_is_kept() -> None:
    loose = Netem(6, jitter=0.05).deliver(SENT)
    extra = [arrival - number * 0.02 - 0.02 for arrival, number in loose]
    assert 0.0 <= min(extra) < 0.001
    assert 0.049 < max(extra) <= 0.05
    assert [number for _, number in loose] != sorted(number for _, number in loose)
    kept = Netem(6, jitter=0.05, in_order=True).deliver(SENT)
    assert [number for _, number in kept] == sorted(number for _, number in kept)


def test_reorder_holds_back_a_share() -> None:
    late = [number for arrival, number in Netem(7, reorder=0.25).deliver(SENT) if arrival - number * 0.02 > 0.06]
    assert len(late) / len(SENT) == pytest.approx(0.25, abs=0.01)


def test_duplicates_come_twice() -> None:
    assert len(Netem(8, duplicate=0.05).deliver(SENT)) / len(SENT) == pytest.approx(1.05, abs=0.005)


def test_an_outage_loses_a_stall_only_delays() -> None:
    lost = Netem(9, outages=(Outage(1.0, 3.0),)).deliver(SENT[:300])
    assert {number for _, number in lost} == set(range(300)) - set(range(50, 150))
    stalled = Netem(9, outages=(Outage(1.0, 3.0, held=True),)).deliver(SENT[:300])
    assert [number for _, number in stalled] == list(range(300))
    assert {arrival for arrival, number in stalled if 50 <= number < 150} == {3.02}


def test_losses_end_when_told() -> None:
    came = {number for _, number in Netem(10, loss=0.5, clean_after=1.0).deliver(SENT)}
    assert set(range(50, 50_000)) <= came
    assert not set(range(50)) <= came
