"""The caller's words over bad networks, in fake time, through real Opus. The short form of `python -m tests.bench.loss`.

Every trace must keep time to 1 %, make whole 99.5 % of the frames that any receiver could have, and leave no hole unfilled.
"""

from __future__ import annotations

import pytest

from tests.bench.loss import DELAY, LONG, Result, Trace, limits, run, traces

SHORT = 24.0

ROWS = {
    "random 0 % plain": SHORT,
    "random 1 % fec": SHORT,
    "random 5 % red1": SHORT,
    "random 10 % plain": SHORT,
    "random 10 % fec": LONG,
    "random 20 % plain": SHORT,
    "random 20 % fec red2": SHORT,
    "bursts of 1.5, 10 % fec": SHORT,
    "bursts of 2, 10 % red1": SHORT,
    "bursts of 3, 10 % fec red2": SHORT,
    "jitter 50 ms plain": SHORT,
    "jitter 50 ms, 10 % plain": LONG,
    "jitter 50 ms, 10 % fec": SHORT,
    "jitter ±50 ms, 10 % plain": LONG,
    "jitter ±50 ms, 10 % fec": SHORT,
    "jitter ±50 ms, 10 % red1": SHORT,
    # Long enough for what is learnt in the first seconds to be worth it.
    "jitter 200 ms plain": LONG,
    "jitter 200 ms fec": LONG,
    "jitter 200 ms, 10 % fec": LONG,
    "jitter 200 ms, in order plain": SHORT,
    "reorder 25 % plain": SHORT,
    "reorder 25 % fec": SHORT,
    "duplicates 5 % fec": SHORT,
    "outage 2 s fec": SHORT,
    "stall 0.2 s plain": SHORT,
    "10 % jitter 50 ms, then clean fec": SHORT,
}


def trace(name: str) -> Trace:
    return next(row for row in traces(ROWS[name]) if row.name == name)


@pytest.fixture(scope="module", params=list(ROWS))
def result(request: pytest.FixtureRequest) -> Result:
    return run(trace(request.param))


def test_time_is_kept_and_nothing_is_left_unfilled(result: Result) -> None:
    assert result.duration == pytest.approx(1.0, abs=0.01)
    assert result.longest_silence < 0.005


def test_what_could_be_had_is_whole(result: Result) -> None:
    assert result.whole_of_recoverable >= 0.995


def test_the_delay_is_only_what_the_network_made_necessary(result: Result) -> None:
    if "jitter" not in result.name and "reorder" not in result.name:
        assert result.p50 <= DELAY + 0.001, "in order means at once"
    if "10 %" in result.name and "jitter 50 ms" in result.name:
        assert result.p50 <= 0.075
        assert result.p95 <= 0.120
    if "±50 ms" in result.name:
        # Without a copy of anything no receiver can be at 75 ms: see the test below.
        assert result.p50 <= (0.075 if "plain" not in result.name else 0.09)
        assert result.p95 <= 0.120, "jitter of 100 ms in all: what is lost at last has been waited for so long"
    if "then clean" in result.name:
        assert result.returned <= DELAY + 0.05, "5 s after the last loss only the jitter itself is left"


def test_a_copy_of_lower_quality_is_for_what_is_lost(result: Result) -> None:
    """Every packet of these comes, in one as much as 200 ms late; NetEq plays nearly all of them."""
    if result.name in ("jitter 200 ms fec", "reorder 25 % fec"):
        assert result.restored <= 0.02 * result.frames * 0.02


def test_where_75_ms_are_missed_nobody_could_keep_them() -> None:
    plain = trace("jitter ±50 ms, 10 % plain")
    could, ours = limits(plain), run(plain)
    assert could.least_p50 > 0.075, "not even by knowing which packets will come"
    assert ours.p50 <= could.patient_p50 + 0.001, "and ours is as good as one can be without"
    assert ours.p95 <= could.patient_p95 + 0.001


@pytest.mark.parametrize(
    "name", ["jitter 50 ms, 10 % plain", "jitter 50 ms, 10 % fec", "jitter ±50 ms, 10 % red1", "reorder 25 % plain"]
)
def test_the_delay_is_close_to_the_least_there_can_be(name: str) -> None:
    could, ours = limits(trace(name)), run(trace(name))
    assert could.least_p50 <= ours.p50 <= could.patient_p50 + 0.003
    assert could.least_p95 <= ours.p95 <= could.patient_p95 + 0.006


def test_a_clean_network_costs_nothing() -> None:
    clean = run(trace("random 0 % plain"))
    assert clean.whole == 1.0
    assert clean.worst <= DELAY + 0.001
    assert (clean.restored, clean.concealed, clean.late) == (0.0, 0.0, 0)


def test_in_band_copies_make_ten_percent_loss_about_one() -> None:
    restored = run(trace("random 10 % fec"))
    assert restored.lost > 0.08
    # What is left: losses in pairs (1 %), and the frames for which the encoder made no copy.
    assert restored.whole > 0.975
