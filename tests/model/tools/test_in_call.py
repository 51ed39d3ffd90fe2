"""Tools in a call, in fake time: answers reach the session, and hanging up waits until the goodbye was heard."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.dialog.nudge import NUDGE
from gateway.dialog.turns import TurnKind
from gateway.events import BrowserToolRequested, EndReason, ToolEnded, ToolOutcome, ToolResult
from gateway.model.base import AudioOut, GenerationComplete, ModelInterrupted, ToolAnswer, ToolCall, ToolCancelled
from gateway.model.tools.toolbox import open_toolbox
from gateway.profile import DuringTools, Listening, Profile
from gateway.toolspec import HANG_UP, Behavior, ToolKind, ToolSpec
from tests import clock
from tests.fakes import silence
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


BLOCKING = ToolSpec("page", ToolKind.BROWSER, behavior=Behavior.BLOCKING, timeout=60.0)


def listening(during: DuringTools, tool: ToolSpec = BLOCKING) -> Profile:
    return Profile(tools=(tool,), listening=Listening(during_tools=during))


async def talk(stage: Stage, seconds: float) -> None:
    """The caller speaks, in real time."""
    for frame in silence(seconds):
        stage.call.hear(frame)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("during", "tool", "heard"),
    [
        (DuringTools.HOLD, BLOCKING, False),
        (DuringTools.PASS, BLOCKING, True),
        (DuringTools.DEFAULT, BLOCKING, True),
        (DuringTools.HOLD, replace(BLOCKING, behavior=Behavior.NON_BLOCKING), True),
    ],
)
def test_the_callers_audio_while_the_model_waits(during: DuringTools, tool: ToolSpec, heard: bool) -> None:
    async def body() -> None:
        stage = Stage(profile=listening(during, tool))
        await stage.active()
        await talk(stage, 1.0)
        stage.session.say(ToolCall("a", "page", {}))
        await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
        before = len(stage.session.sent)
        await talk(stage, 5.0)
        during_tool = len(stage.session.sent) - before
        assert (during_tool > 4.5 * 32_000) if heard else (during_tool == 0)
        stage.call.message(ToolResult("a", "seen"))
        await clock.until(lambda: bool(stage.session.answers))
        await talk(stage, 1.0)
        await asyncio.sleep(0.2)
        after = (len(stage.session.sent) - before - during_tool) / 32_000
        if not heard:  # two seconds of what was held, and the one since
            assert 2.7 <= after <= 3.1
            assert stage.call.uplink.dropped == pytest.approx(3.0, abs=0.2)
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await stage.ended()

    play(body)


def test_what_is_held_is_let_go_when_the_model_withdraws_the_question() -> None:
    async def body() -> None:
        stage = Stage(profile=listening(DuringTools.HOLD))
        await stage.active()
        stage.session.say(ToolCall("a", "page", {}))
        await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
        before = len(stage.session.sent)
        await talk(stage, 1.0)
        stage.session.say(ToolCancelled(("a",)))
        await asyncio.sleep(0.2)
        assert len(stage.session.sent) - before > 0.8 * 32_000
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await stage.ended()

    play(body)


@pytest.mark.parametrize(("patience", "nudges"), [(3.0, 1), (0.0, 0)])
def test_a_model_that_says_nothing_after_a_result_is_reminded_once(patience: float, nudges: int) -> None:
    async def body() -> None:
        stage = Stage(profile=Profile(tools=(BLOCKING,), tool_nudge=patience))
        await stage.active()
        stage.session.say(ToolCall("a", "page", {}))
        await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
        await asyncio.sleep(10.0)
        assert stage.session.prompts == [], "the function is at work"
        stage.call.message(ToolResult("a", "seen"))
        await asyncio.sleep(30.0)
        assert stage.session.prompts == [NUDGE] * nudges
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await stage.ended()

    play(body)


def test_a_model_that_speaks_is_not_reminded() -> None:
    async def body() -> None:
        stage = Stage(profile=Profile(tools=(BLOCKING,)))
        await stage.active()
        stage.session.say(ToolCall("a", "page", {}))
        await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
        stage.call.message(ToolResult("a", "seen"))
        await asyncio.sleep(1.0)
        stage.session.say(AudioOut(speech(0.5), asyncio.get_running_loop().time()), GenerationComplete())
        await asyncio.sleep(30.0)
        assert stage.session.prompts == []
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await stage.ended()

    play(body)


def test_nobody_is_idle_while_a_function_is_at_work() -> None:
    async def body() -> None:
        stage = Stage(profile=Profile(tools=(BLOCKING,), idle_timeout=5.0))
        await stage.active()
        stage.session.say(ToolCall("a", "page", {}))
        await asyncio.sleep(30.0)
        assert not stage.call.over
        stage.call.message(ToolResult("a", "seen"))
        assert (await stage.ended()).reason is EndReason.IDLE

    play(body)


@pytest.mark.parametrize(
    ("model", "during", "holds"),
    [
        ("gemini-2.5-flash-native-audio-latest", DuringTools.DEFAULT, True),
        ("gemini-2.5-flash-native-audio-latest", DuringTools.PASS, False),
        ("gemini-3.8-live", DuringTools.DEFAULT, False),
        ("gemini-3.8-live", DuringTools.HOLD, True),
    ],
)
def test_audio_is_held_where_the_model_ends_the_session_over_it(model: str, during: DuringTools, holds: bool) -> None:
    async def body() -> None:
        profile = replace(listening(during), model=model)
        async with open_toolbox({"default": profile}, model=model) as toolbox:
            stage = Stage(profile=profile, tools=toolbox)
            await stage.active()
            stage.session.say(ToolCall("a", "page", {}))
            await clock.until(lambda: bool(stage.diary.of(BrowserToolRequested)))
            before = len(stage.session.sent)
            await talk(stage, 1.0)
            assert (len(stage.session.sent) == before) == holds
            stage.call.hang_up(EndReason.HUNG_UP_BY_API)
            await stage.ended()

    play(body)
