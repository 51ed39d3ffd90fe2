"""What is learnt of a path, and forgotten again."""

from __future__ import annotations

import pytest

from gateway.media.path import EDGE, PATIENT, REACH_MARGIN, WINDOW, Path


def test_a_path_that_keeps_order_gives_a_missing_packet_no_chance() -> None:
    path = Path()
    path.begin(1.0, 0.0)
    path.arrived(1.2, 0.1)
    assert path.may_come(0.5, shown=1.6) == 0.0
    assert path.may_come(0.5, shown=None) == pytest.approx(0.5 + 1.2 + EDGE), "but one that nothing has overtaken is just late"


def test_disorder_gives_it_time_up_to_the_slowest_seen() -> None:
    path = Path()
    path.begin(1.0, 0.0)
    path.arrived(1.08, 0.1)
    path.overtaken(0.04)
    assert path.may_come(0.5, shown=1.52) == pytest.approx(1.52 + 0.04 * REACH_MARGIN + EDGE)
    assert path.may_come(0.5, shown=1.57) == pytest.approx(1.58 + EDGE)


@pytest.mark.parametrize(
    ("lateness", "edge"),
    [(0.02, EDGE), (0.094, EDGE), (0.097, PATIENT - 0.097), (0.1, 0.0), (0.104, 0.0), (0.15, EDGE)],
    ids=["even", "below", "up to it", "at it", "just over", "far over"],
)
def test_the_margin_does_not_carry_a_wait_over_100_ms(lateness: float, edge: float) -> None:
    path = Path()
    path.begin(1.0, 0.0)
    path.arrived(1.0 + lateness, 0.1)
    assert path.may_come(0.5, shown=None) == pytest.approx(1.5 + lateness + edge)


def test_everything_is_kept_for_a_window_and_forgotten_in_the_end() -> None:
    path = Path()
    path.begin(1.0, 0.0)
    path.arrived(1.3, 1.0)
    path.overtaken(0.05)
    seen = []
    for second in range(2, 35):
        path.arrived(1.1, float(second))
        seen.append((second, path.transit, path.lateness, path.reach))
    kept = [row for row in seen if row[0] < WINDOW]
    assert all(row[1:] == (1.0, pytest.approx(0.3), 0.05) for row in kept)
    assert seen[-1][1:] == (1.1, 0.0, 0.0)


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_drifting_clock_is_followed(ppm: int) -> None:
    path = Path()
    path.begin(0.0, 0.0)
    for second in range(600):
        path.arrived(second * ppm / 1e6, float(second))
        assert abs(path.transit - second * ppm / 1e6) <= 2 * WINDOW * 200 / 1e6 + 1e-9


def test_a_new_zero_keeps_what_was_learnt_of_disorder() -> None:
    path = Path()
    path.begin(0.0, 0.0)
    path.arrived(0.2, 0.5)
    path.overtaken(0.05)
    path.begin(77.0, 1.0)
    assert (path.transit, path.lateness, path.reach) == (77.0, 0.0, 0.05)
