"""What is made ready ahead of its tick, against a model: whatever stalls, cuts and reports come in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from gateway.clock import GIVE_UP_AFTER, Clock
from gateway.events import MediaReport
from gateway.legs.webrtc.leg import WebRtcLeg, WebRtcSettings, answer
from gateway.legs.webrtc.sender import STALL
from gateway.legs.webrtc.speaking import AHEAD
from gateway.legs.webrtc.srtp import Srtp
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import PTIME, AudioFrame
from gateway.wire.rtp import ReportBlock, SenderReport, parse_rtcp, parse_rtp
from gateway.wire.sdp import parse_offer
from tests.legs.contract import Listener

OFFER = (Path(__file__).parent.parent / "wire" / "offers" / "chrome-engine.sdp").read_bytes()
KEY = bytes(range(30))
BEGAN = 1000.0


class Loop:
    """A loop with one timer, which rings as late as it is told to."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.ring: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.ring = when, callback

    def go(self, late: float) -> None:
        assert self.ring is not None
        when, callback = self.ring
        self.now = max(self.now, when) + late
        callback()


class Far:
    """A port, and the caller behind it: everything can be read, nothing comes twice, all is in order."""

    def __init__(self, loop: Loop) -> None:
        policy = Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_INBOUND)
        self._srtp = Session(policy)
        self._loop = loop
        self._last: tuple[int, int] | None = None
        self._spoken = 0.0
        self.words: list[int] = []
        self.packets = self.bytes = 0
        self.highest = 0

    def sendto(self, data: bytes, address: object) -> None:
        del address
        if 191 < data[1] < 224:
            report = parse_rtcp(self._srtp.unprotect_rtcp(data))[0]
            told = (report.packets, report.octets) if isinstance(report, SenderReport) else (0, 0)
            assert told == (self.packets, self.bytes), "what has left, and no more"
            return
        packet = parse_rtp(self._srtp.unprotect(data))
        if self._last is not None:
            sequence, timestamp = self._last
            assert packet.sequence == (sequence + 1) & 0xFFFF
            assert 0 < (packet.timestamp - timestamp) & 0xFFFFFFFF < 2**31
            assert (packet.timestamp - timestamp) % 960 == 0
            self._spoken += (packet.timestamp - timestamp & 0xFFFFFFFF) / 48_000
            assert abs(self._loop.now - self._spoken) < STALL + 2 * GIVE_UP_AFTER, "stamped with the time it leaves at"
        else:
            self._spoken = self._loop.now
        self._last = packet.sequence, packet.timestamp
        self.highest += 1
        self.packets += 1
        self.bytes += len(packet.payload)
        if number := int.from_bytes(packet.payload[:2], "little"):
            self.words.append(number)


class Talker(Listener):
    """A call with nothing but a mouth. Frame `n` ends with the sample `n`, and so does its packet's payload begin."""

    def __init__(self, leg: WebRtcLeg) -> None:
        super().__init__()
        self.leg = leg
        self.waiting: deque[int] = deque()
        self.said: list[int] = []
        self.unheard = 0
        self._next = 0

    def say(self, frames: int) -> None:
        self.waiting.extend(range(self._next + 1, self._next + frames + 1))
        self._next += frames

    def _frame(self) -> AudioFrame:
        number = self.waiting.popleft()
        self.said.append(number)
        return AudioFrame(bytes(958) + number.to_bytes(2, "little"), 24_000)

    def tick(self, now: float, late: float) -> None:
        del now, late
        if not self.waiting:
            self.leg.send(None)
            return
        self.leg.send(self._frame())
        if row := min(self.leg.room, len(self.waiting)):
            self.leg.prepare([self._frame() for _ in range(row)])

    def played(self, seconds: float) -> None:
        super().played(seconds)
        assert self.played_seconds <= (len(self.said) - len(self.ahead)) * PTIME + 1e-9, "nobody hears what has not left"

    def resynced(self) -> None:
        self.leg.resynced()

    def fail(self, exc: Exception) -> None:
        raise exc

    def cut(self) -> None:
        self.waiting.clear()
        unheard = round(self.leg.clear() / PTIME)
        del self.said[len(self.said) - unheard :]
        self.unheard += unheard


async def connected(loop: Loop, far: Far, first_sequence: int, place: int) -> tuple[WebRtcLeg, Talker]:
    mux = UdpMux(asyncio.get_running_loop(), ["192.0.2.1"], loop.time)
    leg, _ = await answer(parse_offer(OFFER), mux, WebRtcSettings(), loop.now)
    talker = Talker(leg)
    policy = Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_OUTBOUND)
    policy.allow_repeat_tx = True
    speaking: Any = leg._speaking
    speaking._place = place
    speaking.tx = Srtp(Session(policy))
    leg._ice.remote, leg._ice.port = ("192.0.2.2", 5000), far  # type: ignore[assignment]
    leg._ice.heard_at = float("inf")
    leg._sink = talker
    sender = leg._sender
    sender._sequence = first_sequence
    encode = sender._encode
    sender._encode = lambda pcm: pcm[-2:] + encode(pcm)
    return leg, talker


LATE = st.sampled_from([0.0] * 6 + [0.004, 0.018, 0.05, 0.099, 0.11, 0.16, 0.5, 3.0])
STEPS = st.one_of(
    st.tuples(st.just("ring"), st.lists(LATE, min_size=1, max_size=60)),
    st.tuples(st.just("say"), st.integers(1, 60)),
    st.tuples(st.just("cut"), st.none()),
    st.tuples(st.just("report"), st.none()),
    st.tuples(st.just("lossy"), st.integers(0, 255)),
    st.tuples(st.just("patience"), st.sampled_from([0.0, 0.04, 0.1])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=60), st.integers(65_400, 65_535), st.integers(0, AHEAD))
def test_nothing_is_lost_doubled_or_stale(steps: list[tuple[str, Any]], first_sequence: int, place: int) -> None:
    async def body() -> None:
        loop = Loop()
        far = Far(loop)
        leg, talker = await connected(loop, far, first_sequence, place)
        clock = Clock(loop)  # type: ignore[arg-type]
        clock.add(talker)

        def check() -> None:
            assert len(talker.ahead) <= AHEAD
            left = talker.said[: len(talker.said) - len(talker.ahead)]
            assert far.words == left, "each once, in order, and none that was taken back"
            leg._report(talker, loop.now)
            reports = [note for note in talker.notes if isinstance(note, MediaReport)]
            assert min(reports[-1].packets_out, reports[-1].bytes_out) >= 0
            assert sum(report.packets_out for report in reports) == far.packets
            assert sum(report.bytes_out for report in reports) == far.bytes

        for kind, value in [("say", 30), *steps, ("ring", [0.0] * 60)]:
            match kind:
                case "ring":
                    for late in value:
                        loop.go(late)
                case "say":
                    talker.say(value)
                case "cut":
                    talker.cut()
                    assert talker.played_seconds == pytest.approx(len(talker.said) * PTIME), "heard to where it was cut"
                case "lossy":
                    leg._sender.on_report(ReportBlock(leg._sender.ssrc, value, 0, first_sequence + far.highest, 0), loop.now)
                case "report":
                    leg._rtcp_due = loop.now
                case "patience":
                    talker.patience = value
            check()
        talker.cut()
        check()
        assert talker.played_seconds == pytest.approx(len(talker.said) * PTIME)
        assert talker.failed == []

    asyncio.run(body())
