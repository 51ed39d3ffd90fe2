"""What a session is set up with: a profile's options, as far as its model takes them.

What a model takes is a row of a table. A setting the service refuses costs the whole session (close 1007), so what the row
does not allow is left out, and `left_out` names it for one warning.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any

from gateway.profile import Compression, Endpointing, Listening, Profile, TurnCoverage
from gateway.wire.gemini_tools import FUNCTIONS, Functions, behavior, declarations


@dataclass(frozen=True, slots=True)
class Capabilities:
    """How one family of models differs from the others."""

    model: str
    """Prefix of the names this row is for."""
    content_any_time: bool = True
    """Takes clientContent in the middle of a session. If not, words go as realtime input."""
    context_note: bool = True
    """May be told something in the middle of a session that asks for no answer."""
    note_stops: bool = False
    """Such a note ends what it is just saying."""
    thinking_level: str = ""
    """Must be in the setup when set; must be absent when not."""
    language_code: bool = True
    """Takes `speechConfig.languageCode`. If not, the language is asked for in words."""
    context_update: bool = False
    """Takes another instruction or other tools in the middle of a session. If not, that is a swap."""
    functions: Functions = FUNCTIONS
    deaf_in_tools: bool = False
    """May end the session (1008) over audio that comes while it waits for a blocking function."""
    may_ignore: bool = True
    """Decides by itself whether it was spoken to, so that no answer may be its answer."""
    transparent: bool = False
    """Says with every handle which of our messages it stands for."""
    says_audio_ends: bool = True
    """Takes `audioStreamEnd`."""


# The longest prefix wins. Sources: the models' own pages, and for 3.1 the 1007 that many projects ran into. 2.5 native audio
# finds the language by itself and refuses to be told. `contextUpdate` came with the SDK's third generation and its models.
MODELS: tuple[Capabilities, ...] = (
    Capabilities("gemini-3.8-live", context_update=True, functions=Functions(blocks_by_default=False)),
    Capabilities(
        "gemini-3.8-live-extended-thinking",
        thinking_level="LOW",
        context_update=True,
        functions=Functions(blocking=False, blocks_by_default=False),
    ),
    Capabilities(
        "gemini-3.1-flash-live",
        content_any_time=False,
        context_note=False,
        functions=Functions(non_blocking=False),
        may_ignore=False,
    ),
    Capabilities("gemini-2.5-flash-native-audio", note_stops=True, language_code=False, deaf_in_tools=True, may_ignore=False),
    Capabilities(
        "gemini-live-2.5-flash-native-audio", note_stops=True, language_code=False, deaf_in_tools=True, may_ignore=False
    ),
)
UNKNOWN_MODEL = Capabilities("")

RETIRED = {
    "gemini-2.5-flash-native-audio-preview-09-2025": "2026-03-19",
    "gemini-live-2.5-flash-preview": "2025-12-09",
    "gemini-2.0-flash-live-001": "2025-12-09",
}
"""Models that many published samples still name, and since when the service does not have them."""

_COVERAGE = {
    TurnCoverage.ACTIVITY: "TURN_INCLUDES_ONLY_ACTIVITY",
    TurnCoverage.ALL_INPUT: "TURN_INCLUDES_ALL_INPUT",
    TurnCoverage.ACTIVITY_AND_VIDEO: "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
}


class Backend(enum.StrEnum):
    """Which of Google's services is spoken to. They differ in address, names, a few fields and what they tell."""

    DEVELOPER = "developer"
    VERTEX = "vertex"


BACKENDS: dict[Backend, dict[str, Any]] = {
    Backend.DEVELOPER: {},
    Backend.VERTEX: {"transparent": True, "says_audio_ends": False},
}
"""What a backend changes in the row of a model."""


def capabilities(model: str, backend: Backend = Backend.DEVELOPER) -> Capabilities:
    """The row for a model name, however qualified (`models/…`, `publishers/google/models/…`, `projects/…`)."""
    name = model.rpartition("/")[2]
    rows = [row for row in MODELS if name.startswith(row.model)]
    row = max(rows, key=lambda row: len(row.model)) if rows else UNKNOWN_MODEL
    return replace(row, **BACKENDS[backend])


