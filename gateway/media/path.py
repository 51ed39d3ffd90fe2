"""What the network path of one source has been like lately: how fast, how uneven, how disordered."""

from __future__ import annotations

WINDOW = 10.0
"""Seconds over which it is remembered: at least one of these, at most two. A clock that drifts by 200 ppm moves 4 ms in two."""

REACH_MARGIN = 1.25
"""A missing packet may come this much later than the latest seen so far."""

EDGE = 0.005
"""Seconds added to a wait: packets come at the edge of what has been seen."""

PATIENT = 0.0995
"""Seconds after a packet was due that `EDGE` alone does not carry a wait over: 100 ms with what is left for waking up. A packet
later than any of the last ten seconds is rare, and here not worth more delay to all that wait behind it. On a network that is
clearly more uneven than that, the delay is there anyway."""

UNEVEN = PATIENT + EDGE
"""Seconds of lateness that make a network clearly more uneven."""


class Path:
    """Learns from arrivals, tells how long waiting makes sense. Seconds throughout."""

    __slots__ = ("_reach_now", "fastest", "lateness", "latest", "reach", "transit", "window_ends")

    def __init__(self) -> None:
        self.transit = 0.0
        """Arrival minus sender's time of the fastest packet; the sender's time has an unknown zero, so only differences count."""
        self.lateness = 0.0
        """How far behind that the slowest one came."""
        self.reach = 0.0
        """How far behind a later packet any came; 0 on a path that keeps order."""
        # Of the current window alone; it takes over when the window ends.
        self.fastest = self.latest = self._reach_now = 0.0
        self.window_ends = 0.0
        """A packet before then, no faster than `fastest` and no further behind `transit` than `latest`, teaches nothing new."""

    def begin(self, transit: float, now: float) -> None:
        """Sender's time has a new zero. What was learnt of disorder stays."""
        self.transit = self.fastest = transit
        self.lateness = self.latest = 0.0
        self.window_ends = now + WINDOW

    def arrived(self, transit: float, now: float) -> None:
        """Any packet."""
        if transit < self.fastest:
            self.fastest = transit
            if transit < self.transit:
                self.transit = transit
        lateness = transit - self.transit
        if lateness > self.latest:
            self.latest = lateness
            if lateness > self.lateness:
                self.lateness = lateness
        if now >= self.window_ends:
            self.transit, self.fastest = self.fastest, transit
            self.lateness, self.latest = self.latest, 0.0
            self.reach, self._reach_now = self._reach_now, 0.0
            self.window_ends = now + WINDOW

    def overtaken(self, behind: float) -> None:
        """A packet came this long after a later one."""
        self._reach_now = max(self._reach_now, behind)
        self.reach = max(self.reach, behind)

    def may_come(self, time: float, shown: float | None) -> float:
        """Loop time until which a packet of this sender's `time` may still come. `shown`: when a later one came, if any did.

        0.0: on a path that keeps order it has no chance.
        """
        edge = max(0.0, min(EDGE, PATIENT - self.lateness)) if self.lateness <= UNEVEN else EDGE
        latest = self.transit + time + self.lateness
        if shown is None:
            return latest + edge
        return min(shown + self.reach * REACH_MARGIN, latest) + edge if self.reach else 0.0
