"""One call in fake time: every row of its lifecycle, each with its EndReason, and what passes between leg and model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from gateway.call import Call
from gateway.dialog.history import Role
from gateway.dialog.lifecycle import State
from gateway.dialog.transcript import CutOff
from gateway.dialog.turns import TurnEnd, TurnKind
from gateway.errors import ModelRefused, ModelUnavailable
from gateway.events import (
    CallEnded,
    CallEvent,
    CallInfo,
    CallReport,
    CallSetUp,
    CallStarted,
    ClientReady,
    ContextRead,
    DisconnectBot,
    EndReason,
    Interrupted,
    ModelConnectFailed,
    ModelHeard,
    ModelStartedSpeaking,
    ModelStoppedSpeaking,
    SendText,
    StateChanged,
    TokensUsed,
    Trouble,
    TurnEnded,
)
from gateway.media.audio import PTIME, AudioFrame
from gateway.media.uplink import MIN_CHUNK
from gateway.model.base import (
    AudioOut,
    GenerationComplete,
    InputTranscript,
    ModelInterrupted,
    OutputTranscript,
    TurnComplete,
)
from gateway.model.tools.desk import OWN_TOOLS, Tools
from gateway.profile import Profile
from gateway.registry import Registry
from tests import audio, clock
from tests.fakes import Diary, FakeLeg, FakeModel, FakeSession, silence


def speech(seconds: float, rate: int = 24_000, level: float = 0.3) -> bytes:
    """A loud 300 Hz tone: PCM16 at `rate`."""
    t = np.arange(round(seconds * rate)) / rate
    return (level * 32767 * np.sin(2 * np.pi * 300 * t)).astype("<i2").tobytes()


class Stage:
    """A registry with one call on it, in fake time."""

    def __init__(
        self,
        *,
        profile: Profile | None = None,
        model: FakeModel | None = None,
        leg: FakeLeg | None = None,
        observe: Callable[[CallInfo, CallEvent], None] | None = None,
        tools: Tools = OWN_TOOLS,
    ) -> None:
        from gateway.clock import Clock

        self.loop = asyncio.get_running_loop()
        self.diary = Diary()
        self.leg = leg or FakeLeg()
        self.model = model or FakeModel()
        self.registry = Registry(
            worker="w0",
            max_calls=10,
            model=self.model,
            model_alias="fake",
            clock=Clock(self.loop),
            observe=observe or self.diary,
            loop=self.loop,
            tools=tools,
        )
        self.profile = profile or Profile()
        self.call: Call = self.registry.start(self.registry.admit(self.leg.kind), self.leg, self.profile)

    @property
    def session(self) -> FakeSession:
        return self.model.sessions[0]

    async def active(self) -> None:
        """Media flows and the model is there."""
        await clock.until(lambda: self.leg.sink is not None)
        self.call.connected()
        self.call.hear(silence(0.02)[0])
        await clock.until(lambda: self.call.state is State.ACTIVE)

    async def ended(self) -> CallEnded:
        """The end of the call; nothing is left behind."""
        await clock.until(lambda: bool(self.diary.of(CallEnded)), 60)
        await clock.until(lambda: not len(self.registry))
        (end,) = self.diary.of(CallEnded)
        assert isinstance(end, CallEnded)
        assert self.leg.closed is end.reason
        assert all(session.closed for session in self.model.sessions)
        assert self.call.state is State.ENDED
        # Nothing but this test and what it awaits is still running.
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()
        return end

    def turns(self) -> list[Any]:
        return [event.turn for event in self.diary.of(TurnEnded)]  # type: ignore[attr-defined]


def play(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    clock.run(body())


def test_caller_hangs_up() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.call.message(DisconnectBot())
        end = await stage.ended()
        assert end.reason is EndReason.CALLER_HUNG_UP
        states = [event.state for event in stage.diary.of(StateChanged)]  # type: ignore[attr-defined]
        assert states == [State.ACTIVE, State.ENDING, State.ENDED]
        assert isinstance(stage.diary.events[0], CallStarted)
        assert isinstance(stage.diary.events[-1], CallEnded)

    play(body)


@pytest.mark.parametrize("reason", [EndReason.CALLER_GONE, EndReason.ICE_TIMEOUT, EndReason.MEDIA_TIMEOUT])
def test_caller_gone_passes_through_away_and_waits_no_second(reason: EndReason) -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.call.gone(reason)
        stage.call.gone(EndReason.DTLS_FAILED)  # told twice: the first counts
        # Its leg has gone by itself, so the call has nothing to close there.
        await clock.until(lambda: bool(stage.diary.of(CallEnded)))
        (end,) = stage.diary.of(CallEnded)
        assert end.reason is reason  # type: ignore[attr-defined]
        states = [event.state for event in stage.diary.of(StateChanged)]  # type: ignore[attr-defined]
        assert states == [State.ACTIVE, State.AWAY, State.ENDING, State.ENDED]
        assert stage.session.closed

    play(body)


def test_an_away_call_that_may_wait_is_attached_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.call.call.AWAY_PATIENCE", 10.0)

    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.call.detach(EndReason.CALLER_GONE)
        await asyncio.sleep(5.0)
        assert stage.call.state is State.AWAY
        assert stage.session.ends == 1  # the model was told that no audio comes
        stage.leg = FakeLeg()
        stage.call.attach(stage.leg)
        stage.call.connected()
        assert stage.call.state is State.ACTIVE
        stage.session.say(AudioOut(speech(0.2), stage.loop.time()), GenerationComplete())
        await clock.until(lambda: len(stage.leg.heard()) == len(speech(0.2)))
        stage.call.detach(EndReason.MEDIA_TIMEOUT)
        began = stage.loop.time()
        await clock.until(lambda: bool(stage.diary.of(CallEnded)), 60)
        assert 9.0 <= stage.loop.time() - began <= 12.0
        assert stage.diary.of(CallEnded)[0].reason is EndReason.MEDIA_TIMEOUT  # type: ignore[attr-defined]

    play(body)


def test_caller_gone_while_the_model_is_still_being_opened() -> None:
    async def body() -> None:
        stage = Stage(model=FakeModel(delay=9.0))
        await clock.until(lambda: stage.leg.sink is not None)
        stage.call.gone(EndReason.ICE_TIMEOUT)
        began = stage.loop.time()
        end = await stage.ended()
        assert end.reason is EndReason.ICE_TIMEOUT
        assert stage.loop.time() - began < 1.0  # it did not wait for the model

    play(body)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelRefused("the service does not accept the API key", code="1007"), EndReason.MODEL_REFUSED),
        (ModelUnavailable("no answer to setup in 10 s", code="timeout"), EndReason.MODEL_UNAVAILABLE),
    ],
)
def test_a_model_that_fails_at_setup_says_why_once(error: ModelRefused | ModelUnavailable, reason: EndReason) -> None:
    async def body() -> None:
        stage = Stage(model=FakeModel(error=error))
        end = await stage.ended()
        assert end.reason is reason
        assert end.detail == str(error)
        assert stage.diary.of(Trouble) == [Trouble(str(error), fatal=True)]
        assert stage.diary.of(ModelConnectFailed) == [ModelConnectFailed(error.code, "initial")]
        assert stage.leg.told.count(Trouble(str(error), fatal=True)) == 1

    play(body)


def test_a_model_that_fails_later() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.session.say(AudioOut(speech(2.0), stage.loop.time()))
        await clock.until(lambda: len(stage.leg.heard()) > 10_000)
        stage.session.say(ModelUnavailable("the service closed the session (1011)"))
        end = await stage.ended()
        assert end.reason is EndReason.MODEL_UNAVAILABLE
        assert [turn.end for turn in stage.turns()] == [TurnEnd.ERROR]
        assert end.summary.errors == 1

    play(body)


def test_the_model_is_lent_the_conversation_as_it_was_heard() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        history = stage.model.history
        assert history is not None
        stage.call.message(SendText("What is the weather?"))
        await clock.until(lambda: stage.session.texts == ["What is the weather?"])
        now = stage.loop.time()
        stage.session.say(OutputTranscript("one two three four five six"), AudioOut(speech(6.0), now), GenerationComplete())
        await clock.until(lambda: len(stage.leg.heard()) > 2 * 48_000)
        stage.session.say(ModelInterrupted(stage.loop.time()), InputTranscript("Stop"), InputTranscript(" it."))
        await clock.until(lambda: bool(stage.turns()))
        stage.session.say(OutputTranscript("Right."), AudioOut(speech(0.5), stage.loop.time()), GenerationComplete())
        await clock.until(lambda: len(stage.turns()) == 2)
        roles, texts = zip(*((said.role, said.text) for said in history.turns), strict=True)
        assert roles == (Role.CALLER, Role.MODEL, Role.CALLER, Role.MODEL)
        # The answer ends where the caller's ears did.
        assert texts[1].startswith("one two")
        assert not texts[1].endswith("six")
        assert (texts[0], texts[2], texts[3]) == ("What is the weather?", "Stop it.", "Right.")
        stage.call.message(DisconnectBot())
        await stage.ended()

    play(body)


def test_a_model_that_ends_the_session() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.session.say(None)
        assert (await stage.ended()).reason is EndReason.MODEL_HUNG_UP

    play(body)


def test_time_limit() -> None:
    async def body() -> None:
        stage = Stage(profile=Profile(max_duration=30.0))
        await stage.active()
        began = stage.loop.time()
        end = await stage.ended()
        assert end.reason is EndReason.MAX_DURATION
        assert 28.0 <= stage.loop.time() - began <= 32.0

    play(body)


def test_idle_limit_counts_from_the_last_speech_of_either_side() -> None:
    async def body() -> None:
        stage = Stage(profile=Profile(idle_timeout=10.0))
        await stage.active()
        await asyncio.sleep(6.0)
        stage.session.say(AudioOut(speech(1.0), stage.loop.time()), GenerationComplete())
        began = stage.loop.time()
        end = await stage.ended()
        assert end.reason is EndReason.IDLE
        assert 10.0 <= stage.loop.time() - began <= 13.0

    play(body)


def test_drain_lets_calls_end_then_ends_them() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        began = stage.loop.time()
        assert await stage.registry.drain(20.0) == 1
        assert stage.loop.time() - began > 19.9
        assert (await stage.ended()).reason is EndReason.DRAINED

    play(body)


def test_drain_is_over_as_soon_as_the_last_call_is() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.loop.call_later(3.0, stage.call.hang_up, EndReason.CALLER_HUNG_UP)
        began = stage.loop.time()
        assert await stage.registry.drain(20.0) == 0
        assert stage.loop.time() - began < 4.0

    play(body)


@pytest.mark.parametrize("where", ["hear", "tick", "tell"])
def test_a_bug_in_one_call_leaves_nine_neighbours_alone(where: str) -> None:
    """The injected bug: an object of the wrong kind, or a leg that raises, in call 4."""

    class BadLeg(FakeLeg):
        bad = False

        def send(self, frame: AudioFrame | None) -> None:
            if self.bad and where == "tick":
                raise RuntimeError("injected")
            super().send(frame)

        def tell(self, event: CallEvent) -> None:
            if self.bad and where == "tell":
                self.bad = False
                raise RuntimeError("injected")
            super().tell(event)

    async def body() -> None:
        leg = BadLeg()
        stage = Stage(leg=leg)
        others = [FakeLeg() for _ in range(9)]
        calls = [stage.registry.start(stage.registry.admit(leg.kind), other, stage.profile) for other in others]
        await stage.active()
        for call in calls:
            call.connected()
        leg.bad = True
        if where == "hear":
            try:
                stage.call.hear(None)  # type: ignore[arg-type]
            except AttributeError as exc:  # what the UDP mux does with it
                stage.call.fail(exc)
        else:
            stage.session.say(OutputTranscript("words"))
        await clock.until(lambda: bool(stage.diary.of(CallEnded)))
        assert stage.diary.of(CallEnded)[0].reason is EndReason.CRASHED  # type: ignore[attr-defined]
        before = [len(other.sent) for other in others]
        await asyncio.sleep(1.0)
        assert all(call.state is State.ACTIVE for call in calls)
        assert all(len(other.sent) - count >= 49 for other, count in zip(others, before, strict=True))
        assert await stage.registry.drain(0.1) == 9

    play(body)


@pytest.mark.parametrize("room", [0, 1, 9])
def test_barge_in_flushes_within_the_tick(room: int) -> None:
    async def body() -> None:
        stage = Stage()
        stage.leg.room = room
        await stage.active()
        stage.session.say(AudioOut(speech(5.0), stage.loop.time()), OutputTranscript("a long answer " * 6))
        await clock.until(lambda: len(stage.leg.heard()) >= 24_000 * 2)
        stage.session.say(ModelInterrupted(stage.loop.time()))
        played = len(stage.leg.heard())
        await asyncio.sleep(1.0)
        assert len(stage.leg.heard()) - played <= 960  # at most the frame of a tick that was due before it
        assert stage.leg.clears == 1
        (turn,) = stage.turns()
        assert turn.end is TurnEnd.INTERRUPTED
        assert turn.heard == pytest.approx(played / 48_000, abs=0.03)
        assert turn.unheard == pytest.approx(5.0 - turn.heard, abs=0.001)
        assert len(stage.diary.of(Interrupted)) == 1
        stage.session.say(ModelInterrupted(stage.loop.time()), TurnComplete())  # phantom: nothing plays
        await asyncio.sleep(1.0)
        assert len(stage.diary.of(Interrupted)) == 1
        # The next answer starts clean.
        stage.session.say(AudioOut(speech(0.4), stage.loop.time()), GenerationComplete())
        await asyncio.sleep(1.0)
        assert stage.turns()[-1].end is TurnEnd.COMPLETED
        assert stage.turns()[-1].heard == pytest.approx(0.4)
        stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        assert (await stage.ended()).summary.interruptions == 1

    play(body)


@pytest.mark.parametrize("by_caller", [True, False])
def test_an_answer_cut_off_by_the_end_of_the_call_is_accounted_for_to_the_last_frame(by_caller: bool) -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.session.say(AudioOut(speech(5.0), stage.loop.time()))
        await clock.until(lambda: len(stage.leg.heard()) >= 50_000)
        assert stage.call.ahead, "something stands ready"
        if by_caller:
            stage.call.gone(EndReason.CALLER_GONE)
            stage.call.ahead.clear()  # as a leg does
        else:
            stage.call.hang_up(EndReason.HUNG_UP_BY_API)
        await clock.until(lambda: not len(stage.registry), 60)
        (turn,) = stage.turns()
        assert turn.heard == pytest.approx(len(stage.leg.heard()) / 48_000)
        assert turn.heard + turn.unheard == pytest.approx(5.0)

    play(body)


def test_every_sample_passes_once_and_in_order_both_ways() -> None:
    async def body() -> None:
        stage = Stage(model=FakeModel(delay=2.0))
        await clock.until(lambda: stage.leg.sink is not None)
        stage.call.connected()
        numbers = np.arange(16_000 * 5, dtype="<u2").tobytes()
        for start in range(0, len(numbers), 640):  # 20 ms frames, the first 2 s of them before the model is there
            stage.call.hear(AudioFrame(numbers[start : start + 640], 16_000, stage.loop.time()))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        sent = bytes(stage.session.sent)
        assert sent == numbers[: len(sent)]
        assert len(numbers) - len(sent) <= 3200  # less than one chunk is still on its way
        answer = np.arange(24_000 * 3, dtype="<u2").tobytes()
        for start in range(0, len(answer), 11_520):
            stage.session.say(AudioOut(answer[start : start + 11_520], stage.loop.time()))
        stage.session.say(GenerationComplete())
        await clock.until(lambda: bool(stage.turns()))
        assert stage.leg.heard() == answer
        stage.call.hang_up(EndReason.CALLER_HUNG_UP)
        await stage.ended()

    play(body)


def test_frames_may_come_together_unless_the_caller_has_just_fallen_silent() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        assert stage.call.patience == MIN_CHUNK, "there is room"
        stage.registry.set_chunk(0.1)
        patience: list[float] = []
        voice = audio.speech(16_000, 1.0)
        for pcm in (bytes(16_000), voice, bytes(2 * 16_000 * 2)):  # half a second of silence, a word, two seconds of silence
            for start in range(0, len(pcm), 640):
                stage.call.hear(AudioFrame(pcm[start : start + 640], 16_000, stage.loop.time()))
                patience.append(stage.call.patience)
                await asyncio.sleep(PTIME)
        assert patience[:25] == [0.1] * 25, "nothing has been said"
        assert patience[60] == 0.1, "speaking"
        assert patience[80:115] == [0.04] * 35, "an answer waits for this silence, which goes in pairs"
        stage.registry.set_chunk(0.04)
        assert stage.call.patience == 0.04
        assert patience[-1] == 0.1, "it was none"
        stage.call.hang_up(EndReason.CALLER_HUNG_UP)
        await stage.ended()

    play(body)


def test_the_greeting_waits_for_media_and_is_measured() -> None:
    async def body() -> None:
        stage = Stage(profile=Profile(greeting="Say hello."))
        await clock.until(lambda: bool(stage.model.sessions) and bool(stage.session.prompts))
        stage.session.say(AudioOut(speech(0.5), stage.loop.time()), GenerationComplete())
        await asyncio.sleep(1.0)
        assert not stage.leg.heard()  # no word is spoken to nobody
        stage.call.connected()
        await clock.until(lambda: bool(stage.turns()))
        assert stage.leg.heard() == speech(0.5)
        assert stage.turns()[0].kind is TurnKind.GREETING
        assert stage.session.prompts == ["Say hello."]
        stage.call.hang_up(EndReason.CALLER_HUNG_UP)
        await stage.ended()

    play(body)


def test_typed_words_captions_tokens_and_the_account() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        stage.call.message(ClientReady())
        stage.call.message(SendText("hello"))
        await clock.until(lambda: stage.session.texts == ["hello"])
        stage.session.say(
            OutputTranscript("Hello to you"),
            AudioOut(speech(1.0), stage.loop.time()),
            GenerationComplete(),
            TokensUsed("output", "audio", "plain", 25),
            TokensUsed("input", "text", "plain", 7),
            ContextRead(7),
            TurnComplete(),
        )
        await clock.until(lambda: bool(stage.turns()))
        words = "".join(event.text for event in stage.diary.of(ModelHeard))  # type: ignore[attr-defined]
        assert words == "Hello to you"
        assert len(stage.diary.of(ModelHeard)) == 3  # word by word, as it is played
        assert stage.turns()[0].kind is TurnKind.TEXT
        assert len(stage.diary.of(ModelStartedSpeaking)) == len(stage.diary.of(ModelStoppedSpeaking)) == 1
        assert stage.call.view().tokens == {"input": 7, "output": 25}
        assert stage.diary.of(ContextRead) == [ContextRead(7)]
        await asyncio.sleep(6.0)
        assert stage.diary.of(CallReport)
        stage.call.hang_up(EndReason.CALLER_HUNG_UP)
        end = await stage.ended()
        assert (end.summary.turns, end.summary.caller_messages) == (1, 2)
        assert end.summary.response_median is not None
        assert len(stage.diary.of(CallSetUp)) == 1

    play(body)


def test_an_answer_that_is_spoken_over_ends_where_the_ears_did_for_everybody() -> None:
    async def body() -> None:
        stage = Stage()
        await stage.active()
        pause = bytes(2 * 24_000 // 5)
        word = speech(0.4)
        stage.session.say(
            InputTranscript("Count."),
            OutputTranscript("One two three four five"),
            *(AudioOut(word + pause, stage.loop.time()) for _ in range(5)),
        )
        await clock.until(lambda: len(stage.diary.of(ModelHeard)) >= 2)
        stage.session.say(ModelInterrupted(stage.loop.time()), TurnComplete())
        await clock.until(lambda: bool(stage.session.cuts))
        told = "".join(event.text for event in stage.diary.of(ModelHeard))  # type: ignore[attr-defined]
        assert told.startswith("One two")
        assert stage.model.history is not None
        assert [said.text for said in stage.model.history.turns] == ["Count.", told]
        assert stage.session.cuts == [CutOff(told, "One two three four five"[len(told) :])]
        order = [type(event) for event in stage.diary.events if isinstance(event, ModelHeard | Interrupted)]
        assert order[-1] is Interrupted, "captions are right before they are told that the answer is over"
        stage.session.say(ModelInterrupted(stage.loop.time()), TurnComplete())
        await asyncio.sleep(1.0)
        assert len(stage.session.cuts) == 1, "nothing was to be interrupted"

    play(body)


def test_a_leg_of_another_rate_gets_the_answer_resampled() -> None:
    async def body() -> None:
        stage = Stage(leg=FakeLeg(rate=8000))
        await stage.active()
        stage.session.say(AudioOut(speech(1.0), stage.loop.time()), GenerationComplete())
        await clock.until(lambda: bool(stage.turns()))
        heard = stage.leg.heard()
        assert abs(len(heard) / 16_000 - 1.0) < 0.03
        stage.call.hang_up(EndReason.CALLER_HUNG_UP)
        await stage.ended()

    play(body)
