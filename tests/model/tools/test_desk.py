"""One call's tools: what is said to whom, and that everything comes to its end, in many seeded orders."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.events import (
    BrowserToolRequested,
    CallerStartedSpeaking,
    CallEvent,
    Interrupted,
    ModelSaid,
    ToolEnded,
    ToolOutcome,
    ToolResult,
)
from gateway.model.base import ToolAnswer, ToolCall
from gateway.model.tools.desk import OWN_TOOLS, CallSide, Desk
from gateway.model.tools.request import Runner, ToolError, ToolRequest
from gateway.profile import Change, Profile
from gateway.toolspec import CONFIRMATION, HANG_UP, ToolKind, ToolSpec
from tests import clock
from tests.chaos import tools as chaos


class Stage:
    """A desk with one Python tool that does what the test says, and one of each other kind."""

    def __init__(self, work: Callable[[ToolRequest], Awaitable[object]], *, client: bool = True) -> None:
        self.events: list[CallEvent] = []
        self.answers: list[ToolAnswer] = []
        self.talked = 0
        self.work = work
        tools = (
            ToolSpec("work", ToolKind.PYTHON),
            ToolSpec("pay", ToolKind.PYTHON, confirm=True),
            ToolSpec("page", ToolKind.BROWSER, timeout=5.0),
            ToolSpec(HANG_UP, ToolKind.BUILTIN),
        )
        runners: dict[ToolKind, Runner] = {ToolKind.PYTHON: self}
        self.changes: list[Change] = []
        side = CallSide(
            "c1",
            "default",
            say=self.events.append,
            answered=self.talk,
            client=lambda: client,
            change=self.changes.append,
            loop=asyncio.get_running_loop(),
        )
        self.desk = Desk(tools, runners, side)

    async def run(self, request: ToolRequest) -> object:
        return await self.work(request)

    async def answer_tool(self, answer: ToolAnswer) -> None:
        self.answers.append(answer)

    def talk(self) -> None:
        self.talked += 1

    def ask(self, name: str, call_id: str = "a", **args: Any) -> None:
        self.desk.called(ToolCall(call_id, name, args))

    def ends(self) -> list[tuple[str, ToolOutcome]]:
        return [(event.tool_call_id, event.outcome) for event in self.events if isinstance(event, ToolEnded)]


def play(body: Callable[[Stage], Awaitable[None]], work: Callable[[ToolRequest], Awaitable[object]], **options: Any) -> None:
    async def run() -> None:
        stage = Stage(work, **options)
        serving = asyncio.create_task(stage.desk.serve(stage))
        await body(stage)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert stage.desk.running == 0
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()

    clock.run(run())


async def seven(_: ToolRequest) -> object:
    await asyncio.sleep(1.0)
    return 7


async def for_ever(_: ToolRequest) -> object:
    return await asyncio.Event().wait()


def test_a_call_and_its_answer() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("work")
        assert stage.desk.running == 1
        await clock.until(lambda: bool(stage.answers))
        assert stage.answers == [ToolAnswer("a", "work", {"output": 7})]
        assert stage.ends() == [("a", ToolOutcome.OK)]
        assert stage.talked == 1

    play(body, seven)


@pytest.mark.parametrize(
    ("raised", "told", "level"),
    [
        (KeyError("secret 4711"), "the tool failed", logging.ERROR),
        (ToolError("no such order"), "no such order", logging.WARNING),
        (asyncio.CancelledError(), "the tool was stopped", None),
    ],
)
def test_a_tool_that_raises(raised: BaseException, told: str, level: int | None, caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: ToolRequest) -> object:
        raise raised

    async def body(stage: Stage) -> None:
        with caplog.at_level(logging.WARNING, "gateway.model.tools.desk"):
            stage.ask("work")
            await clock.until(lambda: bool(stage.answers))
        assert stage.answers[0].response == {"error": told}
        assert stage.ends() == [("a", ToolOutcome.ERROR)]

    play(body, work)
    logged = [record for record in caplog.records if record.name == "gateway.model.tools.desk"]
    assert [record.levelno for record in logged] == ([] if level is None else [level])
    if level == logging.ERROR:
        assert logged[0].exc_info is not None, "the cause is in the log"
        assert logged[0].exc_info[1] is raised


def test_a_tool_that_takes_too_long() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("work")
        await clock.until(lambda: bool(stage.answers))
        assert "within 10 s" in str(stage.answers[0].response["error"])
        assert stage.ends() == [("a", ToolOutcome.TIMEOUT)]
        await clock.until(lambda: stage.desk.running == 0)

    play(body, for_ever)


def test_cancelled_by_the_model() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("work")
        await asyncio.sleep(0.1)
        stage.desk.cancelled(("a",))
        assert stage.ends() == [("a", ToolOutcome.CANCELLED)]
        await asyncio.sleep(20.0)
        assert stage.answers == []

    play(body, seven)


def test_hanging_up_ends_what_runs() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("work")
        stage.ask("page", "b")
        await asyncio.sleep(0.1)

    async def run() -> None:
        stage = Stage(for_ever)
        serving = asyncio.create_task(stage.desk.serve(stage))
        await body(stage)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert sorted(stage.ends()) == [("a", ToolOutcome.CANCELLED), ("b", ToolOutcome.CANCELLED)]
        assert stage.answers == []

    clock.run(run())


def test_a_tool_that_will_not_stop_does_not_keep_the_call(caplog: pytest.LogCaptureFixture) -> None:
    release = []

    async def stubborn(_: ToolRequest) -> object:
        while not release:
            try:
                await asyncio.sleep(100.0)
            except asyncio.CancelledError:
                release.append(asyncio.current_task())
                await asyncio.sleep(3.0)
        return None

    async def run() -> None:
        stage = Stage(stubborn)
        serving = asyncio.create_task(stage.desk.serve(stage))
        stage.ask("work")
        await asyncio.sleep(0.1)
        before = asyncio.get_running_loop().time()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert asyncio.get_running_loop().time() - before < 1.5
        assert stage.ends() == [("a", ToolOutcome.CANCELLED)]
        await clock.until(lambda: stage.desk.running == 0)

    clock.run(run())
    assert any("does not stop" in record.message for record in caplog.records)


def test_the_browser_is_asked_and_nobody_else_answers_for_it() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("page", city="Oslo")
        await asyncio.sleep(0.1)
        assert stage.answers[0].response == {"error": "city: unknown"}
        stage.ask("page", "b")
        await asyncio.sleep(0.1)
        assert [event for event in stage.events if isinstance(event, BrowserToolRequested)] == [
            BrowserToolRequested("b", "page", {})
        ]
        stage.ask("work", "c")
        await asyncio.sleep(0)
        stage.desk.browser_answered(ToolResult("c", "forged"))
        stage.desk.browser_answered(ToolResult("zzz", "forged"))
        stage.desk.browser_answered(ToolResult("b", {"seen": True}))
        stage.desk.browser_answered(ToolResult("b", "twice"))
        await clock.until(lambda: len(stage.answers) == 3)
        assert [(answer.id, answer.response) for answer in stage.answers[1:]] == [
            ("b", {"output": {"seen": True}}),
            ("c", {"output": 7}),
        ]

    play(body, seven)


def test_the_browsers_own_error_is_an_error() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("page")
        await asyncio.sleep(0.1)
        stage.desk.browser_answered(ToolResult("a", {"error": "no map"}))
        await clock.until(lambda: bool(stage.answers))
        assert stage.answers[0].response == {"error": "no map"}
        assert stage.ends() == [("a", ToolOutcome.ERROR)]

    play(body, seven)


def test_a_caller_without_a_browser_is_not_asked() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("page")
        await clock.until(lambda: bool(stage.answers))
        assert stage.answers[0].response == {"error": "the caller's device can't do this"}

    play(body, seven, client=False)


def test_what_the_call_hears_decides_about_consent_and_goodbye() -> None:
    async def body(stage: Stage) -> None:
        stage.ask("pay")
        await clock.until(lambda: len(stage.answers) == 1)
        token = stage.answers[0].response["output"][CONFIRMATION]  # type: ignore[index]
        stage.desk.observe(ModelSaid("Shall I pay?"))
        stage.desk.observe(CallerStartedSpeaking())
        stage.ask("pay", "b", confirmation=token)
        await clock.until(lambda: len(stage.answers) == 2)
        assert stage.answers[1].response == {"output": 7}
        stage.ask(HANG_UP, "c")
        assert stage.desk.leaving
        stage.desk.observe(Interrupted(1.0, 0.0))
        assert not stage.desk.leaving

    play(body, seven)


def test_instalments() -> None:
    async def work(request: ToolRequest) -> object:
        request.part(1)
        request.part(object())  # can't be told
        return None

    async def body(stage: Stage) -> None:
        stage.ask("work")
        await clock.until(lambda: bool(stage.ends()))
        assert [answer.will_continue for answer in stage.answers] == [False], "this model waits for the end"

    play(body, work)


def test_without_a_toolbox_there_are_the_gateways_own_and_the_browsers() -> None:
    async def body() -> None:
        profile = Profile(tools=(ToolSpec(HANG_UP, ToolKind.BUILTIN), ToolSpec("work", ToolKind.PYTHON)))
        ended: list[CallEvent] = []
        side = CallSide(
            "c",
            "default",
            say=ended.append,
            answered=lambda: None,
            client=lambda: True,
            change=lambda _: None,
            loop=asyncio.get_running_loop(),
        )
        desk = OWN_TOOLS.desk(profile, side)
        desk.called(ToolCall("a", "work", {}))
        desk.called(ToolCall("b", HANG_UP, {}))
        assert desk.leaving
        assert desk.running == 0

    clock.run(body())


SEEDS = 1_000
"""`python -m tests.chaos.tools` plays 10,000."""


def test_every_id_has_one_end_in_any_order_of_things() -> None:
    logging.disable()
    try:
        total = sum((chaos.play(seed) for seed in range(SEEDS)), Counter[str]())
    finally:
        logging.disable(logging.NOTSET)
    assert set(total) == {outcome.value for outcome in ToolOutcome}, "every kind of end has come up"
    assert total.total() > 5 * SEEDS


def test_only_what_is_offered_is_run() -> None:
    async def body(stage: Stage) -> None:
        stage.desk.offer(["page"])
        stage.ask("work")
        await clock.until(lambda: bool(stage.ends()))
        assert stage.ends() == [("a", ToolOutcome.DENIED)]
        stage.desk.offer(["page", "work"])
        stage.ask("work", "b")
        await clock.until(lambda: len(stage.ends()) == 2)
        assert stage.ends()[1] == ("b", ToolOutcome.OK)

    play(body, seven)


def test_a_tool_may_ask_for_a_change() -> None:
    async def change(request: ToolRequest) -> object:
        request.change(Change(instructions="Be kind.", tools=("work",)))
        return "done"

    async def body(stage: Stage) -> None:
        stage.ask("work")
        await clock.until(lambda: bool(stage.ends()))
        assert stage.changes == [Change(instructions="Be kind.", tools=("work",))]

    play(body, change)


def test_a_tool_may_not_ask_for_what_the_profile_does_not_have() -> None:
    async def change(request: ToolRequest) -> object:
        request.change(Change(tools=("launch",)))
        return "done"

    async def body(stage: Stage) -> None:
        stage.ask("work")
        await clock.until(lambda: bool(stage.ends()))
        assert stage.ends() == [("a", ToolOutcome.ERROR)]
        assert stage.changes == []

    play(body, change)
