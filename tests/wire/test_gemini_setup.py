"""What a session is set up with, and what the SDK makes of it."""

from __future__ import annotations

import pytest
from google.genai import types

from gateway.profile import Profile
from gateway.wire.gemini_setup import MODELS, UNKNOWN_MODEL, capabilities, connect_config


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("gemini-3.8-live", "gemini-3.8-live"),
        ("models/gemini-3.8-live", "gemini-3.8-live"),
        ("gemini-3.8-live-extended-thinking", "gemini-3.8-live-extended-thinking"),
        ("gemini-3.8-live-001", "gemini-3.8-live"),
        ("gemini-3.1-flash-live-preview", "gemini-3.1-flash-live"),
        ("gemini-2.5-flash-native-audio-preview-12-2025", "gemini-2.5-flash-native-audio"),
        ("publishers/google/models/gemini-live-2.5-flash-native-audio", "gemini-live-2.5-flash-native-audio"),
        ("projects/p/locations/l/publishers/google/models/gemini-3.8-live", "gemini-3.8-live"),
        ("somebody-elses", ""),
    ],
)
def test_a_model_finds_its_row(model: str, row: str) -> None:
    assert capabilities(model).model == row


def test_what_a_row_forbids_is_left_out() -> None:
    profile = Profile(name="p")
    assert "thinking_config" not in connect_config(profile, capabilities("gemini-3.8-live"))
    thinking = connect_config(profile, capabilities("gemini-3.8-live-extended-thinking"))
    assert thinking["thinking_config"] == {"thinking_level": "LOW"}
    assert not capabilities("gemini-3.1-flash-live-preview").content_any_time


def test_every_field_of_a_profile_arrives() -> None:
    profile = Profile(voice="Kore", language="de-DE", system_instruction="Be terse.", temperature=0.7)
    config = types.LiveConnectConfig(**connect_config(profile, UNKNOWN_MODEL))
    assert config.response_modalities == ["AUDIO"]
    assert config.speech_config is not None
    assert config.speech_config.language_code == "de-DE"
    voice = config.speech_config.voice_config
    assert voice is not None
    assert voice.prebuilt_voice_config is not None
    assert voice.prebuilt_voice_config.voice_name == "Kore"
    assert config.system_instruction == "Be terse."
    assert config.temperature == 0.7
    assert config.input_audio_transcription is not None
    assert config.output_audio_transcription is not None
    assert config.context_window_compression is not None


def test_an_empty_profile_asks_for_nothing_but_the_needed() -> None:
    config = connect_config(Profile(), capabilities("gemini-3.8-live"))
    assert config.keys() == {
        "response_modalities",
        "input_audio_transcription",
        "output_audio_transcription",
        "session_resumption",
        "context_window_compression",
    }
    assert config["session_resumption"] == {}


def test_a_handle_asks_for_the_old_session() -> None:
    assert connect_config(Profile(), UNKNOWN_MODEL, "H1")["session_resumption"] == {"handle": "H1"}


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.model)
def test_the_sdk_takes_every_row(row: object) -> None:
    types.LiveConnectConfig(
        **connect_config(Profile(voice="Puck", temperature=0.0), capabilities(str(getattr(row, "model", ""))))
    )
