"""A session that loses its socket, in fake time: what it tries, plays and tells again, and when it gives up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.dialog.history import History, Role, Said
from gateway.events import ModelConnectFailed, ModelSwapped
from gateway.model.base import GenerationComplete, ToolAnswer
from gateway.wire.gemini_breaker import Door
from gateway.wire.gemini_faults import UNREACHABLE, Failure, closed, rejected, timed_out
from gateway.wire.gemini_memory import GO_ON
from gateway.wire.gemini_moves import Connect, GiveUp, Listen
from gateway.wire.gemini_reel import Ask, Strip
from gateway.wire.gemini_retry import CONNECT_LIMIT
from gateway.wire.gemini_setup import capabilities
from tests.audio import noise, tone
from tests.wire.play import BROKEN, BUSY, INTERNAL, INVALID, LIFETIME, QUOTA, RATE, SPEECH, STALE, Play

# --- losing it ---


def test_the_first_try_after_a_loss_comes_at_once_and_with_the_handle() -> None:
    play = Play()
    play.answers()
    play.pass_time(3.0)
    play.lose()
    how = play.connect()
    assert (how.kind, how.handle, how.limit) == ("error", "H", CONNECT_LIMIT)
    assert play.swaps[-1].result == "ok"
    assert 0.0 < play.swaps[-1].replayed <= 0.11  # one chunk may not have arrived


def test_a_lost_question_is_asked_again_in_the_callers_own_voice() -> None:
    play = Play()
    play.answers()
    play.pass_time(2.0)
    begin = play.asks(2.0)
    play.lose()
    play.connect()
    strips = [item for item in play.sent if isinstance(item, Strip)]
    assert begin / RATE - 0.5 <= strips[0].position / RATE <= begin / RATE
    assert strips[-1].end == play.course.reel.end
    assert play.asked == []


def test_the_caller_who_never_stops_is_not_played_again_from_the_beginning() -> None:
    play = Play()
    play.hears(noise(RATE, 1.0, 20.0))
    play.hears(tone(300, RATE, 20.0))
    play.lose()
    play.connect()
    assert play.swaps[-1].replayed <= 0.31


def test_an_answer_that_was_cut_off_is_taken_up() -> None:
    play = Play()
    play.answers("Hello.", handle="H")
    play.pass_time(1.0)
    play.asks()
    play.content(inputTranscription={"text": "Rain?"})
    play.content(outputTranscription={"text": "It will"}, **SPEECH)
    play.lose()
    assert play.events[-1] == GenerationComplete()
    how = play.connect()
    assert how.reminder.turns == (Said(Role.CALLER, "Rain?"), Said(Role.MODEL, "It will"))
    assert play.asked == [GO_ON]


def test_an_answer_that_was_all_there_is_only_remembered() -> None:
    play = Play()
    play.answers("Hello.", handle="H")
    play.content(outputTranscription={"text": "It will rain."}, **SPEECH)
    play.content(generationComplete=True)
    play.lose()
    assert play.events.count(GenerationComplete()) == 2  # the service's own, of two answers
    how = play.connect()
    assert how.reminder.turns == (Said(Role.MODEL, "It will rain."),)
    assert play.asked == []


def test_a_caller_who_speaks_over_the_cut_answer_has_the_floor() -> None:
    play = Play()
    play.handle()
    play.hears(noise(RATE, 1.0, 20.0))
    play.content(outputTranscription={"text": "It will"}, **SPEECH)
    play.hears(tone(300, RATE, 1.0))
    play.lose()
    play.connect()
    assert play.asked == []
    assert play.audio_sent >= 1.0


def test_what_was_asked_in_writing_is_asked_again() -> None:
    play = Play()
    play.course.say("Greet the caller.")
    play.pump()
    play.lose()
    play.connect()
    assert play.asked == ["Greet the caller."]
    play.answers()
    play.lose()
    play.connect()
    assert play.asked == []


def test_pauses_grow_and_one_success_makes_it_good() -> None:
    play = Play()
    play.answers()
    play.lose()
    play.refuse(UNREACHABLE)
    times = []
    for _ in range(5):
        before = play.now
        assert isinstance(play.wait(), Connect)
        times.append(play.now - before)
        play.events += play.course.failed(UNREACHABLE, play.now)
    assert times == sorted(times)
    assert times[0] >= 0.25
    assert times[-1] <= 4.0 * 1.5
    assert play.breaker.door is Door.OPEN
    assert isinstance(play.wait(), Connect)
    play.events += play.course.ready(play.now, 0.1)
    assert play.breaker.door is Door.CLOSED
    assert [event.kind for event in play.events if isinstance(event, ModelConnectFailed)] == ["error"] * 6


def test_an_outage_does_not_cost_the_handle() -> None:
    play = Play()
    play.answers()
    play.lose()
    play.refuse(UNREACHABLE)
    for failure in (BUSY, rejected(503), BUSY, UNREACHABLE):
        play.wait()
        play.events += play.course.failed(failure, play.now)
    how = play.wait()
    assert isinstance(how, Connect)
    assert how.handle == "H"


def test_after_twenty_seconds_it_is_given_up() -> None:
    play = Play()
    play.lose()
    began = play.now
    while isinstance(play.wait(), Connect):
        play.events += play.course.failed(UNREACHABLE, play.now)
    assert play.now - began == pytest.approx(20.0, abs=0.1)
    (refused,) = play.course.given_up(play.now)
    assert isinstance(refused, ModelSwapped)
    assert (refused.kind, refused.result, refused.gap) == ("error", "refused", pytest.approx(20.0, abs=0.1))


@pytest.mark.parametrize(
    "failure", [QUOTA, closed(1007, "API key expired."), closed(1008, "models/x is not found for API version v1")]
)
def test_a_loss_that_says_no_is_the_end(failure: Failure) -> None:
    play = Play()
    play.answers()
    play.lose(failure)
    assert play.decide() == GiveUp(failure)


def test_the_end_of_its_lifetime_counts_as_announced() -> None:
    play = Play()
    play.answers()
    play.lose(LIFETIME)
    assert play.connect().kind == "goaway"


# --- handles ---


def with_history() -> History:
    history = History()
    history.caller_said("Rain?")
    history.model_said("It rains.")
    history.answer_over()
    return history


def test_a_refused_handle_is_dropped_and_the_conversation_told_at_once() -> None:
    play = Play(history=with_history())
    play.answers()
    play.lose()
    assert play.refuse(STALE).handle == "H"
    how = play.connect()
    assert how.handle == ""
    assert how.reminder.turns == (Said(Role.CALLER, "Rain?"), Said(Role.MODEL, "It rains."))
    assert not how.reminder.complete
    assert play.swaps[-1].result == "context_replayed"


def test_a_model_that_waits_for_the_history_gets_all_of_it_first() -> None:
    play = Play(capabilities("gemini-3.1-flash-live-preview"), history=with_history())
    play.answers()
    play.lose()
    play.refuse(STALE)
    assert play.connect().reminder.complete


def test_a_poisoned_handle_is_tried_twice() -> None:
    play = Play(history=with_history())
    play.answers()
    play.lose()
    handles = []
    for _ in range(3):
        how = play.wait()
        assert isinstance(how, Connect)
        handles.append(how.handle)
        play.events += play.course.ready(play.now, 0.1)
        if how.handle:
            play.now += 0.2
            play.lose(INTERNAL)
    assert handles == ["H", "H", ""]
    assert [swap.result for swap in play.swaps] == ["ok", "ok", "context_replayed"]
    assert play.breaker.door is Door.CLOSED  # it says nothing about the service


@pytest.mark.parametrize("life", [0.2, 0.7, 3.0, 8.0])
def test_a_handle_whose_sessions_break_before_they_have_said_a_word_is_given_up_however_late_they_do(life: float) -> None:
    play = Play(history=with_history())
    play.answers()
    play.pass_time(20.0)
    handles = []
    for _ in range(3):
        play.lose(INTERNAL)
        how = play.wait()
        assert isinstance(how, Connect)
        handles.append(how.handle)
        play.events += play.course.ready(play.now, 0.1)
        play.pump()
        play.pass_time(life)
    assert handles == ["H", "H", ""]


@pytest.mark.parametrize("life", [None, 12.0])
def test_a_handle_that_has_led_somewhere_is_not_to_blame(life: float | None) -> None:
    play = Play(history=with_history())
    play.answers()
    for _ in range(4):
        play.lose(INTERNAL)
        how = play.wait()
        assert isinstance(how, Connect)
        assert how.handle == "H"
        play.events += play.course.ready(play.now, 0.1)
        if life is None:
            play.answers(handle="")
        else:
            play.pass_time(life)


def test_what_a_stillborn_session_was_given_is_played_again() -> None:
    play = Play()
    play.answers()
    play.pass_time(20.0)
    at = play.course.reel.sent
    play.lose(INTERNAL)
    play.connect()
    play.pass_time(0.4)
    play.lose(INTERNAL)
    assert isinstance(play.wait(), Connect)
    play.events += play.course.ready(play.now, 0.1)
    assert play.course.reel.sent <= at


@pytest.mark.parametrize("failure", [BROKEN, INTERNAL])
def test_lost_again_and_again_nobody_is_heard_twice_but_for_what_was_in_flight(failure: Failure) -> None:
    play = Play()
    play.answers()
    play.pass_time(20.0)
    for _ in range(6):
        sent = play.course.reel.sent
        play.lose(failure)
        assert isinstance(play.wait(), Connect)
        play.events += play.course.ready(play.now, 0.1)
        play.pump()
        assert play.swaps[-1].replayed <= 0.31
        assert play.course.reel.sent >= sent
        play.pass_time(0.7)


def test_of_what_was_sent_in_one_burst_no_more_than_a_chunk_is_said_twice() -> None:
    play = Play()
    play.answers()
    play.pass_time(20.0)
    for _ in range(25):
        play.course.heard(bytes(640), play.now)
    play.pump()
    play.lose(INTERNAL)
    assert isinstance(play.wait(), Connect)
    play.events += play.course.ready(play.now, 0.1)
    assert play.swaps[-1].replayed == pytest.approx(0.1)


@pytest.mark.parametrize(("failure", "tries"), [(INTERNAL, 2), (timed_out(5.0), 2), (INVALID, 1)])
def test_a_handle_with_which_no_session_is_set_up_is_given_up_too(failure: Failure, tries: int) -> None:
    play = Play()
    play.answers()
    play.lose()
    handles = []
    for _ in range(tries + 1):
        how = play.wait()
        assert isinstance(how, Connect)
        handles.append(how.handle)
        play.events += play.course.failed(failure, play.now)
    assert handles == ["H"] * tries + [""]


def test_a_session_that_holds_something_refused_begins_again_once() -> None:
    play = Play(history=with_history())
    play.answers()
    play.lose(INVALID)
    assert play.connect().handle == ""
    play.answers()
    play.lose(INVALID)
    assert play.decide() == GiveUp(INVALID)


@pytest.mark.parametrize(("history", "result"), [(None, "no_handle"), (with_history(), "no_handle")])
def test_without_a_handle_there_is_nothing_to_resume(history: History | None, result: str) -> None:
    play = Play(history=history)
    play.lose()
    play.connect()
    assert play.swaps[-1].result == result


def test_a_session_keeps_its_own_history_if_nobody_else_does() -> None:
    play = Play()
    play.course.say("Rain?")
    play.pump()
    play.answers("It rains.")
    play.lose()
    play.refuse(STALE)
    assert play.connect().reminder.turns == (Said(Role.CALLER, "Rain?"), Said(Role.MODEL, "It rains."))


def test_what_is_asked_again_is_not_told_as_well() -> None:
    history = with_history()
    play = Play(history=history)
    play.answers()
    history.caller_said("And tomorrow?")
    play.course.say("And tomorrow?")
    play.pump()
    play.lose()
    play.refuse(STALE)
    assert play.connect().reminder.turns == (Said(Role.CALLER, "Rain?"), Said(Role.MODEL, "It rains."))
    assert play.asked == ["And tomorrow?"]


def test_a_service_that_counts_our_messages_is_not_told_what_it_has_read() -> None:
    play = Play(replace(capabilities("gemini-3.8-live"), transparent=True))
    play.answers()
    begin = play.asks(2.0)
    messages = len(play.sent)
    assert messages > 30
    play.handle("H2", lastConsumedClientMessageIndex=str(messages - 5))
    play.lose()
    play.connect()
    strips = [item for item in play.sent if isinstance(item, Strip)]
    assert strips[0].position == play.course.reel.end - 5 * 1600
    assert strips[0].position > begin


# --- functions over sockets ---


def calls(play: Play, call_id: str = "1") -> None:
    play.says(toolCall={"functionCalls": [{"id": call_id, "name": "f", "args": {}}]})


def test_a_function_at_work_holds_the_socket() -> None:
    play = Play()
    play.answers()
    calls(play)
    play.goes_away(50.0)
    assert isinstance(play.pass_time(5.0), Listen)
    play.course.answer(ToolAnswer("1", "f", {"output": 1}))
    play.pump()
    play.answers(handle="H2")
    play.leave()


def test_a_result_for_a_lost_socket_is_dropped_if_the_question_comes_again() -> None:
    play = Play()
    play.answers()
    play.asks()
    calls(play)
    play.lose()
    play.connect()
    assert play.audio_sent > 1.0
    play.course.answer(ToolAnswer("1", "f", {"output": 1}))
    play.pump()
    assert not [item for item in play.sent if isinstance(item, Ask)]
    calls(play, "2")
    play.course.answer(ToolAnswer("2", "f", {"output": 1}))
    play.pump()
    assert [item.answer.id for item in play.sent if isinstance(item, Ask) and item.answer] == ["2"]


@pytest.mark.parametrize("before", [True, False], ids=["sent before the loss", "finished after it"])
def test_a_result_for_a_lost_socket_is_told_in_words_if_it_does_not(before: bool) -> None:
    play = Play()
    play.answers()
    calls(play)
    answer = ToolAnswer("1", "f", {"output": "blue"})
    if before:
        play.course.answer(answer)
        play.pump()
    play.lose()
    play.connect()
    if not before:
        play.course.answer(answer)
        play.pump()
    (asked,) = play.asked
    assert "blue" in asked
    # Silent ones concern nobody any more.
    play.course.answer(ToolAnswer("1", "f", {"output": 2}, "SILENT"))
    play.pump()
    assert len(play.asked) == 1


def test_a_silent_result_is_not_waited_on() -> None:
    play = Play()
    calls(play)
    play.course.answer(ToolAnswer("1", "f", {"output": 1}, "SILENT"))
    play.pump()
    play.pongs = False
    assert isinstance(play.pass_time(20.0), Listen)


def test_instalments_go_to_the_socket_that_asked_or_nowhere() -> None:
    play = Play()
    calls(play)
    part = ToolAnswer("1", "f", {"output": 1}, will_continue=True)
    assert play.course.answer(part)
    play.lose()
    assert not play.course.answer(part)
    play.connect()
    assert not play.course.answer(part)
