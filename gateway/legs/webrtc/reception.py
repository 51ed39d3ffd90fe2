"""What came of one RTP source, for our receiver reports (RFC 3550 §6.4.1 and appendices A.1, A.3, A.8)."""

from __future__ import annotations

import enum

from gateway.wire.rtp import ReportBlock, SenderReport, middle

MAX_DROPOUT = 3_000
"""Sequence numbers a packet may be ahead and still belong to the stream: a minute of 20 ms packets (RFC 3550 A.1)."""

MAX_MISORDER = 512
"""Sequence numbers a packet may be behind and still be an old one of this stream. The RFC's 100 is two seconds of 20 ms packets;
a stalled path delivers older ones."""


class Jump(enum.Enum):
    """A sequence number that does not belong to the stream so far."""

    STRAY = "stray"  # the first of its kind: not trusted yet
    RESTARTED = "restarted"  # the second in a row: the sender counts from here now


class Reception:
    """Counts one source's packets. Sequence numbers become extended ones, which never wrap."""

    __slots__ = (
        "_first",
        "_jitter",
        "_last_now",
        "_last_sr",
        "_last_timestamp",
        "_measuring",
        "_received",
        "_reported_expected",
        "_reported_received",
        "_sr_at",
        "_suspect",
        "clock_rate",
        "highest",
        "ssrc",
    )

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        self.highest = -1  # extended
        self._first = 0
        self._suspect = -1
        self._received = 0
        self._reported_expected = 0
        self._reported_received = 0
        self._jitter = 0.0  # in clock ticks
        self._last_now = 0.0
        self._last_timestamp = 0
        self._measuring = False
        self._last_sr = 0
        self._sr_at = 0.0

    @property
    def jitter(self) -> float:
        """Interarrival jitter in seconds (A.8)."""
        return self._jitter / self.clock_rate

    @property
    def lost(self) -> int:
        """Packets lost since the beginning; duplicates count as received, so it may be negative (A.3)."""
        return self.highest - self._first + 1 - self._received if self.highest >= 0 else 0

    @property
    def expected(self) -> int:
        """Packets sent since the beginning, as far as their numbers tell."""
        return self.highest - self._first + 1 if self.highest >= 0 else 0

    def extend(self, sequence: int) -> int | Jump:
        """Count a packet and give its extended sequence number; or a Jump when the number does not fit the stream."""
        highest = self.highest
        step = (sequence - highest) & 0xFFFF
        if highest < 0:
            self._restart(sequence)
        elif step < MAX_DROPOUT:
            self.highest = highest + step
        elif step >= 0x10000 - MAX_MISORDER:
            self._received += 1
            return highest + step - 0x10000
        elif sequence == self._suspect:
            self._restart(sequence)
            self._received = 1
            return Jump.RESTARTED
        else:
            self._suspect = (sequence + 1) & 0xFFFF
            return Jump.STRAY
        self._received += 1
        return self.highest

    def follow(self, timestamp: int, now: float) -> None:
        """`extend` and `measure` in one for the audio packet with the next number."""
        self.highest += 1
        self._received += 1
        self.measure(timestamp, now)

    def measure(self, timestamp: int, now: float) -> None:
        """An audio packet with this RTP timestamp came `now`: the jitter estimate of A.8."""
        if self._measuring:
            ticks = (timestamp - self._last_timestamp) & 0xFFFFFFFF
            if ticks >= 0x80000000:
                ticks -= 0x100000000
            apart = abs((now - self._last_now) * self.clock_rate - ticks)
            # A sender that moves its timestamps by more than ten seconds changed its clock; that is no jitter.
            if apart < 10 * self.clock_rate:
                self._jitter += (apart - self._jitter) / 16
        self._measuring = True
        self._last_now = now
        self._last_timestamp = timestamp

    def change_clock(self, clock_rate: int) -> None:
        """The source goes on in a codec with another RTP clock; timestamps of the two can't be compared (RFC 7160)."""
        if clock_rate != self.clock_rate:
            self._jitter *= clock_rate / self.clock_rate
            self.clock_rate = clock_rate
        self._measuring = False

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        """The source said what it sent: our next report answers it, so that it can tell the round trip."""
        self._last_sr = middle(report.ntp)
        self._sr_at = now

    def report(self, now: float) -> ReportBlock:
        """The report block since the last one. Each call closes an interval."""
        expected = self.highest - self._first + 1 if self.highest >= 0 else 0
        interval_expected = expected - self._reported_expected
        interval_lost = interval_expected - (self._received - self._reported_received)
        self._reported_expected = expected
        self._reported_received = self._received
        fraction = min(255, (interval_lost << 8) // interval_expected) if interval_expected > 0 and interval_lost > 0 else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            packets_lost=expected - self._received,
            highest_sequence=max(0, self.highest) & 0xFFFFFFFF,
            jitter=min(int(self._jitter), 0xFFFFFFFF),
            last_sr=self._last_sr,
            delay_since_last_sr=min(int((now - self._sr_at) * 65_536), 0xFFFFFFFF) if self._last_sr else 0,
        )

    def _restart(self, sequence: int) -> None:
        self.highest = self._first = sequence
        self._suspect = -1
        self._received = 0
        self._reported_expected = self._reported_received = 0
