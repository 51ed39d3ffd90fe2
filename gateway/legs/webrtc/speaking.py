"""What the call says, on its way to the caller: encoded, protected and sent on its tick, or made ready for one of the next.

Ten frames of one call made ready one after another are cheaper than ten of a hundred calls in turn, whose state has left the
caches each time, and on nine of ten ticks the call is not touched at all: a twelfth of what a call costs near capacity
(measured).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from gateway.legs.webrtc.ice import MuxConnection
from gateway.legs.webrtc.rough import Rough
from gateway.legs.webrtc.sender import Sender
from gateway.legs.webrtc.srtp import Srtp
from gateway.media.audio import PTIME, AudioFrame

AHEAD = 9
"""Frames made ready along with one, 180 ms: a barge-in throws the work away, and a change of the caller's address comes too late
for them."""

ROUND = AHEAD + 1
"""Ticks."""

FAR_BUFFER = 0.06
"""Seconds that a browser's jitter buffer adds on a quiet network, before what we sent is heard."""


class Speaking:
    """The outbound half of one leg, with its socket. `to_somebody`: the far end takes audio at all.

    `place`, 0 to `AHEAD`: on which tick of every round its frames are made ready. Each call has its own, or calls that a stall
    has held up together would go on being busy all at once.
    """

    def __init__(self, sender: Sender, ice: MuxConnection, *, to_somebody: bool, place: int = 0) -> None:
        self.tx: Srtp | None = None
        """None before the keys, and again at the end: nothing is sent."""
        self._sender = sender
        self._ice = ice
        self._to_somebody = to_somebody
        self._place = place
        self._in_flight: deque[float] = deque()  # when each frame is heard; a second of it at most

    def send(self, frame: AudioFrame | None, now: float, rough: Rough | None) -> None:
        """The packet of this tick, if it has one. `rough` may lose it."""
        tx = self.tx
        if tx is None:
            return
        packet = self._sender.packet(frame, now) if self._to_somebody else None
        if packet is not None:
            ice = self._ice
            remote, port = ice.remote, ice.port
            if remote is not None and port is not None:
                protected = tx.protect(packet)
                if rough is None or not rough.loses_out(now):
                    port.sendto(protected, remote)
        if frame is not None:
            self._in_flight.append(now + FAR_BUFFER + (self._sender.rtt or 0.0) / 2)

    def room(self, now: float) -> int:
        """Frames that `prepare` would take: a few of Opus, up to this call's place in the round, when somebody hears them."""
        if not self._to_somebody or not self._sender.prepares or self.tx is None or self._ice.remote is None:
            return 0
        return AHEAD - (int(now / PTIME) + self._place) % ROUND

    def prepare(self, frames: Iterable[AudioFrame], now: float) -> list[Callable[[], None]]:
        """Make the packets of the ticks after this one, which was at `now`; gives what sends each."""
        tx, remote, port = self.tx, self._ice.remote, self._ice.port
        if tx is None or remote is None or port is None:
            return []
        send, protect, in_flight = port.sendto, tx.protect, self._in_flight
        heard_at = now + FAR_BUFFER + (self._sender.rtt or 0.0) / 2
        ready: list[Callable[[], None]] = []
        for packet in self._sender.prepare(frames, now):
            heard_at += PTIME
            in_flight.append(heard_at)
            ready.append(partial(send, protect(packet), remote))
        return ready

    def take_back(self, unsent: int) -> list[AudioFrame]:
        """The last `unsent` frames that were prepared, which have not left and will not."""
        for _ in range(unsent):
            self._in_flight.pop()
        return self._sender.rewind(unsent)

    def heard(self, now: float, unsent: int) -> float:
        """Seconds that the caller has heard by now of what was sent, each told once. `unsent`: prepared frames, perhaps overdue,
        that have not left."""
        in_flight = self._in_flight
        frames = 0
        while len(in_flight) > unsent and in_flight[0] <= now:
            in_flight.popleft()
            frames += 1
        return frames * PTIME

    def forget(self) -> float:
        """What is on its way can't be called back; its seconds. Nothing is told of it any more."""
        on_the_way = len(self._in_flight) * PTIME
        self._in_flight.clear()
        return on_the_way

    def control(self, packet: bytes) -> None:
        """Protect and send a compound RTCP packet."""
        remote, port = self._ice.remote, self._ice.port
        if self.tx is not None and remote is not None and port is not None:
            port.sendto(self.tx.protect_rtcp(packet), remote)
