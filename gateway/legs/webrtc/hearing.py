"""What the receiver makes of packets, on its way to the call: at once when a packet brings it, by a timer when a hole gives up,
and called by the mux when nothing follows what waits.

The clock's tick would look at holes only every 20 ms; the timer saves half of that on a network that loses packets, and costs
nothing on one that does not.

Where the sink is patient, near the worker's capacity, packets wait for each other and are taken in a row: five packets of one
call one after another cost a quarter less than five of a hundred calls in turn, whose state has left the caches each time
(measured). Their times stay those of their arrival. A hole ends the waiting, for others wait for what comes behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import floor

from gateway.legs.base import LegSink
from gateway.legs.webrtc.inbox import Inbox, Waiting
from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.udp_mux import guarded
from gateway.media.audio import PTIME, AudioFrame
from gateway.media.dtmf import Digit

EARLY = 0.001
"""Seconds by which a hole's deadline must have moved forward for its timer to be set anew; and by which the timer is set late,
for uvloop's ring up to half a millisecond early, and one that finds nothing due would ring again and again until it is."""

LEAST_PATIENCE = 1.75 * PTIME
"""Seconds: below this no two packets would come together."""


class Hearing:
    """Delivers one caller's audio and keys to the sink that `sink()` names; None: nobody wants any more.

    `unprotect` makes an RTP packet of a datagram and the time it came, None of what is none of this caller's. `fail` takes
    bugs; `first` is called before the first audio is delivered. `place`, 0 to 1: where in every stretch of the sink's patience
    its packets are taken. Each call has its own, or calls that a stall has held up together would go on being taken all at once.
    """

    def __init__(
        self,
        receiver: Receiver,
        inbox: Inbox,
        waiting: Waiting,
        unprotect: Callable[[bytes, float], bytes | None],
        clock: Callable[[], float],
        sink: Callable[[], LegSink | None],
        fail: Callable[[Exception], None],
        first: Callable[[], None],
        *,
        place: float = 0.0,
    ) -> None:
        self.fail = fail
        self.timer: asyncio.TimerHandle | None = None
        self._receiver = receiver
        self._inbox = inbox
        self._waiting = waiting
        self._overdue_at = self._wakes_at = 0.0
        self._unprotect = unprotect
        self._clock = clock
        self._sink = sink
        self._first = first
        self._place = place
        self._begun = False

    def receive(self, datagram: bytes, now: float, sink: LegSink) -> None:
        """An SRTP or SRTCP packet, or what looks like one, that the inbox does not keep."""
        inbox = self._inbox
        if inbox.waiting:
            self._take(sink, (datagram, now))
        elif self._begun and (patience := sink.patience) >= LEAST_PATIENCE and self._receiver.gives_up_at is None:
            until = self._waits_until(now, patience)
            if until > now:
                inbox.until = until
                inbox.keeps(datagram, now)
                self._overdue_at = until + PTIME
                self._waiting.until(self._overdue_at, self)
            else:
                self._receive(datagram, now, sink)
        else:
            self._receive(datagram, now, sink)

    @property
    def deadline(self) -> float | None:
        """Loop time at which `look` has something to do; None: nothing, as yet."""
        return self._receiver.deadline

    def overdue(self, due: float) -> None:
        """See `Reader`: nothing has followed what waits."""
        if due == self._overdue_at and (sink := self._sink()) is not None:
            self._take(sink)

    def look(self, now: float, sink: LegSink) -> None:
        """What is due without a packet; called on the call's tick too."""
        due = self.deadline
        if due is not None and now >= due:
            self._take(sink)  # what waits comes before what is missing
            self._deliver(self._receiver.poll(now), sink)

    def forget(self) -> None:
        """Nothing more is delivered by itself."""
        self._inbox.take()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _waits_until(self, now: float, patience: float) -> float:
        """When a packet that comes is the last that one of now waits for."""
        turn = (floor(now / patience - self._place) + 1 + self._place) * patience
        # Half a packet's time early: the one that comes then is as old as the sink's patience allows when it is taken.
        return min(turn, now + patience - PTIME) - PTIME / 2

    def _take(self, sink: LegSink, *last: tuple[bytes, float]) -> None:
        """What waits, in a row, and what came `last`."""
        unprotect, in_line = self._unprotect, self._receiver.in_line
        row: list[AudioFrame] = []
        for datagram, at in (*self._inbox.take(), *last):
            packet = unprotect(datagram, at)
            if packet is None:
                continue
            frame = in_line(packet, at)
            if frame is not None:
                row.append(frame)
                continue
            if row:
                sink.hear_row(row)
                row = []
            self._out_of_line(packet, at, sink)
        if row:
            sink.hear_row(row)

    def _receive(self, datagram: bytes, now: float, sink: LegSink) -> None:
        packet = self._unprotect(datagram, now)
        if packet is None:
            return
        frame = self._receiver.in_line(packet, now) if self._begun else None
        if frame is not None:
            sink.hear(frame)  # and nothing is held back
        else:
            self._out_of_line(packet, now, sink)

    def _out_of_line(self, packet: bytes, now: float, sink: LegSink) -> None:
        receiver = self._receiver
        heard = receiver.out_of_line(packet, now)
        if heard:
            if not self._begun:
                self._begun = True
                self._first()
            self._deliver(heard, sink)
        if (until := receiver.gives_up_at) is not None:
            self._wake_at(until)

    def _wake_at(self, until: float) -> None:
        """Look at the hole then. One timer at a time: one that comes too early finds nothing due and sets itself again."""
        if self.timer is not None:
            if self._wakes_at <= until + EARLY:
                return
            self.timer.cancel()
        # Noted here: what uvloop gives for a moment that is past, as that of a packet that has waited may be, can't be asked.
        self._wakes_at = until
        self.timer = asyncio.get_running_loop().call_at(until + EARLY, guarded, self, self._look_at_hole)

    def _look_at_hole(self) -> None:
        self.timer = None
        sink = self._sink()
        if sink is None:
            return
        self.look(self._clock(), sink)
        if (until := self._receiver.gives_up_at) is not None:
            self._wake_at(until)

    def _deliver(self, heard: Sequence[AudioFrame | Digit], sink: LegSink) -> None:
        for value in heard:
            if isinstance(value, Digit):
                sink.digit(value.digit, value.seconds)
            else:
                sink.hear(value)
