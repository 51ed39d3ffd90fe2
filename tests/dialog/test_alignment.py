"""Words laid over their sound."""

from __future__ import annotations

import random

import pytest

from gateway.dialog.alignment import OPEN_ROWS, Alignment, Voice, words_of
from gateway.media.level import sounding
from tests.words import RATE, speak

USUAL = Voice(19.0, 0.4)


@pytest.mark.parametrize(
    ("text", "words", "stops"),
    [
        ("One, two. Three", ["One,", "two.", "Three"], [1, 2, 0]),
        ("  well -- «so» ", ["well", "--", "«so»"], [0, 1, 0]),
        ("你好。", ["你", "好。"], [0, 2]),
        ("", [], []),
    ],
)
def test_words_and_what_stands_behind_them(text: str, words: list[str], stops: list[int]) -> None:
    found = words_of(text)
    assert [text[word.begin : word.end] for word in found] == words
    assert [word.stop for word in found] == stops


def test_figures_take_longer_than_letters() -> None:
    figures, letters = words_of("1984 abcd")
    assert figures.weight > 2 * letters.weight
    assert words_of("…")[0].weight == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_every_word_is_placed_where_it_is_said(seed: int) -> None:
    spoken = speak(random.Random(seed), 20)
    alignment = Alignment(USUAL)
    alignment.text(spoken.text)
    alignment.sound(spoken.seconds, sounding(spoken.pcm, RATE))
    alignment.complete()
    for word in spoken.words:
        middle = (word.begin + word.end) / 2
        assert word.first <= alignment.place(middle) <= word.after
        assert alignment.place(word.end + 0.03) == word.after
    assert alignment.place(spoken.seconds) == len(spoken.text)
    assert alignment.voice.pauses > 0.6


def test_a_sound_that_is_no_word_takes_none() -> None:
    alignment = Alignment(USUAL)
    alignment.text("Seventeen nineteen")
    alignment.sound(3.0, ((0.1, 0.16), (1.0, 1.6), (2.0, 2.6)))
    alignment.complete()
    assert alignment.place(0.5) == 0
    assert alignment.place(1.8) == len("Seventeen")


def test_sentences_end_at_the_longer_pauses() -> None:
    alignment = Alignment(USUAL)
    text = "I see what you mean. That can be done."
    alignment.text(text)
    alignment.sound(4.0, ((0.0, 1.3), (2.0, 3.2)))
    alignment.complete()
    assert alignment.place(1.7) == len("I see what you mean.")


def test_what_is_far_behind_is_not_kept() -> None:
    alignment = Alignment(USUAL)
    for number in range(400):
        alignment.text("two " * (number + 20))
        alignment.sound(0.5, ((0.1, 0.4),))
        alignment.place(0.5 * number)
        assert len(alignment._sounds) <= 2 * OPEN_ROWS
        assert len(alignment._fixed) <= OPEN_ROWS


def test_a_word_is_not_stretched_over_a_pause_by_a_sound_that_still_grows() -> None:
    alignment = Alignment(Voice(23.4, 0.9))
    alignment.text("six nineteen")
    alignment.sound(0.92, ((0.09, 0.54), (0.61, 0.92)))
    assert alignment.place(0.2) == len("s")
    assert alignment.place(0.58) == len("six")
