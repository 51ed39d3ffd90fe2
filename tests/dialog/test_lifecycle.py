"""The lifecycle table: every row, and nothing beside them."""

from __future__ import annotations

import pytest

from gateway.dialog.lifecycle import TRANSITIONS, Lifecycle, NoSuchMove, State, Step


def at(state: State) -> Lifecycle:
    lifecycle = Lifecycle()
    lifecycle.state = state
    return lifecycle


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", Step)
def test_every_move_is_the_table_s(state: State, step: Step) -> None:
    lifecycle = at(state)
    if step not in TRANSITIONS[state]:
        with pytest.raises(NoSuchMove, match=step.value):
            lifecycle.step(step)
        assert lifecycle.state is state
        return
    changed = lifecycle.step(step)
    assert lifecycle.state is TRANSITIONS[state][step]
    assert changed == (lifecycle.state is not state)


def test_a_call_reaches_its_end_from_everywhere_and_stays_there() -> None:
    for state in State:
        lifecycle = at(state)
        lifecycle.step(Step.FINISH)
        if lifecycle.state is not State.ENDED:
            lifecycle.step(Step.CLOSED)
        assert lifecycle.state is State.ENDED
        assert lifecycle.over
        assert not lifecycle.step(Step.FINISH)


def test_away_comes_back() -> None:
    lifecycle = at(State.ACTIVE)
    lifecycle.step(Step.DETACH)
    assert lifecycle.state is State.AWAY
    assert not lifecycle.over
    lifecycle.step(Step.ATTACH)
    assert lifecycle.state is State.ACTIVE
