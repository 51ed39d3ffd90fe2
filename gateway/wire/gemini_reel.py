"""The caller's audio on its way to the model, and a while beyond: what one socket has not delivered is played to the next.

Everything that goes up passes through the reel in order: audio, the marks of the caller's turn, and what is asked of the model.
What was sent stays for a while, so that a loss can be made good: `rewind` puts the reel back, and `take` gives it out again.

Positions are samples (16 kHz) since the call began. Two limits: what waits to be sent gives way, oldest first, beyond `limit`
(late speech is worse than lost speech, and it is counted); what was sent is forgotten beyond `memory`, and before that when the
session knows that nobody will ask for it again (`forget`). What was sent a while ago is kept in few long pieces, and at half the
size when it is known to have been read (`thin`): it is only for a question that may have to be asked again.
"""

from __future__ import annotations

import enum
from array import array
from collections import deque
from dataclasses import dataclass

from gateway.media.audio import MODEL_INPUT_RATE, SAMPLE_BYTES
from gateway.media.g711 import ulaw_decode, ulaw_encode
from gateway.model.base import ToolAnswer

LIMIT = 10.0
"""Seconds of audio that may wait for a socket."""

MEMORY = 15.0
"""Seconds of audio kept, sent or not: a question of eight seconds, and the patience with which its answer is waited for."""

RECENT = 0.5
"""Seconds of what was sent last that are kept whatever comes, message by message: it may be asked when each was sent
(`gemini_pulse.MAX_IN_FLIGHT`), and what the caller begins to say has a lead-in (`gemini_floor.LEAD_IN`)."""

PIECE = 0.5
"""Seconds of what was sent before, joined: as much as `media.uplink` puts into one message at most. Twenty-five messages of
20 ms are 4 KiB of objects and of room between them."""

MAX_NOTES = 4
"""Notes among them."""

MAX_ASKS = 16
"""Things asked of the model that it has not begun to answer; the oldest gives way."""


class Mark(enum.Enum):
    """What is said about the audio, between its samples."""

    TURN_BEGINS = "turn_begins"
    TURN_ENDS = "turn_ends"
    PAUSE = "pause"  # no more audio for now


