"""Calls in real time against an emulator, with legs of no network: what breaks between gateway and model, and who notices.

A caller counts: numbered samples (`gateway.emulator.counting`), each caller from a number of its own, so that what the emulator
recorded says whose it was, what was lost on the way and what came twice. Or it talks, with pauses, as people do.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.call import Call
from gateway.clock import Clock
from gateway.emulator import Emulator
from gateway.emulator.counting import count, read_count
from gateway.emulator.faults import parse_options
from gateway.emulator.record import SessionRecord
from gateway.events import CallEnded, CallEvent, CallInfo, EndReason
from gateway.media.audio import PTIME, AudioFrame
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.wire.gemini_setup import Backend
from tests.audio import speech
from tests.fakes import FakeLeg

SPAN = 1 << 24
"""Samples of one caller's count: 17 minutes."""

RATE = 16_000
FRAME = round(RATE * PTIME)


class QuietLeg(FakeLeg):
    """A leg that remembers when it was sent what, but not the sound."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[float, float]] = []
        """(sent at, read from the model at) of every frame of speech."""

    def send(self, frame: AudioFrame | None) -> None:
        assert self.closed is None, "sent after close"
        if frame is not None:
            self.frames.append((asyncio.get_running_loop().time(), frame.at))
            if self.sink is not None:
                self.sink.played(frame.seconds)

    def tell(self, event: CallEvent) -> None:
        del event


def counting(number: int) -> Iterator[bytes]:
    """Frames of caller `number`'s count."""
    at = number * SPAN
    while True:
        yield count(at, FRAME)
        at += FRAME


def talking(seconds: float, pause: float, *, first: float = 0.0) -> Iterator[bytes]:
    """Frames of speech for so long, then silence for so long, and again; `first`: seconds of silence before it all."""
    said = speech(RATE, seconds)
    quiet = bytes(2 * FRAME)
    for _ in range(round(first / PTIME)):
        yield quiet
    while True:
        for at in range(0, len(said) - 2 * FRAME + 1, 2 * FRAME):
            yield said[at : at + 2 * FRAME]
        for _ in range(round(pause / PTIME)):
            yield quiet


