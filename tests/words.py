"""Answers made of spoken numbers: the words, their sound, and when each of them is truly said."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

RATE = 24_000
NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_FILE = Path(__file__).parent / "data" / "numbers.flac"  # espeak-ng en-us, 24 kHz mono, each word without silence around it
_SAMPLES = (
    *(9681, 6884, 8302, 9458, 11387, 10590, 11279, 7533, 10980, 8843),
    *(12061, 12022, 12360, 12972, 12596, 13710, 15992, 10548, 13446, 12142),
)


@functools.cache
def number(word: str) -> bytes:
    """The sound of one of `NUMBERS`, PCM16 mono 24 kHz."""
    with av.open(str(_FILE)) as file:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(audio=0)])
    assert len(samples) == sum(_SAMPLES)
    if samples.dtype != np.int16:  # FLAC may decode to 32 bits
        samples = samples >> 16
    at = NUMBERS.index(word)
    begin = sum(_SAMPLES[:at])
    return samples[begin : begin + _SAMPLES[at]].astype("<i2").tobytes()


@dataclass(frozen=True, slots=True)
class Said:
    """A word of an answer: seconds from … to …, and its place in the text."""

    begin: float
    end: float
    first: int
    after: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """An answer. PCM16 mono 24 kHz."""

    pcm: bytes
    text: str
    words: tuple[Said, ...]

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.pcm) / (2 * RATE)

    def miss(self, characters: int, seconds: float) -> float:
        """By how much a text that ends after so many characters ends later (earlier: negative) than its sound did.

        The letters of a word are taken to be spread evenly over its sound; a text that ends between two words is right for
        the whole of the pause.
        """
        before = 0.0
        for word in self.words:
            if characters <= word.first:
                return _outside(seconds, before, word.begin)
            if characters < word.after:
                at = word.begin + (word.end - word.begin) * (characters - word.first) / (word.after - word.first)
                return at - seconds
            before = word.end
        return _outside(seconds, before, self.seconds)


def _outside(seconds: float, begin: float, end: float) -> float:
    return begin - seconds if seconds < begin else min(0.0, end - seconds)


def speak(draw: random.Random, count: int, *, first: str = "", pauses: tuple[float, float] = (0.08, 0.3)) -> Spoken:
    """`count` numbers in any order, with seconds of pause from … to … after each and a moment of silence before them all."""
    pcm = bytearray(2 * round(draw.uniform(0.02, 0.3) * RATE))
    text, words = "", []
    for at in range(count):
        word = first if first and not at else draw.choice(NUMBERS)
        text += f" {word}" if text else word
        begin = len(pcm)
        pcm += number(word)
        words.append(Said(begin / (2 * RATE), len(pcm) / (2 * RATE), len(text) - len(word), len(text)))
        pcm += bytes(2 * round(draw.uniform(*pauses) * RATE))
    return Spoken(bytes(pcm), text, tuple(words))
