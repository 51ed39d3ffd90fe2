"""The shell of a model session: does what `wire.gemini_session.Course` decides, on one socket after another.

Two of the call's tasks are at work here. The reader (`events`) also moves the session: while there is no socket there is nothing
to read. The sender leaves everything in the reel; whoever comes first empties it into the socket, in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Protocol

from gateway.dialog.history import Role, Said
from gateway.dialog.transcript import CutOff
from gateway.errors import PacketError
from gateway.events import ModelClosed
from gateway.model.alarm import Alarm
from gateway.model.base import ModelEvent, ToolAnswer, Updated
from gateway.model.connection import Link, LiveConnection
from gateway.model.failures import LINK_ERRORS, NotConnected, classify, describe
from gateway.profile import Profile, told_to
from gateway.wire.gemini_faults import STALLED, Failure
from gateway.wire.gemini_moves import Break, Connect, GiveUp, Leave, Listen, Wait
from gateway.wire.gemini_reel import Ask, AskKind, Item, Mark
from gateway.wire.gemini_session import Course
from gateway.wire.gemini_setup import Capabilities, instruction
from gateway.wire.gemini_tools import declarations

log = logging.getLogger(__name__)

NORMAL = "1000"
"""Label of a connection that we have closed."""


class Socket:
    """One connection to the service, set up. `close` is idempotent and lets go of everything."""

    def __init__(self, connection: LiveConnection, link: Link, stack: AsyncExitStack) -> None:
        self.connection = connection
        self.link = link
        self.stalled = False
        """The far end has stopped reading."""
        self.dead = False
        """Nothing can be sent any more; the reader has heard of it, or will."""
        self._stack = stack

    async def close(self) -> None:
        """Hang up, and wait for it: a few seconds at most."""
        # The SDK closes with 1011 when its block is left by an exception, which is a call's normal way out. We are the ones who
        # hang up: say 1000 before that.
        await self.connection.close()
        await self._stack.aclose()

    @property
    def heard_all(self) -> bool:
        """The far end has answered our goodbye, so it has read all that came before it."""
        protocol = self.connection.protocol
        return protocol.close_rcvd is not None and not protocol.close_rcvd_then_sent


class Dial(Protocol):
    """Opens sockets: what a session needs of its model."""

    async def __call__(self, profile: Profile, handle: str, *, seeded: bool, limit: float) -> Socket:
        """Within `limit` seconds. Raises NotConnected."""


class GeminiSession:
    """One call's session with the service. Implements `ModelSession`. Nothing that sends ever raises."""

    def __init__(self, dial: Dial, profile: Profile, can: Capabilities, course: Course, loop: asyncio.AbstractEventLoop) -> None:
        self._dial = dial
        self._profile = profile
        self._can = can
        self._course = course
        self._loop = loop
        self._socket: Socket | None = None  # what is sent goes there
        self._old: Socket | None = None  # being let go of
        self._alarm = Alarm(loop)  # the reader's
        self._pumping = False
        self._stirred = asyncio.Event()  # something is to be sent
        self._opened: list[ModelEvent] = []

    # --- life ---

    async def open(self) -> None:
        """Get the first socket. Raises ModelRefused or ModelUnavailable."""
        while True:
            match self._course.decide(self._loop.time()):
                case Listen():
                    return
                case Connect() as how:
                    self._opened += await self._connect(how)
                case Wait(until):
                    await self._wait(until)
                case GiveUp(failure):
                    raise failure.error()
                case other:
                    raise AssertionError(f"{other} without a socket")

    async def close(self) -> None:
        """Hang up."""
        self._course.finish()
        self._alarm.stop()
        sockets, self._socket = (self._old, self._socket), None
        for socket in sockets:
            if socket is not None:
                await socket.close()

    async def events(self) -> AsyncIterator[ModelEvent]:
        """See `ModelSession`."""
        course = self._course
        for event in self._opened:
            yield event
        while True:
            match course.decide(self._loop.time()):
                case Listen(until):
                    events = await self._listen(until)
                case Leave():
                    events = await self._leave()
                case Break(failure):
                    events = await self._lost(failure)
                case Connect() as how:
                    events = await self._connect(how)
                case Wait(until):
                    await self._wait(until)
                    continue
                case GiveUp(failure):
                    log.warning("! model session given up: %s", failure.text)
                    for event in course.given_up(self._loop.time()):
                        yield event
                    raise failure.error()
            for event in events:
                yield event

    # --- moving ---

    async def _connect(self, how: Connect) -> list[ModelEvent]:
        course, began = self._course, self._loop.time()
        reminder, profile = how.reminder, self._profile
        try:
            socket = await self._dial(profile, how.handle, seeded=bool(reminder.turns), limit=how.limit)
        except NotConnected as exc:
            return course.failed(exc.failure, self._loop.time())
        if reminder.turns:
            # Nobody sends before what the service has to be reminded of; should we be stopped here, `close` finds the socket.
            self._old = socket
            await self._put(socket, socket.link.seed(reminder.turns, complete=reminder.complete))
        self._socket, self._old = socket, None
        now = self._loop.time()
        events = course.ready(now, now - began)
        if self._profile != profile:
            await self._tell(profile)  # changed while we were connecting
        await self._pump()
        return events

    async def _leave(self) -> list[ModelEvent]:
        socket, course = self._let_go(), self._course
        await socket.close()
        events: list[ModelEvent] = []
        # What came before the goodbye counts: words, and perhaps the handle we wait for.
        while True:
            try:
                message = await socket.link.receive()
            except PacketError as exc:
                events += course.unreadable(exc, self._loop.time())
            except LINK_ERRORS:
                break
            else:
                events += course.read(message, self._loop.time())
        events += course.left(self._loop.time(), clean=socket.heard_all)
        return [*events, ModelClosed(NORMAL)]

    async def _lost(self, failure: Failure) -> list[ModelEvent]:
        socket = self._let_go()
        events = self._course.lost(failure, self._loop.time())
        socket.connection.abort()
        await socket.close()
        return [*events, ModelClosed(failure.code)]

    def _let_go(self) -> Socket:
        """Whoever sends from now on fills the reel."""
        socket = self._socket
        assert socket is not None, "there is one while the session is open"
        self._socket, self._old = None, socket
        return socket

    async def _wait(self, until: float | None) -> None:
        self._stirred.clear()
        if until is None:
            await self._stirred.wait()
        else:
            await asyncio.sleep(until - self._loop.time())

    async def _listen(self, until: float) -> list[ModelEvent]:
        socket, course = self._socket, self._course
        assert socket is not None, "listening while open"
        try:
            with self._alarm.at(until):
                message = await socket.link.receive()
        except PacketError as exc:
            return course.unreadable(exc, self._loop.time())
        except LINK_ERRORS as exc:
            if self._alarm.rang:
                return []
            failure = STALLED if socket.stalled else classify(exc)
            log.info("! model socket lost: %s (%s)", failure.text, describe(exc))
            return await self._lost(failure)
        return course.read(message, self._loop.time())

    # --- sending ---

    @property
    def free(self) -> bool:
        """See `ModelSession`."""
        socket = self._socket
        if socket is None or socket.dead or self._pumping or not socket.link.free:
            return False
        return self._course.free(self._loop.time())

    def post_audio(self, pcm: bytes) -> None:
        """See `ModelSession`."""
        assert self._socket is not None, "free just now"
        self._course.passed(pcm, self._loop.time())
        self._socket.link.post_audio(pcm)

    async def send_audio(self, pcm: bytes) -> None:
        """See `ModelSession`."""
        self._course.heard(pcm, self._loop.time())
        await self._pump()

    async def end_audio(self) -> None:
        """See `ModelSession`."""
        self._course.pause()
        await self._pump()

    async def send_text(self, text: str) -> None:
        """See `ModelSession`."""
        self._course.say(text)
        await self._pump()

    async def cut_off(self, answer: CutOff) -> None:
        """See `ModelSession`."""
        self._course.cut_off(answer)
        await self._pump()

    async def prompt(self, text: str) -> None:
        """See `ModelSession`. To the service it is a user's turn."""
        await self.send_text(text)

    async def activity(self, speaking: bool) -> None:
        """See `ModelSession`."""
        self._course.turn(speaking, self._loop.time())
        await self._pump()

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """See `ModelSession`."""
        if self._course.answer(answer) and (socket := self._socket) is not None:
            self._course.reel.counted(1)
            await self._put(socket, socket.link.answer_tool(answer))
        else:
            await self._pump()

    async def update(self, profile: Profile) -> Updated:
        """See `ModelSession`."""
        before = self._profile
        self._profile = told_to(before, profile)
        return Updated.NOTHING if self._profile == before else await self._tell(before)

    async def _tell(self, before: Profile) -> Updated:
        """What has changed since `before`."""
        wanted, can = self._profile, self._can
        if self._socket is None:
            return Updated.SWAP
        # Neither a voice nor a language can be changed on a socket. A language that is asked for in words is an instruction.
        sound = wanted.voice != before.voice or (wanted.language != before.language and can.language_code)
        if sound or not can.context_update:
            self._course.rotate(self._loop.time())
            return Updated.SWAP
        words, tools = instruction(wanted, can), wanted.tools
        if (socket := self._socket) is not None and words != instruction(before, can):
            self._course.reel.counted(1)
            await self._put(socket, socket.link.instruct(words))
        if (socket := self._socket) is not None and tools != before.tools:
            self._course.reel.counted(1)
            await self._put(socket, socket.link.declare(declarations(tools, can.functions)))
        return Updated.TOLD

    async def _pump(self) -> None:
        """Send what waits in the reel. One task at a time does it for all."""
        course = self._course
        self._stirred.set()
        if self._pumping:
            return
        self._pumping = True
        try:
            while (socket := self._socket) is not None and not socket.dead and (item := course.reel.take()) is not None:
                # Counted as sent before it is: what was written into a socket that then dies is played again anyway, and a
                # sender that waits for room has already written.
                course.sent(item, self._loop.time())
                await self._put(socket, self._say(socket.link, item))
                await self._ping(socket)
        finally:
            self._pumping = False

    def _say(self, link: Link, item: Item) -> Awaitable[None]:
        if isinstance(item, Ask):
            if item.answer is not None:
                return link.answer_tool(item.answer)
            if item.kind is AskKind.NOTE:
                return link.seed((Said(Role.CALLER, item.text),), complete=False)
            return link.send_text(item.text, ordered=self._can.content_any_time)
        match item.mark:
            case None:
                return link.send_audio(item.pcm)
            case Mark.PAUSE:
                return link.end_audio()
            case mark:
                return link.activity(mark is Mark.TURN_BEGINS)

    async def _put(self, socket: Socket, sending: Awaitable[None]) -> None:
        try:
            await sending
        except TimeoutError:
            # The reader would never hear of this by itself.
            socket.stalled = True
            socket.connection.abort()
        except LINK_ERRORS:
            socket.dead = True

    async def _ping(self, socket: Socket) -> None:
        if socket.connection.congested or (ping := self._course.ping(self._loop.time())) is None:
            return
        try:
            pong = await socket.connection.ping()
        except LINK_ERRORS:
            return

        def came(done: asyncio.Future[float]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._course.pong(ping, self._loop.time())

        asyncio.ensure_future(pong).add_done_callback(came)
