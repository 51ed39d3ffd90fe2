"""Who may ask a service that is down, and when."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.gemini_breaker import (
    ASK_AGAIN,
    FAILURES,
    FIRST_PAUSE,
    MAX_PAUSE,
    MOVES,
    PROBE_LIMIT,
    SLOW_PAUSE,
    Breaker,
    Door,
    Step,
)


def breaker() -> Breaker:
    return Breaker(random.Random(1))


def broken(now: float = 100.0, *, slow: bool = False) -> Breaker:
    made = breaker()
    for _ in range(FAILURES):
        assert made.may_connect(now) == 0.0
        made.failed(now, "http5xx", slow=slow)
    assert made.door is Door.OPEN
    assert made.code == "http5xx"
    return made


def test_one_failure_is_an_accident() -> None:
    made = breaker()
    for _ in range(10):
        made.failed(1.0, "other")
        made.succeeded()
    assert made.may_connect(1.0) == 0.0


def test_while_it_is_open_one_of_many_tries_the_door() -> None:
    made = broken()
    at = made.may_connect(100.0)
    assert 0.75 * FIRST_PAUSE <= at - 100.0 <= 1.25 * FIRST_PAUSE
    assert made.may_connect(at) == 0.0
    # Everybody else comes back soon to see what became of it.
    assert [made.may_connect(at) for _ in range(19)] == [at + ASK_AGAIN] * 19
    made.succeeded()
    assert made.may_connect(at + 0.1) == 0.0
    assert made.code == ""


def test_probes_become_rare() -> None:
    made, now, pauses = broken(), 100.0, []
    for _ in range(8):
        at = made.may_connect(now)
        pauses.append(at - now)
        now = at
        assert made.may_connect(now) == 0.0
        made.failed(now, "http5xx")
    assert pauses == sorted(pauses[:4]) + pauses[4:]
    assert all(0.75 * MAX_PAUSE <= pause <= 1.25 * MAX_PAUSE for pause in pauses[4:])
    made.succeeded()
    made.failed(now, "x")
    made.failed(now, "x")
    assert made.may_connect(now) - now <= 1.25 * FIRST_PAUSE


def test_a_service_that_is_too_busy_is_left_alone_for_longer() -> None:
    assert broken(slow=True).may_connect(100.0) - 100.0 >= 0.75 * SLOW_PAUSE


def test_a_probe_that_nobody_reports_on_is_not_the_last() -> None:
    made = broken()
    at = made.may_connect(100.0)
    assert made.may_connect(at) == 0.0
    assert made.may_connect(at + PROBE_LIMIT - 0.1) > at
    assert made.may_connect(at + PROBE_LIMIT) == 0.0


def test_a_probe_that_is_given_up_leaves_the_door_to_the_next() -> None:
    made = broken()
    at = made.may_connect(100.0)
    assert made.may_connect(at) == 0.0
    made.abandoned()
    assert made.may_connect(at) == 0.0


def test_connects_that_were_under_way_change_nothing_for_the_worse() -> None:
    made = broken()
    at = made.may_connect(100.0)
    made.failed(100.1, "late")
    assert made.may_connect(100.1) == at


def test_what_is_not_in_the_table_cannot_happen() -> None:
    assert set(MOVES) == set(Door)
    with pytest.raises(KeyError):
        MOVES[Door.PROBING][Step.PROBE]


@given(st.lists(st.tuples(st.floats(0.0, 6.0), st.sampled_from(["ask", "ok", "bad", "slow", "gone"])), max_size=80))
def test_it_never_forbids_for_ever(steps: list[tuple[float, str]]) -> None:
    made, now = breaker(), 0.0
    for wait, what in steps:
        now += wait
        match what:
            case "ask":
                made.may_connect(now)
            case "ok":
                made.succeeded()
            case "bad" | "slow":
                made.failed(now, "x", slow=what == "slow")
            case _:
                made.abandoned()
    for _ in range(200):
        again = made.may_connect(now)
        if not again:
            return
        assert again > now
        now = again
    raise AssertionError("nobody may ever connect again")
