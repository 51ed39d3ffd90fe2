"""What every leg promises its call, as checks that any leg can be put through. A new leg adds a row in test_leg_contract.py.

A row makes a connected pair: the leg under test with a `Listener` as its sink, and the far end, whatever it is made of.
Real sockets, so the real clock; every wait is for an event, with a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np

from gateway.events import CallEvent, ClientMessage, EndReason, ModelSaid, SetupStage, StageReached
from gateway.legs.base import Ability, Leg
from gateway.media.audio import MODEL_INPUT_RATE, PTIME, AudioFrame
from tests.audio import floats, tone

DEADLINE = 30.0


class Listener:
    """A sink that remembers, and checks what may not happen."""

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.digits: list[str] = []
        self.played_seconds = 0.0
        self.messages: list[ClientMessage] = []
        self.notes: list[CallEvent] = []
        self.reasons: list[EndReason] = []
        self.failed: list[Exception] = []
        self.connections = 0
        self.bug: Exception | None = None
        self.muted = False
        self.patience = 0.0
        self.ahead: deque[Callable[[], None]] = deque()
        self._news = asyncio.Event()

    def _alive(self) -> None:
        assert not self.reasons, "nothing is told after gone"
        assert not self.muted, "nothing is told after close"
        self._news.set()

    def connected(self) -> None:
        self._alive()
        assert not self.frames, "connected comes before audio"
        self.connections += 1

    def hear(self, frame: AudioFrame) -> None:
        self._alive()
        assert self.connections == 1
        assert frame.rate == MODEL_INPUT_RATE
        assert frame.samples > 0
        if self.bug is not None:
            raise self.bug
        self.frames.append(frame)

    def hear_row(self, frames: Sequence[AudioFrame]) -> None:
        for frame in frames:
            self.hear(frame)

    def digit(self, digit: str, seconds: float) -> None:
        self._alive()
        assert seconds > 0
        self.digits.append(digit)

    def played(self, seconds: float) -> None:
        self._alive()
        assert seconds > 0
        self.played_seconds += seconds

    def message(self, value: ClientMessage) -> None:
        self._alive()
        self.messages.append(value)

    def note(self, event: CallEvent) -> None:
        self._alive()
        self.notes.append(event)

    def fail(self, exc: Exception) -> None:
        self._alive()
        self.failed.append(exc)

    def gone(self, reason: EndReason) -> None:
        self._alive()
        self.reasons.append(reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something told makes `condition` true."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    @property
    def heard(self) -> bytes:
        """All audio so far."""
        return b"".join(frame.pcm for frame in self.frames)

    @property
    def seconds(self) -> float:
        """Its duration."""
        return sum(frame.seconds for frame in self.frames)


class FarEnd(Protocol):
    """The caller, as a check sees it."""

    async def say(self, pcm: bytes) -> None:
        """Speak PCM16 mono at 16 kHz, in real time."""

    async def heard(self, seconds: float) -> bytes:
        """Wait until so much audible or inaudible audio has come; PCM16 mono at the leg's rate, all of it so far."""

    async def press(self, digit: str) -> None:
        """Press a key."""

    async def hang_up(self) -> None:
        """End the call in the ordinary way."""

    async def vanish(self) -> None:
        """Fall silent for ever, without a word."""

    async def saw_hangup(self) -> int:
        """Wait until the gateway has ended the call; how many times it said so."""


class Pair(Protocol):
    """What a row makes."""

    @property
    def leg(self) -> Leg:
        """Connected, unless the row was asked not to start it."""

    @property
    def sink(self) -> Listener:
        """Where the leg delivers."""

    @property
    def far(self) -> FarEnd:
        """The other end."""


class Make(Protocol):
    """A row."""

    __name__: str

    def __call__(self, *, patience: float = 15.0) -> AbstractAsyncContextManager[Pair]:
        """A connected pair. `patience`: seconds of complete silence after which the leg gives its caller up."""


