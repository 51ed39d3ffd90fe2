"""Changes in the middle of a call, with the emulator: what the model was told is in its record, both ways of telling it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import SignalingError
from gateway.events import ModelSwapped, SendText, ToolEnded, ToolOutcome
from gateway.model.base import Updated
from gateway.profile import Change, Profile
from gateway.toolspec import ToolKind, ToolSpec
from tests.e2e.test_policy import Stage, play

TOLD, SWAPPED = "gemini-3.8-live", "gemini-3.1-flash-live-preview"
TO = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
HERE = "tests.model.tools.functions"
TOOLS = (
    ToolSpec("hand_over", ToolKind.PYTHON, "Hands over.", TO, path=f"{HERE}:hand_over"),
    ToolSpec("overreach", ToolKind.PYTHON, "Too much.", path=f"{HERE}:overreach"),
)


def profile(model: str) -> Profile:
    return Profile(model=model, system_instruction="Be brief.", tools=TOOLS)


def names(tools: Any) -> list[str]:
    return [one["name"] for tool in tools for one in tool["functionDeclarations"]]


@pytest.mark.parametrize("model", [TOLD, SWAPPED])
def test_another_instruction_and_fewer_tools(model: str) -> None:
    own = profile(model)

    async def body(stage: Stage) -> None:
        await stage.call(own)
        done = await stage.live.change(Change(instructions="Be kind.", tools=("overreach",)))
        if model == TOLD:
            assert done is Updated.TOLD
            await stage.until(lambda: len(stage.session.updates) == 2)
            instruction, tools = stage.session.updates
            assert instruction["systemInstruction"]["parts"] == [{"text": "Be kind."}]
            assert names(tools["tools"]["tools"]) == ["overreach"]
            assert len(stage.emulator.sessions) == 1
        else:
            assert done is Updated.SWAP
            await stage.until(lambda: stage.diary.of(ModelSwapped), 15.0)
            assert stage.session.setup["systemInstruction"]["parts"] == [{"text": "Be kind."}]
            assert names(stage.session.setup["tools"]) == ["overreach"]

    play(body, own)


def test_a_voice_is_changed_by_a_swap() -> None:
    own = profile(TOLD)

    async def body(stage: Stage) -> None:
        await stage.call(own)
        assert await stage.live.change(Change(voice="Kore")) is Updated.SWAP
        await stage.until(lambda: stage.diary.of(ModelSwapped), 15.0)
        speech = stage.session.setup["generationConfig"]["speechConfig"]
        assert speech["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "Kore"
        assert stage.session.setup["systemInstruction"]["parts"] == [{"text": "Be brief."}]

    play(body, own)


def test_what_is_so_already_is_not_told() -> None:
    own = profile(TOLD)

    async def body(stage: Stage) -> None:
        await stage.call(own)
        assert await stage.live.change(Change(instructions="Be brief.", tools=("hand_over", "overreach"))) is Updated.NOTHING
        assert stage.session.updates == []

    play(body, own)


def test_every_fault_of_a_change_is_told_and_nothing_is_changed() -> None:
    own = profile(TOLD)

    async def body(stage: Stage) -> None:
        await stage.call(own)
        with pytest.raises(SignalingError) as caught:
            await stage.live.change(Change("No.\0", ("launch", "launch"), "Kora", "german"))
        for part in ("instructions: ", "no 'launch'", "named twice", "near: Kore", "language: must be"):
            assert part in caught.value.detail
        assert stage.live.profile == own

    play(body, own)


@pytest.mark.parametrize("model", [TOLD, SWAPPED])
def test_a_tool_may_change_the_prompt(model: str) -> None:
    own = profile(model)

    async def body(stage: Stage) -> None:
        await stage.call(own)
        stage.live.message(SendText('/call hand_over {"to": "billing"}'))
        await stage.until(lambda: stage.diary.of(ToolEnded))
        if model == TOLD:
            await stage.until(lambda: len(stage.session.updates) == 2)
            assert stage.session.updates[0]["systemInstruction"]["parts"] == [{"text": "You are billing now."}]
        else:
            await stage.until(lambda: stage.diary.of(ModelSwapped), 15.0)
            assert stage.session.setup["systemInstruction"]["parts"] == [{"text": "You are billing now."}]
            assert "tools" not in stage.session.setup

    play(body, own)


def test_a_tool_can_have_no_more_than_the_profile() -> None:
    own = profile(TOLD)

    async def body(stage: Stage) -> None:
        await stage.call(own)
        stage.live.message(SendText("/call overreach {}"))
        await stage.until(lambda: stage.diary.of(ToolEnded))
        (ended,) = stage.diary.of(ToolEnded)
        assert ended.outcome is ToolOutcome.ERROR  # type: ignore[attr-defined]
        assert stage.session.updates == []

    play(body, own)
