"""A session and a service that says anything: what can't be read is counted and skipped, and nothing else becomes of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.events import ModelMessageSkipped
from gateway.wire.gemini import MAX_SKIPS_IN_A_ROW, parse
from gateway.wire.gemini_faults import GARBAGE
from gateway.wire.gemini_moves import Break, Connect, GiveUp, Leave, Listen, Phase, Wait
from tests.wire.play import BROKEN, Play


def says(play: Play, raw: bytes) -> list[Any]:
    """As the shell does it; what came of this message."""
    before = len(play.events)
    try:
        message = parse(raw)
    except PacketError as exc:
        play.events += play.course.unreadable(exc, play.now)
    else:
        play.events += play.course.read(message, play.now)
    return play.events[before:]


def goes_on(play: Play) -> None:
    """The shell asks what to do and does it; the caller speaks. Nothing of this may raise."""
    for _ in range(20):
        match play.decide():
            case Listen():
                break
            case Leave():
                play.now += 0.05
                play.events += play.course.left(play.now, clean=True)
            case Break(failure):
                play.lose(failure)
            case Connect():
                play.now += 0.1
                play.events += play.course.ready(play.now, 0.1)
            case Wait(until):
                assert until is not None
                play.now = until
            case GiveUp():
                raise AssertionError("given up")
    play.now += 0.1
    play.course.heard(bytes(3200), play.now)
    play.pump()


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def field(*good: Any) -> st.SearchStrategy[Any]:
    """What belongs there, and sometimes anything."""
    return st.sampled_from(good) | st.sampled_from(good) | JUNK


def message(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


BLOB = message(mimeType=field("audio/pcm;rate=24000", "audio/pcm", "audio/pcm;rate=16000"), data=field("AAAA", "AAAAAA", "AA=A"))
TURN = message(parts=st.lists(message(inlineData=BLOB | JUNK, text=field("thought")) | JUNK, max_size=3) | JUNK)
WORDS = message(text=field("It rains.", " ", "\ud800"))
FLAG = field(True, False)
CALL = message(id=field("1", "2", ""), name=field("f"), args=field({}, {"n": 1}))
ANYTHING = message(
    serverContent=message(
        modelTurn=TURN | JUNK,
        interrupted=FLAG,
        generationComplete=FLAG,
        turnComplete=FLAG,
        turnCompleteReason=field("STOP"),
        interactionStatus=field("IDLE", "IN_PROGRESS"),
        inputTranscription=WORDS | JUNK,
        outputTranscription=WORDS | JUNK,
    )
    | JUNK,
    toolCall=message(functionCalls=st.lists(CALL | JUNK, max_size=3) | JUNK) | JUNK,
    toolCallCancellation=message(ids=st.lists(field("1", "2"), max_size=3) | JUNK) | JUNK,
    goAway=message(timeLeft=field("0s", "50s", "1e8s", "5.5s")) | JUNK,
    sessionResumptionUpdate=message(
        newHandle=field("H", ""), resumable=FLAG, lastConsumedClientMessageIndex=field("0", "3", "99999999999", 7, -7)
    )
    | JUNK,
    usageMetadata=message(totalTokenCount=field(1, -1), promptTokenCount=field(1), promptTokensDetails=JUNK) | JUNK,
    setupComplete=field({}),
    error=JUNK,
)


@given(st.lists(ANYTHING | JUNK, max_size=12), st.booleans())
def test_any_json_is_taken_whole_or_counted_and_skipped_and_the_session_goes_on(messages: list[Any], lost: bool) -> None:
    play = Play()
    for each in messages:
        handle, leaving = play.course.downlink.handle, play.course.downlink.go_away_at
        events = says(play, json.dumps(each).encode("utf-8", "replace"))
        if skipped := [event for event in events if isinstance(event, ModelMessageSkipped)]:
            assert events == skipped
            assert len(skipped) == 1
            assert (play.course.downlink.handle, play.course.downlink.go_away_at) == (handle, leaving)
        goes_on(play)
    if lost and play.course.phase is Phase.OPEN:
        play.lose(BROKEN)
        goes_on(play)
    # It still understands what is right.
    play.answers("It rains.")
    assert play.course.downlink.skipped_in_a_row == 0


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_any_bytes_are_counted_and_skipped(raws: list[bytes]) -> None:
    play = Play()
    for raw in raws:
        assert says(play, raw), "not one goes by unnoticed"
        goes_on(play)
    assert play.course.phase is Phase.OPEN


def test_what_never_ends_in_sense_is_another_socket() -> None:
    play = Play()
    for _ in range(MAX_SKIPS_IN_A_ROW - 1):
        says(play, b"[" * 5000)
        assert isinstance(play.decide(), Listen)
    says(play, b"\xff")
    assert play.decide() == Break(GARBAGE)
    assert len([event for event in play.events if isinstance(event, ModelMessageSkipped)]) == MAX_SKIPS_IN_A_ROW
