"""Tool calls: ids, waiting, answers, and how a result is woven into the conversation."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from gateway.emulator.calls import Accepted, PendingCalls, Stray
from gateway.emulator.client import FunctionResponse
from gateway.emulator.models import Backend
from gateway.emulator.script import parse_scenario
from gateway.emulator.settings import EmulatorSettings
from gateway.emulator.voices import Call
from gateway.emulator.world import World
from tests.emulator.playing import Play, loud, quiet

BLOCKING = {"slow": True, "free": False}


def pending(*names: str, backend: Backend = Backend.DEVELOPER) -> tuple[PendingCalls, list[str]]:
    calls = PendingCalls(backend, random.Random(1))
    wire = calls.send([Call(name, {"a": 1}) for name in names], BLOCKING)
    return calls, [call["id"] for call in wire]


def answer(call_id: str, *, will_continue: bool = False) -> FunctionResponse:
    return FunctionResponse(call_id, "f", {"output": 1}, "WHEN_IDLE", will_continue)


def test_ids_look_like_those_of_the_service() -> None:
    _, (developer,) = pending("slow")
    assert re.fullmatch(r"function-call-\d{19}", developer)
    _, (vertex,) = pending("slow", backend=Backend.VERTEX)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", vertex)


def test_arguments_may_be_missing() -> None:
    calls = PendingCalls(Backend.DEVELOPER, random.Random(1))
    assert [set(call) for call in calls.send([Call("f"), Call("f", {})], {})] == [{"name", "id"}, {"name", "id", "args"}]
    assert calls.blocked, "a function that was never declared blocks"


def test_a_blocking_call_blocks_until_answered() -> None:
    calls, (slow, free) = pending("slow", "free")
    assert calls.blocked
    assert calls.answer(answer(slow)) == Accepted(answer(slow), blocking=True, last=True)
    assert not calls.blocked
    assert calls.waiting == (free,)


def test_one_answer_per_id() -> None:
    calls, (slow,) = pending("slow")
    calls.answer(answer(slow))
    assert calls.answer(answer(slow)) == Stray(answer(slow), "answered")
    assert calls.answer(answer("other")) == Stray(answer("other"), "unknown")
    calls, (slow,) = pending("slow")
    assert calls.cancel() == (slow,)
    assert calls.cancel() == ()
    assert calls.answer(answer(slow)) == Stray(answer(slow), "cancelled")


def test_a_call_that_does_not_block_may_answer_in_instalments() -> None:
    calls, (free,) = pending("free")
    for _ in range(3):
        assert calls.answer(answer(free, will_continue=True)) == Accepted(
            answer(free, will_continue=True), blocking=False, last=False
        )
    assert isinstance(calls.answer(answer(free)), Accepted)
    assert isinstance(calls.answer(answer(free)), Stray)


# --- in a conversation ---

TOOLS = {
    "tools": [{"functionDeclarations": [{"name": "slow", "behavior": "BLOCKING"}, {"name": "free", "behavior": "NON_BLOCKING"}]}]
}


def script(turns: str) -> Play:
    scenario = parse_scenario(turns.encode(), lambda name: name.encode())
    return Play(world=World(EmulatorSettings(persona="script", idle_handle=1e6), scenario.persona)).set_up(**TOOLS)


def sent_ids(play: Play) -> list[str]:
    return [call["id"] for _, message in play.messages("toolCall") for call in message["functionCalls"]]


def respond(play: Play, *ids: str, **more: Any) -> None:
    play.say({"toolResponse": {"functionResponses": [{"id": i, "name": "f", "response": {"output": i}, **more} for i in ids]}})


def test_the_model_is_silent_until_every_blocking_call_is_answered() -> None:
    play = script('{"turns": [{"tools": [{"name": "slow", "args": {"n": 1}}, {"name": "slow"}]}, {"tone": 440, "seconds": 1}]}')
    play.turn().pass_time(30)
    first, second = sent_ids(play)
    assert not play.chunks()
    assert not play.contents("turnComplete")
    respond(play, first)
    play.pass_time(5)
    assert not play.chunks()
    respond(play, second)
    play.pass_time(5)
    assert play.record.said.seconds == 1.0
    assert len(play.contents("turnComplete")) == 1
    assert [call_id for call_id, _, _ in play.record.tool_results] == [first, second]


def test_the_model_keeps_talking_beside_a_call_that_does_not_block() -> None:
    play = script('{"turns": [{"tools": [{"name": "free"}], "tone": 440, "seconds": 3}, {"tone": 330, "seconds": 1}]}')
    play.turn().pass_time(0.5)
    assert play.chunks()
    respond(play, *sent_ids(play))
    play.pass_time(10)
    assert play.record.said.seconds == 4.0, "the result is spoken about when the first answer is over"
    assert not play.contents("interrupted")
    assert len(play.contents("turnComplete")) == 2


def test_a_result_may_interrupt() -> None:
    play = script('{"turns": [{"tools": [{"name": "free"}], "tone": 440, "seconds": 10}, {"tone": 330, "seconds": 1}]}')
    play.turn().pass_time(0.5)
    before = play.record.said.seconds
    respond(play, *sent_ids(play), scheduling="INTERRUPT")
    play.pass_time(3)
    assert play.record.said.seconds == pytest.approx(before + 1.0, abs=0.25)


def test_a_result_may_be_kept_for_later() -> None:
    play = script('{"turns": [{"tools": [{"name": "free"}], "tone": 440, "seconds": 1}, {"tone": 330, "seconds": 1}]}')
    play.turn().pass_time(3)
    respond(play, *sent_ids(play), scheduling="SILENT")
    play.pass_time(5)
    assert play.record.said.seconds == 1.0
    assert len(play.record.tool_results) == 1


def test_instalments_are_each_spoken_about() -> None:
    play = script('{"turns": [{"tools": [{"name": "free"}]}, {"tone": 330, "seconds": 1}]}')
    play.turn().pass_time(1)
    respond(play, *sent_ids(play), willContinue=True)
    play.pass_time(3)
    respond(play, *sent_ids(play))
    play.pass_time(3)
    assert play.record.said.seconds == 2.0
    respond(play, *sent_ids(play))
    assert "answered" in play.record.violations[-1].what


def test_a_barge_in_cancels_what_is_pending() -> None:
    play = script('{"turns": [{"tools": [{"name": "free"}], "tone": 440, "seconds": 5}]}')
    play.turn().pass_time(0.5).speak(loud(0.2))
    assert play.messages("toolCallCancellation")[0][1] == {"ids": sent_ids(play)}
    assert play.kinds()[-3:] == ["interrupted", "toolCallCancellation", "turnComplete"]
    respond(play, *sent_ids(play))
    assert "cancelled" in play.record.violations[-1].what
    play.speak(quiet(0.7)).pass_time(3)
    assert not play.record.tool_results


def test_words_without_a_sound() -> None:
    turns = '{"turns": [{"nothing": true, "say": "in silence"}]}'
    scenario = parse_scenario(turns.encode(), lambda name: name.encode())
    for transcription in ({}, {"outputAudioTranscription": {}}):
        world = World(EmulatorSettings(persona="script"), scenario.persona)
        play = Play(world=world).set_up(**transcription)
        play.turn().pass_time(3)
        assert [item["text"] for _, item in play.contents("outputTranscription")] == (["in silence"] if transcription else [])
        assert len(play.contents("turnComplete")) == 1


def test_search_and_code_are_shown_before_the_answer() -> None:
    play = script('{"turns": [{"search": "weather oslo", "code": "print(1)", "tone": 440, "seconds": 1}]}')
    play.turn().pass_time(3)
    assert play.contents("groundingMetadata")[0][1]["webSearchQueries"] == ["weather oslo"]
    code = play.contents("modelTurn")[0][1]["parts"][0]["executableCode"]
    assert code == {"language": "PYTHON", "code": "print(1)"}


def test_new_tools_in_mid_session() -> None:
    play = Play().set_up()
    play.pass_time(2)
    play.say({"realtimeInput": {"text": "/call late"}})
    play.pass_time(5)
    assert not play.messages("toolCall")
    play.say({"contextUpdate": {"tools": {"tools": [{"functionDeclarations": [{"name": "late"}]}]}}})
    play.say({"realtimeInput": {"text": "/call late"}})
    play.pass_time(5)
    assert play.messages("toolCall")
