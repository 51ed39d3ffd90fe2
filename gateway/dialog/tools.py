"""Tool calls: what the model has asked for, who works on it, and what it is answered. States as a table, `now` as an argument.

Every call id has exactly one ending, whatever happens to it: one answer, or none because the model (or the end of the call)
withdrew the question first. An answer is the tool's own result if that was there before the time-out; once it is known, only a
withdrawal keeps it from being sent, and once `take` has handed it out, nothing recalls it.

    called ──refused──▶ SETTLED ──take──▶ ANSWERED          cancelled, or the call ends, before `take`: ──▶ WITHDRAWN
       └──▶ RUNNING ──result, time-out──▶ SETTLED

What protects the operator's functions is decided here and not by the model: arguments must conform to the declared schema, a tool
may be called so often a minute, so many may run at once, and a tool with `confirm` runs only after the caller had a say
(`dialog.consent`). The same question asked again after the model session moved to another socket does not run twice.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialog.arguments import conform
from gateway.dialog.consent import Consent
from gateway.dialog.farewell import Farewell
from gateway.dialog.toolresult import Outcome, Result, failure
from gateway.toolspec import CONFIRMATION, HANG_UP, Behavior, Scheduling, ToolKind, ToolSpec

MAX_RUNNING = 16
"""Functions at work for one call; the next is denied. A model asks for a handful in parallel."""

MAX_OPEN = 256
"""Call ids without an end. One more is not even answered: no conversation comes near, and each has a place in memory."""

MAX_REMEMBERED = 512
"""Ended ids that are still known, so that a repeated one is not answered twice; the oldest is forgotten."""

MAX_ARGUMENT_BYTES = 16 * 1024
MAX_PARTS = 32
"""Instalments of one answer that wait to be sent; the newest is dropped."""

MINUTE = 60.0
UNKNOWN_PER_MINUTE = 30
"""Calls of functions that do not exist."""

MAX_RECENT = 64
"""Runs that a swap may have cut off from their question."""

REJOIN_WITHIN = 30.0
"""Seconds before and after a swap in which the same question is taken for the one the old socket carried."""


class Phase(enum.Enum):
    """Where one call id is."""

    RUNNING = "running"  # somebody works on it
    SETTLED = "settled"  # its answer is known and waits to be sent
    ANSWERED = "answered"  # handed to the model session
    WITHDRAWN = "withdrawn"  # nobody wants an answer any more


class Step(enum.Enum):
    """What happens to a call id."""

    RESULT = "result"
    EXPIRE = "expire"
    SEND = "send"
    CANCEL = "cancel"
    CLOSE = "close"
    INTERRUPT = "interrupt"  # the caller spoke over the model: the model says by itself which answers it no longer wants
    SWAP = "swap"  # the answer goes to the new socket
    REPEAT = "repeat"  # the same id was asked again


_STAY = (Step.INTERRUPT, Step.SWAP, Step.REPEAT)
_LATE = (Step.RESULT, Step.EXPIRE, Step.CANCEL, Step.CLOSE, *_STAY)
TRANSITIONS: Mapping[Phase, Mapping[Step, Phase]] = {
    Phase.RUNNING: {
        Step.RESULT: Phase.SETTLED,
        Step.EXPIRE: Phase.SETTLED,
        Step.CANCEL: Phase.WITHDRAWN,
        Step.CLOSE: Phase.WITHDRAWN,
        **dict.fromkeys(_STAY, Phase.RUNNING),
    },
    Phase.SETTLED: {
        Step.SEND: Phase.ANSWERED,
        Step.CANCEL: Phase.WITHDRAWN,
        Step.CLOSE: Phase.WITHDRAWN,
        Step.RESULT: Phase.SETTLED,
        Step.EXPIRE: Phase.SETTLED,
        **dict.fromkeys(_STAY, Phase.SETTLED),
    },
    Phase.ANSWERED: dict.fromkeys(_LATE, Phase.ANSWERED),
    Phase.WITHDRAWN: dict.fromkeys(_LATE, Phase.WITHDRAWN),
}
OPEN = frozenset({Phase.RUNNING, Phase.SETTLED})


# --- what the shell is told to do ---


@dataclass(frozen=True, slots=True)
class Start:
    """Run the tool; give its result to `finished` under `run`. `id` is the call id that asked, for idempotency keys."""

    run: int
    id: str
    tool: ToolSpec
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody waits for this run any more."""

    run: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A call id has come to its one end. `seconds` since it was asked for, until its answer was known or withdrawn."""

    id: str
    tool: str
    outcome: Outcome
    seconds: float


Order = Start | Stop | Ended


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model is answered: the fields of `model.base.ToolAnswer`."""

    id: str
    name: str
    response: Mapping[str, Any]
    scheduling: str = ""
    will_continue: bool = False