def connect_config(profile: Profile, can: Capabilities, handle: str = "", *, seeded: bool = False) -> dict[str, Any]:
    """Keyword arguments of the SDK's `LiveConnectConfig`. `handle`: the session to resume; empty: a new one.

    `seeded`: the first thing the new session is told is the conversation so far.
    """
    config: dict[str, Any] = {
        "response_modalities": ["AUDIO"],
        "input_audio_transcription": {},
        "output_audio_transcription": {},
        # An empty object means "send me handles"; a null handle is refused by some models.
        "session_resumption": ({"handle": handle} if handle else {}) | ({"transparent": True} if can.transparent else {}),
    }
    if seeded and not can.content_any_time:
        config["history_config"] = {"initial_history_in_client_content": True}
    if profile.compression.enabled:
        config["context_window_compression"] = _compression(profile.compression)
    if profile.temperature is not None:
        config["temperature"] = profile.temperature
    speech: dict[str, Any] = {}
    if profile.voice:
        speech["voice_config"] = {"prebuilt_voice_config": {"voice_name": profile.voice}}
    if profile.language and can.language_code:
        speech["language_code"] = profile.language
    if speech:
        config["speech_config"] = speech
    if words := instruction(profile, can):
        config["system_instruction"] = words
    if can.thinking_level:
        config["thinking_config"] = {"thinking_level": can.thinking_level}
    if realtime := _realtime_input(profile.listening):
        config["realtime_input_config"] = realtime
    if profile.tools:
        config["tools"] = [{"function_declarations": declarations(profile.tools, can.functions)}]
    return config


def instruction(profile: Profile, can: Capabilities) -> str:
    """All that the model is told before the first word: the operator's instruction, the language, what is known of the caller."""
    language = f"Speak the language with the code {profile.language}." if profile.language and not can.language_code else ""
    return "\n\n".join(part for part in (profile.system_instruction, language, profile.context) if part)


def left_out(profile: Profile, can: Capabilities) -> list[str]:
    """The options of the profile that its model does not take; what became of them, for a warning."""
    found = []
    if profile.language and not can.language_code:
        found.append(f"language = {profile.language} (asked for in the instruction instead)")
    found += [
        f"tools.{tool.name}.behavior = {tool.behavior} (this model is {how})"
        for tool in profile.tools
        if tool.behavior is not None and (how := behavior(tool.behavior, can.functions)) is not tool.behavior
    ]
    return found


def _compression(wanted: Compression) -> dict[str, Any]:
    window = {"target_tokens": wanted.target_tokens} if wanted.target_tokens else {}
    trigger = {"trigger_tokens": wanted.trigger_tokens} if wanted.trigger_tokens else {}
    return trigger | {"sliding_window": window}


def _realtime_input(wanted: Listening) -> dict[str, Any]:
    """Nothing where the profile wants nothing: the service's defaults are its own."""
    config: dict[str, Any] = {}
    if wanted.endpointing is not Endpointing.MODEL:
        # The other settings of the detection mean nothing without it, and the service says so with a 1007.
        config["automatic_activity_detection"] = {"disabled": True}
    elif detection := _detection(wanted):
        config["automatic_activity_detection"] = detection
    if not wanted.interruptions:
        config["activity_handling"] = "NO_INTERRUPTION"
    if wanted.turn_coverage:
        config["turn_coverage"] = _COVERAGE[wanted.turn_coverage]
    return config


def _detection(wanted: Listening) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if wanted.start_sensitivity:
        config["start_of_speech_sensitivity"] = f"START_SENSITIVITY_{wanted.start_sensitivity.upper()}"
    if wanted.end_sensitivity:
        config["end_of_speech_sensitivity"] = f"END_SENSITIVITY_{wanted.end_sensitivity.upper()}"
    if wanted.prefix_padding is not None:
        config["prefix_padding_ms"] = round(wanted.prefix_padding * 1000)
    if wanted.silence is not None:
        config["silence_duration_ms"] = round(wanted.silence * 1000)
    return config
