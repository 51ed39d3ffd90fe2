"""What a setup may say, model by model. (The SDK's own setups are in test_sdk.)"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.emulator.models import MODELS, VOICES, Backend, Thinking
from gateway.emulator.schema import WireError
from gateway.emulator.setup_check import SessionSetup, check_setup

LEVEL = {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}


def checked(model: str = "gemini-3.8-live", **fields: Any) -> SessionSetup:
    return check_setup({"model": f"models/{model}", **fields}, Backend.DEVELOPER, "v1beta")


def on_vertex(model: str, **fields: Any) -> SessionSetup:
    return check_setup({"model": model, **fields}, Backend.VERTEX, "v1beta1")


def refused(model: str = "gemini-3.8-live", **fields: Any) -> WireError:
    with pytest.raises(WireError) as error:
        checked(model, **fields)
    return error.value


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if Backend.DEVELOPER in model.backends])
def test_every_model_is_set_up_plainly(name: str) -> None:
    needs_level = MODELS[name].thinking is Thinking.LEVEL_REQUIRED
    setup = checked(name, **(LEVEL if needs_level else {}))
    assert setup.model is MODELS[name]
    assert (setup.automatic, setup.interrupts, setup.wants_handles, setup.handle) == (True, True, False, None)


def test_what_a_session_acts_on() -> None:
    setup = checked(
        session_resumption={"handle": "H1"},
        output_audio_transcription={},
        context_window_compression={"sliding_window": {}},
        realtime_input_config={
            "automatic_activity_detection": {
                "start_of_speech_sensitivity": "START_SENSITIVITY_LOW",
                "end_of_speech_sensitivity": "END_SENSITIVITY_LOW",
                "prefix_padding_ms": 40,
                "silence_duration_ms": "700",
            },
            "activity_handling": "NO_INTERRUPTION",
        },
        tools=[{"function_declarations": [{"name": "a"}, {"name": "b", "behavior": "BLOCKING"}]}, {"googleSearch": {}}],
    )
    assert (setup.handle, setup.wants_handles) == ("H1", True)
    assert (setup.transcribe_input, setup.transcribe_output, setup.compresses) == (False, True, True)
    assert (setup.start_high, setup.end_high, setup.interrupts) == (False, False, False)
    assert (setup.prefix_padding, setup.silence_duration) == (0.04, 0.7)
    assert setup.functions == {"a": False, "b": True}


def test_functions_block_by_default_where_the_model_says_so() -> None:
    tools = [{"functionDeclarations": [{"name": "f"}]}]
    assert checked("gemini-3.8-live", tools=tools).functions == {"f": False}
    assert checked("gemini-2.5-flash-native-audio-latest", tools=tools).functions == {"f": True}
    assert checked("gemini-3.1-flash-live-preview", tools=tools).functions == {"f": True}


def test_a_null_handle() -> None:
    assert refused("gemini-3.1-flash-live-preview", sessionResumption={"handle": None}).code == 1007
    assert checked("gemini-3.8-live", sessionResumption={"handle": None}).handle is None
    assert checked("gemini-3.1-flash-live-preview", sessionResumption={}).wants_handles


def test_what_belongs_to_vertex_only() -> None:
    assert "\"transparent\" at 'setup.session_resumption'" in refused(sessionResumption={"transparent": True}).reason
    assert "\"explicit_vad_signal\" at 'setup'" in refused(explicitVadSignal=True).reason
    name = "projects/p/locations/us-central1/publishers/google/models/gemini-live-2.5-flash-native-audio"
    setup = on_vertex(name, sessionResumption={"transparent": True}, explicitVadSignal=True)
    assert setup.transparent
    assert setup.vad_signals
    assert not setup.end_high, "unset, Vertex is slow to find the end of speech"
    assert on_vertex("publishers/google/models/gemini-live-2.5-flash-native-audio")


@pytest.mark.parametrize(
    ("backend", "model"),
    [
        (Backend.DEVELOPER, "gemini-3.8-live"),
        (Backend.DEVELOPER, ""),
        (Backend.DEVELOPER, "models/"),
        (Backend.DEVELOPER, "models/gemini-live-2.5-flash-native-audio"),
        (Backend.VERTEX, "models/gemini-live-2.5-flash-native-audio"),
        (Backend.VERTEX, "publishers/google/models/gemini-3.1-flash-live-preview"),
        (Backend.VERTEX, "nonsense/publishers/google/models/gemini-live-2.5-flash-native-audio"),
    ],
)
def test_model_names_that_are_not_served(backend: Backend, model: str) -> None:
    with pytest.raises(WireError) as error:
        check_setup({"model": model}, backend, "v1beta")
    assert error.value.code == 1008
    assert "is not found for API version" in error.value.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}},
        {"generationConfig": {"responseMimeType": "text/plain"}},
        {"generationConfig": {"stopSequences": ["x"]}},
        {"generationConfig": {"responseSchema": {}}},
        {"generationConfig": {"logprobs": 1}},
        {"generationConfig": {"thinkingConfig": {}}},
        {"generationConfig": {"enableAffectiveDialog": False}},
        {"generationConfig": {"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "puck"}}}}},
        {"realtimeInputConfig": {"activityHandling": "SOMETIMES"}},
        {"realtimeInputConfig": {"turnCoverage": "NONE"}},
        {"realtimeInputConfig": {"automaticActivityDetection": {"silenceDurationMs": -1}}},
        {"realtimeInputConfig": {"automaticActivityDetection": {"endOfSpeechSensitivity": "HIGH"}}},
        {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]},
        {"tools": [{"functionDeclarations": [{"description": "nameless"}]}]},
        {"sessionResumption": {"enabled": True}},
        {"contextWindowCompression": {"triggerTokenCount": 1}},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    assert refused(**fields).code == 1007


def test_thinking_levels() -> None:
    name = "gemini-3.8-live-extended-thinking"
    for level in ("LOW", "MEDIUM", "HIGH"):
        assert checked(name, generationConfig={"thinkingConfig": {"thinkingLevel": level}})
    for config in ({}, {"thinkingLevel": "MINIMAL"}, {"includeThoughts": True}):
        assert refused(name, generationConfig={"thinkingConfig": config}).code == 1007
    assert checked("gemini-2.5-flash-native-audio-latest", generationConfig={"thinkingConfig": {"thinkingBudget": 0}})


def test_options_follow_a_mark_in_the_models_name() -> None:
    setup = checked("gemini-3.8-live~goaway=3,1&persona=tone")
    assert setup.model.name == "gemini-3.8-live"
    assert setup.options == "goaway=3,1&persona=tone"


def test_there_are_thirty_voices() -> None:
    assert len(VOICES) == 30
