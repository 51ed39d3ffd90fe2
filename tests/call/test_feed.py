"""Everything towards the model, in order and bounded; in fake time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.account import Account
from gateway.call.ear import Ear
from gateway.call.feed import MAX_WAITING_NOTES, MAX_WAITING_PROMPTS, MAX_WAITING_TEXTS, Feed
from gateway.dialog.budget import AUDIO_TOKENS, Budget, Spending, Unit
from gateway.dialog.history import History, Role, Said
from gateway.dialog.transcript import CutOff
from gateway.dialog.turns import TurnKind, Turns
from gateway.errors import ModelUnavailable
from gateway.media.audio import PTIME, AudioFrame
from gateway.model.base import Updated
from gateway.profile import Endpointing, Listening, Profile
from tests import clock

RATE = 16_000


class Session:
    """A model session that takes `seconds` over everything and writes down what came."""

    def __init__(self, seconds: float = 0.0, *, free: bool = False) -> None:
        self.seconds = seconds
        self.free = free
        self.came: list[tuple[str, object]] = []
        self.broken = False

    async def _take(self, what: str, value: object) -> None:
        if self.broken:
            raise ModelUnavailable("gone")
        await asyncio.sleep(self.seconds)
        self.came.append((what, value))

    def post_audio(self, pcm: bytes) -> None:
        assert self.free, "asked before"
        self.came.append(("posted", len(pcm) / (2 * RATE)))

    async def send_audio(self, pcm: bytes) -> None:
        await self._take("audio", len(pcm) / (2 * RATE))

    async def end_audio(self) -> None:
        await self._take("end", None)

    async def send_text(self, text: str) -> None:
        await self._take("text", text)

    async def prompt(self, text: str) -> None:
        await self._take("prompt", text)

    async def activity(self, speaking: bool) -> None:
        await self._take("activity", speaking)

    async def cut_off(self, answer: CutOff) -> None:
        await self._take("cut off", answer.heard)

    async def update(self, profile: Profile) -> Updated:
        await self._take("update", profile.name)
        return Updated.TOLD


class Desk:
    """A feed and everything it writes to."""

    def __init__(self, session: Session, listening: Listening = Listening()) -> None:  # noqa: B008 - a frozen value
        loop = asyncio.get_running_loop()
        self.session = session
        self.ear = Ear(listening)
        self.turns, self.history = Turns(), History()
        self.spending, self.account = Spending(Budget(), None), Account(loop.time())
        self.feed = Feed(
            self.ear, turns=self.turns, history=self.history, spending=self.spending, account=self.account, loop=loop
        )

    @asynccontextmanager
    async def running(self, greeting: str = "") -> AsyncIterator[asyncio.Task[None]]:
        """Until the end of the block; what came is complete then."""
        task = asyncio.create_task(self.feed.run(self.session, greeting))  # type: ignore[arg-type]
        try:
            yield task
            await asyncio.sleep(60.0)
        finally:
            task.cancel()
            await asyncio.wait((task,))

    def say(self, seconds: float) -> None:
        """The caller speaks, all at once."""
        for _ in range(round(seconds / PTIME)):
            frame = AudioFrame(bytes(round(2 * RATE * PTIME)), RATE, asyncio.get_running_loop().time())
            if self.ear.hear(frame).ready:
                self.feed.wake()

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.session.came]


def test_nothing_is_sent_before_the_greeting_and_it_is_a_turn() -> None:
    async def body() -> None:
        desk = Desk(Session(1.0))
        began = asyncio.get_running_loop().time()
        desk.say(0.2)
        async with desk.running("Greet."):
            await clock.until(lambda: desk.session.came == [("prompt", "Greet.")])
            desk.turns.model_audio(began + 3.0, 0.1, 0.0)
            turn = desk.turns.interrupted(0.0)
        assert turn is not None
        assert (turn.kind, turn.model_first_audio) == (TurnKind.GREETING, 3.0), "measured from when it was asked for"
        assert desk.kinds == ["prompt", "audio"]

    clock.run(body())


def test_without_a_greeting_nobody_asks_the_model_to_speak() -> None:
    async def body() -> None:
        desk = Desk(Session())
        async with desk.running():
            pass
        assert desk.session.came == []

    clock.run(body())


def test_all_that_waits_leaves_in_the_order_in_which_the_model_needs_it() -> None:
    """What it must know of its last answer, what it is now, what it is to say, and only then the caller."""

    async def body() -> None:
        desk = Desk(Session())
        desk.say(0.1)
        desk.feed.type("typed")
        desk.feed.prompt("say")
        told = desk.feed.change(Profile(name="other"))
        desk.feed.cut_off(CutOff("heard", "unheard"))
        desk.feed.pause()
        async with desk.running():
            assert await told is Updated.TOLD
        assert desk.session.came == [
            ("cut off", "heard"),
            ("update", "other"),
            ("prompt", "say"),
            ("text", "typed"),
            ("audio", pytest.approx(0.1)),
            ("end", None),
        ]

    clock.run(body())


def test_a_pause_is_told_once_and_after_the_last_words() -> None:
    async def body() -> None:
        desk = Desk(Session(0.3), Listening(endpointing=Endpointing.PUSH_TO_TALK))
        desk.ear.button(True, 0.0)
        desk.say(2.0)
        desk.ear.shut()
        desk.feed.pause()
        async with desk.running():
            await clock.until(lambda: "end" in desk.kinds)
            desk.feed.type("back again")
        assert desk.kinds == ["activity", *["audio"] * 4, "activity", "end", "text"]
        assert [value for kind, value in desk.session.came if kind == "activity"] == [True, False]

    clock.run(body())


def test_a_change_of_mind_is_told_once() -> None:
    async def body() -> None:
        desk = Desk(Session(1.0))
        first, second = desk.feed.change(Profile(name="first")), desk.feed.change(Profile(name="second"))
        async with desk.running():
            await asyncio.sleep(0.5)
            third = desk.feed.change(Profile(name="third"))  # while the one before is being told
            assert await first is Updated.TOLD
            assert second.done()
            assert not third.done()
            assert await third is Updated.TOLD
        assert desk.session.came == [("update", "second"), ("update", "third")]

    clock.run(body())


def test_nobody_waits_any_more_for_what_became_of_a_change() -> None:
    async def body() -> None:
        desk = Desk(Session())
        desk.feed.change(Profile(name="other")).cancel()
        async with desk.running() as task:
            desk.feed.type("on it goes")
        assert task.cancelled(), "by us and nobody else"
        assert desk.kinds == ["update", "text"]

    clock.run(body())


def test_the_oldest_gives_way() -> None:
    async def body() -> None:
        desk = Desk(Session())
        for number in range(20):
            desk.feed.prompt(f"prompt {number}")
            desk.feed.type(f"text {number}")
            desk.feed.cut_off(CutOff(f"answer {number}", ""))
        async with desk.running():
            pass
        prompts, texts, notes = (
            [value for kind, value in desk.session.came if kind == what] for what in ("prompt", "text", "cut off")
        )
        assert prompts == [f"prompt {number}" for number in range(20 - MAX_WAITING_PROMPTS, 20)]
        assert texts == [f"text {number}" for number in range(20 - MAX_WAITING_TEXTS, 20)]
        assert notes == [f"answer {number}" for number in range(20 - MAX_WAITING_NOTES, 20)]
        assert desk.history.turns == (Said(Role.CALLER, "".join(str(text) for text in texts)),), (
            "what was never sent was not said"
        )

    clock.run(body())


def test_typed_words_are_a_turn_of_their_own_and_history() -> None:
    async def body() -> None:
        desk = Desk(Session())
        async with desk.running():
            await asyncio.sleep(1.0)
            desk.feed.type("How late is it?")
        turn = desk.turns.overdue(asyncio.get_running_loop().time(), caller_speaking=False)
        assert turn is not None
        assert turn.kind is TurnKind.TEXT
        assert desk.history.turns == (Said(Role.CALLER, "How late is it?"),)

    clock.run(body())


def test_audio_is_counted_and_its_wait_is_kept() -> None:
    async def body() -> None:
        desk = Desk(Session(0.5))
        async with desk.running():
            desk.feed.type("takes half a second")
            await asyncio.sleep(0.1)
            desk.say(0.4)
        assert desk.session.came[-1] == ("audio", pytest.approx(0.4))
        assert desk.spending.expected()[Unit.AUDIO_TOKENS] == pytest.approx(0.4 * AUDIO_TOKENS)
        assert list(desk.account.uplink_added) == [pytest.approx(0.4 + 0.5)]  # the rest of the text, and its own

    clock.run(body())


def test_audio_leaves_without_the_task_where_nothing_is_before_it() -> None:
    async def body() -> None:
        desk = Desk(Session(free=True))
        desk.say(0.1)
        assert desk.session.came == [], "nobody is there yet"
        async with desk.running():
            await clock.until(lambda: desk.kinds == ["audio"])
            desk.say(0.2)
            assert desk.session.came[1:] == [("posted", pytest.approx(0.1))] * 2, "at once"
            desk.session.free = False
            desk.say(0.1)
            desk.session.free = True  # too late for what waits already, which nothing overtakes
            desk.say(0.1)
            assert len(desk.session.came) == 3
            await clock.until(lambda: len(desk.session.came) == 4)
            assert desk.session.came[3] == ("audio", pytest.approx(0.2))
            desk.say(0.1)
        desk.say(0.1)
        assert desk.kinds == ["audio", "posted", "posted", "audio", "posted"], "nothing after the end"
        assert desk.spending.expected()[Unit.AUDIO_TOKENS] == pytest.approx(0.6 * AUDIO_TOKENS)
        assert list(desk.account.uplink_added) == [0.0] * 5

    clock.run(body())


@pytest.mark.parametrize("what", ["type", "prompt", "cut off", "pause", "change"])
def test_audio_does_not_overtake_what_was_wanted_before_it(what: str) -> None:
    async def body() -> None:
        desk = Desk(Session(free=True))
        wanted = {
            "type": lambda: desk.feed.type("typed"),
            "prompt": lambda: desk.feed.prompt("say"),
            "cut off": lambda: desk.feed.cut_off(CutOff("heard", "unheard")),
            "pause": desk.feed.pause,
            "change": lambda: desk.feed.change(Profile(name="other")),
        }
        async with desk.running():
            await asyncio.sleep(0.1)
            wanted[what]()
            desk.say(0.1)
            assert desk.session.came == []
            await clock.until(lambda: len(desk.session.came) == 2)
            desk.say(0.1)
        order = {"type": "text", "cut off": "cut off", "change": "update"}.get(what, what)
        first = ["audio", "end"] if what == "pause" else [order, "audio"]
        assert desk.kinds == [*first, "posted"]

    clock.run(body())


def test_turns_and_what_is_held_back_go_by_the_task() -> None:
    async def body() -> None:
        desk = Desk(Session(free=True), Listening(endpointing=Endpointing.PUSH_TO_TALK))
        async with desk.running():
            await asyncio.sleep(0.1)
            desk.ear.button(True, asyncio.get_running_loop().time())
            desk.say(0.2)
            assert desk.session.came == []
        assert set(desk.kinds) == {"activity", "audio"}

        desk = Desk(Session(free=True))
        async with desk.running():
            await asyncio.sleep(0.1)
            desk.ear.hold(True)
            desk.say(0.2)
            assert desk.session.came == []
            assert desk.ear.hold(False)
            desk.feed.wake()
            assert desk.session.came == [("posted", pytest.approx(0.2))]

    clock.run(body())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["say", "say", "say", "type", "prompt", "cut", "pause", "busy", "free", "wait", "hold", "go"]),
        max_size=40,
    )
)
def test_with_the_task_or_without_all_comes_in_the_same_order(steps: list[str]) -> None:
    """What comes is one and the same, whatever may be posted; only how much audio is in a message differs."""

    def came(*, posting: bool) -> list[tuple[str, object]]:
        async def body() -> list[tuple[str, object]]:
            desk = Desk(Session())
            async with desk.running():
                await asyncio.sleep(0.1)
                for number, step in enumerate(steps):
                    if step not in {"say", "busy", "free"}:
                        await asyncio.sleep(0.001)  # what was said before it is gone before it
                    match step:
                        case "say":
                            desk.say(0.1)
                        case "type":
                            desk.feed.type(str(number))
                        case "prompt":
                            desk.feed.prompt(str(number))
                        case "cut":
                            desk.feed.cut_off(CutOff(str(number), ""))
                        case "pause":
                            desk.feed.pause()
                        case "busy" | "free":
                            desk.session.free = posting and step == "free"
                        case "hold":
                            desk.ear.hold(True)
                        case "go":
                            if desk.ear.hold(False):
                                desk.feed.wake()
            found: list[tuple[str, object]] = []
            for kind, value in desk.session.came:
                kind = "audio" if kind == "posted" else kind
                if kind == "audio" and found and found[-1][0] == "audio":
                    _, before = found.pop()
                    assert isinstance(value, float)
                    assert isinstance(before, float)
                    value = round(value + before, 3)
                found.append((kind, value))
            return found

        return clock.run(body())

    assert came(posting=True) == came(posting=False)


def test_a_session_that_fails_ends_it() -> None:
    async def body() -> None:
        desk = Desk(Session())
        desk.session.broken = True
        async with desk.running() as task:
            desk.feed.type("hello?")
            with pytest.raises(ModelUnavailable):
                await asyncio.shield(task)

    clock.run(body())
