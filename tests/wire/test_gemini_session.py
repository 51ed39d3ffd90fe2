"""A session's course over its sockets, in fake time: when it opens, leaves, sleeps, takes silence for the end, gives way."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from gateway.dialog.nudge import NUDGE
from gateway.events import ModelConnected, ModelConnectFailed, ModelLeaving
from gateway.model.base import GenerationComplete, ToolAnswer
from gateway.wire.gemini_breaker import Breaker, Door
from gateway.wire.gemini_faults import SILENT, STALLED, UNREACHABLE, Failure, rejected
from gateway.wire.gemini_moves import MOVES, Break, Connect, GiveUp, Leave, Listen, Phase, Step, Wait
from gateway.wire.gemini_reel import Strip
from gateway.wire.gemini_session import MARGIN
from gateway.wire.gemini_setup import capabilities
from tests.audio import noise, tone
from tests.wire.play import BROKEN, BUSY, INVALID, QUOTA, RATE, SPEECH, Play

# --- the first socket ---


def test_a_session_is_open_when_its_socket_is() -> None:
    play = Play()
    assert play.events == [ModelConnected(0.1, "initial")]
    assert isinstance(play.decide(), Listen)
    assert play.course.phase is Phase.OPEN


def test_the_first_connect_is_tried_twice() -> None:
    play = Play(opened=False)
    how = play.refuse(BROKEN)
    assert (how.handle, how.kind) == ("", "initial")
    assert how.limit < 10.0  # the second one needs time, too
    before = play.now
    play.wait()
    assert 0.25 <= play.now - before <= 0.4
    play.events += play.course.failed(UNREACHABLE, play.now)
    assert play.decide() == GiveUp(UNREACHABLE)


def test_a_second_try_may_succeed() -> None:
    play = Play(opened=False)
    play.refuse(BROKEN)
    play.wait()
    play.events += play.course.ready(play.now, 0.1)
    assert play.events == [ModelConnectFailed("1006", "initial"), ModelConnected(0.1, "initial")]


@pytest.mark.parametrize("failure", [QUOTA, INVALID, rejected(401), rejected(404)])
def test_what_would_be_refused_again_is_not_tried_again(failure: Failure) -> None:
    play = Play(opened=False)
    play.refuse(failure)
    assert play.decide() == GiveUp(failure)


def test_a_busy_service_is_given_a_second() -> None:
    play = Play(opened=False)
    play.refuse(BUSY)
    before = play.now
    play.wait()
    assert play.now - before >= 1.0


def test_a_call_does_not_begin_while_the_service_is_known_to_be_down() -> None:
    breaker = Breaker(random.Random(1))
    other = Play(breaker=breaker, opened=False)
    other.refuse(BROKEN)
    breaker.failed(other.now, "1006")
    play = Play(breaker=breaker, opened=False)
    given_up = play.decide()
    assert isinstance(given_up, GiveUp)
    assert given_up.failure.retryable
    assert given_up.failure.code == "1006"


# --- leaving on purpose ---


def test_in_a_quiet_moment_it_leaves_at_once_and_nobody_loses_anything() -> None:
    play = Play()
    play.answers()
    play.pass_time(3.0)
    play.goes_away(50.0)
    assert ModelLeaving(50.0) in play.events
    sent = play.audio_sent
    play.leave()
    play.course.heard(bytes(3200), play.now)  # meanwhile
    how = play.connect()
    assert (how.kind, how.handle, how.reminder.turns) == ("goaway", "H", ())
    assert sent + play.audio_sent == play.course.reel.end / RATE
    (swap,) = play.swaps
    assert (swap.kind, swap.result, swap.lost) == ("goaway", "ok", 0.0)
    assert swap.replayed == pytest.approx(0.1)
    assert swap.gap == pytest.approx(0.15)


def test_it_waits_for_the_end_of_the_answer_and_its_handle() -> None:
    play = Play()
    play.handle("before")
    play.content(**SPEECH)
    play.goes_away(50.0)
    play.content(**SPEECH)
    assert isinstance(play.pass_time(1.0), Listen)
    play.content(generationComplete=True)
    assert isinstance(play.pass_time(0.5), Listen)
    play.content(turnComplete=True)
    assert isinstance(play.decide(), Listen)
    play.handle("after")
    play.leave()
    assert play.connect().handle == "after"
    assert GenerationComplete() not in play.events[-3:]


def test_a_handle_that_does_not_come_is_not_waited_for_long() -> None:
    play = Play()
    play.handle("old")
    play.goes_away(50.0)
    play.answers(handle="")
    began = play.now
    assert isinstance(play.pass_time(5.0), Leave)
    assert play.now - began <= 1.2


@pytest.mark.parametrize("left", [60.0, 10.0, 6.0])
def test_it_leaves_in_good_time_whoever_is_speaking(left: float) -> None:
    play = Play()
    play.handle()
    play.content(**SPEECH)
    play.goes_away(left)
    began = play.now
    while isinstance(play.decide(), Listen):
        play.content(outputTranscription={"text": "and "}, **SPEECH)
        play.now += 0.1
        assert play.now - began < left
    assert play.now - began == pytest.approx(left - MARGIN, abs=0.15)


def test_with_no_time_left_it_leaves_at_once() -> None:
    play = Play()
    play.content(**SPEECH)
    play.goes_away(0.0)
    play.leave()


@pytest.mark.parametrize("life", [0.1, 0.4, 0.9, 1.9])
def test_announced_again_and_again_without_notice_nobody_is_heard_twice(life: float) -> None:
    play = Play()
    play.handle()
    for _ in range(10):
        heard = play.course.reel.end
        play.pass_time(life)
        play.goes_away(0.0)
        play.leave(seconds=0.3)
        assert isinstance(play.wait(), Connect)
        play.events += play.course.ready(play.now, 0.1)
        assert play.course.reel.sent >= heard, "the new socket begins where the old one has ended"
        play.sent = []
        play.pump()
    assert [(swap.kind, swap.result, swap.replayed, swap.lost) for swap in play.swaps] == [("goaway", "ok", 0.0, 0.0)] * 10
    assert all(swap.gap <= 4.0 * 1.5 for swap in play.swaps)


def test_a_service_that_always_announces_its_end_is_not_stormed() -> None:
    play = Play()
    play.handle()
    connects = []
    while play.now < 130.0:
        play.pass_time(0.1)
        play.goes_away(0.0)
        play.leave()
        assert isinstance(play.wait(), Connect)
        connects.append(play.now)
        play.events += play.course.ready(play.now, 0.1)
        play.pump()
    pauses = [after - before for before, after in pairwise(connects)]
    assert pauses[0] < 0.5  # once is chance
    assert min(pauses[7:]) >= 4.0


def test_however_long_hanging_up_takes_what_was_in_flight_before_is_played_again() -> None:
    play = Play()
    play.answers()
    play.pass_time(3.0)
    sent = play.course.reel.sent
    play.goes_away(50.0)
    play.leave(clean=False, seconds=3.0)
    play.connect()
    (swap,) = play.swaps
    assert 0.09 <= swap.replayed <= 0.31
    assert play.sent
    assert isinstance(play.sent[0], Strip)
    assert play.sent[0].position < sent


def test_a_goodbye_without_an_answer_leaves_the_last_moments_in_doubt() -> None:
    play = Play()
    play.answers()
    play.pass_time(3.0)
    play.goes_away(50.0)
    play.leave(clean=False)
    play.connect()
    assert 0.0 < play.swaps[0].replayed <= 0.31


def test_the_moment_is_not_good_while_the_caller_speaks_or_waits() -> None:
    play = Play()
    play.answers()
    play.goes_away(50.0)
    play.hears(noise(RATE, 0.5, 20.0))
    play = Play()
    play.answers()
    play.asks()
    play.goes_away(50.0)
    assert isinstance(play.decide(), Listen)
    play.answers(handle="H2")
    play.leave()


def test_another_socket_for_our_own_reasons() -> None:
    play = Play()
    play.content(**SPEECH)
    play.course.rotate(play.now)
    assert isinstance(play.decide(), Listen)
    play.content(generationComplete=True)
    play.answers()
    play.leave()
    assert play.connect().kind == "rotate"


# --- silence ---


def test_a_service_that_stops_in_the_middle_of_an_answer() -> None:
    play = Play()
    play.answers()
    play.pass_time(3.0)
    play.content(**SPEECH)
    stopped, play.pongs = play.now, False
    found = play.pass_time(20.0)
    assert found == Break(SILENT)
    assert play.now - stopped <= 6.0
    play.lose(SILENT)
    play.connect()
    # All since the last proof that somebody was reading.
    assert play.swaps[-1].replayed >= play.now - 0.1 - stopped - 0.2
    assert play.swaps[-1].gap >= 4.0


def test_pongs_prove_that_a_slow_model_is_alive() -> None:
    play = Play()
    play.answers()
    play.content(**SPEECH)
    assert isinstance(play.pass_time(30.0), Listen)


def test_a_service_that_stops_while_it_is_asked() -> None:
    play = Play()
    play.answers()
    play.pass_time(2.0)
    play.hears(noise(RATE, 1.0, 20.0))
    play.pongs = False
    play.hears(tone(300, RATE, 2.0))
    asked = play.now
    assert play.pass_time(20.0) == Break(SILENT)
    assert play.now - asked <= 6.0


def test_a_service_without_pongs_is_taken_for_dead_only_once() -> None:
    play = Play(opened=False)
    play.pongs = False
    play.connect()
    play.hears(noise(RATE, 1.0, 20.0))
    play.hears(tone(300, RATE, 1.0))
    asked = play.now
    assert play.pass_time(8.0) == Break(SILENT)
    assert play.now - asked <= 6.0
    play.lose(SILENT)
    play.connect()
    # Whoever still says nothing does not want to, or can't: that is no reason to change sockets every few seconds.
    moves = 0
    for _ in range(4):
        play.hears(tone(300, RATE, 1.0))
        if not isinstance(play.pass_time(15.0), Listen):
            moves += 1
            play.events += play.course.left(play.now, clean=True)
            play.connect()
    assert moves == 1


def test_nothing_is_owed_to_a_silent_caller() -> None:
    play = Play()
    play.answers()
    play.pongs = False
    assert isinstance(play.pass_time(120.0), Listen)


def test_stalled_is_played_again_from_the_last_proof() -> None:
    play = Play()
    play.answers()
    play.pass_time(4.0)
    play.pongs = False
    play.pass_time(3.0)
    play.lose(STALLED)
    play.connect()
    assert 2.9 <= play.swaps[-1].replayed <= 5.2


# --- a model that does not answer ---


def test_a_question_that_a_model_must_answer_is_asked_again_in_the_callers_voice() -> None:
    play = Play(capabilities("gemini-2.5-flash-native-audio-latest"))
    play.answers()
    begin = play.asks()
    assert isinstance(play.pass_time(10.0), Leave)
    play.events += play.course.left(play.now, clean=True)
    assert play.connect().kind == "error"
    first = next(item for item in play.sent if isinstance(item, Strip))
    assert begin - 8000 <= first.position <= begin
    # Once: silence is an answer, too.
    assert isinstance(play.pass_time(30.0), Listen)


def test_a_model_that_may_ignore_is_asked_again_the_second_time() -> None:
    play = Play()
    play.answers()
    play.asks()
    assert isinstance(play.pass_time(12.0), Listen)
    play.asks()
    assert isinstance(play.pass_time(12.0), Leave)


def test_a_model_that_froze_when_it_was_interrupted_is_not_believed() -> None:
    play = Play()
    play.content(**SPEECH)
    play.hears(noise(RATE, 1.0, 20.0))
    play.hears(tone(300, RATE, 1.0))
    play.content(interrupted=True)
    play.content(turnComplete=True)
    assert isinstance(play.pass_time(12.0), Leave)


def test_a_phantom_interruption_is_no_reason_to_do_anything() -> None:
    play = Play()
    play.answers()
    for _ in range(20):
        play.content(interrupted=True)
    assert isinstance(play.pass_time(30.0), Listen)


@pytest.mark.parametrize("nudges", [True, False])
def test_a_model_that_takes_a_result_without_a_word_is_nudged(nudges: bool) -> None:
    play = Play(nudges=nudges)
    play.says(toolCall={"functionCalls": [{"id": "1", "name": "f"}]})
    play.course.answer(ToolAnswer("1", "f", {"output": 1}))
    play.pump()
    play.content(turnComplete=True)
    play.pump()
    assert play.asked == ["", NUDGE][: 1 + nudges]
    play.content(turnComplete=True)
    play.pump()
    assert play.asked == ["", NUDGE][: 1 + nudges]


# --- away ---


def test_a_caller_who_is_away_needs_no_socket() -> None:
    play = Play()
    play.answers()
    play.course.pause()
    play.course.pause()
    play.pump()
    assert len([item for item in play.sent if isinstance(item, Strip)]) == 1  # said once
    play.lose()
    assert play.decide() == Wait(None)
    assert play.course.phase is Phase.ASLEEP
    play.now += 600.0
    assert play.decide() == Wait(None)
    play.course.heard(bytes(3200), play.now)
    how = play.connect()
    assert how.handle == "H"
    assert play.audio_sent == pytest.approx(0.1)
    assert play.swaps[-1].gap < 1.0  # nobody missed anything


def test_a_connection_that_ends_while_the_caller_is_away_is_left_in_peace() -> None:
    play = Play()
    play.answers()
    play.course.pause()
    play.pump()
    play.goes_away(50.0)
    play.leave()
    assert play.decide() == Wait(None)


def test_where_turns_are_marked_a_pause_is_not() -> None:
    for can in (capabilities("gemini-3.8-live"), replace(capabilities("gemini-3.8-live"), says_audio_ends=False)):
        play = Play(can, marked=can.says_audio_ends)
        play.course.pause()
        play.pump()
        assert play.sent == []


def test_a_marked_turn_goes_on_on_the_next_socket() -> None:
    play = Play(marked=True)
    play.answers()
    play.course.turn(True, play.now)
    play.hears(tone(300, RATE, 1.0))
    play.lose()
    play.connect()
    marks = [item.mark for item in play.sent if isinstance(item, Strip) and item.mark]
    assert [mark.value for mark in marks] == ["turn_begins"]
    assert play.audio_sent == pytest.approx(1.0)


# --- many at once ---


def test_an_outage_is_no_storm() -> None:
    """Twenty calls lose their socket at once and the service is away for a minute: who asks it, and how often."""
    breaker = Breaker(random.Random(5))
    plays = [Play(breaker=breaker, patience=100.0, seed=seed) for seed in range(20)]
    began = 100.1
    for play in plays:
        play.lose()
    tries: list[tuple[float, int]] = []
    now, wake = began, dict.fromkeys(range(20), began)
    while now < began + 60.0:
        number = min(wake, key=lambda key: wake[key])
        now = wake[number]
        found = plays[number].course.decide(now)
        if isinstance(found, Connect):
            tries.append((now, number))
            plays[number].course.failed(UNREACHABLE, now + 0.01)
            wake[number] = now + 0.01
        else:
            assert isinstance(found, Wait)
            assert found.until is not None
            wake[number] = found.until
    assert all(sum(number == caller for at, number in tries if at < began + 0.3) <= 2 for caller in range(20))
    probes = [at for at, _ in tries if at >= began + 0.3]
    assert len(probes) <= 60 / 3 + 5
    assert min(after - before for before, after in pairwise(probes)) > 0.15
    # The door opens: everybody is back within a moment of the next probe.
    back = []
    for number, play in enumerate(plays):
        at = wake[number]
        while True:
            found = play.course.decide(at)
            if isinstance(found, Connect):
                play.course.ready(at, 0.1)
                back.append(at)
                break
            assert isinstance(found, Wait)
            assert found.until is not None
            at = found.until
    assert max(back) - began < 60.0 + 6.0


def test_the_table_has_a_way_out_of_everywhere() -> None:
    assert set(MOVES) == set(Phase)
    assert all(moves[Step.FINISH] is Phase.OVER for moves in MOVES.values())
    play = Play()
    play.course.finish()
    play.course.finish()
    with pytest.raises(KeyError):
        play.course.lost(BROKEN, play.now)


def test_whoever_hangs_up_in_the_middle_of_a_probe_leaves_the_door_to_others() -> None:
    play = Play()
    play.lose()
    play.refuse(UNREACHABLE)
    play.breaker.failed(play.now, "x")
    assert isinstance(play.wait(), Connect)
    assert play.breaker.door is Door.PROBING
    play.course.finish()
    assert play.breaker.door is Door.OPEN


def test_messages_that_cannot_be_read_are_counted_and_many_in_a_row_end_the_socket() -> None:
    play = Play()
    odd: Mapping[str, Any] = {"surprise": 1}
    while isinstance(play.decide(), Listen):
        play.events += play.course.read(odd, play.now)
    found = play.decide()
    assert isinstance(found, Break)
    assert found.failure.retryable
