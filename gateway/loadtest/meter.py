"""What a caller heard: packets, loss, gaps. Fed with RTP headers and arrival times; nothing is decoded."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

TICKS = 960
"""Opus clock ticks (48 kHz) in 20 ms."""


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of unsorted values, `share` in 0…1; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class StreamMeter:
    """One inbound stream, inside a window.

    A *gap* is the time between two packets that follow each other in sequence and in time (20 ms of media): the pause a
    sender makes in silence is none. Times in seconds.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.lost = 0
        self.reordered = 0
        self.gaps = array("d")
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._sequence: int | None = None
        self._timestamp = 0

    def arrived(self, at: float, sequence: int, timestamp: int) -> None:
        """A packet with this header came at `at`."""
        self.packets += 1
        if self._sequence is None:
            self.first_at = at
        else:
            step = (sequence - self._sequence) & 0xFFFF
            if step == 0 or step > 0x8000:
                self.reordered += 1
                return
            self.lost += step - 1
            if step == 1 and (timestamp - self._timestamp) & 0xFFFFFFFF == TICKS and self.last_at is not None:
                self.gaps.append(at - self.last_at)
        self._sequence, self._timestamp, self.last_at = sequence, timestamp, at

    @property
    def highest(self) -> int:
        """The highest sequence number so far, without cycles; 0 before the first packet."""
        return self._sequence or 0

    @property
    def rate(self) -> float:
        """Packets a second between the first and the last."""
        if self.first_at is None or self.last_at is None or self.last_at <= self.first_at:
            return 0.0
        return (self.packets - 1) / (self.last_at - self.first_at)

    def gap(self, share: float) -> float | None:
        """A percentile of the gaps, seconds."""
        return percentile(self.gaps, share)
