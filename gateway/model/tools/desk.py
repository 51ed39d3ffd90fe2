"""The tools of one call: starts what `dialog.tools` orders, and sends the answers one by one.

Everything that happens is told to the pure core at once, in plain calls on the event loop; only `serve` waits, for the model
session to take an answer. So what came first is decided by when it came, not by who was scheduled.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.dialog.toolresult import Outcome, Result, failure, output
from gateway.dialog.tools import Ended, Order, Reply, Start, Stop, ToolCalls
from gateway.events import (
    BrowserToolRequested,
    CallerStartedSpeaking,
    CallEvent,
    Interrupted,
    ModelSaid,
    ModelStartedSpeaking,
    ToolEnded,
    ToolOutcome,
    ToolResult,
)
from gateway.model.base import ToolAnswer, ToolCall
from gateway.model.tools.moderator import Moderator
from gateway.model.tools.request import Runner, ToolError, ToolRequest
from gateway.profile import Change, DuringTools, Profile
from gateway.toolspec import ToolKind, ToolSpec

log = logging.getLogger(__name__)

STOP_PATIENCE = 1.0
"""Seconds that cancelled functions have to clean up at the end of a call; what is still busy then is left to itself."""


class AnswerTaker(Protocol):
    """The part of a model session that is needed here."""

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """See `ModelSession`."""


@dataclass(frozen=True, slots=True)
class CallSide:
    """What the tools of a call know of it, and may ask of it."""

    call_id: str
    profile: str
    say: Callable[[CallEvent], None]
    """Tells an event to the call's observers."""
    answered: Callable[[], None]
    """Called when the model was given something to talk about."""
    client: Callable[[], bool]
    """Whether there is a client that can be asked."""
    change: Callable[[Change], object]
    """Takes a change without faults."""
    loop: asyncio.AbstractEventLoop


class Desk:
    """One call's tools. `holds`: the caller's audio is kept back while the model waits for a blocking one."""

    def __init__(
        self, tools: Iterable[ToolSpec], runners: Mapping[ToolKind, Runner], side: CallSide, *, holds: bool = False
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._calls = ToolCalls(self._tools.values(), lambda: secrets.token_hex(4))
        self._runners = {**runners, ToolKind.BROWSER: _Browser(side.say, side.client)}
        self._side = side
        self._holds = holds
        self._call_id = side.call_id
        self._say = side.say
        self._loop = side.loop
        self._tasks: dict[int, asyncio.Task[object]] = {}
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """Functions at work just now."""
        return len(self._tasks)

    # --- from the model ---

    def called(self, call: ToolCall) -> None:
        """The model wants a function called."""
        self._do(self._calls.called(call.id, call.name, call.args, self._loop.time()))

    def cancelled(self, ids: tuple[str, ...]) -> None:
        """The model no longer wants these answers."""
        self._do(self._calls.cancelled(ids, self._loop.time()))

    def swapped(self) -> None:
        """The model session went on on another socket."""
        self._calls.swapped(self._loop.time())

    @property
    def holding(self) -> bool:
        """The model waits without a word for an answer, and is not to hear the caller until it has it."""
        return self._holds and self._calls.blocked_since is not None

    # --- from the call ---

    def offer(self, names: Collection[str]) -> None:
        """From now on the model may have these called, and no others."""
        self._calls.offer(tool for name, tool in self._tools.items() if name in names)

    @property
    def leaving(self) -> bool:
        """The model has asked to hang up."""
        return bool(self._calls.leaving)

    def goodbye_over(self, now: float, *, played_at: float, unplayed: float) -> bool:
        """Whether the caller has heard the goodbye; see `Farewell.over`."""
        return self._calls.leaving.over(now, played_at=played_at, unplayed=unplayed)

    def observe(self, event: CallEvent) -> None:
        """What the call tells everybody, some of which decides what tools may do."""
        match event:
            case ModelSaid() | ModelStartedSpeaking():
                self._calls.consent.model_spoke()
            case CallerStartedSpeaking():
                self.caller_spoke()
            case Interrupted():
                self._calls.interrupted()

    def caller_spoke(self) -> None:
        """The caller spoke, or typed."""
        self._calls.consent.caller_spoke()

    def browser_answered(self, result: ToolResult) -> None:
        """The client gave the result of a tool of its own. For anything else that it names, nothing happens."""
        browser = self._runners[ToolKind.BROWSER]
        assert isinstance(browser, _Browser), "made above"
        browser.answered(result)

    async def serve(self, session: AnswerTaker) -> None:
        """Send the answers, until cancelled; then stop what still runs."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (taken := self._calls.take()) is not None:
                    reply, ended = taken
                    if ended is not None:
                        self._end(ended)  # from here on it is the session's
                    await session.answer_tool(_answer(reply))
                    if reply.scheduling != "SILENT" and not reply.will_continue:
                        self._side.answered()
        finally:
            await self._close()

    # --- parts ---

    def _do(self, orders: Iterable[Order]) -> None:
        for order in orders:
            match order:
                case Start():
                    self._start(order)
                case Stop(run=run):
                    if (task := self._tasks.get(run)) is not None:
                        task.cancel()
                case Ended():
                    self._end(order)
        self._wake.set()
        self._arm()

    def _start(self, order: Start) -> None:
        request = ToolRequest(
            tool=order.tool,
            args=order.args,
            tool_call_id=order.id,
            call_id=self._call_id,
            profile=self._side.profile,
            part=lambda value: self._part(order, value),
            change=self._change,
        )
        log.debug("- tool", extra={"call_id": self._call_id, "tool": order.tool.name, "kind": order.tool.kind.value})
        name = f"{self._call_id}:tool:{order.run}"
        task = self._loop.create_task(self._run(request), name=name)
        self._tasks[order.run] = task
        task.add_done_callback(lambda done: self._done(order, done))

    async def _run(self, request: ToolRequest) -> object:
        return await self._runners[request.tool.kind].run(request)

    def _part(self, order: Start, value: object) -> None:
        result = output(value, order.tool.output_limit)
        if result.outcome is Outcome.OK:
            self._calls.part(order.run, result.response)
            self._wake.set()

    def _change(self, change: Change) -> None:
        """A tool wants something changed. From any thread."""
        if faults := change.faults(self._tools):
            raise ToolError("; ".join(faults))
        self._loop.call_soon_threadsafe(self._side.change, change)

    def _done(self, order: Start, task: asyncio.Task[object]) -> None:
        """A run is over: of the three ways only a cancelled one that we asked for means nothing."""
        del self._tasks[order.run]
        self._do(self._calls.finished(order.run, self._result(order, task), self._loop.time()))

    def _result(self, order: Start, task: asyncio.Task[object]) -> Result:
        if task.cancelled():
            return failure("the tool was stopped")
        exc = task.exception()
        if exc is None:
            return output(task.result(), order.tool.output_limit)
        # What exactly went wrong is for the log: the model would tell the caller.
        about = {"call_id": self._call_id, "tool": order.tool.name, "kind": order.tool.kind.value}
        if isinstance(exc, ToolError):
            log.warning("x tool failed: %s", exc, extra=about)
            return failure(str(exc) or "the tool failed")
        log.error("! tool failed", exc_info=exc, extra=about)
        return failure("the tool failed")

    def _end(self, ended: Ended) -> None:
        self._say(ToolEnded(ended.tool, ToolOutcome(ended.outcome.value), ended.seconds, ended.id))

    def _arm(self) -> None:
        """One timer, for whatever is due next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._calls.deadline) is not None:
            self._timer = self._loop.call_at(deadline, self._due, deadline)

    def _due(self, deadline: float) -> None:
        self._timer = None
        # Never before the deadline, as the core reckons: the loop may call a hair too early, within its clock's resolution.
        self._do(self._calls.poll(max(self._loop.time(), deadline)))

    async def _close(self) -> None:
        self._do(self._calls.close(self._loop.time()))
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            # A function may take its time over a cancellation, or ignore it; the call does not wait for it for ever.
            _, busy = await asyncio.wait(self._tasks.values(), timeout=STOP_PATIENCE)
            for task in busy:
                log.warning("! tool does not stop", extra={"call_id": self._call_id, "task": task.get_name()})


