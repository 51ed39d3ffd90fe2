"""What pongs prove. A pong says that all that was sent before its ping has been read: it marks the place from which a lost
socket's audio must be played again. The lack of one proves nothing, the service has been seen to answer 30 s late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

PING_EVERY = 2.0
MAX_PINGS = 4
"""Without an answer; then no more are sent."""

SURE_WITHIN = 2.0
"""Seconds within which a pong must have come for the next one's absence to mean anything."""

IN_FLIGHT = 0.04
"""Seconds of audio before a loss was noticed that may not have arrived, at least. Else the round trip: what was on its way up
when the far end was lost, and what was sent until we heard of it."""
MAX_IN_FLIGHT = 0.3
UNKNOWN_IN_FLIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Ping:
    """One on its way. `position` as in `gemini_reel`: all before it was sent before the ping."""

    position: int
    sent_at: float


class Pulse:
    """Of one socket. `position`: where the reel began on it. `before`: that of the socket before, whose way was the same."""

    def __init__(self, position: int, before: Pulse | None = None) -> None:
        self.read = position
        """All before this position has been read by the far end."""
        self.pong_at = float("-inf")
        self._trip: float | None = None  # seconds of the last round trip
        self._trip_before = before._trip_known if before is not None else None
        self.due_at = float("-inf")
        """When the next ping is due; never, while so many are out."""
        self._last_at = float("-inf")
        self._out: deque[Ping] = deque()  # at most MAX_PINGS, oldest first

    @property
    def sure(self) -> bool:
        """Pongs come soon, so that their absence means something."""
        return self._trip is not None and self._trip <= SURE_WITHIN

    @property
    def in_flight(self) -> float:
        """Seconds of audio before a loss was noticed that may not have arrived."""
        if (trip := self._trip_known) is None:
            return UNKNOWN_IN_FLIGHT
        return min(MAX_IN_FLIGHT, max(IN_FLIGHT, trip))

    @property
    def _trip_known(self) -> float | None:
        """Seconds of the last round trip, here or on the socket before."""
        return self._trip if self._trip is not None else self._trip_before

    def ping(self, position: int, now: float) -> Ping | None:
        """A ping to send now, after all before `position`; None: it is not due."""
        if now < self.due_at:
            return None
        self._last_at = now
        self._out.append(Ping(position, now))
        self._set_due()
        return self._out[-1]

    def pong(self, ping: Ping, now: float) -> None:
        """Its pong came. One of an older socket changes nothing."""
        if ping in self._out:
            self.read = max(self.read, ping.position)
            self.pong_at, self._trip = now, now - ping.sent_at
            while self._out and self._out[0].sent_at <= ping.sent_at:
                self._out.popleft()
            self._set_due()

    def _set_due(self) -> None:
        self.due_at = self._last_at + PING_EVERY if len(self._out) < MAX_PINGS else float("inf")
