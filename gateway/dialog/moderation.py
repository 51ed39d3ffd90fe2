"""Pieces of both transcripts, and what a moderation hook says of them.

Transcriptions come in fragments of a few letters. A piece is finished at the end of a sentence, when the turn is over, when
nothing more came for a moment, or when it is long enough. Nobody but the hook reads a piece before its verdict.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.toolspec import ToolSpec

MAX_PIECE = 600
"""Characters of one piece: half a minute of talk without a full stop."""

QUIET = 1.0
"""Seconds without another fragment after which a piece is finished."""

MAX_REASON = 100
"""Characters of a reason that are kept."""

REDACTED = "[redacted]"

_SENTENCE = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+")
_REASON = re.compile(r"[^\w .,:;/()+-]+")


class Who(enum.StrEnum):
    """Whose words."""

    CALLER = "caller"
    MODEL = "model"


class Ruling(enum.StrEnum):
    """What happens to a piece; a metric label."""

    ALLOW = "allow"
    FLAG = "flag"  # passes, and is reported
    REDACT = "redact"  # something else stands in its place
    HANG_UP = "hang_up"  # nobody reads it, and the call ends


@dataclass(frozen=True, slots=True)
class Verdict:
    """A hook's answer."""

    ruling: Ruling = Ruling.ALLOW
    reason: str = ""
    """For events and log: a few words of the hook's own, none of the transcript."""
    text: str = REDACTED
    """With REDACT: what is read instead."""
    failed: bool = False
    """The hook gave no answer; `ruling` is what the profile says for that."""


@dataclass(frozen=True, slots=True)
class Moderation:
    """A profile's hook on its transcripts."""

    hook: ToolSpec
    """Who is asked, by the same means as tools; its time-out is the verdict's."""
    who: frozenset[Who] = frozenset(Who)
    """Whose words are asked about."""
    on_failure: Ruling = Ruling.ALLOW
    """What happens to a piece that the hook has not judged: in time, or at all."""


def verdict(value: object, piece: str) -> Verdict:
    """A hook's answer: nothing (allow), one of the rulings, or `{"action": …, "reason": …, "text": …}`. Raises ValueError."""
    answer: Mapping[str, object]
    match value:
        case None:
            answer = {"action": Ruling.ALLOW.value}
        case str():
            answer = {"action": value}
        case Mapping():
            answer = value
        case _:
            raise ValueError(f"must be an action or an object, not {type(value).__name__}")
    action, reason, text = answer.get("action"), answer.get("reason", ""), answer.get("text", REDACTED)
    if action not in [ruling.value for ruling in Ruling]:
        raise ValueError(f"action must be one of {', '.join(ruling.value for ruling in Ruling)}")
    if not isinstance(reason, str) or not isinstance(text, str):
        raise ValueError("reason and text must be texts")
    return Verdict(Ruling(action), _told(reason, piece), text[:MAX_PIECE])


def _told(reason: str, piece: str) -> str:
    """A reason as it may be logged: one short line, not the transcript itself."""
    said = " ".join(_REASON.sub(" ", piece).split()).casefold()
    told = " ".join(_REASON.sub(" ", reason[: 4 * MAX_REASON]).split())
    return "" if said and said in told.casefold() else told[:MAX_REASON]


class Pieces:
    """One speaker's fragments, put together. Loop times."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0.0

    def add(self, text: str, now: float) -> list[str]:
        """The next fragment, leading space and all. Gives what is finished by it; joined, all pieces are all fragments."""
        self._text += text
        self._at = now
        found = []
        while (size := self._size()) is not None:
            found.append(self._text[:size])
            self._text = self._text[size:]
        return found

    def end(self) -> list[str]:
        """The turn is over: what there is is a piece."""
        text, self._text = self._text, ""
        return [text] if text else []

    def quiet(self, now: float) -> list[str]:
        """Asked about once a second: what waits for more that does not come."""
        return self.end() if now - self._at >= QUIET else []

    def _size(self) -> int | None:
        if (match := _SENTENCE.search(self._text, 0, MAX_PIECE)) is not None:
            return match.end()
        if len(self._text) < MAX_PIECE:
            return None
        space = self._text.rfind(" ", 1, MAX_PIECE)
        return space if space > 0 else MAX_PIECE


@dataclass(slots=True, eq=False)
class _Stretch:
    """A piece of the model's words: characters `begin` to `end` of all it has said."""

    begin: int
    end: int
    text: str
    verdict: Verdict | None = None
    shown: bool = False
    """Given out as said, before it was heard."""
    replaced: bool = False
    """What stands in its place has been given out as heard."""


@dataclass(frozen=True, slots=True)
class Read:
    """Words that were heard and may be read."""

    words: str
    shown: bool
    """They have been given out as said before."""


class Held:
    """The model's words that have been heard, until they are judged.

    What was heard is always the next unheard part of what was said, up to `over`: the rest of that answer is never heard.
    """

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque()  # bounded by what is said and not heard: one answer, and the queue of the hook
        self._said = self._heard = 0
        self._over_at = 0  # what was said before this belongs to answers that are over
        self._news: deque[tuple[int, int] | None] = deque()  # heard from, to; None: the answer is over

    def said(self, piece: str) -> _Stretch:
        """A finished piece, in its place. `judged` must follow."""
        stretch = _Stretch(self._said, self._said + len(piece), piece)
        self._said = stretch.end
        self._stretches.append(stretch)
        return stretch

    def judged(self, stretch: _Stretch, verdict: Verdict) -> str:
        """Gives what is to be shown as said; then look at `take`. Of an answer that is over only what was heard is shown."""
        stretch.verdict = verdict
        if stretch.begin < self._over_at:
            return ""
        stretch.shown = True
        return instead(stretch.text, verdict)

    def heard(self, text: str) -> None:
        """Words of the current answer that the caller's ears have had."""
        self._news.append((self._heard, self._heard + len(text)))
        self._heard += len(text)

    def over(self, said: int) -> None:
        """The answer is over; `said`: characters of all answers so far, in finished pieces or not."""
        self._heard = self._over_at = said
        self._news.append(None)

    def take(self) -> Iterator[Read | None]:
        """What was heard and may be read, in order; None: the answer is over."""
        while self._news:
            if (part := self._news[0]) is None:
                self._news.popleft()
                yield None
                continue
            begin, end = part
            while self._stretches and self._stretches[0].end <= begin:
                self._stretches.popleft()
            if begin >= end:
                self._news.popleft()
                continue
            if not self._stretches or self._stretches[0].verdict is None:
                return
            stretch = self._stretches[0]
            until = min(end, stretch.end)
            self._news[0] = (until, end)
            if words := _read(stretch, begin, until):
                yield Read(words, stretch.shown)


def _read(stretch: _Stretch, begin: int, end: int) -> str:
    """What is read of a judged stretch's characters `begin` to `end`."""
    verdict = stretch.verdict
    assert verdict is not None, "only what is judged is read"
    match verdict.ruling:
        case Ruling.ALLOW | Ruling.FLAG:
            return stretch.text[begin - stretch.begin : end - stretch.begin]
        case Ruling.REDACT if not stretch.replaced:
            stretch.replaced = True
            return instead(stretch.text, verdict)
    return ""


def instead(piece: str, verdict: Verdict) -> str:
    """What is read of a piece: itself, or what stands in its place, as far from its neighbours as it was."""
    match verdict.ruling:
        case Ruling.ALLOW | Ruling.FLAG:
            return piece
        case Ruling.REDACT:
            return (" " if piece[:1].isspace() else "") + verdict.text
    return ""
