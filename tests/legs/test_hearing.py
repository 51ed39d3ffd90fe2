"""What the receiver makes of packets reaches the sink: at once, or together where the sink is patient."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.legs.webrtc.hearing import Hearing
from gateway.legs.webrtc.inbox import MAX_WAITING, Inbox, Waiting
from gateway.legs.webrtc.receiver import Receiver
from gateway.media.audio import PTIME, AudioFrame
from tests import clock
from tests.legs.contract import Listener
from tests.legs.test_in_line import OPUS, TICKS, header, payloads


class Line:
    """A caller's packets into a `Hearing` in fake time, looked at every 20 ms as the clock does."""

    def __init__(self, patience: float, place: float = 0.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.sink = Listener()
        self.sink.connections = 1
        self.sink.patience = patience
        self.arrivals: list[tuple[float, float]] = []  # (frame's `at`, when it was heard)
        self.begun = 0
        self.inbox, self.waiting = Inbox(), Waiting()
        self.hearing = Hearing(
            Receiver([OPUS]),
            self.inbox,
            self.waiting,
            self.unprotect,
            self.loop.time,
            lambda: self.sink,
            self.fail,
            self.first,
            place=place,
        )

    def unprotect(self, datagram: bytes, at: float) -> bytes | None:
        """Anything counts as forged that does not begin like RTP."""
        assert at <= self.loop.time()
        return datagram if datagram[0] >> 6 == 2 else None

    def fail(self, exc: Exception) -> None:
        raise exc

    def first(self) -> None:
        self.begun += 1

    @property
    def frames(self) -> list[AudioFrame]:
        return self.sink.frames

    def packet(self, number: int, *, padded: bool = False) -> None:
        heard = len(self.frames)
        datagram, now = header(111, number, number * TICKS, 7) + payloads()[number % 90], self.loop.time()
        if padded:  # RFC 3550 §5.1
            datagram = bytes([datagram[0] | 0x20]) + datagram[1:] + b"\0\0\3"
        if not self.inbox.keeps(datagram, now):  # as the mux does
            self.hearing.receive(datagram, now, self.sink)
        self.arrivals += [(frame.at, self.loop.time()) for frame in self.frames[heard:]]

    def look(self) -> None:
        heard, now = len(self.frames), self.loop.time()
        while (overdue := self.waiting.next_due(now)) is not None:  # as the mux does
            due, reader = overdue
            reader.overdue(due)
        self.hearing.look(now, self.sink)
        self.arrivals += [(frame.at, self.loop.time()) for frame in self.frames[heard:]]

    async def play(self, packets: Sequence[tuple[float, int]], seconds: float) -> None:
        """(when, number) of each packet; looks in between."""
        began = self.loop.time()
        looks = [(n * PTIME + 0.007, -1) for n in range(round(seconds / PTIME))]
        for at, number in sorted([*packets, *looks]):
            await asyncio.sleep(began + at - self.loop.time())
            if number < 0:
                self.look()
            else:
                self.packet(number)


def in_time(count: int) -> list[tuple[float, int]]:
    return [(number * PTIME, number) for number in range(count)]


@pytest.mark.parametrize(("patience", "together"), [(0.0, 1), (0.02, 1), (0.04, 2), (0.06, 3), (0.08, 4), (0.1, 5)])
def test_frames_come_together_as_far_as_the_sink_is_patient(patience: float, together: int) -> None:
    async def body() -> None:
        line = Line(patience)
        await line.play(in_time(1 + 60), 1.3)
        assert line.begun == 1
        heard = [at for _, at in line.arrivals]
        sizes = [heard.count(at) for at in dict.fromkeys(heard)]
        assert sizes == [1] + [together] * (60 // together), "the first at once, then in rows"
        assert max(at - came for came, at in line.arrivals) == pytest.approx((together - 1) * PTIME)

    clock.run(body())


def test_waiting_changes_nothing_but_when_frames_are_heard() -> None:
    """Of packets like all others, and of such among them that take the longer way."""

    async def body(patience: float) -> list[AudioFrame]:
        line = Line(patience)
        for number in range(200):
            line.packet(number, padded=number % 7 == 3)
            await asyncio.sleep(PTIME)
        return line.frames

    at_once, together = clock.run(body(0.0)), clock.run(body(0.1))
    assert len(together) >= 195
    assert together == at_once[: len(together)]


@pytest.mark.parametrize("place", [0.0, 0.23, 0.5, 0.87])
def test_each_call_has_its_own_place_at_which_its_packets_are_taken(place: float) -> None:
    """Whatever has held it up, and no frame is later for it than patience allows."""

    async def body() -> None:
        line = Line(0.1, place)
        arrivals = [(0.9 if 0.5 < n * PTIME < 0.9 else n * PTIME + 0.003, n) for n in range(150)]
        await line.play(arrivals, 3.0)
        heard_at = sorted({round(heard, 4) for _, heard in line.arrivals if heard > line.loop.time() - 1.5})
        assert len(heard_at) >= 14
        for moment in heard_at:
            beyond = moment / 0.1 - place - round(moment / 0.1 - place)
            assert -0.21 <= beyond <= 0.11, "from a packet's time before its place to half a one after it"
        assert max(heard - at for at, heard in line.arrivals) <= 0.1 + PTIME

    clock.run(body())


def test_a_packet_that_does_not_come_is_not_waited_for() -> None:
    async def body() -> None:
        line = Line(0.1)
        await line.play(in_time(3), 0.2)  # the first is heard at once, two wait
        assert [frame.at - clock.START for frame in line.frames] == pytest.approx([0.0, 0.02, 0.04])
        assert max(at - came for came, at in line.arrivals) <= 0.1 + PTIME

    clock.run(body())


def test_nobody_waits_behind_a_hole() -> None:
    """A packet is missing on a network that disorders them: what comes behind is taken at once until that is settled."""

    async def body() -> None:
        line = Line(0.1)
        # Packet 20 comes 70 ms after 21 came: the buffer learns to wait for such. Packet 41 then never comes.
        packets = [(at + (0.09 if number == 20 else 0.0), number) for at, number in in_time(61) if number != 41]
        await line.play(packets, 1.5)
        behind = [at - came for came, at in line.arrivals if 1000.9 < came < 1001.0]
        assert behind
        assert max(behind) < 0.15
        assert sum(frame.seconds for frame in line.frames) == pytest.approx(61 * PTIME, abs=0.26)

    clock.run(body())


@pytest.mark.parametrize("place", [0.0, 0.25, 0.5, 0.75])
def test_a_hole_that_is_found_after_it_should_have_been_given_up(place: float) -> None:
    """Packets are overtaken by 60 ms, until that is waited for; then they are lost, and what shows it has itself waited."""

    async def body() -> None:
        line = Line(0.1, place)
        for number in range(5):
            line.packet(number)
            await asyncio.sleep(PTIME)
        for first in range(5, 5 + 8 * 14, 8):
            second = first + 1 if first < 5 + 8 * 8 else None
            for number in (first, first + 2, first + 3, first + 4, second, first + 5, first + 6, first + 7):
                if number is not None:
                    line.packet(number)
                    line.look()
                await asyncio.sleep(PTIME)
        assert sum(frame.seconds for frame in line.frames) == pytest.approx((5 + 8 * 14) * PTIME, abs=0.15)
        line.hearing.forget()

    clock.run(body())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_on_any_network_the_same_time_is_heard(seed: int) -> None:
    """Loss, jitter and bursts: the audio goes on in real time whether packets wait for each other or not. What is still being
    filled at the end may be behind by as much as the sink is patient."""
    draw = random.Random(seed)
    loss, jitter = draw.choice((0.0, 0.05, 0.3)), draw.choice((0.0, 0.03, 0.15))
    packets = [(at + draw.uniform(0, jitter), number) for at, number in in_time(150) if number < 2 or draw.random() >= loss]

    async def body(patience: float) -> float:
        line = Line(patience)
        await line.play(packets, 4.0)
        line.hearing.forget()
        return sum(frame.seconds for frame in line.frames)

    assert clock.run(body(0.1)) == pytest.approx(clock.run(body(0.0)), abs=0.1 + PTIME)


def test_what_is_none_of_the_callers_changes_nothing() -> None:
    """Forged datagrams from a proven address: between the caller's own, first of them and last."""

    async def body(forged: bool) -> list[AudioFrame]:
        line = Line(0.1)
        for number in range(50):
            for _ in range(2 if forged else 0):
                if not line.inbox.keeps(b"forged", line.loop.time()):
                    line.hearing.receive(b"forged", line.loop.time(), line.sink)
            line.packet(number)
            await asyncio.sleep(PTIME)
            line.look()
        line.hearing.forget()
        return line.frames

    plain, among = clock.run(body(False)), clock.run(body(True))
    assert len(among) >= 45
    assert among == plain[: len(among)] or plain == among[: len(plain)]


def test_a_burst_does_not_wait_without_bound() -> None:
    async def body() -> None:
        line = Line(0.1)
        line.packet(0)
        taken = 3 * (MAX_WAITING + 1)  # with the one that has no room any more
        for number in range(1, taken + 2):
            line.packet(number)
        assert len(line.frames) == 1 + taken, "one waits"
        await asyncio.sleep(0.1 + PTIME / 2)
        line.look()
        assert len(line.frames) == 2 + taken, "nothing has followed it"

    clock.run(body())


def test_nobody_is_told_what_waited_for_a_call_that_is_over() -> None:
    async def body() -> None:
        line = Line(0.1)
        await line.play(in_time(3), 0.05)
        line.hearing.forget()
        line.packet(3)
        heard = len(line.frames)
        line.sink = None  # type: ignore[assignment]
        while (overdue := line.waiting.next_due(line.loop.time() + 1.0)) is not None:
            due, reader = overdue
            reader.overdue(due)
        assert heard == 1, "the first; and one waits"

    clock.run(body())
