"""A model that says nothing after a function's result is reminded once."""

from __future__ import annotations

from gateway.dialog.nudge import Nudge


def test_once_for_each_result() -> None:
    nudge = Nudge(3.0)
    assert not nudge.due(100.0, busy=False), "nothing was given"
    nudge.answered(100.0)
    assert not nudge.due(102.9, busy=False)
    assert nudge.due(103.0, busy=False)
    assert not nudge.due(200.0, busy=False)
    nudge.answered(200.0)
    assert nudge.due(203.0, busy=False)


def test_not_while_anybody_is_busy_and_not_after_anybody_did_anything() -> None:
    nudge = Nudge(3.0)
    nudge.answered(0.0)
    assert not nudge.due(5.0, busy=True)
    assert nudge.due(6.0, busy=False)
    nudge.answered(10.0)
    nudge.acted()
    assert not nudge.due(60.0, busy=False)


def test_never() -> None:
    nudge = Nudge(0.0)
    nudge.answered(0.0)
    assert not nudge.due(60.0, busy=False)
