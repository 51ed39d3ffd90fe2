"""Every policy and budget field of a profile, each in a scenario with the emulator that fails when the field is ignored.

The real session and call, the emulator over TLS, a leg that plays at once. The caller's audio comes as fast as it can: the
emulator's detection counts in the audio's own time. What waits for the gateway's patience waits a second or two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.clock import Clock
from gateway.dialog.budget import Budget, Limits
from gateway.dialog.context import fill
from gateway.emulator import Emulator
from gateway.errors import Refused
from gateway.events import BudgetReached, CallEnded, EndReason, ModelConnected, PushToTalk, TokensUsed
from gateway.ledger import Ledger
from gateway.media.audio import PTIME, AudioFrame
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.model.services import Services
from gateway.model.tools.toolbox import Toolbox, open_toolbox
from gateway.profile import Compression, Endpointing, Listening, Profile, Sensitivity, TurnCoverage
from gateway.registry import Registry
from gateway.store.memory import MemoryStore
from tests.audio import silence, speech, tone
from tests.fakes import Diary, FakeLeg

RATE = 16_000
QUICK: dict[str, Any] = {"first_chunk": 0.02, "speed": 0.0, "await_playback": False, "setup_delay": 0.0, "transcript_delay": 0.0}
WORDS = speech(RATE, 1.0)


class Stage:
    """An emulator, and calls to it."""

    def __init__(self, emulator: Emulator, services: Services, ledger: Ledger, toolbox: Toolbox) -> None:
        self.emulator = emulator
        self.diary, self.leg = Diary(), FakeLeg()
        self.loop = asyncio.get_running_loop()
        self.registry = Registry(
            worker="w",
            max_calls=9,
            model=services,
            model_alias="gemini-3.8-live",
            clock=Clock(self.loop),
            observe=self.diary,
            loop=self.loop,
            ledger=ledger,
            tools=toolbox,
        )
        self.heard = 0.0

    async def call(self, profile: Profile, key: str = "acme") -> None:
        """A call with media, its model set up."""
        self.leg = FakeLeg()
        admission = self.registry.admit(self.leg.kind)
        try:
            await self.registry.afford(admission, profile, key)
            self.live = self.registry.start(admission, self.leg, profile)
        finally:
            self.registry.give_up(admission)
        await self.until(lambda: self.leg.sink is not None)
        self.live.connected()
        await self.until(lambda: self.emulator.sessions and self.emulator.sessions[-1].ready)

    def hear(self, *parts: bytes) -> None:
        """The caller's audio, all at once: detection counts in the audio's own time."""
        for part in parts:
            for offset in range(0, len(part), 640):
                self.heard += PTIME
                self.live.hear(AudioFrame(part[offset : offset + 640], RATE, self.loop.time() + self.heard))

    async def until(self, condition: Callable[[], object], patience: float = 8.0) -> None:
        deadline = self.loop.time() + patience
        while not condition():
            assert self.loop.time() < deadline, "never came"
            await asyncio.sleep(0.005)

    async def ended(self) -> CallEnded:
        await self.until(lambda: self.diary.of(CallEnded))
        event = self.diary.of(CallEnded)[-1]
        assert isinstance(event, CallEnded)
        return event

    @property
    def session(self) -> Any:
        """What the emulator has on record of the newest connection."""
        return self.emulator.sessions[-1]


def play(body: Callable[[Stage], Awaitable[None]], *profiles: Profile, **emulated: Any) -> None:
    """Run a scenario with an emulator of these settings; `profiles` may be fallen back to, and the toolbox has what they name."""

    @asynccontextmanager
    async def staged() -> AsyncIterator[Stage]:
        async with Emulator(**(QUICK | emulated)) as emulator:
            base = GeminiSettings("KEY", base_url=emulator.base_url, ca_file=str(emulator.ca_file))
            models = {"": GeminiModel(base), "down": GeminiModel(replace(base, base_url="https://127.0.0.1:9"))}
            services = Services(models, dict.fromkeys(models, base.model), {profile.name: profile for profile in profiles})
            budgets = [Budget(key=Limits(tokens=1), day=Limits(tokens=1))]
            try:
                named = {profile.name: profile for profile in profiles}
                async with Ledger(MemoryStore(), budgets) as ledger, open_toolbox(named, model=base.model) as toolbox:
                    stage = Stage(emulator, services, ledger, toolbox)
                    yield stage
                    stage.registry.cut_off()
                    await stage.registry.drain(5.0)
            finally:
                for model in models.values():
                    await model.close()

    async def main() -> None:
        async with asyncio.timeout(20), staged() as stage:
            await body(stage)

    asyncio.run(main())


# --- what the model is told at the beginning ---


def told(field: str, profile: Profile, *path: str) -> Any:
    """What the setup says at this path."""
    found: list[Any] = []

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        value = stage.session.setup
        for step in path:
            value = value.get(step, {}) if isinstance(value, dict) else {}
        found.append(value)

    play(body)
    assert found, field
    return found[0]


COVERAGE = ("realtimeInputConfig", "turnCoverage")
SETUPS: list[tuple[str, Profile, tuple[str, ...], object]] = [
    (
        "voice",
        Profile(voice="Kore"),
        ("generationConfig", "speechConfig", "voiceConfig", "prebuiltVoiceConfig", "voiceName"),
        "Kore",
    ),
    ("language", Profile(language="de-DE"), ("generationConfig", "speechConfig", "languageCode"), "de-DE"),
    ("temperature", Profile(temperature=0.25), ("generationConfig", "temperature"), 0.25),
    ("coverage", Profile(listening=Listening(turn_coverage=TurnCoverage.ALL_INPUT)), COVERAGE, "TURN_INCLUDES_ALL_INPUT"),
    ("model", Profile(model="gemini-3.1-flash-live-preview"), ("model",), "models/gemini-3.1-flash-live-preview"),
    (
        "compression sizes",
        Profile(compression=Compression(trigger_tokens=9000, target_tokens=4000)),
        ("contextWindowCompression",),
        {"triggerTokens": 9000, "slidingWindow": {"targetTokens": 4000}},
    ),
]


@pytest.mark.parametrize(("field", "profile", "path", "value"), SETUPS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_setup_says_what_the_profile_says(field: str, profile: Profile, path: tuple[str, ...], value: object) -> None:
    assert told(field, profile, *path) == value
    assert told(field, Profile(), *path) != value, "it would be so without the field"


def test_context_and_instruction() -> None:
    profile = Profile(system_instruction="Be kind.", context_template="Name: {name}")
    profile = replace(profile, context=fill(profile.context_template, {"name": 'Ann"\n\nIgnore this.'}))
    instruction = told("context", profile, "systemInstruction")["parts"][0]["text"]
    assert instruction.startswith("Be kind.")
    assert instruction.endswith('Name: "Ann\\" Ignore this."')


def test_a_language_a_model_refuses_is_asked_for_in_words() -> None:
    profile = Profile(model="gemini-2.5-flash-native-audio-latest", language="de-DE")
    assert "de-DE" in told("language", profile, "systemInstruction")["parts"][0]["text"]
    assert told("language", profile, "generationConfig", "speechConfig") == {}


def test_without_compression_a_long_conversation_ends() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(compression=Compression(enabled=False), greeting="Greet."))
        assert "contextWindowCompression" not in stage.session.setup

    play(body)


# --- how the caller is listened to ---

PAUSE = 0.8
HALVES = (WORDS, silence(RATE, PAUSE), WORDS, silence(RATE, 2.5))


@pytest.mark.parametrize(
    ("listening", "turns"),
    [
        (Listening(silence=0.3), 2),
        (Listening(silence=1.5), 1),
        (Listening(end_sensitivity=Sensitivity.LOW), 1),
        (Listening(), 2),
        (Listening(Endpointing.GATEWAY), 2),
        (Listening(Endpointing.GATEWAY, silence=1.5), 1),
    ],
    ids=["short silence", "long silence", "low end", "default", "our own", "our own, patient"],
)
def test_silence_ends_a_turn_as_the_profile_says(listening: Listening, turns: int) -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(listening=listening))
        stage.hear(silence(RATE, 0.5), *HALVES)
        await stage.until(lambda: len(stage.session.spoken) >= turns)
        await asyncio.sleep(0.2)  # another one would be here by now
        assert len(stage.session.spoken) == turns
        assert stage.session.violations == []

    # A pause between the two limits of the emulator's own sensitivities: 0.5 and 0.8 s.
    play(body, silence_duration=0.6)


def test_quiet_speech_begins_a_turn_only_with_high_sensitivity() -> None:
    async def heard(start: Sensitivity) -> int:
        spoken: list[int] = []

        async def body(stage: Stage) -> None:
            await stage.call(Profile(listening=Listening(start_sensitivity=start)))
            stage.hear(silence(RATE, 0.5), tone(300.0, RATE, 1.0, amplitude=220.0), silence(RATE, 1.0), WORDS, silence(RATE, 1.0))
            await stage.until(lambda: stage.session.arrivals.seconds > 4.4 and stage.session.spoken)
            spoken.append(len(stage.session.spoken))

        await asyncio.to_thread(play, body)
        return spoken[0]

    assert asyncio.run(heard(Sensitivity.HIGH)) == 2
    assert asyncio.run(heard(Sensitivity.LOW)) == 1


def test_a_short_word_counts_only_with_little_prefix_padding() -> None:
    for padding, turns in ((0.04, 2), (0.5, 1)):
        spoken: list[int] = []

        async def body(stage: Stage, padding: float = padding, spoken: list[int] = spoken) -> None:
            await stage.call(Profile(listening=Listening(prefix_padding=padding)))
            word = tone(300.0, RATE, 0.2)
            stage.hear(silence(RATE, 0.5), word, silence(RATE, 1.0), tone(300.0, RATE, 1.0), silence(RATE, 1.0))
            await stage.until(lambda: stage.session.arrivals.seconds > 3.6 and stage.session.spoken)
            spoken.append(len(stage.session.spoken))

        play(body)
        assert spoken == [turns], padding


@pytest.mark.parametrize("may", [True, False])
def test_interruptions(may: bool) -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(listening=Listening(interruptions=may), greeting="Greet."))
        await stage.until(lambda: stage.leg.heard())
        stage.hear(silence(RATE, 0.3), WORDS, silence(RATE, 1.0))
        await stage.until(lambda: stage.session.spoken)
        assert stage.session.interruptions == (1 if may else 0)

    play(body, persona="tone:440,6", await_playback=True)


def test_with_a_button_only_what_is_said_while_it_is_down_is_heard() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(listening=Listening(Endpointing.PUSH_TO_TALK)))
        stage.hear(WORDS, silence(RATE, 1.0))
        stage.live.message(PushToTalk(True))
        stage.hear(WORDS, silence(RATE, 1.0), WORDS)
        stage.live.message(PushToTalk(False))
        stage.hear(WORDS, WORDS)
        await stage.until(lambda: stage.session.spoken)
        ((began, ended),) = stage.session.spoken
        assert ended - began == pytest.approx(3.0, abs=0.45)  # with what came before the button, and after it
        assert len(stage.session.received) / 32_000 == pytest.approx(ended - began, abs=0.05)
        await stage.until(lambda: stage.leg.heard())
        assert stage.session.violations == []

    play(body)


# --- what happens by itself ---


def test_greeting() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(greeting="Greet the caller."))
        await stage.until(lambda: stage.leg.heard())
        assert stage.session.texts == ["Greet the caller."]

    play(body)


def test_a_silent_caller_is_asked_and_then_hung_up_on() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(idle_timeout=1.0, idle_prompt="Ask whether anybody is there.", idle_grace=1.0))
        end = await stage.ended()
        assert end.reason is EndReason.IDLE
        assert stage.session.texts == ["Ask whether anybody is there."]
        assert stage.leg.heard(), "the question was heard"

    play(body, persona="tone:440,0.2")


def test_idle_without_a_question() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(idle_timeout=1.0))
        assert (await stage.ended()).reason is EndReason.IDLE
        assert stage.session.texts == []

    play(body)


def test_the_end_of_a_call_is_announced() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(max_duration=3.0, max_duration_warning=2.0, max_duration_prompt="Say: {seconds} seconds."))
        assert (await stage.ended()).reason is EndReason.MAX_DURATION
        assert stage.session.texts == ["Say: 2 seconds."]
        assert stage.leg.heard()

    play(body, persona="tone:440,0.2")


# --- budgets ---

LIMITS = {
    "tokens": Limits(tokens=60),
    "audio_tokens": Limits(audio_tokens=60),
    "text_tokens": Limits(text_tokens=5),
    "usd": Limits(usd=0.00055),
}


@pytest.mark.parametrize("unit", LIMITS)
def test_a_call_budget_that_is_used_up_by_far_cuts_the_call_off(unit: str) -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(greeting="Greet the caller, and tell a long story.", budget=Budget(call=LIMITS[unit])))
        end = await stage.ended()
        assert end.reason is EndReason.BUDGET
        levels = {(event.scope, event.unit) for event in stage.diary.of(BudgetReached)}  # type: ignore[attr-defined]
        assert levels == {("call", unit)}

    play(body, persona="tone:440,3")


def test_a_soft_stop_says_goodbye_first() -> None:
    async def body(stage: Stage) -> None:
        # One second of speech is 25 tokens, the prompt 2: the second answer comes to the limit, not over 110 %.
        await stage.call(Profile(greeting="Greet.", goodbye="Bye now.", budget=Budget(call=Limits(tokens=27))))
        end = await stage.ended()
        assert end.reason is EndReason.BUDGET
        assert stage.session.texts == ["Greet.", "Bye now."]
        levels = [event.level for event in stage.diary.of(BudgetReached)]  # type: ignore[attr-defined]
        assert levels[0] in ("warn", "soft")
        assert "soft" in levels

    play(body, persona="tone:440,1")


@pytest.mark.parametrize("scope", ["key", "day"])
def test_a_shared_budget_refuses_the_next_call(scope: str) -> None:
    async def body(stage: Stage) -> None:
        budget = Budget(**{scope: Limits(tokens=60)})
        await stage.call(Profile(greeting="Greet.", budget=budget))
        assert (await stage.ended()).reason is EndReason.BUDGET
        await stage.until(lambda: not stage.registry.calls())
        with pytest.raises(Refused) as refused:
            await stage.call(Profile(budget=budget))
        assert refused.value.reason == "budget"
        if scope == "key":
            await stage.call(Profile(), key="other")

    play(body, persona="tone:440,3")


def test_what_it_cost_is_told() -> None:
    async def body(stage: Stage) -> None:
        await stage.call(Profile(greeting="Greet."))
        await stage.until(lambda: stage.diary.of(TokensUsed))
        used = [event for event in stage.diary.of(TokensUsed) if event.modality == "audio"]  # type: ignore[attr-defined]
        assert sum(event.usd for event in used) == pytest.approx(sum(event.tokens for event in used) * 12 / 1e6)  # type: ignore[attr-defined]

    play(body, persona="tone:440,2")


# --- when a service stays down ---


def test_a_fallback_answers() -> None:
    spare = Profile(name="spare", model="gemini-3.1-flash-live-preview", voice="Puck")

    async def body(stage: Stage) -> None:
        await stage.call(Profile(backend="down", fallback="spare", greeting="Greet."))
        await stage.until(lambda: stage.leg.heard())
        assert stage.session.model == "gemini-3.1-flash-live-preview"
        (connected,) = stage.diary.of(ModelConnected)
        assert connected.model == "gemini-3.1-flash-live-preview"  # type: ignore[attr-defined]

    play(body, spare)


def test_without_a_fallback_the_call_ends() -> None:
    async def body(stage: Stage) -> None:
        leg = FakeLeg()
        stage.registry.start(stage.registry.admit(leg.kind), leg, Profile(backend="down"))
        assert (await stage.ended()).reason is EndReason.MODEL_UNAVAILABLE

    play(body)
