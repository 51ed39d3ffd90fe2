"""What a session is set up with: a profile's options, as far as its model takes them.

What a model takes is a row of a table. A setting the service refuses costs the whole session (close 1007), so what the row
does not allow is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.profile import Profile


@dataclass(frozen=True, slots=True)
class Capabilities:
    """How one family of models differs from the others."""

    model: str
    """Prefix of the names this row is for."""
    content_any_time: bool = True
    """Takes clientContent in the middle of a session. If not, words go as realtime input."""
    thinking_level: str = ""
    """Must be in the setup when set; must be absent when not."""


# The longest prefix wins. Sources: the models' own pages, and for 3.1 the 1007 that many projects ran into.
MODELS: tuple[Capabilities, ...] = (
    Capabilities("gemini-3.8-live"),
    Capabilities("gemini-3.8-live-extended-thinking", thinking_level="LOW"),
    Capabilities("gemini-3.1-flash-live", content_any_time=False),
    Capabilities("gemini-2.5-flash-native-audio"),
    Capabilities("gemini-live-2.5-flash-native-audio"),
)
UNKNOWN_MODEL = Capabilities("")


def capabilities(model: str) -> Capabilities:
    """The row for a model name, however qualified (`models/…`, `publishers/google/models/…`, `projects/…`)."""
    name = model.rpartition("/")[2]
    rows = [row for row in MODELS if name.startswith(row.model)]
    return max(rows, key=lambda row: len(row.model)) if rows else UNKNOWN_MODEL


def connect_config(profile: Profile, can: Capabilities, handle: str = "") -> dict[str, Any]:
    """Keyword arguments of the SDK's `LiveConnectConfig`. `handle`: the session to resume; empty: a new one."""
    config: dict[str, Any] = {
        "response_modalities": ["AUDIO"],
        "input_audio_transcription": {},
        "output_audio_transcription": {},
        # An empty object means "send me handles"; a null handle is refused by some models.
        "session_resumption": {"handle": handle} if handle else {},
        # Without a sliding window a session ends after 15 minutes of audio.
        "context_window_compression": {"sliding_window": {}},
    }
    if profile.temperature is not None:
        config["temperature"] = profile.temperature
    speech: dict[str, Any] = {}
    if profile.voice:
        speech["voice_config"] = {"prebuilt_voice_config": {"voice_name": profile.voice}}
    if profile.language:
        speech["language_code"] = profile.language
    if speech:
        config["speech_config"] = speech
    if profile.system_instruction:
        config["system_instruction"] = profile.system_instruction
    if can.thinking_level:
        config["thinking_config"] = {"thinking_level": can.thinking_level}
    return config
