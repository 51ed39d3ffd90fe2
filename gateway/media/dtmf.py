"""Keys pressed on a phone or page, as telephone events in RTP (RFC 4733)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from gateway.errors import PacketError

DIGITS = "0123456789*#ABCD"
"""Event codes 0 to 15 (RFC 4733 §3.2)."""

_EVENT = struct.Struct("!BBH")
_END = 0x80


class Digit(NamedTuple):
    """A key (`0-9*#A-D`) and how long it was held, in seconds."""

    digit: str
    seconds: float


class TelephoneEvents:
    """One stream's receiver: the many packets of a press become one `Digit`, at its end.

    `clock_rate` is that of the telephone-event payload type (8000, or 48000 beside Opus). All packets of a press carry the RTP
    timestamp of its beginning; the last one comes three times. A press longer than the 16-bit duration can say (1.4 s at
    48000) goes on under a new timestamp, and is still one press (§2.5.1.3).
    """

    __slots__ = ("_before", "_clock_rate", "_code", "_duration", "_open", "_start")

    def __init__(self, clock_rate: int) -> None:
        if clock_rate <= 0:
            raise ValueError(f"clock rate {clock_rate}")
        self._clock_rate = clock_rate
        self._open = False
        self._start: int | None = None  # RTP timestamp of the newest segment seen
        self._code = 0
        self._duration = 0  # of that segment, in ticks
        self._before = 0  # ticks of the segments before it

    @property
    def pressed(self) -> str | None:
        """The key that is down now, as far as packets say."""
        return DIGITS[self._code] if self._open else None

    def push(self, payload: bytes, timestamp: int, marker: bool) -> Digit | None:
        """One packet. A `Digit` when a press is known to be over: its end came, or another press has begun.

        Events that are no keys (flash, tones) give None. Raises `PacketError` when the payload is shorter than one event.
        """
        if len(payload) < _EVENT.size:
            raise PacketError(f"telephone event of {len(payload)} bytes")
        code, flags, duration = _EVENT.unpack_from(payload)
        if code >= len(DIGITS):
            return None
        finished = None
        if timestamp != self._start:
            if self._start is not None and (timestamp - self._start) & 0x80000000:
                return None  # of an earlier press, out of order
            if self._continues(code, timestamp, marker):
                self._before += self._duration
            else:
                finished = self.finish()  # its last packets were all lost
                self._before = 0
                self._open = True
            self._start, self._code, self._duration = timestamp, code, 0
        if not self._open:
            return None  # the end again
        self._duration = max(self._duration, duration)
        # With the end of two presses in one packet, the second waits for the repetition of its own end.
        return self.finish() if flags & _END and finished is None else finished

    def finish(self) -> Digit | None:
        """The press that is still open, as over: for the receiver to call when no event packet has come for a while."""
        if not self._open:
            return None
        self._open = False
        return Digit(DIGITS[self._code], (self._before + self._duration) / self._clock_rate)

    def _continues(self, code: int, timestamp: int, marker: bool) -> bool:
        return (
            self._open
            and not marker
            and code == self._code
            and self._start is not None
            and (timestamp - self._start) & 0xFFFFFFFF == self._duration
        )
