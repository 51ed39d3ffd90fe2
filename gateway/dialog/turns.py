"""Who has the floor, and where an answer's latency went.

A turn is one answer: from the caller's silence (or the gateway's prompt) to the end of what we play. The latency is
split by cause at the gateway's edge, in loop time:

    caller's last speech ──model_first_audio──▶ first byte read ──leading_silence──▶ first audible sample ──out──▶ its packet sent

With the model's own VAD the end-of-speech detection is inside `model_first_audio` and cannot be told apart.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

NO_RESPONSE_AFTER = 8.0
"""Seconds after the caller's silence without any model audio: counted as an unanswered turn (operations.md §1.2)."""


class TurnKind(enum.StrEnum):
    """What the answer answers."""

    SPEECH = "speech"
    TEXT = "text"
    TOOL = "tool"
    GREETING = "greeting"


class TurnEnd(enum.StrEnum):
    """How an answer ended; a metric label."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    SESSION_CLOSED = "session_closed"
    ERROR = "error"
    NO_RESPONSE = "no_response"


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer. Times in seconds; None where the thing never happened."""

    kind: TurnKind
    end: TurnEnd
    response: float | None = None
    """Voice to voice at the gateway's edge: last caller speech to the first audible packet out."""
    model_first_audio: float | None = None
    leading_silence: float | None = None
    out: float | None = None
    heard: float = 0.0
    """Seconds of it that reached the caller."""
    unheard: float = 0.0
    """Seconds of it thrown away."""


class Turns:
    """Follows one call's turns. Feed it what happens, in order; it returns a Turn whenever one ends."""

    def __init__(self) -> None:
        self._answered_to = 0.0  # the caller's speech up to here has had its answer
        self._reset()

    def _reset(self) -> None:
        self._asked_at: float | None = None  # what the next answer is measured from
        self._asked_kind = TurnKind.SPEECH
        self._answering = False
        self._first_byte_at: float | None = None
        self._silence = 0.0  # seconds of inaudible audio at the head of the answer
        self._audible = False  # the head's silence has been counted to its end
        self._out_at: float | None = None
        self._sent = 0.0
        self._heard = 0.0
        self._generated = False

    @property
    def answering(self) -> bool:
        """An answer has begun and is not over."""
        return self._answering

    @property
    def heard(self) -> float:
        """Seconds of the current answer that the caller's ears have had."""
        return self._heard

    def caller_silent(self, at: float) -> None:
        """The caller's last speech sample so far arrived at `at`."""
        if not self._answering and at > max(self._answered_to, self._asked_at or 0.0):
            self._asked_at, self._asked_kind = at, TurnKind.SPEECH

    def asked(self, now: float, kind: TurnKind) -> None:
        """The gateway itself asked the model to speak (greeting), or the caller typed."""
        if not self._answering:
            self._asked_at, self._asked_kind = now, kind

    def model_audio(self, at: float, seconds: float, audible_after: float | None) -> None:
        """Model speech was read at `at`; its first audible sample is `audible_after` seconds in (None: it is all silence)."""
        if not self._answering:
            self._answering = True
            self._first_byte_at = at
        self._generated = False  # a second generation before the first was played out belongs to the same answer
        if not self._audible:
            if audible_after is None:
                self._silence += seconds
            else:
                self._silence += audible_after
                self._audible = True

    @property
    def out(self) -> bool:
        """The first audible frame of the current answer has left: what `frame_sent` still says of it changes nothing."""
        return self._out_at is not None

    def frame_sent(self, now: float, seconds: float) -> bool:
        """A frame of the answer left at `now`. True for its first frame."""
        first = self._sent == 0.0
        if self._audible and self._out_at is None and self._sent + seconds > self._silence:
            self._out_at = now
        self._sent += seconds
        return first

    def played(self, seconds: float) -> float:
        """The caller's ears have had `seconds` more of the answer; gives what they have had of it in all."""
        if self._answering:
            self._heard += seconds
        return self._heard

    def generated(self) -> None:
        """No more audio comes for this answer."""
        self._generated = True

    def interrupted(self, unheard: float) -> Turn | None:
        """The caller spoke over the answer. Idempotent: the flag may come twice, or when nothing is playing."""
        return self._finish(TurnEnd.INTERRUPTED, unheard) if self._answering else None

    def drained(self) -> Turn | None:
        """The playout is empty. The answer is over if nothing more comes."""
        return self._finish(TurnEnd.COMPLETED, 0.0) if self._answering and self._generated else None

    def overdue(self, now: float, caller_speaking: bool) -> Turn | None:
        """Nobody answered in time. The watchdog's question, asked about once a second."""
        if self._answering or self._asked_at is None or caller_speaking or now - self._asked_at < NO_RESPONSE_AFTER:
            return None
        return self._finish(TurnEnd.NO_RESPONSE, 0.0)

    def closed(self, end: TurnEnd, unheard: float) -> Turn | None:
        """The call or the model session is over in the middle of an answer."""
        return self._finish(end, unheard) if self._answering else None

    def _finish(self, end: TurnEnd, unheard: float) -> Turn:
        asked, first, out = self._asked_at, self._first_byte_at, self._out_at
        first_audio = first - asked if asked is not None and first is not None and first >= asked else None
        after_first = out - first if out is not None and first is not None else None
        # A frame leaves as one packet: its first audible sample may be up to 20 ms inside, on its way before its time.
        silence = min(self._silence, after_first) if after_first is not None else None
        turn = Turn(
            kind=self._asked_kind,
            end=end,
            response=first_audio + after_first if first_audio is not None and after_first is not None else None,
            model_first_audio=first_audio,
            leading_silence=silence,
            out=after_first - silence if after_first is not None and silence is not None else None,
            heard=self._heard,
            unheard=unheard,
        )
        self._answered_to = asked or self._answered_to
        self._reset()
        return turn
