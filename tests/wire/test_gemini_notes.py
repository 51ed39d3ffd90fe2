"""What the model is told of an answer that the caller spoke over, over any number of sockets."""

from __future__ import annotations

import pytest

from gateway.dialog.history import History
from gateway.dialog.transcript import CutOff
from gateway.wire.gemini_memory import note_of
from gateway.wire.gemini_moves import Listen
from gateway.wire.gemini_reel import MAX_NOTES
from gateway.wire.gemini_setup import capabilities
from tests.wire.play import SPEECH, STALE, Play

CUT = CutOff("One two", " three four")
NOTE = note_of(CUT)


def cut_off(play: Play, *, handle: str = "H2") -> None:
    """An answer, and the caller speaks over it."""
    play.content(outputTranscription={"text": CUT.heard}, **SPEECH)
    play.content(outputTranscription={"text": CUT.unheard}, **SPEECH)
    play.content(interrupted=True)
    play.course.cut_off(CUT)
    play.pump()
    play.now += 0.1
    play.content(turnComplete=True)
    if handle:
        play.handle(handle)


@pytest.mark.parametrize(
    ("model", "noted"),
    [
        ("gemini-3.8-live", True),
        ("gemini-3.8-live-extended-thinking", True),
        ("gemini-3.1-flash-live-preview", False),
        ("gemini-2.5-flash-native-audio-preview-12-2025", True),
        ("gemini-live-2.5-flash-native-audio", True),
    ],
)
def test_the_model_is_told_once_where_it_takes_notes(model: str, noted: bool) -> None:
    play = Play(capabilities(model))
    play.answers()
    cut_off(play)
    play.asks()
    play.answers()
    assert play.asked == [NOTE] * noted


def test_a_note_asks_for_no_answer() -> None:
    play = Play()
    play.answers()
    cut_off(play)
    play.pongs = False
    for _ in range(12):
        assert isinstance(play.pass_time(1.0), Listen), "silence after a note is no silence of the service"


def test_a_model_that_a_note_would_stop_is_not_told_while_it_speaks() -> None:
    play = Play(capabilities("gemini-2.5-flash-native-audio-latest"))
    play.content(outputTranscription={"text": "One two three"}, **SPEECH)
    play.content(interrupted=True)
    play.content(turnComplete=True)
    play.content(outputTranscription={"text": "Yes?"}, **SPEECH)
    play.course.cut_off(CUT)
    play.pump()
    assert play.asked == []


def test_a_handle_from_before_the_note_does_not_stand_for_it() -> None:
    play = Play()
    play.answers()
    cut_off(play)
    play.lose()
    assert play.connect().handle == "H2"
    assert play.asked == [NOTE]


def test_a_handle_that_came_after_an_answer_stands_for_the_note() -> None:
    play = Play()
    play.answers()
    cut_off(play)
    play.asks()
    play.answers(handle="H3")
    play.pass_time(20.0)
    play.lose()
    how = play.connect()
    assert (how.handle, play.asked, how.reminder.turns) == ("H3", [], ())


def test_between_answer_and_handle_the_note_is_told_with_what_was_said() -> None:
    play = Play()
    play.answers()
    cut_off(play)
    play.asks()
    play.answers("Yes.", handle="")
    play.pass_time(20.0)
    play.lose()
    told = [said.text for said in play.connect().reminder.turns]
    assert told == [NOTE, "Yes."]
    assert play.asked == []


def test_a_handle_from_before_the_answer_is_told_what_was_heard() -> None:
    play = Play()
    play.answers()
    cut_off(play, handle="")
    play.lose()
    how = play.connect()
    assert (how.handle, [said.text for said in how.reminder.turns]) == ("H", ["One two"])
    assert play.asked == [], "it has never been told the rest"


def test_a_fresh_session_is_told_what_was_heard() -> None:
    history = History()
    play = Play(history=history)
    history.caller_said("Count.")
    history.model_said(CUT.heard)
    history.answer_over()
    cut_off(play)
    play.lose()
    assert play.refuse(STALE).handle == "H2"
    how = play.connect()
    assert how.handle == ""
    assert [said.text for said in how.reminder.turns] == ["Count.", "One two"]
    assert play.asked == []


def test_only_the_last_notes_are_kept() -> None:
    play = Play()
    play.lose()
    for _ in range(MAX_NOTES + 3):
        play.course.cut_off(CUT)
    assert len(play.course.reel.asks) == MAX_NOTES
