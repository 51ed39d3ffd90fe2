"""Judging a `setup`: strict field names, the rules of the model, and what of it the session needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.emulator.client import SETUP
from gateway.emulator.models import MAX_FUNCTIONS, MODELS, VOICES, Backend, Content, LiveModel, Thinking
from gateway.emulator.schema import INVALID_ARGUMENT, Json, WireError, read

OPTION_MARK = "~"
"""`gemini-3.8-live~persona=tone&goaway=3,1`: what follows the mark are options for the emulator; keys take them too."""


@dataclass(frozen=True, slots=True)
class SessionSetup:
    """A setup that passed: the options a session acts on."""

    model: LiveModel
    body: Json
    """The whole setup in canonical spelling."""
    options: str
    """What followed the mark in the model's name."""
    handle: str | None
    """To resume with; None: a fresh conversation."""
    wants_handles: bool
    transparent: bool
    transcribe_input: bool
    transcribe_output: bool
    automatic: bool
    """Voice activity is found by the service."""
    start_high: bool
    """Start of speech is found eagerly."""
    end_high: bool
    """End of speech is found eagerly."""
    prefix_padding: float | None
    """Seconds of speech before a start counts."""
    silence_duration: float | None
    """Seconds of silence that end a turn."""
    interrupts: bool
    """Caller activity interrupts the model."""
    compresses: bool
    vad_signals: bool
    awaits_history: bool
    """Realtime input waits for `clientContent` with `turnComplete`."""
    functions: dict[str, bool]
    """Declared functions: name → blocking."""


def check_setup(body: object, backend: Backend, version: str) -> SessionSetup:
    """The setup as a value. Raises WireError (1007, or 1008 for an unknown model) as the service would close."""
    reading = read(body, SETUP, "setup")
    setup = reading.value
    model, options = _model(setup.get("model", ""), backend, version)
    generation: Json = setup.get("generationConfig", {})
    resumption: Json = setup.get("sessionResumption", {})
    _check_generation(generation, model)
    functions = _functions(setup.get("tools", []), model)
    if "setup.session_resumption.handle" in reading.nulls and not model.null_handle:
        raise WireError(INVALID_ARGUMENT)
    if backend is Backend.DEVELOPER:
        if "transparent" in resumption:
            raise _unknown("transparent", "setup.session_resumption")
        if "explicitVadSignal" in setup:
            raise _unknown("explicit_vad_signal", "setup")
    if model.always_proactive and setup.get("proactivity", {}).get("proactiveAudio") is False:
        raise WireError(INVALID_ARGUMENT)
    realtime: Json = setup.get("realtimeInputConfig", {})
    detection: Json = realtime.get("automaticActivityDetection", {})
    _one_of(realtime.get("activityHandling"), "ACTIVITY_HANDLING_UNSPECIFIED START_OF_ACTIVITY_INTERRUPTS NO_INTERRUPTION")
    _one_of(
        realtime.get("turnCoverage"),
        "TURN_COVERAGE_UNSPECIFIED TURN_INCLUDES_ONLY_ACTIVITY TURN_INCLUDES_ALL_INPUT "
        "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
    )
    start, end = detection.get("startOfSpeechSensitivity"), detection.get("endOfSpeechSensitivity")
    _one_of(start, "START_SENSITIVITY_UNSPECIFIED START_SENSITIVITY_HIGH START_SENSITIVITY_LOW")
    _one_of(end, "END_SENSITIVITY_UNSPECIFIED END_SENSITIVITY_HIGH END_SENSITIVITY_LOW")
    unset_end = "END_SENSITIVITY_HIGH" if backend is Backend.DEVELOPER else "END_SENSITIVITY_LOW"
    return SessionSetup(
        model=model,
        body=setup,
        options=options,
        handle=resumption.get("handle") or None,
        wants_handles="sessionResumption" in setup,
        transparent=resumption.get("transparent", False),
        transcribe_input="inputAudioTranscription" in setup,
        transcribe_output="outputAudioTranscription" in setup,
        automatic=not detection.get("disabled", False),
        start_high=start != "START_SENSITIVITY_LOW",
        end_high=(end or unset_end) != "END_SENSITIVITY_LOW",
        prefix_padding=_milliseconds(detection, "prefixPaddingMs"),
        silence_duration=_milliseconds(detection, "silenceDurationMs"),
        interrupts=realtime.get("activityHandling") != "NO_INTERRUPTION",
        compresses="contextWindowCompression" in setup,
        vad_signals=setup.get("explicitVadSignal", False),
        awaits_history=setup.get("historyConfig", {}).get("initialHistoryInClientContent", False),
        functions=functions,
    )