# --- one call's tools ---


@dataclass(slots=True, eq=False)
class _Run:
    """One execution. Several ids may wait for it after a swap."""

    number: int
    tool: ToolSpec
    key: bytes
    at: float
    until: float
    result: Result | None = None
    parts: int = 0
    """Instalments sent so far."""


@dataclass(slots=True, eq=False)
class _Call:
    """One call id."""

    id: str
    name: str
    tool: ToolSpec | None
    at: float
    phase: Phase = Phase.RUNNING
    run: _Run | None = None
    result: Result | None = None
    settled_at: float = 0.0


@dataclass(slots=True)
class _Waiting:
    """In the outbox: a call's final answer, or with `part` an instalment of it."""

    call: _Call
    part: Mapping[str, Any] | None = None


class ToolCalls:
    """The tool calls of one call. Tell it what happens, in order; do what it orders; send what `take` gives, one by one.

    `token` makes the one-time confirmations.
    """

    def __init__(self, tools: Iterable[ToolSpec], token: Callable[[], str]) -> None:
        self.leaving = Farewell()
        self.consent = Consent(token)
        self._tools = {tool.name: tool for tool in tools}
        self._calls: dict[str, _Call] = {}
        self._runs: dict[int, _Run] = {}
        self._outbox: deque[_Waiting] = deque()
        self._times: dict[str, deque[float]] = {}
        self._recent: deque[_Run] = deque(maxlen=MAX_RECENT)
        self._rejoin: dict[bytes, _Run] = {}
        self._rejoin_until = 0.0
        self._number = 0
        self._closed = False

    def offer(self, tools: Iterable[ToolSpec]) -> None:
        """From now on the model may have these called, and no others. What runs goes on."""
        self._tools = {tool.name: tool for tool in tools}

    # --- questions ---

    @property
    def inflight(self) -> int:
        """Call ids without an end."""
        return sum(call.phase in OPEN for call in self._calls.values())

    @property
    def deadline(self) -> float | None:
        """When `poll` must be called."""
        return min((run.until for run in self._runs.values()), default=None)

    @property
    def blocked_since(self) -> float | None:
        """Since when the model waits silently for an answer; None: it does not."""
        waits = [
            call.at
            for call in self._calls.values()
            if call.phase in OPEN and call.tool is not None and call.tool.behavior is Behavior.BLOCKING
        ]
        return min(waits, default=None)

    # --- what happens ---

    def called(self, call_id: str, name: str, args: Mapping[str, Any], now: float) -> list[Order]:
        """The model wants a function called."""
        known = self._calls.get(call_id)
        if known is not None:
            known.phase = TRANSITIONS[known.phase][Step.REPEAT]
            return []
        if self._closed:
            return []
        if self.inflight >= MAX_OPEN:
            return [Ended(call_id, name, Outcome.DENIED, 0.0)]
        tool = self._tools.get(name)
        call = _Call(call_id, name, tool, now)
        self._remember(call)
        if (wait := self._too_often(tool, now)) is not None:
            self._settle(call, failure(f"called too often; not before {wait:.0f} s from now", Outcome.DENIED), now)
            return []
        if tool is None:
            self._settle(call, failure(f"there is no function {name[:64]}", Outcome.DENIED), now)
            return []
        refusal, args = self._judge(tool, args, now)
        if refusal is not None:
            self._settle(call, refusal, now)
            return []
        return self._begin(call, tool, args, now)

    def part(self, run: int, response: Mapping[str, Any]) -> None:
        """An instalment of a result. Sent at once to a model that keeps talking; for a silent one only the end counts."""
        for call in self._waiting_for(run):
            assert call.tool is not None, "what runs is a tool"
            assert call.run is not None, "what runs has a run"
            waiting = sum(entry.part is not None for entry in self._outbox)
            if call.tool.behavior is Behavior.NON_BLOCKING and waiting < MAX_PARTS:
                call.run.parts += 1
                self._outbox.append(_Waiting(call, response))

    def finished(self, run: int, result: Result, now: float) -> list[Order]:
        """A run has ended by itself. Too late is no fault: then nobody waits."""
        return self._end_run(run, result, Step.RESULT, now)

    def cancelled(self, ids: tuple[str, ...], now: float) -> list[Order]:
        """The model no longer wants these answers."""
        orders: list[Order] = []
        for call_id in ids:
            if (call := self._calls.get(call_id)) is not None:
                orders += self._withdraw(call, Step.CANCEL, now)
        return orders

    def interrupted(self) -> None:
        """The caller spoke over the model: tools go on, a hang-up that waits for the goodbye does not."""
        self.leaving.call_off()
        for call in self._calls.values():
            call.phase = TRANSITIONS[call.phase][Step.INTERRUPT]

    def swapped(self, now: float) -> None:
        """The model session moved to another socket. What is asked again now is what was asked before."""
        for call in self._calls.values():
            call.phase = TRANSITIONS[call.phase][Step.SWAP]
        self._rejoin = {run.key: run for run in self._recent if now - run.at <= REJOIN_WITHIN}
        self._rejoin_until = now + REJOIN_WITHIN

    def poll(self, now: float) -> list[Order]:
        """Time has passed: what is overdue is answered so."""
        orders: list[Order] = []
        for run in [run for run in self._runs.values() if run.until <= now]:
            late = failure(f"the tool did not answer within {run.tool.timeout:g} s", Outcome.TIMEOUT)
            orders += self._end_run(run.number, late, Step.EXPIRE, now)
            orders.append(Stop(run.number))
        return orders

    def close(self, now: float) -> list[Order]:
        """The call is over; nothing is answered any more."""
        self._closed = True
        orders: list[Order] = []
        for call in list(self._calls.values()):
            orders += self._withdraw(call, Step.CLOSE, now)
        self._outbox.clear()
        return orders

    def take(self) -> tuple[Reply, Ended | None] | None:
        """The next answer to send, and the end it brings; None: nothing waits. What is taken counts as sent."""
        while self._outbox:
            entry = self._outbox.popleft()
            call = entry.call
            scheduling = self._scheduling(call)
            if call.phase not in OPEN:
                continue  # withdrawn while it waited
            if entry.part is not None:
                return Reply(call.id, call.name, entry.part, scheduling, will_continue=True), None
            call.phase = TRANSITIONS[call.phase][Step.SEND]
            result = call.result
            assert result is not None, "settled calls have a result"
            if call.run is not None and call.run.parts and result.outcome is Outcome.OK:
                scheduling = Scheduling.SILENT.value  # all has been said; this only says that no more comes
            return Reply(call.id, call.name, result.response, scheduling), self._ended(call, result.outcome, call.settled_at)
        return None

    # --- parts ---

    def _too_often(self, tool: ToolSpec | None, now: float) -> float | None:
        """Seconds to wait when the minute's calls are used up. What does not exist has a limit, too."""
        times = self._times.setdefault(tool.name if tool else "", deque())
        while times and now - times[0] >= MINUTE:
            times.popleft()
        if len(times) >= (tool.per_minute if tool else UNKNOWN_PER_MINUTE):
            return MINUTE - (now - times[0])
        times.append(now)
        return None

    def _judge(self, tool: ToolSpec, args: Mapping[str, Any], now: float) -> tuple[Result | None, Mapping[str, Any]]:
        """Why the call is refused, if it is; and the arguments to run it with."""
        args = dict(args)
        given = args.pop(CONFIRMATION, None) if tool.confirm else None
        try:
            size = len(orjson.dumps(args))
        except TypeError:
            return failure("the arguments are not JSON", Outcome.BAD_ARGS), args
        if size > MAX_ARGUMENT_BYTES:
            return failure(f"the arguments are over {MAX_ARGUMENT_BYTES} bytes", Outcome.BAD_ARGS), args
        args, faults = conform(args, tool.parameters)
        if faults:
            return failure("; ".join(faults), Outcome.BAD_ARGS), args
        if len(self._runs) >= MAX_RUNNING:
            return failure("too many functions are running; wait for their answers", Outcome.DENIED), args
        if tool.confirm and (words := self.consent.lacking(_key(tool.name, args), given, now)) is not None:
            return Result({"output": words}, Outcome.DENIED), args
        return None, args

    def _begin(self, call: _Call, tool: ToolSpec, args: Mapping[str, Any], now: float) -> list[Order]:
        if tool.kind is ToolKind.BUILTIN and tool.name == HANG_UP:
            self.leaving.ask(now)
            self._settle(call, Result({"output": "The call ends as soon as the caller has heard your goodbye."}), now)
            return []
        key = _key(tool.name, args)
        if (run := self._rejoin.pop(key, None)) is not None and now <= self._rejoin_until:
            # The model has forgotten its first question, or it would not ask again.
            superseded = [known for known in self._calls.values() if known.run is run]
            call.run = run
            orders = [order for known in superseded for order in self._withdraw(known, Step.CANCEL, now)]
            if run.result is not None:
                self._settle(call, run.result, now)
            return orders
        self._number += 1
        run = call.run = _Run(self._number, tool, key, now, now + tool.timeout)
        self._runs[run.number] = run
        self._recent.append(run)
        return [Start(run.number, call.id, tool, args)]

    def _end_run(self, number: int, result: Result, step: Step, now: float) -> list[Order]:
        calls = self._waiting_for(number)
        run = self._runs.pop(number, None)
        if run is None:
            return []
        run.result = result
        for call in calls:
            self._settle(call, result, now, step)
        return []

    def _waiting_for(self, number: int) -> list[_Call]:
        run = self._runs.get(number)
        return [call for call in self._calls.values() if run is not None and call.run is run and call.phase is Phase.RUNNING]

    def _settle(self, call: _Call, result: Result, now: float, step: Step = Step.RESULT) -> None:
        call.phase = TRANSITIONS[call.phase][step]
        call.result, call.settled_at = result, now
        self._outbox.append(_Waiting(call))

    def _withdraw(self, call: _Call, step: Step, now: float) -> list[Order]:
        before, call.phase = call.phase, TRANSITIONS[call.phase][step]
        if before not in OPEN:
            return []
        orders: list[Order] = [self._ended(call, Outcome.CANCELLED, now)]
        run = call.run
        if before is Phase.RUNNING and run is not None and not self._waiting_for(run.number):
            # The question may come again after a swap, but then it is a new one.
            self._runs.pop(run.number, None)
            if run in self._recent:
                self._recent.remove(run)
            self._rejoin.pop(run.key, None)
            orders.append(Stop(run.number))
        return orders

    def _ended(self, call: _Call, outcome: Outcome, at: float) -> Ended:
        return Ended(call.id, call.name, outcome, at - call.at)

    def _scheduling(self, call: _Call) -> str:
        tool = call.tool
        if tool is None or tool.behavior is not Behavior.NON_BLOCKING:
            return ""
        silent = tool.name == HANG_UP and tool.kind is ToolKind.BUILTIN  # nothing is to be said about it
        wanted = Scheduling.SILENT if silent else tool.scheduling
        return wanted.value if wanted is not None else ""

    def _remember(self, call: _Call) -> None:
        if len(self._calls) >= MAX_REMEMBERED:
            ended = [known.id for known in self._calls.values() if known.phase not in OPEN]
            for call_id in ended[: max(1, len(ended) // 4)]:
                del self._calls[call_id]
        self._calls[call.id] = call


def _key(name: str, args: Mapping[str, Any]) -> bytes:
    """The same for the same question, however its arguments are ordered."""
    return orjson.dumps([name, args], option=orjson.OPT_SORT_KEYS)
