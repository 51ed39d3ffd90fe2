"""Model sessions that move from socket to socket, with the emulator as the service: what callers lose, and what models are told.

What callers lose in hundreds of swaps is counted by `python -m tests.chaos.session`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
import uvloop
from google.oauth2.credentials import Credentials

from gateway.dialog.history import History
from gateway.emulator import Emulator
from gateway.emulator.counting import count, read_count
from gateway.emulator.faults import parse_options
from gateway.events import ModelConnected, ModelSwapped
from gateway.model.base import AudioOut, ModelEvent, ModelSession, OutputTranscript, ToolAnswer, ToolCall, TurnComplete
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Endpointing, Listening, Profile
from gateway.toolspec import Behavior, ToolKind, ToolSpec
from gateway.wire.gemini_setup import Backend
from tests.audio import silence, speech

T = TypeVar("T")
DEADLINE = 90.0
RATE = 16_000
QUICK: dict[str, Any] = {"first_chunk": 0.02, "speed": 0.0, "await_playback": False, "setup_delay": 0.0, "transcript_delay": 0.0}
"""An emulator that does not imitate the service's delays."""


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


# --- one session ---


@dataclass
class Line:
    """A session whose events are collected as they come."""

    emulator: Emulator
    model: GeminiModel
    session: ModelSession
    events: list[ModelEvent] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        async with aclosing(self.session.events()) as events:  # type: ignore[type-var]
            async for event in events:
                self.events.append(event)
                self.came.set()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type, number: int = 1) -> None:
        while len(self.of(kind)) < number:
            self.came.clear()
            await self.came.wait()

    async def say(self, pcm: bytes, pace: float = 0.0) -> None:
        for at in range(0, len(pcm), 3200):
            await self.session.send_audio(pcm[at : at + 3200])
            await asyncio.sleep(pace)

    def fault(self, words: str) -> None:
        record = self.emulator.sessions[-1]
        assert self.emulator.break_session(record.session_id, parse_options(words))

    @property
    def words(self) -> str:
        return "".join(event.text for event in self.of(OutputTranscript))


def converse(
    body: Callable[[Line], Awaitable[None]],
    *,
    profile: Profile | None = None,
    history: History | None = None,
    fast: bool = True,
    settings: dict[str, Any] | None = None,
    **emulated: Any,
) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), Emulator(**(QUICK | emulated)) as emulator:
            where = {"base_url": emulator.base_url, "ca_file": str(emulator.ca_file), "fast_frames": fast}
            model = GeminiModel(GeminiSettings("KEY", **(where | (settings or {}))))
            try:
                async with model.session(profile or Profile(), history) as session:
                    line = Line(emulator, model, session)
                    reading = asyncio.create_task(line.read())
                    body_task = asyncio.create_task(body(line))  # type: ignore[arg-type]
                    await asyncio.wait((reading, body_task), return_when=asyncio.FIRST_COMPLETED)
                    reading.cancel()
                    await asyncio.wait((reading,))
                    if not reading.cancelled():
                        body_task.cancel()
                        reading.result()
                    await body_task
            finally:
                await model.close()

    run(main())


both_ways = pytest.mark.parametrize("fast", [True, False], ids=["fast", "sdk"])


@both_ways
def test_a_swap_on_both_ways_through_the_sdk(fast: bool) -> None:
    async def body(line: Line) -> None:
        await line.say(count(0, RATE), 0.01)
        await line.until(TurnComplete)
        await line.emulator.until(lambda: line.emulator.sessions[-1].handles)
        line.fault("goaway=0,30")
        await line.until(ModelSwapped)
        await line.say(count(RATE, RATE))
        await line.emulator.until(lambda: line.emulator.sessions[-1].heard.seconds >= 1.0)
        assert line.of(ModelSwapped)[0].result == "ok"
        first, second = line.emulator.sessions
        assert first.close == ("client", 1000, "")
        assert second.resumed
        assert read_count(first.received + second.received).whole
        # Both connections belong to one conversation, and nothing was said that the service did not expect.
        assert first.conversation == second.conversation
        assert first.violations == second.violations == []

    converse(body, fast=fast, persona="counter:1")


@both_ways
def test_a_cut_answer_is_taken_up_where_it_stopped(fast: bool) -> None:
    async def body(line: Line) -> None:
        await line.session.prompt("Count.")
        await line.until(TurnComplete)
        await line.emulator.until(lambda: line.emulator.sessions[-1].handles)
        heard = len(line.of(AudioOut))
        await line.session.send_text("Go on.")
        await line.until(AudioOut, heard + 3)
        line.fault("abrupt_1006=0")
        await line.until(ModelSwapped)
        await line.until(TurnComplete, 2)
        said = b"".join(event.pcm for event in line.of(AudioOut))
        # The counter goes on with the number after the last one sent: not a sample is missing, none comes twice.
        assert read_count(said).whole
        assert "interrupted while you were speaking" in line.emulator.sessions[-1].texts[-1]

    converse(body, fast=fast, persona="counter:2", speed=8.0)