def _model(written: str, backend: Backend, version: str) -> tuple[LiveModel, str]:
    full, _, options = written.partition(OPTION_MARK)
    not_found = WireError(
        f"{full} is not found for API version {version}, or is not supported for bidiGenerateContent. "
        "Call ListModels to see the list of available models and their supported methods.",
        code=1008,
    )
    if backend is Backend.DEVELOPER:
        if not full.startswith("models/"):
            raise not_found
        name = full.removeprefix("models/")
    else:
        head, found, name = full.rpartition("publishers/google/models/")
        if not found or (head and not (head.startswith("projects/") and "/locations/" in head)):
            raise not_found
    model = MODELS.get(name)
    if model is None or backend not in model.backends:
        raise not_found
    return model, options


def _check_generation(generation: Json, model: LiveModel) -> None:
    modalities = generation.get("responseModalities", ["AUDIO"])
    if modalities != ["AUDIO"]:
        raise WireError(INVALID_ARGUMENT)
    thinking = generation.get("thinkingConfig")
    if model.thinking is Thinking.REFUSED and thinking is not None:
        raise WireError(INVALID_ARGUMENT)
    if model.thinking is Thinking.LEVEL_REQUIRED and (thinking or {}).get("thinkingLevel") not in {"LOW", "MEDIUM", "HIGH"}:
        raise WireError(INVALID_ARGUMENT)
    if thinking is not None:
        _one_of(thinking.get("thinkingLevel"), "THINKING_LEVEL_UNSPECIFIED MINIMAL LOW MEDIUM HIGH")
    if "enableAffectiveDialog" in generation and not model.affective:
        raise WireError(INVALID_ARGUMENT)
    voice = generation.get("speechConfig", {}).get("voiceConfig", {}).get("prebuiltVoiceConfig", {}).get("voiceName")
    if voice is not None and voice not in VOICES:
        raise WireError(INVALID_ARGUMENT)


def _functions(tools: list[Json], model: LiveModel) -> dict[str, bool]:
    declared: dict[str, bool] = {}
    for declaration in (item for tool in tools for item in tool.get("functionDeclarations", [])):
        name = declaration.get("name", "")
        behavior = declaration.get("behavior", "UNSPECIFIED")
        if not name or name in declared:
            raise WireError(INVALID_ARGUMENT)
        if (behavior == "NON_BLOCKING" and not model.non_blocking) or (behavior == "BLOCKING" and not model.blocking):
            raise WireError(INVALID_ARGUMENT)
        declared[name] = behavior == "BLOCKING" or (behavior == "UNSPECIFIED" and model.blocks_by_default)
    if len(declared) > MAX_FUNCTIONS:
        raise WireError(INVALID_ARGUMENT)
    return declared


def declared_functions(tools: list[Json], model: LiveModel) -> dict[str, bool]:
    """Functions of a `contextUpdate`: name → blocking. Raises WireError."""
    return _functions(tools, model)


def seeds_history(setup: SessionSetup) -> bool:
    """Whether `clientContent` is taken before any realtime input, as history."""
    return setup.awaits_history or setup.model.content is not Content.SEEDS_ONLY


def _one_of(value: Any, names: str) -> None:
    if value is not None and value not in names.split():
        raise WireError(INVALID_ARGUMENT)


def _milliseconds(detection: Json, name: str) -> float | None:
    value = detection.get(name)
    if value is None:
        return None
    if value < 0:
        raise WireError(INVALID_ARGUMENT)
    return float(value) / 1000


def _unknown(name: str, path: str) -> WireError:
    return WireError(f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.")
