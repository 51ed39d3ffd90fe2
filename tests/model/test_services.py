"""Fallbacks in fake time: at the beginning of a call and in the middle of it, with scripted services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.dialog.history import History
from gateway.dialog.transcript import CutOff
from gateway.errors import ModelError, ModelRefused, ModelUnavailable
from gateway.events import ModelConnected, ModelSwapped
from gateway.model.base import (
    AudioOut,
    InputTranscript,
    ModelEvent,
    ModelSession,
    OutputTranscript,
    ToolAnswer,
    ToolCall,
    ToolCancelled,
    TurnComplete,
)
from gateway.model.services import MAX_TOLD, Services, chain
from gateway.profile import Endpointing, Listening, Profile
from tests import clock

FIRST = Profile(name="first", fallback="second", voice="Kore", system_instruction="Be kind.", greeting="Greet.")
SECOND = Profile(
    name="second", backend="two", model="m2", voice="Puck", language="de", temperature=0.5, system_instruction="Rude."
)


class Session:
    """Notes what it is told; says what the script says."""

    def __init__(self, profile: Profile, script: list[ModelEvent | ModelError]) -> None:
        self.profile = profile
        self.script = script
        self.told: list[object] = []
        self.closed = False
        self.free = True

    def post_audio(self, pcm: bytes) -> None:
        self.told.append(("posted", pcm))

    async def send_audio(self, pcm: bytes) -> None:
        self.told.append(pcm)

    async def end_audio(self) -> None:
        self.told.append("end")

    async def send_text(self, text: str) -> None:
        self.told.append(("text", text))

    async def answer_tool(self, answer: ToolAnswer) -> None:
        self.told.append(answer.id)

    async def cut_off(self, answer: CutOff) -> None:
        self.told.append(answer)

    async def prompt(self, text: str) -> None:
        self.told.append(("prompt", text))

    async def activity(self, speaking: bool) -> None:
        self.told.append(speaking)

    async def update(self, profile: Profile) -> None:
        self.told.append(profile.system_instruction)

    async def events(self) -> AsyncIterator[ModelEvent]:
        for event in self.script:
            await asyncio.sleep(1.0)
            if isinstance(event, ModelError):
                raise event
            yield event


class Service:
    """Opens sessions with the next script of the list; an error instead of a script: it can't be had."""

    def __init__(self, *scripts: list[ModelEvent | ModelError] | ModelError) -> None:
        self.scripts = list(scripts)
        self.sessions: list[Session] = []

    @asynccontextmanager
    async def session(self, profile: Profile, history: History | None = None) -> AsyncIterator[ModelSession]:
        self.history = history
        await asyncio.sleep(0.5)
        script = self.scripts.pop(0)
        if isinstance(script, ModelError):
            raise script
        session = Session(profile, script)
        self.sessions.append(session)
        try:
            yield session
        finally:
            session.closed = True


def services(one: Service, two: Service, first: Profile = FIRST, second: Profile = SECOND) -> Services:
    profiles = {profile.name: profile for profile in (first, second)}
    return Services({"": one, "two": two}, {"": "m1", "two": "m2"}, profiles)


async def nothing_left() -> None:
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


def test_without_a_fallback_the_service_is_asked_directly() -> None:
    async def body() -> None:
        one, two = Service([]), Service([])
        both = services(one, two)
        async with both.session(Profile(name="x")) as session:
            assert session is one.sessions[0]
        async with both.session(Profile(name="y", backend="two")) as session:
            assert session is two.sessions[0]

    clock.run(body())


@pytest.mark.parametrize("failure", [ModelUnavailable("down"), ModelRefused("quota")])
def test_who_cannot_be_had_is_replaced_at_once(failure: ModelError) -> None:
    async def body() -> None:
        one, two = Service(failure), Service([ModelConnected(0.5)])
        async with services(one, two).session(FIRST) as session:
            events = [event async for event in session.events()]
            assert events == [ModelConnected(0.5, model="m2")]
            await session.prompt("Greet.")
            (second,) = two.sessions
            assert second.told == [("prompt", "Greet.")]
            assert (second.profile.voice, second.profile.language, second.profile.temperature) == ("Puck", "de", 0.5)
            assert second.profile.system_instruction == "Be kind.", "what the call is stays"
        assert second.closed
        await nothing_left()

    clock.run(body())


def test_when_all_are_down_the_first_says_why() -> None:
    async def body() -> None:
        both = services(Service(ModelRefused("no quota")), Service(ModelUnavailable("down")))
        with pytest.raises(ModelRefused, match="no quota"):
            async with both.session(FIRST):
                raise AssertionError("nobody is there")
        await nothing_left()

    clock.run(body())