def test_without_a_handle_the_conversation_is_told() -> None:
    history = History()
    history.caller_said("My name is Ada.")
    history.model_said("Hello Ada.")
    history.answer_over()

    async def body(line: Line) -> None:
        await line.session.send_text("Hello.")
        await line.until(TurnComplete)
        line.fault("close_1011=0")
        await line.until(ModelSwapped)
        await line.emulator.until(lambda: line.emulator.sessions[-1].context)
        conversation = next(iter(line.emulator.sessions[-1].context))
        assert conversation == "My name is Ada. Hello Ada." or ("Ada" in conversation and "Hello" in conversation)
        assert line.emulator.sessions[-1].violations == []
        assert line.of(ModelSwapped)[0].result == "no_handle"

    converse(body, history=history, faults="no_handles")


def test_a_model_that_takes_history_only_at_the_beginning_gets_it_there() -> None:
    history = History()
    history.caller_said("My name is Ada.")

    async def body(line: Line) -> None:
        await line.session.send_text("Hello.")
        await line.until(TurnComplete)
        line.fault("close_1011=0")
        await line.until(ModelSwapped)
        await line.session.send_text("Who am I?")
        await line.until(TurnComplete, 2)
        record = line.emulator.sessions[-1]
        assert record.setup is not None
        assert record.setup["historyConfig"] == {"initialHistoryInClientContent": True}
        assert any("Ada" in words for words in record.context)
        assert record.texts == ["Who am I?"]
        assert record.violations == []

    converse(body, profile=Profile(model="gemini-3.1-flash-live-preview"), history=history, faults="no_handles")


def test_a_question_that_was_lost_is_answered_after_all() -> None:
    async def body(line: Line) -> None:
        await line.say(silence(RATE, 1.0), 0.02)
        await line.say(speech(RATE, 1.5), 0.1)
        line.fault("abrupt_1006=0")
        for _ in range(12):
            await line.say(silence(RATE, 0.1), 0.1)
        await line.until(TurnComplete)
        # The parrot repeats what it heard, and it heard the whole question.
        said = sum(len(event.pcm) for event in line.of(AudioOut)) / 48_000
        assert said >= 1.4
        assert len(line.emulator.sessions) == 2

    converse(body, persona="parrot")


def test_a_frozen_model_is_asked_again_in_the_callers_own_voice() -> None:
    async def body(line: Line) -> None:
        await line.session.prompt("Talk.")
        await line.until(AudioOut, 2)
        await line.say(silence(RATE, 1.0), 0.01)
        await line.say(speech(RATE, 1.5), 0.1)
        while not line.of(ModelSwapped):
            await line.say(silence(RATE, 0.1), 0.1)
        await line.say(silence(RATE, 1.0), 0.02)
        await line.until(AudioOut, len(line.of(AudioOut)) + 1)
        assert line.emulator.sessions[0].interruptions == 1
        assert line.emulator.sessions[1].spoken
        assert line.emulator.sessions[1].texts == []  # nobody put words into the caller's mouth

    converse(body, persona="tone:440,30", faults="freeze_after_interrupt", speed=1.0)


def test_a_function_is_asked_for_again_when_its_question_is() -> None:
    tool = ToolSpec("weather", ToolKind.PYTHON, behavior=Behavior.BLOCKING)

    async def body(line: Line) -> None:
        await line.session.send_text("/call weather {}")
        await line.until(ToolCall)
        line.fault("abrupt_1006=0")
        await line.until(ModelSwapped)
        # The model has no memory of its question: it is asked the caller's again, and asks again.
        await line.until(ToolCall, 2)
        first, second = line.of(ToolCall)
        await line.session.answer_tool(ToolAnswer(first.id, first.name, {"output": "rain"}))
        await line.session.answer_tool(ToolAnswer(second.id, second.name, {"output": "rain"}))
        await line.until(TurnComplete)
        record = line.emulator.sessions[-1]
        assert [call_id for call_id, _, _ in record.tool_results] == [second.id]
        assert record.texts == ["/call weather {}"]
        assert record.violations == []

    converse(body, profile=Profile(tools=(tool,)), persona="parrot")


def test_a_result_is_told_in_words_where_nobody_knows_the_call() -> None:
    tool = ToolSpec("weather", ToolKind.PYTHON, behavior=Behavior.NON_BLOCKING)

    async def body(line: Line) -> None:
        await line.session.send_text("/call weather {}")
        await line.until(TurnComplete)  # the model does not wait for it
        await line.emulator.until(lambda: line.emulator.sessions[-1].handles)
        line.fault("abrupt_1006=0")
        await line.until(ModelSwapped)
        (call,) = line.of(ToolCall)
        await line.session.answer_tool(ToolAnswer(call.id, call.name, {"output": "rain"}))
        await line.until(TurnComplete, 2)
        record = line.emulator.sessions[-1]
        assert record.tool_results == []
        assert "rain" in record.texts[-1]
        assert record.violations == []

    converse(body, profile=Profile(tools=(tool,)), persona="parrot")


