"""What of an answer's words the caller has really heard.

The service sends words near, but not with, their audio: on some backends well ahead. The place of a word in time is
estimated: at a steady speaking rate while the answer is still being generated, spread evenly over all of its audio once
that is known. What has been given out as heard is never taken back.
"""

from __future__ import annotations

SPEAKING_RATE = 15.0
"""Characters a second of unhurried speech; used until the answer's whole duration is known."""


class Answer:
    """The words of one answer against its played time."""

    def __init__(self) -> None:
        self._text = ""
        self._given = 0
        self._seconds = 0.0
        self._generated = False

    def said(self, text: str) -> None:
        """The next fragment of the output transcription, leading space and all."""
        self._text += text

    def audio(self, seconds: float) -> None:
        """`seconds` more of the answer's audio were read."""
        self._seconds += seconds
        self._generated = False

    def generated(self) -> None:
        """All of its audio has been read."""
        self._generated = True

    def heard(self, seconds: float) -> str:
        """The words newly heard when `seconds` of the answer in all have been played; often empty. Whole words only."""
        text = self._text
        if self._given == len(text):
            return ""
        if self._generated and self._seconds > 0:
            reached = round(len(text) * min(1.0, seconds / self._seconds))
        else:
            reached = min(len(text), int(seconds * SPEAKING_RATE))
        if reached < len(text):
            # Back to the last word boundary: half a word on the page flickers.
            reached = max(text.rfind(" ", 0, reached + 1), 0)
        if reached <= self._given:
            return ""
        new = text[self._given : reached]
        self._given = reached
        return new

    def rest(self) -> str:
        """The words not given out as heard yet; they are given now (the answer was played to its end)."""
        new = self._text[self._given :]
        self._given = len(self._text)
        return new

    @property
    def unheard(self) -> str:
        """The words that the caller has not heard."""
        return self._text[self._given :]
