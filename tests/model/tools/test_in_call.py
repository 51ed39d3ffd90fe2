"""Tools in a call, in fake time: answers reach the session, and hanging up waits until the goodbye was heard."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.dialog.turns import TurnKind
from gateway.events import BrowserToolRequested, EndReason, ToolEnded, ToolOutcome, ToolResult
from gateway.model.base import AudioOut, GenerationComplete, ModelInterrupted, ToolAnswer, ToolCall, ToolCancelled
from gateway.profile import Profile
from gateway.toolspec import HANG_UP, ToolKind, ToolSpec
from tests import clock
from tests.test_call import Stage, play, speech

PROFILE = replace(Profile(), tools=(ToolSpec(HANG_UP, ToolKind.BUILTIN), ToolSpec("page", ToolKind.BROWSER)))


def test_a_browser_tool_through_the_call() -> None:
    async def body() -> None:
        stage = Stage(profile=PROFILE)
        await stage.active()
        stage.session.say(ToolCall("a", "page", {}))
        await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
        stage.call.message(ToolResult("a", "seen"))
        await clock.until(lambda: bool(stage.session.answers))
        assert stage.session.answers == [ToolAnswer("a", "page", {"output": "seen"})]
        stage.session.say(ToolCall("b", "page", {}), ToolCancelled(("b",)))
        await clock.until(lambda: len(stage.diary.of(ToolEnded)) == 2)
        assert [event.outcome for event in stage.diary.of(ToolEnded)] == [ToolOutcome.OK, ToolOutcome.CANCELLED]  # type: ignore[attr-defined]
        stage.session.say(AudioOut(speech(0.5), asyncio.get_running_loop().time()), GenerationComplete())
        await clock.until(lambda: bool(stage.turns()))
        assert stage.turns()[0].kind is TurnKind.TOOL, "what comes now answers the tool"
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await stage.ended()

    play(body)


def test_the_goodbye_is_heard_out() -> None:
    async def body() -> None:
        stage = Stage(profile=PROFILE)
        await stage.active()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        stage.session.say(AudioOut(speech(2.0), asked), ToolCall("a", HANG_UP, {}), GenerationComplete())
        end = await stage.ended()
        assert end.reason is EndReason.MODEL_HUNG_UP
        assert len(stage.leg.heard()) == len(speech(2.0)), "all of it"
        assert 3.0 <= loop.time() - asked < 3.5

    play(body)


def test_a_caller_who_speaks_over_the_goodbye_is_not_hung_up_on() -> None:
    async def body() -> None:
        stage = Stage(profile=PROFILE)
        await stage.active()
        loop = asyncio.get_running_loop()
        stage.session.say(AudioOut(speech(2.0), loop.time()), ToolCall("a", HANG_UP, {}), GenerationComplete())
        await asyncio.sleep(0.5)
        stage.session.say(ModelInterrupted(loop.time()))
        await asyncio.sleep(60.0)
        assert not stage.call.over
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await stage.ended()

    play(body)


def test_the_end_of_the_call_ends_its_tools() -> None:
    async def body() -> None:
        stage = Stage(profile=PROFILE)
        await stage.active()
        stage.session.say(ToolCall("a", "page", {}))
        await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
        stage.call.hang_up(EndReason.CALLER_HUNG_UP)
        await stage.ended()
        assert stage.session.answers == []
        assert [event.outcome for event in stage.diary.of(ToolEnded)] == [ToolOutcome.CANCELLED]  # type: ignore[attr-defined]

    play(body)
