"""Model sessions with the emulator as the service: what it sent is what we heard, what we sent is what it heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from gateway.emulator import Emulator
from gateway.errors import ModelRefused, ModelUnavailable
from gateway.events import ModelClosed, ModelConnected, ModelMessageSkipped, ModelSwapped, TokensUsed
from gateway.model.base import AudioOut, GenerationComplete, ModelEvent, ModelInterrupted, ModelSession, TurnComplete
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from tests.audio import silence, speech

T = TypeVar("T")
DEADLINE = 15.0
QUICK: dict[str, Any] = {"first_chunk": 0.02, "speed": 0.0, "await_playback": False, "setup_delay": 0.0, "transcript_delay": 0.0}
"""An emulator that does not imitate the service's delays."""

both_ways = pytest.mark.parametrize("fast", [True, False], ids=["fast", "sdk"])


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def converse(
    fast: bool,
    body: Callable[[Emulator, ModelSession], Awaitable[None]],
    *,
    profile: Profile | None = None,
    key: str = "KEY",
    patience: float = 20.0,
    **emulated: Any,
) -> None:
    """Run `body` in a session with an emulator of these settings."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), Emulator(**(QUICK | emulated)) as emulator:
            where = {"base_url": emulator.base_url, "ca_file": str(emulator.ca_file)}
            model = GeminiModel(GeminiSettings(key, **where, fast_frames=fast, patience=patience))
            try:
                async with model.session(profile or Profile()) as session:
                    await body(emulator, session)
            finally:
                await model.close()

    run(main())


async def turn(session: ModelSession) -> list[ModelEvent]:
    """Everything up to the first TurnComplete. The session can't be listened to afterwards."""
    seen = []
    async for event in session.events():
        seen.append(event)
        if isinstance(event, TurnComplete):
            return seen
    raise AssertionError("ended without an error")


def heard(events: list[ModelEvent]) -> bytes:
    return b"".join(event.pcm for event in events if isinstance(event, AudioOut))


@both_ways
@pytest.mark.parametrize(
    "faults", ["", "odd_bytes", "tiny_chunks=10", "huge_message", "mixed_frames", "text_frames", "double_answer", "utf8_raw"]
)
def test_every_sample_of_an_answer_arrives_once_and_in_order(fast: bool, faults: str) -> None:
    async def body(emulator: Emulator, session: ModelSession) -> None:
        await session.prompt("Count.")
        events = await turn(session)
        assert isinstance(events[0], ModelConnected)
        assert len(heard(events)) >= 3 * 48_000 - 2
        # An odd byte at the very end has no other half.
        assert heard(events) == emulator.sessions[-1].sent[: len(heard(events))]
        assert len(emulator.sessions[-1].sent) - len(heard(events)) <= 1
        assert GenerationComplete() in events
        assert not [event for event in events if isinstance(event, ModelMessageSkipped)]
        assert emulator.sessions[-1].violations == []

    converse(fast, body, persona="counter:3", faults=faults)


@both_ways
def test_what_does_not_parse_is_counted_and_costs_no_speech(fast: bool) -> None:
    troubles = ["malformed_json", "bad_base64", "unknown_only", "error_object", "wrong_type", "snake_top", "json_list"]

    async def body(emulator: Emulator, session: ModelSession) -> None:
        await session.prompt("Count.")
        events = await turn(session)
        assert len([event for event in events if isinstance(event, ModelMessageSkipped)]) == len(troubles)
        assert heard(events) == emulator.sessions[-1].sent

    converse(fast, body, persona="counter:3", faults="&".join(troubles))


@both_ways
def test_an_answer_at_another_rate_has_the_right_length(fast: bool) -> None:
    async def body(_: Emulator, session: ModelSession) -> None:
        lengths = []
        await session.prompt("Sing.")
        async for event in session.events():
            match event:
                case AudioOut(pcm):
                    lengths.append(len(pcm) / 48_000)
                case TurnComplete() if len(totals) == 1:
                    assert sum(lengths) == pytest.approx(totals[0], abs=0.01)
                    return
                case TurnComplete():
                    totals.append(sum(lengths))
                    lengths.clear()
                    await session.prompt("Again.")

    totals: list[float] = []
    converse(fast, body, persona="tone:440,2", faults="rate_change=16000")
    assert totals == [pytest.approx(2.0, abs=0.3)]


