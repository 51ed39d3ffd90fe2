"""Conformance: the unmodified google-genai SDK finds in the emulator the service it knows."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import google.auth.credentials
import pytest
from google import genai
from google.genai import errors, types
from websockets.exceptions import InvalidStatus

from gateway.emulator import Emulator
from gateway.emulator.counting import count, read_count
from gateway.emulator.settings import Frames
from tests.emulator.playing import loud, quiet
from tests.emulator.sdk import QUICK, client, closed_with, live, sound_of, speak, turn, words_of

ALL_TRANSCRIPTS = {"response_modalities": ["AUDIO"], "input_audio_transcription": {}, "output_audio_transcription": {}}


def with_emulator(body: Callable[[Emulator], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with Emulator(**{**QUICK, **settings}) as emulator:
            await body(emulator)

    asyncio.run(run())


def test_a_spoken_turn() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, config=ALL_TRANSCRIPTS) as session:
            assert session.setup_complete is not None
            await speak(session, loud(1.0) + quiet(0.8))
            messages = await turn(session)
        assert len(sound_of(messages)) / 48_000 == pytest.approx(1.15, abs=0.1)
        assert words_of(messages) == "(your own words: 1 second)"
        usage = messages[-1].usage_metadata
        assert usage is not None
        assert usage.response_token_count == pytest.approx(29, abs=3)
        await emulator.until(lambda: emulator.sessions[0].close)
        assert emulator.sessions[0].close == ("client", 1000, "")
        assert not emulator.sessions[0].violations

    with_emulator(body)


def test_typed_text_and_content() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, config=ALL_TRANSCRIPTS) as session:
            await session.send_realtime_input(text="Greet the caller.")
            assert words_of(await turn(session)).startswith("Hello!")
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text='hé "q"')]))
            assert words_of(await turn(session)) == 'You typed: hé "q"'
            await session.send_context_update(system_instruction="be brief")
            await session.send_realtime_input(text="still there?")
            assert words_of(await turn(session)) == "You typed: still there?"

    with_emulator(body)


def test_every_audio_byte_arrives_both_ways() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator) as session:
            await speak(session, count(0, 160_000), chunk=0.02)
            answer = sound_of(await turn(session))
            await emulator.until(lambda: emulator.sessions[0].heard.seconds >= 10)
        assert read_count(answer).whole
        assert len(answer) == 4 * 48_000
        assert answer == emulator.sessions[0].sent
        heard = read_count(emulator.sessions[0].received)
        assert heard.whole
        assert (heard.first, heard.last) == (0, 159_999)

    with_emulator(body, persona="counter:4")


def test_barge_in() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator) as session:
            await session.send_realtime_input(text="go")
            seen: list[types.LiveServerMessage] = []
            async for message in session.receive():
                seen.append(message)
                if message.server_content and message.server_content.model_turn and len(seen) < 4:
                    await speak(session, loud(0.2))
            flags = [message.server_content.interrupted for message in seen if message.server_content]
            assert any(flags)
            assert not any(message.server_content.generation_complete for message in seen if message.server_content)
            assert len(sound_of(seen)) < 2 * 48_000

    with_emulator(body, persona="tone:440,20", speed=2.0)


@pytest.mark.parametrize("path", ["/", "", "/a/prefix", "/a/prefix/"])
def test_base_urls(path: str) -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, base_url=emulator.base_url + path) as session:
            assert session.setup_complete is not None

    with_emulator(body)


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_api_versions(version: str) -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, version=version) as session:
            assert session.setup_complete is not None

    with_emulator(body)


def test_a_version_that_is_not_served() -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with live(emulator, version="v1"):
                pass
        assert refused.value.response.status_code == 404

    with_emulator(body, versions=frozenset({"v1beta"}))


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("deflate", [True, False])
def test_compression_is_negotiated(compression: str | None, deflate: bool) -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, compression=compression) as session:
            await session.send_realtime_input(text="hello")
            assert sound_of(await turn(session))
            agreed = bool(session._ws.protocol.extensions)
        assert agreed is (deflate and compression is not None)

    with_emulator(body, deflate=deflate)


@pytest.mark.parametrize("frames", ["binary", "text", "mixed"])
def test_frame_types(frames: str) -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator) as session:
            await session.send_realtime_input(text="hello")
            assert sound_of(await turn(session))

    with_emulator(body, frames=Frames(frames))


def full_config() -> dict[str, Any]:
    """Every field that a 3.8 model takes, as the SDK spells it."""

    def weather(city: str) -> str:
        """Weather of a city."""
        return city

    return {
        "response_modalities": ["AUDIO"],
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "max_output_tokens": 1024,
        "media_resolution": "MEDIA_RESOLUTION_LOW",
        "seed": 7,
        "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}, "language_code": "en-US"},
        "system_instruction": "You are terse.",
        "tools": [
            {"google_search": {}},
            {"code_execution": {}},
            {"url_context": {}},
            {"function_declarations": [{"name": "f", "description": "d", "behavior": "NON_BLOCKING"}]},
            weather,
        ],
        "session_resumption": {"handle": None},
        "input_audio_transcription": {"language_codes": ["en-US"]},
        "output_audio_transcription": {},
        "realtime_input_config": {
            "automatic_activity_detection": {
                "disabled": False,
                "start_of_speech_sensitivity": "START_SENSITIVITY_LOW",
                "end_of_speech_sensitivity": "END_SENSITIVITY_HIGH",
                "prefix_padding_ms": 20,
                "silence_duration_ms": 500,
            },
            "activity_handling": "NO_INTERRUPTION",
            "turn_coverage": "TURN_INCLUDES_ALL_INPUT",
        },
        "context_window_compression": {"trigger_tokens": 25600, "sliding_window": {"target_tokens": 12800}},
        "proactivity": {"proactive_audio": True},
        "history_config": {"initial_history_in_client_content": False},
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
        "labels": {"safety_identifier": "u1"},
        "translation_config": {"target_language_code": "es", "echo_target_language": True},
    }


def test_every_field_of_a_setup_is_understood() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, config=full_config()) as session:
            assert session.setup_complete is not None
        setup = emulator.sessions[0].setup
        assert setup is not None
        assert setup["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"] == {"voiceName": "Kore"}
        assert setup["realtimeInputConfig"]["automaticActivityDetection"]["silenceDurationMs"] == 500
        assert [tool["name"] for tool in setup["tools"][-1]["functionDeclarations"]] == ["f", "weather"]

    with_emulator(body)


REFUSED: dict[str, tuple[str, dict[str, Any], int]] = {
    "thinking on 3.8": ("gemini-3.8-live", {"thinking_config": {"thinking_budget": 0}}, 1007),
    "no level for extended thinking": ("gemini-3.8-live-extended-thinking", {}, 1007),
    "proactive audio off": ("gemini-3.8-live", {"proactivity": {"proactive_audio": False}}, 1007),
    "text": ("gemini-3.8-live", {"response_modalities": ["TEXT"]}, 1007),
    "affective dialog on 3.x": ("gemini-3.8-live", {"enable_affective_dialog": True}, 1007),
    "non-blocking on 3.1": (
        "gemini-3.1-flash-live-preview",
        {"tools": [{"function_declarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]},
        1007,
    ),
    "blocking on extended thinking": (
        "gemini-3.8-live-extended-thinking",
        {
            "thinking_config": {"thinking_level": "LOW"},
            "tools": [{"function_declarations": [{"name": "f", "behavior": "BLOCKING"}]}],
        },
        1007,
    ),
    "too many functions": (
        "gemini-3.8-live",
        {"tools": [{"function_declarations": [{"name": f"f{index}"} for index in range(513)]}]},
        1007,
    ),
    "unknown voice": (
        "gemini-3.8-live",
        {"speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "kore"}}}},
        1007,
    ),
    "unknown model": ("gemini-2.0-flash-live-001", {}, 1008),
    "a model of the other service": ("gemini-live-2.5-flash-native-audio", {}, 1008),
}


@pytest.mark.parametrize("case", REFUSED)
def test_setups_that_a_model_refuses(case: str) -> None:
    model, extra, code = REFUSED[case]

    async def body(emulator: Emulator) -> None:
        with pytest.raises(errors.APIError) as refused:
            async with live(emulator, model=model, config={"response_modalities": ["AUDIO"], **extra}):
                pass
        assert refused.value.code == code
        assert refused.value.details

    with_emulator(body)


@pytest.mark.parametrize(
    "model", ["gemini-3.1-flash-live-preview", "gemini-2.5-flash-native-audio-latest", "gemini-3.8-live-extended-thinking"]
)
def test_other_models_talk_too(model: str) -> None:
    config: dict[str, Any] = {**ALL_TRANSCRIPTS}
    if "thinking" in model:
        config["thinking_config"] = {"thinking_level": "LOW"}

    async def body(emulator: Emulator) -> None:
        async with live(emulator, model=model, config=config) as session:
            for _ in range(2):
                await speak(session, loud(0.5) + quiet(0.8))
                messages = await turn(session)
                assert sound_of(messages)
                assert words_of(messages) == "(your own words: 0.5 seconds)"

    with_emulator(body)


class Credentials(google.auth.credentials.Credentials):  # type: ignore[misc]
    """Of a service account that asks nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "ya29.token"

    def refresh(self, request: object) -> None:
        """Nothing to do."""
        del request


