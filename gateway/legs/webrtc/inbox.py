"""Where one call's media datagrams wait for each other while their reader is patient.

The mux puts them here itself: what a hundred calls get is then noted without touching a hundred calls.
"""

from __future__ import annotations

MAX_WAITING = 16
"""Datagrams of one call that wait for each other at most, should a burst come: then they are taken."""


class Inbox:
    """One call's."""

    __slots__ = ("until", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, float]] = []
        """Datagrams with the times of their arrival; at most `MAX_WAITING`."""
        self.until = 0.0
        """What comes before then, in seconds of the media clock, waits; 0.0: nothing does."""

    def keeps(self, datagram: bytes, now: float) -> bool:
        """Let `datagram` wait; False: it is to be delivered, and all that waits with it."""
        if now < self.until and len(self.waiting) < MAX_WAITING:
            self.waiting.append((datagram, now))
            return True
        return False

    def take(self) -> list[tuple[bytes, float]]:
        """All that waits; nothing does any more."""
        waiting, self.waiting = self.waiting, []
        self.until = 0.0
        return waiting
