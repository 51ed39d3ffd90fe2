"""How the SDK shows each fault: the ground on which the gateway's error handling stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pydantic
import pytest
from google.genai import errors, types
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.emulator import Emulator
from tests.emulator.playing import loud, quiet
from tests.emulator.sdk import CONFIG, QUICK, closed_with, live, sound_of, speak, turn

TEXT = {"input_audio_transcription": {}, "output_audio_transcription": {}}


def with_emulator(body: Callable[[Emulator], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with Emulator(**{**QUICK, **settings}) as emulator:
            await body(emulator)

    asyncio.run(run())


async def refusal(emulator: Emulator, words: str) -> tuple[int, str]:
    """Code and reason with which a connect fails."""
    with pytest.raises(errors.APIError) as refused:
        async with live(emulator, words):
            pass
    return refused.value.code, str(refused.value.details)


async def answer(emulator: Emulator, words: str, **options: Any) -> list[types.LiveServerMessage]:
    """Everything up to turnComplete after a typed turn, read as a client does that survives what does not parse."""
    async with live(emulator, f"persona=tone:440,1&{words}", **options) as session:
        await session.send_realtime_input(text="go")
        return await turn(session)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_a_refused_upgrade(status: int) -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with live(emulator, f"http_{status}"):
                pass
        assert refused.value.response.status_code == status

    with_emulator(body)


def test_refusals_at_setup() -> None:
    async def body(emulator: Emulator) -> None:
        assert await refusal(emulator, "bad_key") == (1007, "API key not valid. Please pass a valid API key.")
        assert (await refusal(emulator, "bad_model"))[0] == 1008
        assert await refusal(emulator, "invalid_arg") == (1007, "Request contains an invalid argument.")
        code, reason = await refusal(emulator, "concurrency")
        assert code == 1011
        assert reason.endswith("Maximum concurrent se"), "cut to 123 bytes, as the service does"

    with_emulator(body)


def test_a_setup_that_is_never_answered_hangs_the_sdk() -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), live(emulator, "setup_hang"):
                pass

    with_emulator(body)


@pytest.mark.parametrize("fault", ["setup_goaway", "setup_error"])
def test_any_first_message_is_swallowed_as_the_setups_answer(fault: str) -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, fault) as session:
            assert session.setup_complete is None

    with_emulator(body)


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ("quota_connect", 1011, "You exceeded your current quota"),
        ("quota_mid=audio:0.3", 1011, "You exceeded your current quota"),
        ("close_1000=audio:0.3", 1000, ""),
        ("close_1001=audio:0.3", 1001, ""),
        ("close_1011=audio:0.3", 1011, "Internal error encountered."),
        ("close_1008_abort=audio:0.3", 1008, "The operation was aborted."),
        ("abrupt_1006=audio:0.3", 1006, "abnormal closure [internal]"),
        ("goaway=0,0.05", 1008, "Connection aborted because the client failed to close"),
        ("goaway=0,0.05&goaway_1011", 1011, "Deadline expired before operation could complete."),
    ],
)
def test_the_end_of_a_connection(fault: str, code: int, reason: str) -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, f"persona=tone:440,1&{fault}") as session:
            with suppress(ConnectionClosed):  # it may be over already
                await session.send_realtime_input(text="go")
            found, said = await closed_with(session)
            with pytest.raises(ConnectionClosed):
                await session.send_realtime_input(text="still there?")
        assert found == code
        assert said.startswith(reason)

    with_emulator(body)


def test_go_away_says_how_long() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, "goaway=0,49.512") as session:
            message = await anext(session.receive())
            assert message.go_away is not None
            assert message.go_away.time_left == "49.512s"

    with_emulator(body)


def test_a_half_open_connection_is_silent() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, "half_open=0") as session:
            await emulator.until(lambda: emulator.sessions[0].close)
            await session.send_realtime_input(text="hello?")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await turn(session)

    with_emulator(body)


def test_handles_that_fail() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, config={**CONFIG, "session_resumption": {}}) as session:
            update = (await anext(session.receive())).session_resumption_update
            assert update is not None
        await emulator.until(lambda: emulator.sessions[0].close)
        resume = {**CONFIG, "session_resumption": {"handle": update.new_handle}}
        with pytest.raises(errors.APIError) as stale:
            async with live(emulator, "stale_handle", config=resume):
                pass
        assert (stale.value.code, stale.value.details) == (1008, "BidiGenerateContent session not found")
        async with live(emulator, "poison_handle=0.02", config=resume) as session:
            assert session.setup_complete is not None
            assert await closed_with(session) == (1011, "Internal error encountered.")

    with_emulator(body, idle_handle=0.0)


def test_late_pongs_kill_a_client_that_minds() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, "no_pong", ping_interval=0.05, ping_timeout=0.1) as session:
            assert (await closed_with(session))[0] == 1006, "our own 1011 shows as 1006"
        async with live(emulator, "pong_delay=0.2", ping_interval=0.05, ping_timeout=5) as session:
            await session.send_realtime_input(text="go")
            assert sound_of(await turn(session))

    with_emulator(body)


UNREADABLE: dict[str, type[Exception] | None] = {
    "malformed_json": ValueError,
    "bad_base64": pydantic.ValidationError,
    "unknown_only": TypeError,
    "error_object": TypeError,
    "snake_top": TypeError,
    "wrong_type": pydantic.ValidationError,
    "json_list": AttributeError,
    "empty_frame": None,
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_what_does_not_parse_leaves_the_session_usable(fault: str) -> None:
    wanted = UNREADABLE[fault]

    async def body(emulator: Emulator) -> None:
        async with live(emulator, f"persona=tone:440,1&{fault}") as session:
            await session.send_realtime_input(text="go")
            before: list[types.LiveServerMessage] = []

            async def read() -> None:
                messages = session.receive()
                while (message := await anext(messages, None)) is not None:
                    before.append(message)

            if wanted is None:
                await read()
                assert types.LiveServerMessage() in before
            else:
                with pytest.raises(wanted):
                    await read()
                await read()
            assert len(sound_of(before)) == 48_000

    with_emulator(body)


@pytest.mark.parametrize(
    "fault",
    [
        "burst=0",
        "jitter=20",
        "gap=10",
        "tiny_chunks=10",
        "odd_bytes",
        "mixed_frames",
        "text_frames",
        "deflate_off",
        "pong_delay=1",
    ],
)
def test_what_must_change_nothing(fault: str) -> None:
    async def body(emulator: Emulator) -> None:
        heard = sound_of(await answer(emulator, fault, compression="deflate"))
        assert heard == emulator.sessions[0].sent
        assert len(heard) == 48_000

    with_emulator(body)


def test_a_huge_message_needs_a_large_limit() -> None:
    async def body(emulator: Emulator) -> None:
        assert len(sound_of(await answer(emulator, "huge_message", max_size=8 * 2**20))) == 48_000
        async with live(emulator, "persona=tone:440,1&huge_message") as session:
            await session.send_realtime_input(text="go")
            assert (await closed_with(session))[0] == 1006, "our own 1009 shows as 1006"

    with_emulator(body)


def test_the_rate_of_an_answer() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, "persona=tone:440,1&rate_change=16000") as session:
            rates = set()
            for _ in range(2):
                await session.send_realtime_input(text="go")
                for message in await turn(session):
                    if message.server_content and message.server_content.model_turn:
                        for part in message.server_content.model_turn.parts or []:
                            assert part.inline_data is not None
                            rates.add(part.inline_data.mime_type)
            assert rates == {"audio/pcm;rate=24000", "audio/pcm;rate=16000"}

    with_emulator(body)


def test_flags_at_odd_moments() -> None:
    def flags(messages: list[types.LiveServerMessage]) -> list[str]:
        names = ("interrupted", "generation_complete", "turn_complete")
        contents = [message.server_content for message in messages if message.server_content]
        return [name for content in contents for name in names if getattr(content, name)]

    async def body(emulator: Emulator) -> None:
        assert flags(await answer(emulator, "interrupt_mid=0.4")) == ["interrupted", "turn_complete"]
        assert flags(await answer(emulator, "empty_turn")) == ["generation_complete", "turn_complete"]
        premature = await answer(emulator, "premature_turn=0.3")
        assert 0 < len(sound_of(premature)) < 48_000
        assert len(sound_of(await answer(emulator, "double_answer"))) == 96_000
        async with live(emulator, "persona=tone:440,1&interrupt_after_turn") as session:
            await session.send_realtime_input(text="go")
            await turn(session)
            late = await anext(session.receive())
            assert late.server_content is not None
            assert late.server_content.interrupted, "after turnComplete: receive() had ended"
        async with live(emulator, "interrupt_flood=0,50") as session:
            for _ in range(50):
                assert (await anext(session.receive())).server_content

    with_emulator(body)


def test_no_answer_is_silence() -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await answer(emulator, "no_answer")

    with_emulator(body)


def test_transcripts() -> None:
    async def body(emulator: Emulator) -> None:
        config = {**CONFIG, **TEXT}
        async with live(emulator, "persona=tone:440,1&transcript_late=0.05&transcript_fragments", config=config) as session:
            await speak(session, loud(0.5) + quiet(0.8))
            messages = await turn(session)
            assert not any(message.server_content and message.server_content.input_transcription for message in messages)
            said = ""
            while said != "(you spoke for 0.5 seconds)":
                content = (await anext(session.receive())).server_content
                if content and content.input_transcription:
                    said += content.input_transcription.text or ""
        spoken = await answer(emulator, "utf8_raw", config=config)
        assert any("日本語" in message.model_dump_json() for message in spoken)
        missing = await answer(emulator, "transcript_missing", config=config)
        assert not any(message.server_content and message.server_content.output_transcription for message in missing)

    with_emulator(body)


@pytest.mark.parametrize("fault", ["tool_args_null", "tool_dup", "tool_after_turn", "tool_cancel=0"])
def test_tool_calls_gone_wrong(fault: str) -> None:
    config = {**CONFIG, "tools": [{"function_declarations": [{"name": "f", "behavior": "BLOCKING"}]}]}

    async def body(emulator: Emulator) -> None:
        async with live(emulator, fault, config=config) as session:
            await session.send_realtime_input(text='/call f {"a": 1}')
            calls: list[types.FunctionCall] = []
            cancelled: list[str] = []
            turns = 0
            while not calls or (fault == "tool_cancel=0" and not cancelled) or len(calls) < 1 + (fault == "tool_dup"):
                async for message in session.receive():
                    calls += (message.tool_call.function_calls or []) if message.tool_call else []
                    if message.tool_call_cancellation:
                        cancelled += message.tool_call_cancellation.ids or []
                    if calls and (cancelled or fault != "tool_cancel=0") and len(calls) >= 1 + (fault == "tool_dup"):
                        break
                turns += 1
            assert len({call.id for call in calls}) == 1
            assert calls[0].args == (None if fault == "tool_args_null" else {"a": 1})
            assert cancelled == ([calls[0].id] if fault == "tool_cancel=0" else [])
            assert turns == (2 if fault == "tool_after_turn" else 1)

    with_emulator(body)
