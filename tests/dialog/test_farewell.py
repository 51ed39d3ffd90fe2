"""When a call ends that the model wanted to end."""

from __future__ import annotations

from gateway.dialog.farewell import GOODBYE_LIMIT, PATIENCE, SETTLE, Farewell


def test_nobody_asked() -> None:
    assert not Farewell().over(1e9, played_at=0.0, unplayed=0.0)
    assert not Farewell()


def test_after_the_goodbye_was_heard_and_a_moment_more() -> None:
    farewell = Farewell()
    farewell.ask(10.0)
    assert not farewell.over(12.0, played_at=12.0, unplayed=1.5), "it still speaks"
    assert not farewell.over(14.0 + SETTLE - 0.01, played_at=14.0, unplayed=0.0)
    assert farewell.over(14.0 + SETTLE, played_at=14.0, unplayed=0.0)


def test_a_goodbye_that_does_not_come_is_waited_for_a_little() -> None:
    farewell = Farewell()
    farewell.ask(10.0)
    assert not farewell.over(10.0 + PATIENCE - 0.01, played_at=9.0, unplayed=0.0)
    assert farewell.over(10.0 + PATIENCE, played_at=9.0, unplayed=0.0)


def test_a_goodbye_without_end_ends() -> None:
    farewell = Farewell()
    farewell.ask(10.0)
    farewell.ask(39.0)  # asking again gives no more time
    assert farewell.over(10.0 + GOODBYE_LIMIT, played_at=40.0, unplayed=20.0)


def test_called_off() -> None:
    farewell = Farewell()
    farewell.ask(10.0)
    farewell.call_off()
    assert not farewell.over(100.0, played_at=20.0, unplayed=0.0)
    farewell.ask(100.0)
    assert farewell.over(100.0 + PATIENCE, played_at=20.0, unplayed=0.0)