@both_ways
def test_every_sample_of_the_caller_is_heard(fast: bool) -> None:
    said = speech(16_000, 2.0) + silence(16_000, 1.0)

    async def body(emulator: Emulator, session: ModelSession) -> None:
        for at in range(0, len(said), 3200):
            await session.send_audio(said[at : at + 3200])
        events = await turn(session)
        record = emulator.sessions[-1]
        assert record.received == said
        assert dict(record.rates) == {16_000: 30}
        assert record.violations == []
        assert heard(events) == record.sent
        # 25 tokens for a second of audio in either direction; the end of the turn comes after its account.
        used = [event for event in events if isinstance(event, TokensUsed)]
        assert sum(event.tokens for event in used if event.direction == "output") == record.tokens["response"] > 0
        assert sum(event.tokens for event in used if event.direction == "input") == record.tokens["prompt"] > 0
        assert isinstance(events[-1], TurnComplete)

    converse(fast, body)


@both_ways
def test_speaking_over_the_answer_stops_it(fast: bool) -> None:
    async def body(_: Emulator, session: ModelSession) -> None:
        await session.prompt("Sing.")
        stopped = False
        async for event in session.events():
            match event:
                case AudioOut():
                    assert not stopped, "speech of the answer that was cut off"
                    await session.send_audio(speech(16_000, 0.3))
                case ModelInterrupted():
                    stopped = True
                case TurnComplete():
                    break
        assert stopped

    converse(fast, body, persona="tone:440,20", speed=4.0, await_playback=True)


@both_ways
@pytest.mark.parametrize(
    "model",
    [
        "gemini-3.8-live",
        "gemini-3.8-live-extended-thinking",
        "gemini-3.1-flash-live-preview",
        "gemini-2.5-flash-native-audio-preview-12-2025",
    ],
)
def test_every_model_for_conversation_takes_its_setup_and_a_prompt(fast: bool, model: str) -> None:
    async def body(emulator: Emulator, session: ModelSession) -> None:
        await session.prompt("Say hello.")
        await emulator.until(lambda: emulator.sessions[-1].texts)
        assert emulator.sessions[-1].texts == ["Say hello."]
        assert heard(await turn(session))
        assert emulator.sessions[-1].violations == []

    profile = Profile(model=model, voice="Kore", language="en-US", system_instruction="Be brief.", temperature=0.3)
    converse(fast, body, profile=profile)


@both_ways
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("http_401", ModelRefused, "API key"),
        ("http_429", ModelUnavailable, "requests"),
        ("http_503", ModelUnavailable, "not available"),
        ("bad_key", ModelRefused, "API key"),
        ("bad_model", ModelRefused, "model"),
        ("invalid_arg", ModelRefused, "settings"),
        ("concurrency", ModelUnavailable, "limit of sessions"),
        ("setup_goaway", ModelUnavailable, "did not confirm"),
        ("setup_error", ModelUnavailable, "did not confirm"),
    ],
)
def test_a_session_that_is_not_given(fast: bool, fault: str, error: type[Exception], says: str) -> None:
    async def body(_: Emulator, __: ModelSession) -> None:
        raise AssertionError("opened")

    with pytest.raises(error, match=says):
        converse(fast, body, key=f"KEY~{fault}")


@both_ways
@pytest.mark.parametrize(
    ("fault", "error", "label"),
    [
        ("quota_connect", ModelRefused, "1011"),
        ("quota_mid=audio:0.5", ModelRefused, "1011"),
        ("abrupt_1006=audio:0.5", ModelUnavailable, "1006"),
        ("close_1000=audio:0.5", ModelUnavailable, "1000"),
        ("close_1001=audio:0.5", ModelUnavailable, "1001"),
        ("close_1008_abort=audio:0.5", ModelUnavailable, "1008"),
        ("close_1011=audio:0.5", ModelUnavailable, "1011"),
    ],
)
def test_a_session_that_is_taken_away(fast: bool, fault: str, error: type[Exception], label: str) -> None:
    async def body(_: Emulator, session: ModelSession) -> None:
        await session.prompt("Sing.")
        seen: list[ModelEvent] = []
        try:
            async for event in session.events():
                seen.append(event)  # noqa: PERF401 - what came before the error counts
        except error:
            assert seen[-2] == ModelClosed(label)
            assert isinstance(seen[-1], ModelSwapped)
            assert seen[-1].result == "refused"
            return
        raise AssertionError("ended without an error")

    converse(fast, body, key=f"KEY~{fault}", persona="tone:440,20", speed=4.0, patience=0.0)
