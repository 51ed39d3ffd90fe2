"""Words against played time."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dialog.transcript import MAX_TEXT, Answer, CutOff
from gateway.media.level import sounding
from tests.words import RATE, Spoken, speak

FIRST, CHUNK = 9_600, 11_520
"""Bytes of the service's first and further chunks."""


def listen(answer: Answer, spoken: Spoken, until: float, *, speed: float, lead: float) -> str:
    """What is given out as heard of an answer that is cut off after `until` seconds of playing."""
    at, told, tick, out = 0, 0, 0, ""
    while tick * 0.02 < until:
        now = tick * 0.02
        while at < len(spoken.pcm) and at / (2 * RATE) <= now * speed:
            pcm = spoken.pcm[at : at + (CHUNK if at else FIRST)]
            at += len(pcm)
            known = max((word.after for word in spoken.words if word.begin < at / (2 * RATE) + lead), default=0)
            answer.said(spoken.text[told:known])
            told = max(told, known)
            answer.audio(len(pcm) / (2 * RATE), sounding(pcm, RATE))
            if at == len(spoken.pcm):
                answer.generated()
        tick += 1
        out += answer.heard(min(tick * 0.02, until))
    return out + answer.cut(until)


@pytest.mark.parametrize("lead", [0.0, 0.5, 60.0])
def test_an_answer_that_is_cut_off_ends_where_the_ears_did(lead: float) -> None:
    draw = random.Random(f"cut {lead}")
    for _ in range(12):
        spoken = speak(draw, draw.randint(6, 16))
        until = draw.uniform(0.2, spoken.seconds)
        answer = Answer()
        heard = listen(answer, spoken, until, speed=4.0, lead=lead)
        assert spoken.text.startswith(heard)
        assert abs(spoken.miss(len(heard), until)) <= 0.1
        assert answer.cut_off.heard == heard
        assert (heard + answer.unheard).startswith(heard)


def test_a_model_in_real_time_is_followed_too() -> None:
    draw = random.Random("in real time")
    misses = []
    answer = Answer()
    for _ in range(12):
        spoken = speak(draw, 12)
        until = draw.uniform(0.5, spoken.seconds)
        misses.append(abs(spoken.miss(len(listen(answer, spoken, until, speed=1.0, lead=0.3)), until)))
        answer = answer.next()
    # The word that just sounds has no end yet, so its length is a guess.
    assert sorted(misses)[len(misses) // 2] <= 0.1
    assert max(misses) <= 0.8


def test_words_are_given_out_whole_while_it_plays() -> None:
    answer = Answer()
    answer.said("One two three four five")
    answer.audio(2.3)
    answer.generated()
    given_out = [answer.heard(0.1 * n) for n in range(1, 24)]
    assert "".join(given_out) == "One two three four five"
    assert given_out[2] == ""  # half a word is not heard
    assert all(part.strip() in ["One", "two", "three", "four", "five"] for part in given_out if part)
    assert "".join(given_out[:12]) == "One two"


def test_a_pause_is_no_time_to_speak_in() -> None:
    answer = Answer()
    answer.said("Yes. No.")
    answer.audio(5.0, ((1.0, 1.4), (4.0, 4.3)))
    answer.generated()
    assert answer.heard(0.9) == ""
    assert answer.heard(2.0) == "Yes."
    assert answer.heard(3.9) == ""
    assert answer.heard(4.9) == " No."


def test_it_is_cut_within_a_word() -> None:
    answer = Answer()
    answer.said("internationalisation")
    answer.audio(2.0)
    answer.generated()
    assert answer.heard(1.0) == ""
    half = answer.cut(1.0)
    assert 8 <= len(half) <= 13
    assert answer.cut_off == CutOff(half, "internationalisation"[len(half) :])


def test_a_fragment_may_end_within_a_word() -> None:
    answer = Answer()
    for piece in ("Go", "od mor", "ning, ", "sir"):
        answer.said(piece)
    answer.audio(1.6)
    answer.generated()
    out = "".join(answer.heard(0.06 * n) for n in range(40))
    assert out == "Good morning, sir"


def test_a_script_without_spaces_has_words_too() -> None:
    answer = Answer()
    answer.said("お電話ありがとう。")
    answer.audio(2.0)
    answer.generated()
    assert 2 <= len(answer.heard(1.0)) <= 7


def test_words_without_a_sound_spread_over_the_silence() -> None:
    answer = Answer()
    answer.said("one two")
    answer.audio(2.0, ())
    assert answer.heard(1.5) == ""
    answer.generated()
    assert answer.heard(1.6) == "one"


def test_a_voice_is_known_from_its_answers() -> None:
    draw = random.Random("voice")
    spoken = speak(draw, 30)
    answer = Answer()
    listen(answer, spoken, spoken.seconds, speed=4.0, lead=0.5)
    fast = Answer()
    fast.said("several quick words in a row without a pause between them at all")
    fast.audio(1.8)
    fast.generated()
    fast.heard(1.0)
    assert fast.next()._alignment.voice.rate > answer.next()._alignment.voice.rate
    assert answer.next()._alignment.voice.pauses > 0.6 > fast.next()._alignment.voice.pauses


def test_an_endless_answer_stays_small() -> None:
    answer = Answer()
    heard = ""
    for n in range(1_500):
        answer.said(" two")
        answer.audio(0.4, ((0.05, 0.35),))
        heard += answer.heard(max(0.0, 0.4 * n - 1.0))
    alignment = answer._alignment
    assert heard.startswith(" two two two ")
    assert len(heard.split()) == pytest.approx(1_500, abs=40)
    assert len(alignment._sounds) + len(alignment._fixed) + len(alignment._rows) < 250
    for _ in range(20):
        answer.said("x" * 10_000)
    assert len(heard + answer.unheard) == MAX_TEXT


@given(
    fragments=st.lists(st.text(max_size=20), max_size=8),
    sounds=st.lists(st.lists(st.floats(0.0, 0.2), max_size=6), min_size=1, max_size=8),
    seconds=st.lists(st.floats(0, 10), max_size=20),
)
@example(fragments=["", "{"], sounds=[[], [0.0, 2.2e-309]], seconds=[])  # 0.2 s after the beginning no float tells its ends apart
def test_nothing_is_lost_doubled_or_taken_back(fragments: list[str], sounds: list[list[float]], seconds: list[float]) -> None:
    answer = Answer()
    out, total = "", 0.0
    for fragment, marks in zip(fragments, sounds, strict=False):
        answer.said(fragment)
        edges = sorted(set(marks))
        answer.audio(0.2, tuple(zip(edges[::2], edges[1::2], strict=False)))
        total += 0.2
        out += answer.heard(total / 2)
    told = "".join(fragments[: len(sounds)])
    for at in seconds:
        out += answer.heard(at)
        assert out + answer.unheard == told
    out += answer.cut(total / 2)
    answer.generated()
    for at in seconds:
        out += answer.heard(at)
        assert out + answer.unheard == told
    assert answer.cut_off == CutOff(out, answer.unheard)
    assert out + answer.rest() == told
    assert answer.unheard == ""
