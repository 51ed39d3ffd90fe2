"""What the receiver makes of packets, on its way to the call: at once when a packet brings it, by a timer when a hole gives up.

The clock's tick would look at holes only every 20 ms; the timer saves half of that on a network that loses packets, and costs
nothing on one that does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.legs.base import LegSink
from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.udp_mux import guarded
from gateway.media.audio import AudioFrame
from gateway.media.dtmf import Digit

EARLY = 0.001
"""Seconds by which a hole's deadline must have moved forward for its timer to be set anew."""


class Hearing:
    """Delivers one caller's audio and keys to the sink that `sink()` names; None: nobody wants any more. `fail` takes bugs."""

    def __init__(
        self,
        receiver: Receiver,
        clock: Callable[[], float],
        sink: Callable[[], LegSink | None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.fail = fail
        self.timer: asyncio.TimerHandle | None = None
        self._receiver = receiver
        self._clock = clock
        self._sink = sink
        self._begun = False

    def receive(self, packet: bytes, now: float, sink: LegSink, first: Callable[[], None]) -> None:
        """A plain RTP packet. `first()` is called before the first audio is delivered."""
        receiver = self._receiver
        frame = receiver.in_line(packet, now)
        if frame is not None and self._begun:
            sink.hear(frame)  # and nothing is held back
            return
        heard = (frame,) if frame is not None else receiver.out_of_line(packet, now)
        if heard:
            if not self._begun:
                self._begun = True
                first()
            self._deliver(heard, sink)
        if (until := receiver.gives_up_at) is not None:
            self._wake_at(until)

    def look(self, now: float, sink: LegSink) -> None:
        """On the call's tick: what is due without a packet."""
        deadline = self._receiver.deadline
        if deadline is not None and now >= deadline:
            self._deliver(self._receiver.poll(now), sink)

    def forget(self) -> None:
        """Nothing more is delivered by itself."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _wake_at(self, until: float) -> None:
        """Look at the hole then. One timer at a time: one that comes too early finds nothing due and sets itself again."""
        timer = self.timer
        if timer is not None:
            if timer.when() <= until + EARLY:
                return
            timer.cancel()
        self.timer = asyncio.get_running_loop().call_at(until, guarded, self, self._look_at_hole)

    def _look_at_hole(self) -> None:
        self.timer = None
        sink = self._sink()
        if sink is None:
            return
        heard = self._receiver.poll(self._clock())
        if heard:
            self._deliver(heard, sink)
        if (until := self._receiver.gives_up_at) is not None:
            self._wake_at(until)

    def _deliver(self, heard: Sequence[AudioFrame | Digit], sink: LegSink) -> None:
        for value in heard:
            if isinstance(value, Digit):
                sink.digit(value.digit, value.seconds)
            else:
                sink.hear(value)
