"""The estimate of a call's quality, and what counts as bad."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import CallReport, MediaReport
from gateway.telemetry.quality import Health, mos


def test_a_clean_call_is_as_good_as_a_telephone_call_gets() -> None:
    assert mos(0.0, 0.02, 0.0) == pytest.approx(4.39, abs=0.02)


@pytest.mark.parametrize(
    ("loss", "rtt", "buffered", "low", "high"),
    [
        (0.01, 0.05, 0.0, 4.2, 4.35),
        (0.05, 0.05, 0.0, 3.6, 3.9),
        (0.10, 0.10, 0.02, 3.2, 3.4),
        (0.0, 0.60, 0.0, 3.4, 3.8),
        (0.5, 1.0, 0.2, 1.0, 1.3),
        (1.0, 9.0, 9.0, 1.0, 1.0),
    ],
)
def test_loss_and_delay_cost_what_the_e_model_says(loss: float, rtt: float, buffered: float, low: float, high: float) -> None:
    assert low <= mos(loss, rtt, buffered) <= high


@given(st.floats(0, 1), st.floats(0, 5), st.floats(0, 1))
def test_it_is_a_mos_and_never_better_for_more_loss_or_delay(loss: float, rtt: float, buffered: float) -> None:
    worse = itertools.accumulate((0.0, 0.01, 0.1))
    scores = [mos(loss + more, rtt + more, buffered + more) for more in worse]
    assert all(1.0 <= score <= 4.5 for score in scores)
    assert scores == sorted(scores, reverse=True)


def window(**what: object) -> MediaReport:
    return MediaReport(5.0, **({"packets_in": 250, "packets_out": 250} | what))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("report", "bad"),
    [
        (window(), set()),
        (window(loss_ratio_in=0.06), {"loss"}),
        (window(loss_ratio_out=0.06), {"loss"}),
        (window(loss_ratio_in=0.04, rtt=0.5), {"rtt"}),
    ],
)
def test_what_is_wrong_now_and_that_it_passes(report: MediaReport, bad: set[str]) -> None:
    health = Health()
    health.media(report)
    assert health.bad == bad
    health.media(window())
    assert health.bad == set()


@pytest.mark.parametrize(("direction", "silent"), [("in", {"packets_in": 0}), ("out", {"packets_out": 0})])
def test_ten_seconds_without_a_packet_one_way_are_told_once(direction: str, silent: dict[str, int]) -> None:
    health = Health()
    assert health.media(window(**silent)) == ()
    assert health.bad == set()
    assert health.media(window(**silent)) == (direction,)
    assert health.bad == {"one_way"}
    assert health.media(window(**silent)) == ()
    assert health.media(window()) == ()
    assert health.bad == set()
    assert [health.media(window(**silent)) for _ in range(3)] == [(), (), ()], "a call counts once"


def test_silence_both_ways_is_not_one_way() -> None:
    health = Health()
    for _ in range(4):
        assert health.media(window(packets_in=0, packets_out=0)) == ()
    assert health.bad == set()


def test_an_answer_that_stutters() -> None:
    health = Health()
    health.call(CallReport(5.0, playout_underruns=2, playout_underrun_seconds=0.2, playout_speaking_seconds=4.0))
    assert health.bad == {"underrun"}
    health.call(CallReport(5.0, playout_underruns=1, playout_underrun_seconds=0.02, playout_speaking_seconds=4.0))
    assert health.bad == set()
