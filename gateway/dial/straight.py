"""Straight to the model: a call of this process with a leg that needs no network.

It is the gateway's own call, with its own model session; only the media path is missing. So what is reported and saved has the
form it has with a gateway in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import av

from gateway.dial.caller import CLIENT_READY, Caller
from gateway.dial.errors import DialError
from gateway.dial.sound import Recording, samples_of
from gateway.events import CallEvent, EndReason, LegKind
from gateway.legs.base import Ability, LegSink
from gateway.media.audio import MODEL_INPUT_RATE, MODEL_OUTPUT_RATE, PTIME, AudioFrame
from gateway.profile import DEFAULT_PROFILE, Profile
from gateway.registry import Registry
from gateway.wire.rtvi import RtviSession, parse

END_TIMEOUT = 10.0
"""Seconds for a call that was hung up to be over."""

SILENCE = bytes(round(MODEL_OUTPUT_RATE * PTIME) * 2)


@dataclass(frozen=True, slots=True)
class House:
    """What a call needs that is not the caller's: who answers, with which profiles, and the model's name for people."""

    registry: Registry
    profiles: Mapping[str, Profile]
    name: str


OpenHouse = Callable[[], AbstractAsyncContextManager[House]]


class TerminalLeg:
    """Implements `Leg` for the caller at this terminal."""

    kind = LegKind.WEBRTC  # a label for metrics, and this process has none
    rate = MODEL_OUTPUT_RATE
    can = frozenset({Ability.CONTINUOUS, Ability.TELL})
    room = 0

    def __init__(self, caller: Caller, ears: Recording, hush: Callable[[], None]) -> None:
        self._caller = caller
        self._ears = ears
        self._hush = hush
        self._rtvi = RtviSession(lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"))
        self._sink: LegSink | None = None
        self._over = False

    def start(self, sink: LegSink) -> None:
        """See `Leg`."""
        self._sink = sink
        ready = parse(CLIENT_READY)
        assert ready is not None, "it is one of ours"
        self._read(self._rtvi.heard(ready))
        # The call starts its leg in the middle of its own beginning: what the leg says comes after that.
        asyncio.get_running_loop().call_soon(self._connected)

    def _connected(self) -> None:
        if self._sink is not None and not self._over:
            self._sink.connected()
            self._caller.state("connected")

    def hear(self, pcm: bytes, at: float) -> None:
        """What the caller says: PCM16 mono 16 kHz."""
        if self._sink is not None and pcm and not self._over:
            self._sink.hear(AudioFrame(pcm, MODEL_INPUT_RATE, at))

    def hang_up(self) -> None:
        """The caller has had enough."""
        if self._sink is not None and not self._over:
            self._over = True
            self._sink.gone(EndReason.CALLER_HUNG_UP)

    def send(self, frame: AudioFrame | None) -> None:
        """See `Leg`."""
        self._ears.append(frame.pcm if frame is not None else SILENCE)
        if frame is not None and self._sink is not None:
            self._sink.played(frame.seconds)

    def prepare(self, frames: Sequence[AudioFrame]) -> None:
        """See `Leg`: it has no room."""
        raise AssertionError(f"a terminal hears no {len(frames)} frames ahead")

    def resynced(self) -> None:
        """See `Leg`: nothing is ever ahead."""

    def clear(self) -> float:
        """See `Leg`."""
        self._hush()
        return 0.0

    def tell(self, event: CallEvent) -> None:
        """See `Leg`."""
        self._read(self._rtvi.tell(event))

    def send_digits(self, digits: str) -> None:
        """See `Leg`: it can't."""
        raise AssertionError(f"a terminal takes no digits: {digits}")

    async def transfer(self, target: str) -> None:
        """See `Leg`: it can't."""
        raise AssertionError(f"a terminal goes nowhere: {target}")

    async def close(self, reason: EndReason) -> None:
        """See `Leg`."""
        self._over = True
        self._read(self._rtvi.ended(reason))

    def _read(self, messages: list[str]) -> None:
        for message in messages:
            self._caller.message(message)


@asynccontextmanager
async def connected(
    open_house: OpenHouse, profile: str, caller: Caller, ears: Recording, hush: Callable[[], None]
) -> AsyncIterator[tuple[str, str]]:
    """A call inside the block: whom it is with, and its id. Raises DialError, and ConfigError when the house can't be opened."""
    async with open_house() as house:
        found = house.profiles.get(profile or DEFAULT_PROFILE)
        if found is None:
            raise DialError(f"no profile is called {profile!r}; there are {', '.join(house.profiles)}")
        leg = TerminalLeg(caller, ears, hush)
        call = house.registry.start(house.registry.admit(leg.kind), leg, found)
        talking = asyncio.create_task(_talk(caller, leg), name="caller")
        try:
            await caller.media()
            yield house.name, call.call_id
        finally:
            leg.hang_up()
            talking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await talking
            caller.mouth.stop()
            await house.registry.drain(END_TIMEOUT)


async def _talk(caller: Caller, leg: TerminalLeg) -> None:
    loop = asyncio.get_running_loop()
    resampler = av.AudioResampler(format="s16", layout="mono", rate=MODEL_INPUT_RATE)
    while True:
        frame = await caller.mouth.recv()
        frame.pts = None  # the resampler would fill and cut by its own idea of time
        leg.hear(b"".join(samples_of(out) for out in resampler.resample(frame)), loop.time())
