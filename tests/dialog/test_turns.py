"""Turn latency, split by cause, from events with made-up times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.turns import NO_RESPONSE_AFTER, Turn, TurnEnd, TurnKind, Turns


def answered(turns: Turns, *, silent_at: float = 10.0, silence: float = 0.06) -> None:
    """The caller fell silent, the model answers 0.5 s later with 60 ms of leading silence, packets start 10 ms after."""
    turns.caller_silent(silent_at)
    turns.model_audio(silent_at + 0.5, 0.2, silence)
    for n in range(10):
        turns.frame_sent(silent_at + 0.51 + 0.02 * n, 0.02)
        turns.played(0.02)


def test_the_segments_sum_to_the_response() -> None:
    turns = Turns()
    answered(turns)
    turns.generated()
    turn = turns.drained()
    assert turn is not None
    assert turn.kind is TurnKind.SPEECH
    assert turn.end is TurnEnd.COMPLETED
    assert turn.model_first_audio == pytest.approx(0.5)
    assert turn.leading_silence == pytest.approx(0.06)
    assert turn.out == pytest.approx(0.01)
    assert turn.response == pytest.approx(0.57)
    assert turn.heard == pytest.approx(0.2)


def test_an_answer_is_not_over_before_it_is_all_generated() -> None:
    turns = Turns()
    answered(turns)
    assert turns.drained() is None
    turns.generated()
    assert turns.drained() is not None
    assert turns.drained() is None


def test_a_second_generation_before_the_first_is_played_belongs_to_the_same_answer() -> None:
    turns = Turns()
    answered(turns)
    turns.generated()
    turns.model_audio(11.0, 0.2, 0.0)
    assert turns.drained() is None


def test_leading_silence_over_several_pieces() -> None:
    turns = Turns()
    turns.caller_silent(10.0)
    turns.model_audio(10.3, 0.2, None)
    turns.model_audio(10.3, 0.24, 0.1)
    for n in range(16):
        turns.frame_sent(10.3 + 0.02 * n, 0.02)
    turns.generated()
    turn = turns.drained()
    assert turn is not None
    assert turn.leading_silence == pytest.approx(0.3)
    assert turn.out == pytest.approx(0.0)  # frame 15 covers 0.30 to 0.32 and left at 10.6


def test_no_part_is_negative_when_the_first_sound_is_inside_a_frame() -> None:
    turns = Turns()
    turns.caller_silent(10.0)
    turns.model_audio(10.5, 0.2, 0.019)
    turns.frame_sent(10.505, 0.02)  # the whole frame left before its audible sample was due
    turns.generated()
    turn = turns.drained()
    assert turn is not None
    assert (turn.model_first_audio, turn.leading_silence, turn.out) == pytest.approx((0.5, 0.005, 0.0))
    assert turn.response == pytest.approx(0.505)


def test_interrupted_is_idempotent_and_keeps_what_was_heard() -> None:
    turns = Turns()
    assert turns.interrupted(0.0) is None
    answered(turns)
    turn = turns.interrupted(3.0)
    assert turn is not None
    assert (turn.end, turn.unheard) == (TurnEnd.INTERRUPTED, 3.0)
    assert turn.heard == pytest.approx(0.2)
    assert turns.interrupted(0.0) is None


def test_speech_that_was_answered_is_not_answered_again() -> None:
    turns = Turns()
    answered(turns)
    turns.generated()
    turns.drained()
    turns.caller_silent(10.0)  # the same speech, told again
    turns.model_audio(20.0, 0.2, 0.0)
    turns.generated()
    turn = turns.drained()
    assert turn is not None
    assert turn.response is None
    assert turn.model_first_audio is None


def test_the_greeting_is_measured_from_the_prompt() -> None:
    turns = Turns()
    turns.asked(5.0, TurnKind.GREETING)
    turns.model_audio(5.4, 0.2, 0.0)
    turns.frame_sent(5.41, 0.02)
    turns.generated()
    turn = turns.drained()
    assert turn is not None
    assert turn.kind is TurnKind.GREETING
    assert turn.response == pytest.approx(0.41)


def test_no_response_is_one_turn_and_only_while_the_caller_is_silent() -> None:
    turns = Turns()
    assert turns.overdue(100.0, caller_speaking=False) is None
    turns.caller_silent(10.0)
    late = 10.0 + NO_RESPONSE_AFTER
    assert turns.overdue(late - 0.1, caller_speaking=False) is None
    assert turns.overdue(late, caller_speaking=True) is None
    assert turns.overdue(late, caller_speaking=False) == Turn(TurnKind.SPEECH, TurnEnd.NO_RESPONSE)
    assert turns.overdue(late + 1, caller_speaking=False) is None


def test_a_call_that_ends_in_an_answer_ends_the_turn() -> None:
    turns = Turns()
    assert turns.closed(TurnEnd.ERROR, 0.0) is None
    answered(turns)
    turn = turns.closed(TurnEnd.SESSION_CLOSED, 1.5)
    assert turn is not None
    assert (turn.end, turn.unheard) == (TurnEnd.SESSION_CLOSED, 1.5)


@given(st.floats(0.0, 0.3), st.integers(1, 40), st.booleans())
def test_once_it_is_out_the_frames_after_it_change_nothing(silence: float, count: int, audible: bool) -> None:
    """So nobody needs to tell of them."""
    told, spared = Turns(), Turns()
    for turns in (told, spared):
        turns.caller_silent(10.0)
        turns.model_audio(10.5, 0.8, silence if audible else None)
    firsts = 0
    for frame in range(count):
        now = 10.51 + 0.02 * frame
        if not spared.out:
            spared.frame_sent(now, 0.02)
        firsts += told.frame_sent(now, 0.02)
        assert told.played(0.02) == spared.played(0.02) == spared.heard
        assert told.out == spared.out
    assert firsts == 1
    assert told.out == (audible and 0.02 * count > silence) or abs(0.02 * count - silence) < 1e-6
    assert told.closed(TurnEnd.ERROR, 0.1) == spared.closed(TurnEnd.ERROR, 0.1)
    assert not spared.out, "the next answer begins anew"