@contextlib.asynccontextmanager
async def ticking(
    leg: Leg, frames: list[AudioFrame | None] | None = None, sink: Listener | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Send `frames`, then silence, one each 20 ms, as a call's clock does; with its `sink`, in rows where the leg has room."""
    waiting = list(frames or [])
    ahead = sink.ahead if sink is not None else None

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if ahead:
                ahead.popleft()()
            else:
                leg.send(waiting.pop(0) if waiting else None)
                if ahead is not None and (row := [frame for frame in waiting[: leg.room] if frame is not None]):
                    del waiting[: len(row)]
                    leg.prepare(row)
            due += PTIME
            await asyncio.sleep(due - loop.time())

    task = asyncio.ensure_future(tick())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()  # a leg's send never raises


def cut(pcm: bytes, rate: int) -> list[AudioFrame | None]:
    """Frames of 20 ms."""
    size = 2 * round(rate * PTIME)
    return [AudioFrame(pcm[i : i + size], rate) for i in range(0, len(pcm) - size + 1, size)]


def pitch(pcm: bytes, rate: int) -> float:
    """The strongest frequency in it, in Hz."""
    samples = floats(pcm)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


# --- the checks ---


async def hears_the_caller(pair: Pair) -> None:
    """Continuous audio at 16 kHz, in order."""
    async with ticking(pair.leg):
        await pair.far.say(tone(440, MODEL_INPUT_RATE, 1.0))
        await pair.sink.until(lambda: pair.sink.seconds > 0.9)
    middle = pair.sink.heard[MODEL_INPUT_RATE // 2 : -MODEL_INPUT_RATE // 4]
    assert abs(pitch(middle, MODEL_INPUT_RATE) - 440) < 8
    assert pair.sink.connections == 1
    assert pair.sink.failed == []


async def is_heard_by_the_caller(pair: Pair) -> None:
    """What is sent comes out at the other end, and its playing is told, no more and no less of it."""
    rate = pair.leg.rate
    async with ticking(pair.leg, cut(tone(600, rate, 1.0), rate), pair.sink):
        heard = await pair.far.heard(1.0)
        await pair.sink.until(lambda: pair.sink.played_seconds > 0.99)
    assert abs(pitch(heard[rate // 2 : rate], rate) - 600) < 8
    assert abs(pair.sink.played_seconds - 1.0) < 1e-6


async def silence_is_no_sound(pair: Pair) -> None:
    """None frames keep the line alive and are not heard as anything."""
    async with ticking(pair.leg):
        await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 2))
        heard = await pair.far.heard(0.02)
    assert np.abs(floats(heard)).max() < 200
    assert pair.sink.played_seconds == 0.0


async def clear_accounts_for_every_second(pair: Pair) -> None:
    """After a barge-in all that was sent is either played or given back as unheard, and nothing stale follows."""
    rate = pair.leg.rate
    for frame in cut(tone(600, rate, 0.2), rate):
        pair.leg.send(frame)
    row = [frame for frame in cut(tone(600, rate, 1.0), rate)[: pair.leg.room] if frame is not None]
    if row:
        pair.leg.prepare(row)
    unheard = pair.leg.clear()
    assert unheard >= len(row) * PTIME
    assert abs(pair.sink.played_seconds + unheard - 0.2 - len(row) * PTIME) < 1e-6
    assert not pair.sink.ahead, "nothing that was prepared may leave any more"
    assert pair.leg.clear() == 0.0, "there is nothing left to clear"
    before = pair.sink.played_seconds
    async with ticking(pair.leg):
        await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 4))
    assert pair.sink.played_seconds == before


async def the_caller_hangs_up(pair: Pair) -> None:
    """Gone, once, and soon; nothing is told afterwards (the Listener sees to it)."""
    async with ticking(pair.leg):
        await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 10))
        async with asyncio.timeout(2.0):
            await pair.far.hang_up()
            await pair.sink.until(lambda: bool(pair.sink.reasons))
        assert pair.sink.reasons[0] in (EndReason.CALLER_GONE, EndReason.CALLER_HUNG_UP)
        assert pair.leg.room == 0, "there is nobody to prepare anything for"
        await pair.leg.close(EndReason.CALLER_GONE)
        pair.leg.send(None)
    assert len(pair.sink.reasons) == 1