def test_a_caller_who_is_away_holds_no_socket_and_finds_the_conversation_again() -> None:
    async def body(line: Line) -> None:
        await line.session.send_text("Hello.")
        await line.until(TurnComplete)
        await line.emulator.until(lambda: line.emulator.sessions[-1].handles)
        await line.session.end_audio()
        line.fault("close_1001=0")
        await line.emulator.until(lambda: line.emulator.sessions[0].ended is not None)
        await asyncio.sleep(0.3)
        assert len(line.emulator.sessions) == 1
        await line.say(count(0, 4800))
        await line.until(ModelSwapped)
        await line.emulator.until(lambda: line.emulator.sessions[-1].heard.seconds >= 0.3)
        assert line.emulator.sessions[-1].resumed
        assert read_count(line.emulator.sessions[-1].received).whole

    converse(body, persona="tone:440,0.2")


@pytest.mark.parametrize("model", ["gemini-3.8-live", "gemini-2.5-flash-native-audio-latest"])
def test_another_instruction_in_mid_call(model: str) -> None:
    profile = Profile(model=model, system_instruction="Be brief.")
    tool = ToolSpec("weather", ToolKind.PYTHON, description="The weather.")

    async def body(line: Line) -> None:
        await line.session.update(replace(profile, system_instruction="Be kind.", tools=(tool,)))
        if model == "gemini-3.8-live":
            await line.emulator.until(lambda: len(line.emulator.sessions[-1].updates) == 2)
            instruction, tools = line.emulator.sessions[-1].updates
            assert instruction["systemInstruction"]["parts"] == [{"text": "Be kind."}]
            assert tools["tools"]["tools"][0]["functionDeclarations"][0]["name"] == "weather"
            return
        await line.until(ModelSwapped)
        assert line.of(ModelConnected)[-1].kind == "rotate"
        setup = line.emulator.sessions[-1].setup
        assert setup is not None
        assert setup["systemInstruction"]["parts"] == [{"text": "Be kind."}]
        assert setup["tools"][0]["functionDeclarations"][0]["name"] == "weather"

    converse(body, profile=profile)


def test_a_turn_that_the_caller_marks_goes_on_over_a_swap() -> None:
    profile = Profile(listening=Listening(Endpointing.PUSH_TO_TALK))

    async def body(line: Line) -> None:
        await line.session.activity(True)
        await line.say(speech(RATE, 1.0), 0.02)
        line.fault("abrupt_1006=0")
        await line.until(ModelSwapped)
        await line.say(speech(RATE, 0.5), 0.02)
        await line.session.activity(False)
        await line.until(TurnComplete)
        assert sum(len(event.pcm) for event in line.of(AudioOut)) / 48_000 >= 1.4
        assert line.emulator.sessions[-1].violations == []

    converse(body, profile=profile, persona="parrot")


def test_a_setup_that_hangs_keeps_nobody_from_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.model.gemini.CONNECTS_AT_ONCE", 1)

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), Emulator(**QUICK, faults="setup_hang&times=1") as emulator:
            model = GeminiModel(
                GeminiSettings("KEY", base_url=emulator.base_url, ca_file=str(emulator.ca_file), setup_timeout=60.0)
            )

            async def talk() -> None:
                async with model.session(Profile()):
                    pass

            hanging = asyncio.create_task(talk())
            while not emulator.world.upgrades:
                await asyncio.sleep(0.01)
            await talk()
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait((hanging,))
            # Every place that was taken has been given back, once.
            await asyncio.gather(*(talk() for _ in range(5)))
            assert model._connects._value == 1
            await model.close()

    run(main())


# --- Vertex AI ---


@pytest.mark.parametrize("express", [True, False], ids=["express", "project"])
@both_ways
def test_vertex_paths_names_and_transparent_resumption(fast: bool, express: bool) -> None:
    settings: dict[str, Any] = {"backend": Backend.VERTEX, "api_version": "v1beta1"}
    if not express:
        settings |= {"project": "P", "location": "us-central1", "credentials": Credentials(token="TOKEN")}

    async def body(line: Line) -> None:
        await line.session.send_text("Hello.")
        await line.until(TurnComplete)
        await line.emulator.until(lambda: line.emulator.sessions[-1].handles)
        line.fault("close_1000=0")
        await line.until(ModelSwapped)
        first, second = line.emulator.sessions
        for record in (first, second):
            assert record.path.endswith("/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent")
            assert record.setup is not None
            assert record.setup["sessionResumption"]["transparent"] is True
            name = "publishers/google/models/gemini-3.8-live"
            assert record.setup["model"] == (name if express else f"projects/P/locations/us-central1/{name}")
            assert record.violations == []
        assert second.setup["sessionResumption"]["handle"] == first.handles[-1]  # type: ignore[index]
        assert line.of(ModelSwapped)[0].result == "ok"
        assert [event for event in line.events if type(event).__name__ == "TokensUsed"]

    converse(body, fast=fast, settings=settings, persona="tone:440,0.5")