class Tools(Protocol):
    """Gives each call its desk; see `toolbox` for the one of a worker."""

    def desk(self, profile: Profile, side: CallSide) -> Desk:
        """The tools of one call."""

    def moderator(self, profile: Profile, *, call_id: str) -> Moderator | None:
        """Who judges the transcripts of one call; None: nobody."""


class OwnTools:
    """What needs nothing but the call itself: the built-in tools and the browser's."""

    def desk(self, profile: Profile, side: CallSide) -> Desk:
        """See Tools."""
        own = [tool for tool in profile.tools if tool.kind in (ToolKind.BUILTIN, ToolKind.BROWSER)]
        return Desk(own, {}, side, holds=profile.listening.during_tools is DuringTools.HOLD)

    def moderator(self, profile: Profile, *, call_id: str) -> Moderator | None:
        """See Tools."""
        assert profile.moderation is None, f"{call_id}: a moderation hook needs a toolbox"
        return None


OWN_TOOLS = OwnTools()


class _Browser:
    """Asks the client on the data channel."""

    def __init__(self, say: Callable[[CallEvent], None], client: Callable[[], bool]) -> None:
        self._say = say
        self._client = client
        self._asked: dict[str, asyncio.Future[object]] = {}

    async def run(self, request: ToolRequest) -> object:
        """See Runner."""
        if not self._client():
            raise ToolError("the caller's device can't do this")
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._asked[request.tool_call_id] = answer
        self._say(BrowserToolRequested(request.tool_call_id, request.tool.name, request.args))
        try:
            value = await answer
        finally:
            del self._asked[request.tool_call_id]
        if isinstance(value, dict) and value.keys() == {"error"}:
            raise ToolError(str(value["error"]))
        return value

    def answered(self, result: ToolResult) -> None:
        asked = self._asked.get(result.tool_call_id)
        if asked is not None and not asked.done():
            asked.set_result(result.result)


def _answer(reply: Reply) -> ToolAnswer:
    return ToolAnswer(reply.id, reply.name, reply.response, reply.scheduling, reply.will_continue)