async def the_caller_vanishes(pair: Pair) -> None:
    """Nobody says goodbye: the leg notices by itself, in the middle of an answer."""
    async with ticking(pair.leg, cut(tone(600, pair.leg.rate, 3.0), pair.leg.rate), pair.sink):
        await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 10))
        await pair.far.vanish()
        await pair.sink.until(lambda: bool(pair.sink.reasons))
        await pair.leg.close(pair.sink.reasons[0])
    assert pair.sink.reasons == [EndReason.MEDIA_TIMEOUT]


async def close_twice_is_close_once(pair: Pair) -> None:
    """The second caller waits for the first, and the far end is told once."""
    await asyncio.gather(pair.leg.close(EndReason.MODEL_HUNG_UP), pair.leg.close(EndReason.CRASHED))
    pair.sink.muted = True
    await pair.leg.close(EndReason.MODEL_HUNG_UP)
    assert await pair.far.saw_hangup() == 1
    assert pair.sink.reasons == [], "we ended it: nobody is gone"
    pair.leg.send(None)
    pair.leg.tell(ModelSaid("too late"))


async def a_bug_in_the_call_is_the_calls(pair: Pair) -> None:
    """The sink raises: it is told so as its own failure; the leg lives on and can be closed."""
    pair.sink.bug = ZeroDivisionError("a bug")
    async with ticking(pair.leg):
        await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.3))
        await pair.sink.until(lambda: bool(pair.sink.failed))
    assert isinstance(pair.sink.failed[0], ZeroDivisionError)
    await pair.leg.close(EndReason.CRASHED)
    assert await pair.far.saw_hangup() == 1


async def setup_is_told_in_stages(pair: Pair) -> None:
    """Each stage once, with times that add up."""
    async with ticking(pair.leg):
        await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 4))
        await pair.sink.until(lambda: pair.sink.seconds > 0.1)
    stages = [note for note in pair.sink.notes if isinstance(note, StageReached)]
    assert stages[-1].stage is SetupStage.FIRST_RTP_IN
    assert len({stage.stage for stage in stages}) == len(stages)
    assert abs(sum(stage.seconds for stage in stages) - stages[-1].total) < 1e-6
    assert stages[-1].total < DEADLINE


async def keys_are_digits(pair: Pair) -> None:
    """A key pressed by the caller is told once, and is not audio."""
    async with ticking(pair.leg):
        await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 10))
        await pair.far.press("7")
        await pair.sink.until(lambda: bool(pair.sink.digits))
        await pair.far.press("#")
        await pair.sink.until(lambda: len(pair.sink.digits) > 1)
    assert pair.sink.digits == ["7", "#"]


async def abilities_are_kept(pair: Pair) -> None:
    """What a leg can do is a set of abilities, and a rate that a call may know before the first frame."""
    assert all(isinstance(ability, Ability) for ability in pair.leg.can)
    assert pair.leg.rate in (8_000, 16_000, 24_000)
    if Ability.TELL in pair.leg.can:
        pair.leg.tell(ModelSaid("words"))


PATIENCE = {the_caller_vanishes: 1.0}
"""Seconds, where a check would otherwise take long."""

CHECKS: list[Callable[[Pair], Awaitable[None]]] = [
    hears_the_caller,
    is_heard_by_the_caller,
    silence_is_no_sound,
    clear_accounts_for_every_second,
    the_caller_hangs_up,
    the_caller_vanishes,
    close_twice_is_close_once,
    a_bug_in_the_call_is_the_calls,
    setup_is_told_in_stages,
    keys_are_digits,
    abilities_are_kept,
]


# --- nothing is left ---


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


async def leaves_nothing_behind(make: Make) -> None:
    """After a call, and after one that never connected, there are the tasks, threads and descriptors of before."""
    async with make() as pair:  # once to warm up whatever is made once
        await pair.leg.close(EndReason.CALLER_HUNG_UP)
    tasks, threads, open_before = asyncio.all_tasks(), set(threading.enumerate()), descriptors()
    for _ in range(3):
        async with make() as pair:
            async with ticking(pair.leg):
                await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 10))
            await pair.leg.close(EndReason.CALLER_HUNG_UP)
            pair.sink.muted = True
    assert asyncio.all_tasks() == tasks
    assert set(threading.enumerate()) <= threads
    assert descriptors() <= open_before
