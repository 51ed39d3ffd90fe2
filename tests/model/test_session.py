"""The shell of a model session in fake time: in which order things reach a socket, and what is closed when it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from gateway.dialog.history import History, Said
from gateway.model.session import GeminiSession, Socket
from gateway.profile import Profile
from gateway.wire.gemini_breaker import Breaker
from gateway.wire.gemini_pulse import PING_EVERY
from gateway.wire.gemini_reel import Ask, AskKind
from gateway.wire.gemini_session import Course
from gateway.wire.gemini_setup import capabilities
from tests import clock

PCM = bytes(3200)
"""100 ms."""


class Wire:
    """Both halves of a far end at the seam of the shell, `LiveConnection` and `Link`: notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lost = asyncio.Event()
        self.room = asyncio.Event()
        """What is said of the conversation so far has left."""
        self.closed = False
        self.congested = True  # no pings
        self.free = False

    async def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.lost.set()

    async def receive(self) -> Mapping[str, Any]:
        await self.lost.wait()
        raise ConnectionResetError

    def post_audio(self, pcm: bytes) -> None:
        assert self.free
        self.told.append(f"posted {len(pcm)}")

    async def send_audio(self, pcm: bytes) -> None:
        self.told.append(f"audio {len(pcm)}")

    async def send_text(self, text: str, *, ordered: bool) -> None:
        del text, ordered
        self.told.append("text")

    async def seed(self, turns: Sequence[Said], *, complete: bool) -> None:
        del complete
        self.told.append(f"seed {len(turns)}")
        await self.room.wait()
        self.told.append("seeded")


class House:
    """A session whose sockets are `wires`, in the order they were opened."""

    def __init__(self, history: History) -> None:
        can, loop = capabilities("gemini-3.8-live"), asyncio.get_running_loop()
        draw = random.Random(1)
        course = Course(can, Breaker(draw), draw, loop.time(), patience=20.0, first_patience=10.0, history=history)
        self.wires: list[Wire] = []
        self.course = course
        self.session = GeminiSession(self._dial, Profile(), can, course, loop)

    async def _dial(self, profile: Profile, handle: str, *, seeded: bool, limit: float) -> Socket:
        del profile, handle, seeded, limit
        self.wires.append(Wire())
        return Socket(self.wires[-1], self.wires[-1], AsyncExitStack())  # type: ignore[arg-type]

    async def read(self) -> None:
        async for _ in self.session.events():
            pass


def with_one_lost(then: Callable[[House, asyncio.Task[None]], Any]) -> None:
    """A session whose first socket is gone, and whose second is being told of the conversation."""

    async def body() -> None:
        history = History()
        history.caller_said("How are you?")
        history.model_said("Fine.")
        house = House(history)
        await house.session.open()
        reading = asyncio.create_task(house.read())
        await house.session.send_audio(PCM)
        house.wires[0].lost.set()
        await clock.until(lambda: len(house.wires) == 2 and bool(house.wires[1].told))
        await then(house, reading)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await house.session.close()
        assert all(wire.closed for wire in house.wires)

    clock.run(body())


def test_nobody_speaks_before_the_service_knows_the_conversation() -> None:
    async def then(house: House, reading: asyncio.Task[None]) -> None:
        del reading
        for _ in range(3):
            await house.session.send_audio(PCM)
        second = house.wires[1]
        assert second.told == ["seed 2"]
        second.room.set()
        await clock.until(lambda: len(second.told) > 4)
        assert second.told[:2] == ["seed 2", "seeded"]
        # What was in flight when the first was lost, and what was said since: each once.
        assert second.told[2:] == [f"audio {len(PCM)}"] * 4

    with_one_lost(then)


def test_a_socket_that_is_still_being_told_is_closed_with_the_session() -> None:
    async def then(house: House, reading: asyncio.Task[None]) -> None:
        del house
        reading.cancel()

    with_one_lost(then)


def test_a_session_is_free_while_nothing_is_in_the_way() -> None:
    """No socket, none with room, something unsaid before it, or a ping to send with it: then a task has to send."""

    async def body() -> None:
        house = House(History())
        session = house.session
        assert not session.free
        await session.open()
        wire = house.wires[0]
        assert not session.free
        wire.free = True
        assert not session.free, "the first ping is due"
        house.course.ping(asyncio.get_running_loop().time())
        assert session.free
        session.post_audio(PCM)
        assert session.free
        house.course.say("Something else.")
        assert not session.free
        await session.send_audio(PCM)
        assert wire.told == [f"posted {len(PCM)}", "text", f"audio {len(PCM)}"]
        assert session.free
        house.course.reel.ask(Ask(AskKind.NOTE, "note"))
        assert not session.free
        await asyncio.sleep(PING_EVERY)
        assert house.course.reel.sent == 2 * len(PCM) // 2
        await session.close()
        assert not session.free

    clock.run(body())


def test_what_was_posted_is_played_to_the_next_socket() -> None:
    async def body() -> None:
        house = House(History())
        await house.session.open()
        reading = asyncio.create_task(house.read())
        house.wires[0].free = True
        house.course.ping(asyncio.get_running_loop().time())
        for _ in range(3):
            await asyncio.sleep(0.1)
            assert house.session.free
            house.session.post_audio(PCM)
        house.wires[0].lost.set()
        await clock.until(lambda: len(house.wires) == 2 and bool(house.wires[1].told))
        # What may have been on its way: see `gemini_pulse.UNKNOWN_IN_FLIGHT`.
        assert house.wires[1].told == [f"audio {len(PCM)}"] * 2
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await house.session.close()

    clock.run(body())
