"""When a session tries another socket, in fake time."""

from __future__ import annotations

import random

import pytest

from gateway.wire.gemini_breaker import Breaker, Door
from gateway.wire.gemini_faults import Failure
from gateway.wire.gemini_moves import GiveUp, Wait
from gateway.wire.gemini_retry import CONNECT_LIMIT, MAX_PAUSE, Retry, blames
from tests.wire.play import BROKEN, BUSY, INTERNAL, INVALID, QUOTA, STALE

NOW = 100.0


def make(*, opened: bool = True, breaker: Breaker | None = None) -> Retry:
    retry = Retry(breaker or Breaker(random.Random(1)), random.Random(1), NOW, patience=20.0, first_patience=10.0)
    if opened:
        retry.ready()
        retry.begin(NOW)
    return retry


def wait(retry: Retry, now: float) -> float:
    """Seconds until the next connect."""
    at = now
    while isinstance(found := retry.next(at), Wait):
        assert found.until is not None
        assert found.until > at
        at = found.until
    assert isinstance(found, float)
    return at - now


def test_the_first_connect_leaves_time_for_a_second() -> None:
    retry = make(opened=False)
    assert retry.next(NOW) == 6.0
    retry.refused(BROKEN, NOW + 6.0, handle=False)
    assert retry.next(NOW + 7.0) == 3.0
    retry.refused(BROKEN, NOW + 8.0, handle=False)
    assert retry.next(NOW + 8.0) == GiveUp(BROKEN)


def test_a_lost_socket_is_replaced_at_once_but_not_one_that_never_held() -> None:
    retry = make()
    retry.lost(BROKEN, NOW, resumed=False, settled=True, ready_at=NOW - 60.0)
    assert retry.next(NOW) == CONNECT_LIMIT
    retry.ready()
    retry.lost(BROKEN, NOW, resumed=False, settled=False, ready_at=NOW - 0.1)
    assert 0.1 < wait(retry, NOW) < 0.4


@pytest.mark.parametrize("early", [1, 2, 3, 10, 5000])
def test_what_has_to_be_left_early_rests_longer_and_longer_but_is_never_given_up(early: int) -> None:
    retry, now = make(), NOW
    for _ in range(early):
        now += 30.0
        retry.left_early(now, now)
    pause = wait(retry, now)
    assert pause <= 1.5 * MAX_PAUSE
    assert (pause > 0.0) == (early > 2)
    retry.begin(now)
    assert wait(retry, now) == 0.0


def test_a_handle_is_tried_twice_and_forgiven_by_a_word() -> None:
    retry = make()
    assert not retry.refused(INTERNAL, NOW, handle=True)
    assert retry.refused(INTERNAL, NOW, handle=True)
    assert not retry.refused(INTERNAL, NOW, handle=True)
    retry.proven()
    assert not retry.refused(INTERNAL, NOW, handle=True)
    assert retry.refused(STALE, NOW, handle=True)
    assert retry.next(NOW) == CONNECT_LIMIT


def test_a_loss_without_the_handle_says_nothing_about_it() -> None:
    retry = make()
    for _ in range(5):
        assert not retry.lost(INTERNAL, NOW, resumed=False, settled=True, ready_at=NOW - 60.0)


def test_a_refusal_is_final_but_for_what_a_session_has_come_to_hold() -> None:
    retry = make()
    assert retry.lost(INVALID, NOW, resumed=False, settled=True, ready_at=NOW - 60.0)
    assert retry.hopeless is None
    assert not retry.lost(INVALID, NOW, resumed=False, settled=True, ready_at=NOW - 60.0)
    assert retry.hopeless == GiveUp(INVALID)
    other = make()
    assert not other.refused(QUOTA, NOW, handle=True)
    assert other.hopeless == GiveUp(QUOTA)


@pytest.mark.parametrize(
    ("failure", "handle", "door"),
    [(BROKEN, True, Door.OPEN), (INTERNAL, True, Door.CLOSED), (BUSY, True, Door.OPEN), (INTERNAL, False, Door.OPEN)],
)
def test_the_breaker_hears_what_would_happen_to_others(failure: Failure, handle: bool, door: Door) -> None:
    breaker = Breaker(random.Random(1))
    for _ in range(2):
        make(breaker=breaker, opened=False).refused(failure, NOW, handle=handle)
    assert breaker.door is door
    assert blames(failure, handle=handle) == (handle and door is Door.CLOSED)


def test_patience_ends() -> None:
    retry = make()
    assert isinstance(retry.next(NOW + 19.9), float)
    assert isinstance(retry.next(NOW + 20.0), GiveUp)
