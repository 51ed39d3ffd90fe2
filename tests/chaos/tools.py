"""Tool calls under everything at once: ids asked, cancelled, interrupted, timed out, swapped, hung up, in 10,000 seeded orders.

`python -m tests.chaos.tools [SEEDS]` runs all; `tests/model/tools/test_desk.py` a part. One seed is one call in fake time: a real
`Desk` with tools that take as long as they like, fail, or ignore a cancellation, and a model session whose socket comes and goes.
What must have come out is worked out from the diary of what happened, not from what the code believes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

from gateway.events import BrowserToolRequested, CallEvent, Interrupted, ToolEnded, ToolOutcome, ToolResult
from gateway.model.base import ToolAnswer, ToolCall
from gateway.model.tools.desk import CallSide, Desk
from gateway.model.tools.request import ToolError, ToolRequest
from gateway.toolspec import HANG_UP, Behavior, ToolKind, ToolSpec
from tests import clock

PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}}
TIMEOUTS = {"quick": 1.0, "slow": 5.0, "parts": 4.0, "page": 3.0}
TOOLS = (
    ToolSpec("quick", ToolKind.PYTHON, parameters=PARAMETERS, timeout=1.0, per_minute=600, behavior=Behavior.BLOCKING),
    ToolSpec("slow", ToolKind.PYTHON, parameters=PARAMETERS, timeout=5.0, per_minute=600, behavior=Behavior.NON_BLOCKING),
    ToolSpec("parts", ToolKind.PYTHON, parameters=PARAMETERS, timeout=4.0, per_minute=600, behavior=Behavior.NON_BLOCKING),
    ToolSpec("page", ToolKind.BROWSER, parameters=PARAMETERS, timeout=3.0, per_minute=600),
    ToolSpec(HANG_UP, ToolKind.BUILTIN),
)


@dataclass
class Life:
    """What happened to one call id, by the clock of the story."""

    name: str
    args: tuple[tuple[str, object], ...]
    asked: float
    cancelled: float | None = None
    """When the model withdrew it, if its answer had not been sent."""
    finals: list[tuple[float, ToolAnswer]] = field(default_factory=list)
    parts: list[float] = field(default_factory=list)
    ends: list[ToolEnded] = field(default_factory=list)


@dataclass
class Run:
    """What one execution did."""

    id: str
    name: str
    args: tuple[tuple[str, object], ...]
    began: float
    ended: float | None = None
    value: object = None
    failed: bool = False


class Story:
    """One call."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.lives: dict[str, Life] = {}
        self.runs: list[Run] = []
        self.swaps: list[float] = []
        self.answered = 0
        self.over_at: float | None = None
        self._busy_since: float | None = None  # the session has not taken the last answer yet
        self._online = asyncio.Event()
        self._online.set()
        self._pages: dict[str, Run] = {}
        side = CallSide(
            "c",
            "default",
            say=self.heard,
            answered=self.talk,
            client=lambda: True,
            change=lambda _: None,
            loop=self.loop,
        )
        self.desk = Desk(TOOLS, {ToolKind.PYTHON: self}, side)

    # --- the world around the desk ---

    async def run(self, request: ToolRequest) -> object:
        """A tool: takes its time, fails, or does not care for cancellation. See Runner."""
        draw, name = self.draw, request.tool.name
        run = Run(request.tool_call_id, name, tuple(request.args.items()), self.loop.time())
        self.runs.append(run)
        takes = draw.choice((0.0, draw.uniform(0, 1), draw.uniform(0, 8), TIMEOUTS[name], 1e6))
        stubborn = draw.random() < 0.1
        until = self.loop.time() + takes
        if name == "parts":
            for number in range(draw.randrange(4)):
                await asyncio.sleep(min(takes, 1.0) / 4)
                request.part(number)
        while self.loop.time() < until:
            try:
                await asyncio.sleep(until - self.loop.time())
            except asyncio.CancelledError:
                if not stubborn:
                    raise
                until = min(until, self.loop.time() + 0.5)
                stubborn = False
        run.ended = self.loop.time()
        if draw.random() < 0.2:
            run.failed = True
            raise draw.choice((ToolError("no"), KeyError("broken"), RuntimeError("broken")))
        run.value = f"value of run {len(self.runs)}"
        return run.value

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """The model session: waits while the socket is away, then takes it. Recorded when it is handed over."""
        life, now = self.lives[answer.id], self.loop.time()
        if answer.will_continue:
            life.parts.append(now)
        else:
            life.finals.append((now, answer))
        self._busy_since = now
        await self._online.wait()
        if self.draw.random() < 0.3:
            await asyncio.sleep(self.draw.uniform(0, 0.2))
        self._busy_since = None

    def talk(self) -> None:
        self.answered += 1

    def heard(self, event: CallEvent) -> None:
        """The call's observers, and the page behind the data channel."""
        match event:
            case ToolEnded(tool_call_id=call_id):
                self.lives[call_id].ends.append(event)
            case BrowserToolRequested(tool_call_id=call_id, args=args):
                self._pages[call_id] = Run(call_id, "page", tuple(args.items()), self.loop.time())
                self.runs.append(self._pages[call_id])

    # --- what may happen ---

    def ask(self) -> None:
        draw = self.draw
        if self.lives and draw.random() < 0.1:
            again = draw.choice(list(self.lives))  # the same id a second time
            life = self.lives[again]
            self.desk.called(ToolCall(again, life.name, dict(life.args)))
            return
        name = draw.choice((*TIMEOUTS, *TIMEOUTS, HANG_UP, "nothing"))
        args: dict[str, object] = {} if name in (HANG_UP, "nothing") else {"n": draw.randrange(3)}
        if name == "quick" and draw.random() < 0.1:
            args = {"n": "many"}
        call_id = f"id{len(self.lives)}"
        self.lives[call_id] = Life(name, tuple(args.items()), self.loop.time())
        self.desk.called(ToolCall(call_id, name, args))

    def cancel(self) -> None:
        if not self.lives:
            return
        ids = self.draw.sample(list(self.lives), k=min(len(self.lives), self.draw.randint(1, 3)))
        for call_id in ids:
            life = self.lives[call_id]
            if life.cancelled is None and not life.finals:
                life.cancelled = self.loop.time()
        self.desk.cancelled((*ids, "never heard of"))

    def interrupt(self) -> None:
        self.desk.observe(Interrupted(unheard=1.0, stop=0.0))

    def leave(self) -> None:
        """The socket goes away; it comes back in a while."""
        self._online.clear()
        self.loop.call_later(self.draw.uniform(0.05, 3.0), self.come_back)

    def come_back(self) -> None:
        self.swaps.append(self.loop.time())
        self.desk.swapped()
        self._online.set()

    def page_answers(self) -> None:
        if not self._pages:
            return
        call_id, run = self.draw.choice(list(self._pages.items()))
        if run.ended is None:
            run.ended = self.loop.time()
            run.value = f"page {call_id}"
            self.desk.browser_answered(ToolResult(call_id, run.value))

    def page_lies(self) -> None:
        """A client that answers for what is not its business."""
        call_id = self.draw.choice([*self.lives, "id999"])
        if call_id not in self._pages:
            self.desk.browser_answered(ToolResult(call_id, "forged"))

    async def play(self) -> None:
        """Live through it, then judge."""
        serving = asyncio.create_task(self.desk.serve(self))
        acts = (self.ask, self.ask, self.ask, self.cancel, self.interrupt, self.leave, self.page_answers, self.page_answers)
        for _ in range(self.draw.randint(3, 40)):
            await asyncio.sleep(self.draw.choice((0.0, 0.0, self.draw.uniform(0, 0.3), self.draw.uniform(0, 2))))
            self.draw.choice((*acts, self.page_lies))()
        if self.draw.random() < 0.5:
            # Patience: everything comes to its end by itself.
            await asyncio.sleep(12.0)
        self.over_at = self.loop.time()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await asyncio.sleep(1.0)  # the stubborn ones
        self.judge()
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()

    # --- what must have come out ---

    def judge(self) -> None:
        assert self.over_at is not None
        for call_id, life in self.lives.items():
            where = f"{call_id} {life}"
            assert len(life.ends) == 1, f"ended {len(life.ends)} times: {where}"
            assert len(life.finals) <= 1, f"answered {len(life.finals)} times: {where}"
            (end,) = life.ends
            if life.finals:
                at, answer = life.finals[0]
                assert end.outcome is not ToolOutcome.CANCELLED, where
                assert life.cancelled is None, f"answered after it was withdrawn: {where}"
                assert all(part <= at for part in life.parts), where
                self.judge_answer(life, call_id, at, answer, where)
            else:
                assert end.outcome is ToolOutcome.CANCELLED, where
                superseded = any(
                    swap >= life.asked and any(other.asked >= swap and self.same(life, other) for other in self.lives.values())
                    for swap in self.swaps
                )
                due = life.asked + TIMEOUTS.get(life.name, 0.0)
                excused = life.cancelled is not None or superseded or self.over_at <= due or self._busy_since is not None
                assert excused, f"never answered: {where}"

    def same(self, life: Life, other: Life) -> bool:
        return other is not life and (other.name, other.args) == (life.name, life.args)

    def judge_answer(self, life: Life, call_id: str, at: float, answer: ToolAnswer, where: str) -> None:
        (end,) = life.ends
        if life.name == "nothing":
            assert end.outcome is ToolOutcome.DENIED, where
            return
        if life.name == HANG_UP:
            assert end.outcome is ToolOutcome.OK, where
            return
        if life.args == (("n", "many"),):
            assert end.outcome is ToolOutcome.BAD_ARGS, where
            return
        runs = [run for run in self.runs if run.id == call_id]
        assert len(runs) <= 1, f"run twice: {where}"
        if not runs:
            # Denied because too many ran, or it took over the run of the same question from before a swap.
            earlier = [run for run in self.runs if (run.name, run.args) == (life.name, life.args) and run.began <= life.asked]
            assert end.outcome is ToolOutcome.DENIED or (self.swaps and earlier), where
            return
        (run,) = runs
        due = run.began + TIMEOUTS[life.name]
        if run.ended is not None and run.ended < due:
            assert end.outcome is (ToolOutcome.ERROR if run.failed else ToolOutcome.OK), f"not its own result: {where} {run}"
            if not run.failed and life.name != "parts":
                assert answer.response == {"output": run.value}, f"not its own result: {where} {run}"
            assert at >= run.ended, where
        elif run.ended is None or run.ended > due:
            assert end.outcome is ToolOutcome.TIMEOUT, where
            assert at >= due, where


def play(seed: int) -> Counter[str]:
    """Live through one seed; how its ids ended. Raises AssertionError that names the id and its life."""

    async def body() -> Counter[str]:
        story = Story(seed)
        try:
            await story.play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        return Counter(end.outcome.value for life in story.lives.values() for end in life.ends)

    return clock.run(body())


def main() -> int:
    """All seeds; the table of how calls ended."""
    logging.disable()
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    total: Counter[str] = Counter()
    for seed in range(seeds):
        total += play(seed)
    print(f"{seeds} interleavings, {total.total()} call ids, each with exactly one end:")
    for outcome, number in total.most_common():
        print(f"  {outcome:<10}{number:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
