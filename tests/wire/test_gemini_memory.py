"""What a new socket is told."""

from __future__ import annotations

from gateway.dialog.history import Role, Said
from gateway.dialog.transcript import CutOff
from gateway.model.base import InputTranscript, OutputTranscript, ToolAnswer
from gateway.wire.gemini_floor import Cut
from gateway.wire.gemini_memory import (
    GO_ON,
    MAX_QUOTE,
    MAX_SINCE,
    OPENING,
    Reminder,
    Since,
    note_of,
    remind_new,
    remind_resumed,
    result_in_words,
)

CALLER, MODEL = Role.CALLER, Role.MODEL


def test_a_new_session_is_told_all_of_it() -> None:
    history = [Said(CALLER, "Hi"), Said(MODEL, "Hello"), Said(CALLER, "Rain?")]
    assert remind_new(history, None, content_any_time=True) == Reminder(tuple(history))


def test_a_model_that_waits_for_it_is_told_that_it_was_all() -> None:
    history = [Said(CALLER, "Hi")]
    assert remind_new(history, None, content_any_time=False) == Reminder(tuple(history), complete=True)
    assert remind_new([], None, content_any_time=False) == Reminder()


def test_a_conversation_begins_with_the_caller() -> None:
    told = remind_new([Said(MODEL, "Hello")], None, content_any_time=True)
    assert told.turns == (Said(CALLER, OPENING), Said(MODEL, "Hello"))


def test_what_was_sent_of_a_cut_answer_has_been_or_will_be_heard() -> None:
    history = [Said(CALLER, "Rain?"), Said(MODEL, "It will")]
    told = remind_new(history, Cut(" It will rain in", 2.0), content_any_time=True)
    assert told.turns == (Said(CALLER, "Rain?"), Said(MODEL, "It will rain in"))
    assert told.go_on == GO_ON
    # Nothing of it was heard yet: the model's turn before it stays.
    told = remind_new(history, Cut("Tomorrow", 2.0), content_any_time=True)
    assert told.turns[-1] == Said(MODEL, "It will\nTomorrow")


def test_a_cut_answer_without_words_is_taken_up_all_the_same() -> None:
    told = remind_new([Said(CALLER, "Rain?")], Cut("", 2.0), content_any_time=True)
    assert told == Reminder((Said(CALLER, "Rain?"),), go_on=GO_ON)


def test_a_resumed_session_is_told_what_its_handle_does_not_stand_for() -> None:
    since = Since()
    assert not since
    assert remind_resumed(since, None, repeated=False, content_any_time=True) == Reminder()
    for text in ("Rain", "?"):
        since.hear(InputTranscript(text))
    since.hear(OutputTranscript("It will"))
    told = remind_resumed(since, Cut("It will", 1.0), repeated=False, content_any_time=True)
    assert told == Reminder((Said(CALLER, "Rain?"), Said(MODEL, "It will")), go_on=GO_ON)
    since.clear()
    assert not since


def test_what_is_heard_again_is_not_told_as_well() -> None:
    since = Since()
    since.asked("typed")
    since.hear(OutputTranscript("answer"))
    since.hear(InputTranscript("spoken"))
    assert remind_resumed(since, None, repeated=True, content_any_time=True).turns == (
        Said(CALLER, "typed"),
        Said(MODEL, "answer"),
    )


def test_a_model_that_takes_no_content_is_quoted_its_last_words() -> None:
    since = Since()
    since.hear(OutputTranscript("x"))
    told = remind_resumed(since, Cut('so "it"  will ' + "x" * 500, 1.0), repeated=False, content_any_time=False)
    assert told.turns == ()
    assert told.go_on.startswith(GO_ON)
    assert len(told.go_on) < len(GO_ON) + MAX_QUOTE + 100
    assert remind_resumed(since, None, repeated=False, content_any_time=False) == Reminder()


def test_what_is_kept_since_the_last_handle_is_bounded() -> None:
    since = Since()
    for number in range(100):
        since.hear(InputTranscript(f"{number} " * 100))
        since.hear(OutputTranscript(f"{number} " * 100))
    assert sum(len(said.text) for said in since.turns) <= MAX_SINCE
    since.asked("y" * 10 * MAX_SINCE)
    assert len(since.turns[-1].text) == MAX_SINCE


def test_results_in_words_are_data() -> None:
    words = result_in_words(ToolAnswer("1", "weather", {"output": {"sky": 'blue "now"'}}))
    assert '{"output":{"sky":"blue \\"now\\""}}' in words
    assert "weather" in words


def test_what_was_not_heard_was_not_said() -> None:
    since = Since()
    since.hear(InputTranscript("Count."))
    since.hear(OutputTranscript("One two"))
    since.hear(InputTranscript(" Please."))
    since.hear(OutputTranscript(" three four"))
    since.unsaid(len("two three four"))
    assert [(said.role.value, said.text) for said in since.turns] == [
        ("user", "Count."),
        ("model", "One "),
        ("user", " Please."),
        ("model", ""),
    ]
    assert since.cut_off
    since.clear()
    assert not since.cut_off


def test_a_note_says_what_was_heard_and_what_was_not() -> None:
    note = note_of(CutOff('One "two"\nthr', "ee four"))
    assert r'"One \"two\" thr"' in note
    assert '"ee four"' in note
    assert note_of(CutOff("One two", " ")) == ""
    assert "before a word" in note_of(CutOff(" ", "One"))
    assert len(note_of(CutOff("a" * 9_000, "b" * 9_000))) < 900
