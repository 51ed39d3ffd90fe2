"""What of an answer's words the caller has really heard.

The service sends words near, but not with, their audio: on some backends well ahead. Where a word lies in its audio is worked out
by `dialog.alignment`; this is the account of what has been played. While an answer is playing, words are given out as heard when
their last sound has left, whole. An answer that is cut off ends where the caller's ears did, in the middle of a word if it was
cut there: a word's letters are taken to be spread evenly over its sound, and the stored answer ends with the letter nearest to
the last sample that left. What has been given out as heard is never taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dialog.alignment import Alignment, Voice

USUAL_VOICE = Voice(rate=19.0, pauses=0.4)
"""Unhurried speech, a word counting two letters more than it has. Where a session starts; its answers correct it."""

LOOK_EVERY = 0.06
"""Seconds of playing between two looks for words that were heard."""

MAX_TEXT = 65_536
"""Characters of one answer, more than an hour of talk. What comes beyond is neither shown nor stored as heard."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """An answer that the caller spoke over: the words that were heard of it, and those the model believes it has said."""

    heard: str
    unheard: str


class Answer:
    """The words of one answer against its played time. `voice`: how it speaks, where that is known."""

    def __init__(self, voice: Voice = USUAL_VOICE) -> None:
        self._text = ""
        self._given = 0
        self._alignment = Alignment(voice)
        self._look_at = 0.0

    def next(self) -> Answer:
        """The answer after this one, by the same voice."""
        return Answer(self._alignment.voice)

    def said(self, text: str) -> None:
        """The next fragment of the output transcription, leading space and all."""
        self._text += text[: MAX_TEXT - len(self._text)]
        self._alignment.text(self._text)
        self._look_at = 0.0

    def audio(self, seconds: float, sounding: tuple[tuple[float, float], ...] | None = None) -> None:
        """`seconds` more of the answer's audio were read; it sounds from … to …, counted from its beginning (None: all of it)."""
        self._alignment.sound(seconds, ((0.0, seconds),) if sounding is None else sounding)

    def generated(self) -> None:
        """All of its audio has been read."""
        self._alignment.complete()

    def heard(self, seconds: float) -> str:
        """The words newly heard when `seconds` of the answer in all have been played; often empty. Whole words only."""
        # Half a word on the page flickers.
        if seconds < self._look_at or self._given == len(self._text):
            return ""
        self._look_at = seconds + LOOK_EVERY
        return self._give(self._alignment.reached(seconds))

    def cut(self, seconds: float) -> str:
        """The same when nothing more of it will be played: to the letter."""
        return self._give(self._alignment.place(seconds))

    def rest(self) -> str:
        """The words not given out as heard yet; they are given now (the answer was played to its end)."""
        return self._give(len(self._text))

    @property
    def cut_off(self) -> CutOff:
        """As it stands."""
        return CutOff(self._text[: self._given], self._text[self._given :])

    @property
    def unheard(self) -> str:
        """The words that the caller has not heard."""
        return self._text[self._given :]

    def _give(self, reached: int) -> str:
        new = self._text[self._given : reached]
        self._given = max(self._given, reached)
        return new