def test_in_the_middle_of_a_call_the_next_one_takes_over_and_knows_what_was_said() -> None:
    async def body() -> None:
        one = Service(
            [
                ModelConnected(0.5),
                OutputTranscript("Hello, "),
                OutputTranscript("how can I help?"),
                TurnComplete(),
                InputTranscript('Ignore "that"\nand'),
                InputTranscript(" sing."),
                ToolCall("t1", "f", {}),
                ToolCall("t2", "f", {}),
                ModelUnavailable("gone"),
            ]
        )
        two = Service([ModelConnected(0.1), AudioOut(b"\0\0", 1.0)])
        async with services(one, two).session(FIRST) as session:
            seen: list[ModelEvent] = []

            async def read() -> None:
                seen.extend([event async for event in session.events()])

            async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read())
                await asyncio.sleep(8.5)
                await session.answer_tool(ToolAnswer("t2", "f", {}))
                await session.send_audio(b"before")
                await asyncio.sleep(0.8)
                assert one.sessions[0].closed
                await session.send_audio(b"after")  # waits until somebody is there
                await reading
            (first,), (second,) = one.sessions, two.sessions
            assert first.told == ["t2", b"before"]
            kind, told = second.told[0]  # type: ignore[misc]
            assert kind == "prompt"
            assert told.endswith('You: "Hello, how can I help?"\nCaller: "Ignore \\"that\\" and sing."')
            assert second.told[1:] == [b"after"]
            assert seen[-4:] == [
                ToolCancelled(("t1",)),
                ModelSwapped("error", "context_replayed", gap=pytest.approx(0.5), replayed=0.0, lost=0.0),
                ModelConnected(0.1, model="m2"),
                AudioOut(b"\0\0", 1.0),
            ]
        assert second.closed
        await nothing_left()

    clock.run(body())


def test_an_activity_that_was_open_is_opened_again() -> None:
    async def body() -> None:
        button = Profile(name="first", fallback="second", listening=Listening(Endpointing.PUSH_TO_TALK))
        one, two = Service([ModelConnected(0.5), ModelUnavailable("gone")]), Service([])
        async with services(one, two, button).session(button) as session:
            await session.activity(True)
            assert [event async for event in session.events()][1:]
            await session.activity(False)
        assert two.sessions[0].told == [True, False]

    clock.run(body())


def test_the_last_one_down_ends_it() -> None:
    async def body() -> None:
        one = Service([ModelUnavailable("gone")])
        async with services(one, Service(ModelUnavailable("down too"))).session(FIRST) as session:
            with pytest.raises(ModelUnavailable, match="gone"):
                _ = [event async for event in session.events()]
            await session.send_audio(b"to nobody")  # neither waits nor fails
        await nothing_left()

    clock.run(body())


def test_hanging_up_while_the_next_is_being_asked() -> None:
    async def body() -> None:
        one, two = Service([ModelUnavailable("gone")]), Service([])
        async with services(one, two).session(FIRST) as session:
            reading = asyncio.create_task(anext(aiter(session.events())))  # type: ignore[arg-type]
            await asyncio.sleep(1.2)
            reading.cancel()
            await asyncio.wait((reading,))
        assert not two.sessions
        await nothing_left()

    clock.run(body())


def test_a_new_instruction_reaches_whoever_takes_over() -> None:
    async def body() -> None:
        one, two = Service([ModelUnavailable("gone")]), Service([])
        async with services(one, two).session(FIRST) as session:
            await session.update(Profile(name="first", system_instruction="Be brief."))
            _ = [event async for event in session.events()]
        assert one.sessions[0].told == ["Be brief."]
        assert two.sessions[0].profile.system_instruction == "Be brief."
        assert two.sessions[0].profile.model == "m2"

    clock.run(body())


def test_who_takes_over_is_told_what_was_heard_and_may_be_read() -> None:
    """The call's account decides: words that were never heard, or that moderation has removed, are not in it."""

    async def body() -> None:
        one = Service([OutputTranscript("Heard, never heard."), InputTranscript("My card is 4111."), ModelUnavailable("gone")])
        two, history = Service([]), History()
        async with services(one, two).session(FIRST, history) as session:
            history.model_said("Heard,")
            history.answer_over()
            history.caller_said("My card is [removed].")
            _ = [event async for event in session.events()]
        ((_, told),) = two.sessions[0].told  # type: ignore[misc]
        assert told.endswith('You: "Heard,"\nCaller: "My card is [removed]."')
        assert one.history is two.history is history

    clock.run(body())


def test_what_is_told_has_a_limit() -> None:
    async def body() -> None:
        words = [OutputTranscript("x" * 5000), InputTranscript("y" * 5000), OutputTranscript("z" * 20_000)]
        one, two = Service([*words, ModelUnavailable("gone")]), Service([])
        async with services(one, two).session(FIRST) as session:
            _ = [event async for event in session.events()]
        ((_, told),) = two.sessions[0].told  # type: ignore[misc]
        assert len(told) < MAX_TOLD + 500

    clock.run(body())


def test_chains_end() -> None:
    a, b, c = (Profile(name=name, model=name, fallback=fallback) for name, fallback in ("ab", "bc", "ca"))
    profiles = {"a": a, "b": b, "c": c}
    assert [profile.model for profile in chain(a, profiles)] == ["a", "b", "c"]
    assert [profile.model for profile in chain(Profile(name="d", model="d", fallback="nobody"), profiles)] == ["d"]
