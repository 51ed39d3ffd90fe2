"""The timer of a session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.agenda import Agenda


def test_actions_run_in_order_of_time_then_of_entry() -> None:
    agenda, ran = Agenda(), []
    for name, when in (("c", 2.0), ("a", 1.0), ("b", 1.0)):
        agenda.enter(when, lambda now, name=name: ran.append((name, now)))
    assert agenda.next_at == 1.0
    agenda.run(1.5)
    assert ran == [("a", 1.5), ("b", 1.5)]
    assert agenda.next_at == 2.0
    agenda.run(2.0)
    assert [name for name, _ in ran] == ["a", "b", "c"]
    assert agenda.next_at is None


def test_a_key_stands_for_one_entry() -> None:
    agenda, ran = Agenda(), []
    agenda.enter(1.0, lambda _: ran.append("old"), "k")
    agenda.enter(2.0, lambda _: ran.append("new"), "k")
    assert agenda.next_at == 2.0
    agenda.run(5.0)
    assert ran == ["new"]
    assert not agenda.strike("k")
    agenda.enter(6.0, lambda _: ran.append("struck"), "k")
    assert agenda.pending("k")
    assert agenda.strike("k")
    agenda.run(9.0)
    assert ran == ["new"]


def test_an_action_may_enter_another_that_is_due() -> None:
    agenda, ran = Agenda(), []

    def first(now: float) -> None:
        agenda.enter(now, lambda _: ran.append("second"), "k")
        ran.append("first")

    agenda.enter(1.0, first, "k")
    agenda.run(1.0)
    assert ran == ["first", "second"]


def test_an_action_may_clear_all() -> None:
    agenda, ran = Agenda(), []
    agenda.enter(1.0, lambda _: agenda.clear())
    agenda.enter(1.0, lambda _: ran.append("no"))
    agenda.run(9.0)
    assert ran == []
    assert agenda.next_at is None


@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from(["", "a", "b"])), max_size=30), st.floats(0, 10))
def test_nothing_due_is_left(entries: list[tuple[float, str]], now: float) -> None:
    agenda, ran = Agenda(), []
    for when, key in entries:
        agenda.enter(when, lambda _, when=when: ran.append(when), key)
    agenda.run(now)
    assert ran == sorted(ran)
    assert all(when <= now for when in ran)
    assert agenda.next_at is None or agenda.next_at > now
