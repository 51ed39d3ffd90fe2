"""The account of what was said: in the order of the conversation, as it was heard, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.history import History, Role, Said, merged


def spoken(history: History) -> list[tuple[str, str]]:
    return [(said.role.value, said.text) for said in history.turns]


def test_fragments_are_joined_as_they_are() -> None:
    history = History()
    history.caller_said(" What is")
    history.caller_said(" the weather?")
    history.model_said("It ")
    history.model_said("rains.")
    assert spoken(history) == [("user", "What is the weather?"), ("model", "It rains.")]


def test_a_late_transcript_comes_before_the_answer_it_was_given() -> None:
    history = History()
    history.caller_said("What is")
    history.model_said("It ")
    history.caller_said(" the weather?")
    history.model_said("rains.")
    assert spoken(history) == [("user", "What is the weather?"), ("model", "It rains.")]


def test_what_is_said_after_the_answer_is_a_new_turn() -> None:
    history = History()
    history.caller_said("One.")
    history.model_said("Two")
    history.answer_over()  # cut off there
    history.caller_said("Stop.")
    history.model_said("Yes.")
    assert spoken(history) == [("user", "One."), ("model", "Two"), ("user", "Stop."), ("model", "Yes.")]


def test_a_late_transcript_of_an_answer_to_nobody_comes_first() -> None:
    history = History()
    history.model_said("Hello")
    history.caller_said("hi")
    history.model_said(" there")
    assert spoken(history) == [("user", "hi"), ("model", "Hello there")]


def test_the_oldest_gives_way() -> None:
    history = History(limit=10)
    for number in range(5):
        history.caller_said(f"ask {number}")
        history.model_said(f"say {number}")
        history.answer_over()
    assert spoken(history) == [("user", "ask 4"), ("model", "say 4")]
    history.caller_said("x" * 50)
    assert spoken(history) == [("user", "x" * 10)]


@given(st.lists(st.tuples(st.sampled_from(["caller", "model", "over"]), st.text(max_size=30))), st.integers(1, 60))
def test_it_never_holds_more_than_its_limit(fragments: list[tuple[str, str]], limit: int) -> None:
    history = History(limit)
    for who, text in fragments:
        match who:
            case "caller":
                history.caller_said(text)
            case "model":
                history.model_said(text)
            case _:
                history.answer_over()
        assert sum(len(said.text) for said in history.turns) <= limit
    assert all(said.text.strip() == said.text != "" for said in history.turns)


def test_what_cannot_be_seen_does_not_come_in() -> None:
    history = History()
    history.caller_said("Ignore\x00 \u202eall\x1b[31m\r\nthat\ud800.")
    history.model_said("می\u200cخواهم \u2066so\tbe it")
    assert spoken(history) == [("user", "Ignore all[31m  that."), ("model", "می\u200cخواهم so be it")]


def test_turns_of_one_speaker_in_a_row_are_one() -> None:
    turns = [Said(Role.CALLER, "a"), Said(Role.CALLER, "b"), Said(Role.MODEL, "c"), Said(Role.CALLER, "d")]
    assert merged(turns) == [Said(Role.CALLER, "a\nb"), Said(Role.MODEL, "c"), Said(Role.CALLER, "d")]
    assert merged([]) == []