@dataclass
class Caller:
    """One call and what was seen of it."""

    number: int
    call: Call
    leg: QuietLeg
    seen: list[tuple[float, CallEvent]] = field(default_factory=list)
    """(loop time, event)"""
    said: int = 0
    """Samples given to the call."""
    mute: bool = False
    """The caller says nothing more."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, kind: type) -> list[Any]:
        """The events of one type, in order."""
        return [event for _, event in self.seen if isinstance(event, kind)]

    def when(self, kind: type) -> list[float]:
        """The times of the events of one type."""
        return [at for at, event in self.seen if isinstance(event, kind)]

    @property
    def end(self) -> EndReason | None:
        """Why the call is over; None: it is not."""
        ends = self.of(CallEnded)
        return ends[0].reason if ends else None

    async def until(self, kind: type, number: int, patience: float) -> bool:
        """Wait for so many events of a type; False: they did not come in time, or the call is over."""
        try:
            async with asyncio.timeout(patience):
                while len(self.of(kind)) < number:
                    if self.end is not None:
                        return False
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return False
        return True


class House:
    """A registry of calls in front of an emulator."""

    def __init__(self, emulator: Emulator, model: GeminiModel, clock: Clock) -> None:
        self.emulator = emulator
        self.model = model
        self.loop = asyncio.get_running_loop()
        self.callers: list[Caller] = []
        self._by_id: dict[str, Caller] = {}
        self.registry = Registry(
            worker="w",
            max_calls=100,
            model=model,
            model_alias="model",
            clock=clock,
            observe=self._observe,
            loop=self.loop,
        )
        self._talking: set[asyncio.Task[None]] = set()

    def _observe(self, info: CallInfo, event: CallEvent) -> None:
        caller = self._by_id.get(info.call_id)
        if caller is not None:
            caller.seen.append((self.loop.time(), event))
            caller.news.set()

    def call(self, sound: Iterator[bytes] | None = None, profile: Profile | None = None) -> Caller:
        """Somebody calls and counts, or says what `sound` gives."""
        leg, number = QuietLeg(), len(self.callers) + 1
        call = self.registry.start(self.registry.admit(leg.kind), leg, profile or Profile())
        caller = Caller(number, call, leg)
        self.callers.append(caller)
        self._by_id[call.call_id] = caller
        task = asyncio.create_task(self._talk(caller, sound or counting(number)), name=f"caller {number}")
        self._talking.add(task)
        task.add_done_callback(self._talking.discard)
        return caller

    async def _talk(self, caller: Caller, sound: Iterator[bytes]) -> None:
        loop, leg = self.loop, caller.leg
        while leg.sink is None:
            await asyncio.sleep(0)
        caller.call.connected()
        due = loop.time()
        while not caller.call.over:
            await asyncio.sleep(max(0.0, due - loop.time()))
            if caller.call.over or caller.mute:
                return
            pcm = next(sound)
            caller.call.hear(AudioFrame(pcm, RATE, loop.time()))
            caller.said += len(pcm) // 2
            due += PTIME

    async def break_line(self, caller: Caller, words: str, patience: float = 30.0) -> bool:
        """Break the connection that hears this caller, as soon as there is one; False: the call is over, or it took too long."""
        try:
            async with asyncio.timeout(patience):
                while not (records := [record for record in self.records(caller) if record.ended is None]) or not self.fault(
                    records[-1], words
                ):
                    if caller.end is not None:
                        return False
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True

    def fault(self, record: SessionRecord, words: str) -> bool:
        """Break a running connection."""
        return self.emulator.break_session(record.session_id, parse_options(words))

    def records(self, caller: Caller) -> list[SessionRecord]:
        """The connections that heard this caller count, in order."""
        return [record for record in self.emulator.sessions if _whose(record) == caller.number]

    async def heard_out(self, patience: float = 10.0) -> None:
        """Everybody falls silent, and what those who count have said arrives: all but a chunk that is not full."""
        for caller in self.callers:
            caller.mute = True
        deadline = self.loop.time() + patience
        while self.loop.time() < deadline and any(self._behind(caller) for caller in self.callers):
            await asyncio.sleep(0.05)

    def _behind(self, caller: Caller) -> bool:
        records = self.records(caller)
        if not records or caller.call.over:
            return False
        last = read_count(records[-1].received[-6400:]).last
        return last is not None and caller.number * SPAN + caller.said - last > RATE // 10

    async def hang_up(self) -> None:
        """Everybody hangs up; ends when all calls have ended."""
        for caller in self.callers:
            caller.call.hang_up(EndReason.CALLER_HUNG_UP)
        async with asyncio.timeout(15):
            while len(self.registry) or self._talking:
                await asyncio.sleep(0.01)


def _whose(record: SessionRecord) -> int:
    pcm = record.received[:6400]
    first = read_count(pcm).first
    return -1 if first is None else first // SPAN


@asynccontextmanager
async def house(
    *, vertex: bool = False, key: str = "KEY", patience: float = 20.0, emulator: Emulator | None = None, **emulated: Any
) -> AsyncIterator[House]:
    """A house with an emulator of these settings, or the one given. All calls must have ended before it is left."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"record_seconds": 200.0, "keep_sessions": 2000, "first_chunk": 0.1, "setup_delay": 0.05}
        if emulator is None:
            emulator = await stack.enter_async_context(Emulator(**(settings | emulated)))
        model = GeminiModel(
            GeminiSettings(
                key,
                base_url=emulator.base_url,
                ca_file=str(emulator.ca_file),
                patience=patience,
                backend=Backend.VERTEX if vertex else Backend.DEVELOPER,
                api_version="v1beta1" if vertex else "v1beta",
            )
        )
        stack.push_async_callback(model.close)
        await model.warm_up()
        clock = Clock(asyncio.get_running_loop())
        stack.callback(clock.stop)
        yield House(emulator, model, clock)


@dataclass(frozen=True, slots=True)
class Tape:
    """What the emulator heard of one caller, over all connections. Seconds."""

    lost: tuple[float, ...]
    """At each place where the count jumped ahead."""
    doubled: tuple[float, ...]
    """At each place where it jumped back."""
    foreign: float
    missing: float
    """At the beginning and the end."""


def tape(house: House, caller: Caller) -> Tape:
    """The account of a caller's count, once the call is over."""
    report = read_count(b"".join(record.received for record in house.records(caller)))
    assert report.first is not None, "nothing was heard"
    assert report.last is not None
    begin = caller.number * SPAN
    jumps = [jump.lost / RATE for jump in report.jumps]
    return Tape(
        lost=tuple(jump for jump in jumps if jump > 0),
        doubled=tuple(-jump for jump in jumps if jump < 0),
        foreign=report.foreign / RATE,
        missing=(report.first - begin + begin + caller.said - 1 - report.last) / RATE,
    )


def percentile(values: list[float], share: float) -> float:
    """0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def open_files() -> int:
    """Of this process."""
    return len(os.listdir("/proc/self/fd"))


def draw(*what: object) -> random.Random:
    """Chance that comes out the same for the same words."""
    return random.Random(":".join(str(word) for word in what))