@dataclass(slots=True)
class Strip:
    """A stretch of audio, or a mark (then without samples)."""

    position: int
    pcm: bytes
    mark: Mark | None = None
    in_turn: bool = False
    """The caller's turn was open before it."""
    sent_at: float = 0.0
    index: int = -1
    """Its message's number on the socket it was sent on, the setup being 0."""
    ends: array[int] | None = None
    """Of a strip joined of several: position after each, whose messages' numbers end with `index`."""
    thin: bool = False
    """`pcm` is in G.711 mu-law, a byte a sample."""

    @property
    def end(self) -> int:
        """Position after its last sample."""
        return self.position + (len(self.pcm) if self.thin else len(self.pcm) // SAMPLE_BYTES)


class AskKind(enum.Enum):
    """What is wanted of the model."""

    TEXT = "text"  # an answer to typed words
    TOOL = "tool"  # it has called a function, and this is the result
    NOTE = "note"  # nothing by itself: to be borne in mind when it next speaks


@dataclass(slots=True, eq=False)
class Ask:
    """Something the model has to react to. Kept until it does: another socket is asked again."""

    kind: AskKind
    text: str = ""
    answer: ToolAnswer | None = None
    """Of a tool: its call id is known only to the socket that asked."""
    position: int = 0
    sent_at: float | None = None


Item = Strip | Ask


class Reel:
    """One call's. Bounded; what gives way is in the module's text."""

    def __init__(self, *, limit: float = LIMIT, memory: float = MEMORY) -> None:
        self._limit = _samples(limit)
        self._memory = _samples(memory)
        self._past: deque[Strip] = deque()  # sent, longer ago than all of `_strips`
        self._strips: deque[Strip] = deque()
        self._next = 0  # index of the first strip that has not been sent
        self._asks: deque[Ask] = deque(maxlen=MAX_ASKS)
        self._in_turn = False  # at the end of the reel
        self._dropped = 0
        self._messages = 0  # sent on this socket
        self.limited = False
        """There is no socket: what waits gives way beyond the limit. With one it is on its way, whatever there is."""
        self.end = 0
        """Position after the newest sample."""

    @property
    def pieces(self) -> int:
        """How many pieces, messages and marks are kept."""
        return len(self._past) + len(self._strips)

    @property
    def sent(self) -> int:
        """Position after the last sample that was sent."""
        return self._strips[self._next].position if self._next < len(self._strips) else self.end

    @property
    def oldest(self) -> int:
        """Position of the oldest sample that is still there."""
        first = self._past or self._strips
        return first[0].position if first else self.end

    @property
    def waiting(self) -> float:
        """Seconds of audio that were not sent yet."""
        return (self.end - self.sent) / MODEL_INPUT_RATE

    @property
    def dropped(self) -> float:
        """Seconds of audio that were never sent, because there was no socket for too long."""
        return self._dropped / MODEL_INPUT_RATE

    @property
    def all_sent(self) -> bool:
        """Nothing waits, so that `take` gives None."""
        return self._next == len(self._strips) and (not self._asks or self.take() is None)

    @property
    def in_turn(self) -> bool:
        """The caller's turn is open (where it is marked)."""
        return self._in_turn

    @property
    def asks(self) -> tuple[Ask, ...]:
        """What the model has not begun to answer."""
        return tuple(self._asks)

    # --- in ---

    def push(self, pcm: bytes) -> None:
        """The caller's audio."""
        self._strips.append(Strip(self.end, pcm, in_turn=self._in_turn))
        self.end += len(pcm) // SAMPLE_BYTES
        self._trim()

    def mark(self, mark: Mark) -> None:
        """Something about the audio at this place."""
        self._strips.append(Strip(self.end, b"", mark, self._in_turn))
        if mark is not Mark.PAUSE:
            self._in_turn = mark is Mark.TURN_BEGINS

    def ask(self, ask: Ask) -> None:
        """Something for the model, after the audio so far."""
        if ask.kind is AskKind.NOTE:
            notes = [other for other in self._asks if other.kind is AskKind.NOTE]
            for other in notes[: max(0, len(notes) - MAX_NOTES + 1)]:
                self._asks.remove(other)
        ask.position = self.end
        self._asks.append(ask)

    def answered(self) -> list[Ask]:
        """The model reacts to what it was asked so far; gives what that was."""
        done = [ask for ask in self._asks if ask.sent_at is not None]
        for ask in done:
            self._asks.remove(ask)
        return done

    def withdraw(self, ask: Ask) -> None:
        """Nobody wants it any more."""
        if ask in self._asks:
            self._asks.remove(ask)

    # --- out ---

    def take(self) -> Item | None:
        """What is to be sent next; None: nothing. It stays until `sent_now`."""
        strip = self._strips[self._next] if self._next < len(self._strips) else None
        ask = next((ask for ask in self._asks if ask.sent_at is None), None)
        if ask is not None and (strip is None or ask.position <= strip.position):
            return ask
        return strip

    def sent_now(self, item: Item, now: float) -> None:
        """What `take` gave is on its way."""
        self._messages += 1
        item.sent_at = now
        if isinstance(item, Strip):
            item.index = self._messages
            self._next += 1
            if item.position - self._strips[0].position >= _JOIN_AT:
                self._join(item.position - _RECENT)

    def pass_on(self, pcm: bytes, now: float) -> None:
        """The caller's audio, on its way at once: `push`, `take` and `sent_now` in one, while `all_sent`."""
        position = self.end
        self._messages += 1
        self._strips.append(Strip(position, pcm, None, self._in_turn, now, self._messages))
        self._next += 1
        self.end = position + len(pcm) // SAMPLE_BYTES
        self._trim()
        if position - self._strips[0].position >= _JOIN_AT:
            self._join(position - _RECENT)

    def counted(self, messages: int) -> None:
        """So many other messages were sent on this socket (its setup not counted)."""
        self._messages += messages

    def forget(self, position: int) -> None:
        """Nobody will ask for what was sent before `position` again. A piece that reaches beyond it stays."""
        while self._past and self._past[0].end < position:  # a mark at that very place stays
            self._past.popleft()

    def thin(self, position: int) -> None:
        """What was sent before `position` has been read: it may lie in G.711 mu-law (20 µs of CPU for a second of it).

        The noise is 38 dB below the speech, as on any telephone line. What may never have arrived stays as it is.
        """
        for strip in reversed(self._past):
            if strip.thin:
                break
            if strip.pcm and strip.end <= position:
                strip.pcm, strip.thin = ulaw_encode(strip.pcm), True

    def _join(self, position: int) -> None:
        """What was sent before `position`, in pieces."""
        strips, piece = self._strips, list[Strip]()
        while self._next and strips[0].end <= position:
            strip = strips.popleft()
            self._next -= 1
            if piece and not _joins(piece, strip):
                self._past.append(_joined(piece))
                piece = []
            piece.append(strip)
        if piece:
            self._past.append(_joined(piece))

    # --- another socket ---

    def since(self, moment: float) -> int:
        """Position of the first sample that was sent at `moment` (loop time) or later; of the piece it is in, beyond `RECENT`."""
        for strips in (self._past, self._strips):
            for strip in strips:
                if strip.sent_at >= moment or strip.sent_at == 0.0:
                    return strip.position
        return self.end

    def consumed(self, index: int) -> int:
        """Position after the last sample that message number `index` of this socket, or one before it, has delivered."""
        found = self.oldest
        for strips in (self._past, self._strips):
            for strip in strips:
                if 0 <= strip.index <= index:
                    found = strip.end
                elif strip.ends is not None and 0 <= strip.index < index + len(strip.ends):
                    found = strip.ends[index - strip.index - 1]
        return found

    def rewind(self, position: int) -> float:
        """Begin again at `position` for another socket, and ask again what was not answered. Seconds that are sent twice."""
        before, at = self.sent, 0
        while self._past and self._past[-1].end >= position:
            strip = self._past.pop()
            if strip.thin:
                strip.pcm, strip.thin = ulaw_decode(strip.pcm), False
            self._strips.appendleft(strip)
            self._next += 1
        while at < self._next and self._is_before(self._strips[at], position):
            at += 1
        if at < self._next and self._strips[at].position < position:
            self._split(at, position)
            at += 1
        self._next = at
        self._messages = 0
        for strip in self._past:
            strip.index, strip.ends = -1, None
        for number, strip in enumerate(self._strips):
            strip.index, strip.ends = -1, None
            if number >= at:
                strip.sent_at = 0.0
        again = before - self.sent
        self._open_turn()
        for ask in self._asks:
            ask.sent_at = None
        return again / MODEL_INPUT_RATE

    def _is_before(self, strip: Strip, position: int) -> bool:
        # Of the marks just there only the beginning of a turn is said again: an end without its turn is refused.
        return strip.end <= position and not (strip.mark is Mark.TURN_BEGINS and strip.position == position)

    def _open_turn(self) -> None:
        """A socket that gets the middle of a turn first is told that it is one."""
        within = self._strips[self._next].in_turn if self._next < len(self._strips) else self._in_turn
        if within:
            at = self._strips[self._next].position if self._next < len(self._strips) else self.end
            self._strips.insert(self._next, Strip(at, b"", Mark.TURN_BEGINS))

    def _split(self, at: int, position: int) -> None:
        strip = self._strips[at]
        cut = (position - strip.position) * SAMPLE_BYTES
        rest = Strip(position, strip.pcm[cut:], in_turn=strip.in_turn, sent_at=strip.sent_at)
        strip.pcm = strip.pcm[:cut]
        self._strips.insert(at + 1, rest)
        self._next += 1

    def _trim(self) -> None:
        while (first := self._past or self._strips) and self.end - first[0].end >= self._memory:
            self._forget()
        while self.limited and self._next < len(self._strips) and self.end - self._strips[self._next].end >= self._limit:
            while self._past or self._next > 0:
                self._forget()
            self._forget()

    def _forget(self) -> None:
        if self._past:
            self._past.popleft()
            return
        strip = self._strips.popleft()
        if self._next > 0:
            self._next -= 1
        else:
            self._dropped += len(strip.pcm) // SAMPLE_BYTES


def _joins(piece: list[Strip], strip: Strip) -> bool:
    """`strip` goes on where `piece` ends, on the wire too."""
    last = piece[-1]
    if strip.mark is not None or last.mark is not None or strip.ends is not None or last.ends is not None:
        return False
    if strip.in_turn is not last.in_turn or strip.index != (last.index + 1 if last.index >= 0 else -1):
        return False
    return strip.end - piece[0].position <= _PIECE


def _joined(piece: list[Strip]) -> Strip:
    first, last = piece[0], piece[-1]
    if first is last:
        return first
    ends = array("q", (strip.end for strip in piece)) if last.index >= 0 else None
    return Strip(first.position, b"".join([strip.pcm for strip in piece]), None, first.in_turn, last.sent_at, last.index, ends)


def _samples(seconds: float) -> int:
    return round(seconds * MODEL_INPUT_RATE)


_RECENT, _PIECE = _samples(RECENT), _samples(PIECE)
_JOIN_AT = _samples(RECENT + PIECE)