def test_vertex() -> None:
    async def body(emulator: Emulator) -> None:
        inner = client(emulator)
        arguments = inner._api_client._http_options.async_client_args
        vertex = genai.Client(
            vertexai=True,
            project="p",
            location="us-central1",
            credentials=Credentials(),
            http_options=types.HttpOptions(base_url=emulator.base_url, async_client_args=arguments),
        )
        config: dict[str, Any] = {
            **ALL_TRANSCRIPTS,
            "session_resumption": {"transparent": True},
            "explicit_vad_signal": True,
            "realtime_input_config": {"automatic_activity_detection": {"silence_duration_ms": 400}},
        }
        async with vertex.aio.live.connect(model="gemini-live-2.5-flash-native-audio", config=config) as session:
            assert session.setup_complete is not None
            assert session.setup_complete.session_id
            await speak(session, loud(0.5) + quiet(0.8))
            messages = await turn(session)
            signals = [message.voice_activity_detection_signal for message in messages]
            assert [signal.vad_signal_type.value for signal in signals if signal and signal.vad_signal_type] == [
                "VAD_SIGNAL_TYPE_SOS",
                "VAD_SIGNAL_TYPE_EOS",
            ]
            assert messages[-1].usage_metadata is not None
            assert messages[-1].usage_metadata.response_token_count
            update = await anext(session.receive())
            assert update.session_resumption_update is not None
            assert update.session_resumption_update.last_consumed_client_message_index == 13
        assert emulator.sessions[0].path.endswith("LlmBidiService/BidiGenerateContent")

    with_emulator(body)


