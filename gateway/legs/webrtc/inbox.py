"""Where one call's media datagrams wait for each other while their reader is patient.

The mux puts them here itself: what a hundred calls get is then noted without touching a hundred calls. It also knows who waits
for a datagram that does not come.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

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


class Reader(Protocol):
    """Takes what waits in an inbox."""

    def overdue(self, due: float) -> None:
        """It is `due`, the time that was given to `Waiting.until`. Perhaps all was taken long before."""

    def fail(self, exc: Exception) -> None:
        """A bug surfaced in that."""


class Waiting:
    """Who waits, and until when, over all calls of a socket.

    One heap for all: a look at every call, now and then, whether its next datagram has come would cost 2 % of a worker's calls.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Reader]] = []
        self._number = count()  # of two that are due at once the one that began first

    def until(self, due: float, reader: Reader) -> None:
        """`reader` is to be called at `due`, in seconds of the media clock, whatever becomes of what waits."""
        heapq.heappush(self._heap, (due, next(self._number), reader))

    def clear(self) -> None:
        """Nobody is to be called any more."""
        self._heap.clear()

    def next_due(self, now: float) -> tuple[float, Reader] | None:
        """Who was due first by `now`, once; None: nobody more."""
        heap = self._heap
        if not heap or heap[0][0] > now:
            return None
        due, _, reader = heapq.heappop(heap)
        return due, reader