def test_resumption() -> None:
    async def body(emulator: Emulator) -> None:
        config = {**ALL_TRANSCRIPTS, "session_resumption": {}}
        async with live(emulator, config=config) as session:
            await session.send_realtime_input(text="Greet the caller.")
            await turn(session)
            # The handle comes after turnComplete: receive() had already ended.
            update = (await anext(session.receive())).session_resumption_update
            assert update is not None
            assert update.resumable
            with pytest.raises(errors.APIError) as second:
                async with live(emulator, config={**config, "session_resumption": {"handle": update.new_handle}}):
                    pass
            assert second.value.code == 1011
        async with live(emulator, config={**config, "session_resumption": {"handle": update.new_handle}}) as session:
            await session.send_realtime_input(text="again")
            assert words_of(await turn(session)) == "You typed: again"
        assert emulator.sessions[-1].conversation == emulator.sessions[0].conversation
        with pytest.raises(errors.APIError) as stale:
            async with live(emulator, config={**config, "session_resumption": {"handle": "CihUNKNOWN"}}):
                pass
        assert (stale.value.code, stale.value.details) == (1008, "BidiGenerateContent session not found")

    with_emulator(body)


def test_tools() -> None:
    tool = {"function_declarations": [{"name": "add", "behavior": "BLOCKING"}]}

    async def body(emulator: Emulator) -> None:
        async with live(emulator, config={**ALL_TRANSCRIPTS, "tools": [tool]}) as session:
            await session.send_realtime_input(text='/call add {"a": 1, "b": 2}')
            answered: list[str] = []
            async for message in session.receive():
                for call in (message.tool_call.function_calls or []) if message.tool_call else []:
                    assert call.args == {"a": 1, "b": 2}
                    assert call.id is not None
                    assert call.id.startswith("function-call-")
                    answered.append(call.id)
                    await session.send_tool_response(
                        function_responses=types.FunctionResponse(id=call.id, name="add", response={"output": 3})
                    )
            assert len(answered) == 1
        record = emulator.sessions[0]
        assert record.tool_results == [(answered[0], "add", {"output": 3})]
        assert not record.violations

    with_emulator(body)


def test_keys_and_tokens() -> None:
    async def body(emulator: Emulator) -> None:
        with pytest.raises(errors.APIError) as refused:
            async with live(emulator, "", config=None):
                pass
        assert (refused.value.code, refused.value.details) == (1007, "API key not valid. Please pass a valid API key.")
        maker = client(emulator, "GOOD", version="v1alpha")
        token = await maker.aio.auth_tokens.create(
            config=types.CreateAuthTokenConfig(
                uses=1,
                expire_time=datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5),
                live_connect_constraints=types.LiveConnectConstraints(
                    model="gemini-3.8-live", config={"response_modalities": ["AUDIO"], "output_audio_transcription": {}}
                ),
            )
        )
        assert token.name is not None
        assert token.name.startswith("auth_tokens/")
        user = client(emulator, token.name, version="v1alpha")
        async with user.aio.live.connect(model="gemini-2.5-flash-native-audio-latest", config={}) as session:
            await session.send_realtime_input(text="hello")
            assert words_of(await turn(session)).startswith("Hello!")
        assert emulator.sessions[-1].model == "gemini-3.8-live", "the token's setup counts, not the client's"
        with pytest.raises(errors.APIError) as used_up:
            async with user.aio.live.connect(model="gemini-3.8-live", config={}):
                pass
        assert used_up.value.code == 1008

    with_emulator(body, api_keys=frozenset({"GOOD"}))


def test_the_model_list() -> None:
    async def body(emulator: Emulator) -> None:
        maker = client(emulator)
        names = [model.name async for model in await maker.aio.models.list()]
        assert "models/gemini-3.8-live" in names
        assert (await maker.aio.models.get(model="gemini-3.8-live")).name == "models/gemini-3.8-live"

    with_emulator(body)


def test_a_close_arrives_with_its_code_and_reason() -> None:
    async def body(emulator: Emulator) -> None:
        async with live(emulator, "quota_mid=0.05") as session:
            code, reason = await closed_with(session)
        assert code == 1011
        assert reason.startswith("You exceeded your current quota")

    with_emulator(body)
