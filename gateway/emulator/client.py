"""What a client may send, read strictly: raw WebSocket messages in, typed values out (gemini-live wire, v1beta and v1beta1).

The service's own field names are listed here and nowhere else; whoever misspells one hears so by a 1007.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.emulator.schema import ANY, INVALID_ARGUMENT, Json, Scalar, WireError, decode_base64, read

S, B, INT, N, D = Scalar.STRING, Scalar.BOOL, Scalar.INT, Scalar.NUMBER, Scalar.BYTES

_BLOB = {"data": D, "mimeType": S, "displayName": S}
_FUNCTION_PARTS = {"inlineData": _BLOB, "fileData": ANY, "mediaProcessing": ANY, "mediaResolution": ANY, "videoMetadata": ANY}
_FUNCTION_RESPONSE = {
    "id": S,
    "name": S,
    "response": ANY,
    "willContinue": B,
    "scheduling": frozenset({"SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"}),
    "parts": [_FUNCTION_PARTS],
}
_PART = {
    "text": S,
    "thought": B,
    "thoughtSignature": S,
    "inlineData": _BLOB,
    "fileData": ANY,
    "functionCall": ANY,
    "functionResponse": _FUNCTION_RESPONSE,
    "executableCode": ANY,
    "codeExecutionResult": ANY,
    "videoMetadata": ANY,
    "mediaResolution": ANY,
    "partMetadata": ANY,
}
_CONTENT = {"parts": [_PART], "role": S}
_VOICE = {
    "prebuiltVoiceConfig": {"voiceName": S},
    "replicatedVoiceConfig": {"mimeType": S, "voiceSampleAudio": D, "consentAudio": D, "voiceConsentSignature": ANY},
    "voice": S,
}
_TRANSCRIPTION = {
    "languageCodes": [S],
    "languageAuto": ANY,
    "languageHints": ANY,
    "customVocabulary": [S],
    "adaptationPhrases": [S],
    "wordTimestamp": B,
    "diarization": B,
    "mode": S,
    "sourceText": ANY,
}
_GENERATION = {
    "candidateCount": INT,
    "enableAffectiveDialog": B,
    "enableEnhancedCivicAnswers": B,
    "frequencyPenalty": N,
    "maxOutputTokens": INT,
    "mediaResolution": S,
    "modelSelectionConfig": ANY,
    "presencePenalty": N,
    "responseFormat": ANY,
    "responseModalities": [S],
    "seed": INT,
    "speechConfig": {"voiceConfig": _VOICE, "languageCode": S, "multiSpeakerVoiceConfig": ANY},
    "temperature": N,
    "thinkingConfig": {"includeThoughts": B, "thinkingBudget": INT, "thinkingLevel": S},
    "topK": N,
    "topP": N,
    "translationConfig": {"targetLanguageCode": S, "echoTargetLanguage": B},
    "audioTranscriptionConfig": _TRANSCRIPTION,
}
_FUNCTION = {
    "name": S,
    "description": S,
    "parameters": ANY,
    "parametersJsonSchema": ANY,
    "response": ANY,
    "responseJsonSchema": ANY,
    "behavior": frozenset({"UNSPECIFIED", "BLOCKING", "NON_BLOCKING"}),
}
_TOOL: Mapping[str, Any] = {
    "functionDeclarations": [_FUNCTION],
    **dict.fromkeys(
        (
            "retrieval",
            "computerUse",
            "fileSearch",
            "googleSearch",
            "googleMaps",
            "codeExecution",
            "enterpriseWebSearch",
            "googleSearchRetrieval",
            "parallelAiSearch",
            "urlContext",
            "mcpServers",
            "exaAiSearch",
        ),
        ANY,
    ),
}
SETUP: Mapping[str, Any] = {
    "model": S,
    "generationConfig": _GENERATION,
    "systemInstruction": _CONTENT,
    "tools": [_TOOL],
    "sessionResumption": {"handle": S, "transparent": B},
    "contextWindowCompression": {"triggerTokens": INT, "slidingWindow": {"targetTokens": INT}},
    "inputAudioTranscription": _TRANSCRIPTION,
    "outputAudioTranscription": _TRANSCRIPTION,
    "realtimeInputConfig": {
        "automaticActivityDetection": {
            "disabled": B,
            "startOfSpeechSensitivity": S,
            "endOfSpeechSensitivity": S,
            "prefixPaddingMs": INT,
            "silenceDurationMs": INT,
        },
        "activityHandling": S,
        "turnCoverage": S,
        "interimTranscriptTimestampEnabled": B,
    },
    "proactivity": {"proactiveAudio": B, "proactiveVideo": B},
    "explicitVadSignal": B,
    "historyConfig": {"initialHistoryInClientContent": B},
    "avatarConfig": ANY,
    "safetySettings": [{"category": S, "threshold": S, "method": S}],
    "labels": ANY,
}
"""`BidiGenerateContentSetup` with every field the 3.4.0 SDK can send."""

_REALTIME = {
    "audio": _BLOB,
    "video": _BLOB,
    "text": S,
    "mediaChunks": [_BLOB],
    "activityStart": {},
    "activityEnd": {},
    "audioStreamEnd": B,
}
_CLIENT_CONTENT = {"turns": [_CONTENT], "turnComplete": B}
_TOOL_RESPONSE = {"functionResponses": [_FUNCTION_RESPONSE]}
_CONTEXT_UPDATE = {"systemInstruction": _CONTENT, "tools": {"tools": [_TOOL]}}
KINDS = {
    "setup": ANY,
    "realtimeInput": _REALTIME,
    "clientContent": _CLIENT_CONTENT,
    "toolResponse": _TOOL_RESPONSE,
    "contextUpdate": _CONTEXT_UPDATE,
}
"""What a message holds: exactly one of these. The setup is judged by its own schema."""


@dataclass(frozen=True, slots=True)
class SetupMessage:
    """The body of `setup`, not yet checked."""

    body: Json


@dataclass(frozen=True, slots=True)
class Audio:
    """Caller audio: PCM16 LE mono at `rate` Hz (16,000 unless the type says otherwise); `pcm` may be of odd length."""

    pcm: bytes
    rate: int
    legacy: bool = False
    """Came in `mediaChunks`."""


@dataclass(frozen=True, slots=True)
class Image:
    """A still; only its size matters here."""

    size_bytes: int
    mime_type: str


@dataclass(frozen=True, slots=True)
class Text:
    """Realtime text."""

    text: str


class ActivityStart:
    """Manual VAD: the caller begins."""


class ActivityEnd:
    """Manual VAD: the caller ends."""


class AudioStreamEnd:
    """The microphone is closed for now."""


@dataclass(frozen=True, slots=True)
class ClientContent:
    """Ordered content. `text` joins the text parts of all turns; `complete` asks for an answer."""

    text: str
    turns: tuple[tuple[str, str], ...]
    """(role, text) of each turn."""
    complete: bool


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """One answer to a tool call."""

    call_id: str
    name: str
    response: object
    scheduling: str
    will_continue: bool


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """Answers to tool calls."""

    responses: tuple[FunctionResponse, ...]


@dataclass(frozen=True, slots=True)
class ContextUpdate:
    """New system instruction or tools, mid-session."""

    body: Json


ClientMessage = (
    SetupMessage
    | Audio
    | Image
    | Text
    | ActivityStart
    | ActivityEnd
    | AudioStreamEnd
    | ClientContent
    | ToolResponse
    | ContextUpdate
)


def parse(raw: str | bytes) -> list[ClientMessage]:
    """One WebSocket message, text or binary. Several values only for legacy `mediaChunks`. Raises WireError."""
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise WireError("Invalid JSON payload received. Unexpected token.") from None
    if (quick := _quick_audio(message)) is not None:
        return [quick]
    body = read(message, KINDS, "").value
    if len(body) != 1:
        raise WireError(INVALID_ARGUMENT)
    kind, value = next(iter(body.items()))
    match kind:
        case "setup":
            return [SetupMessage(value)]
        case "realtimeInput":
            return _realtime(value)
        case "clientContent":
            turns = tuple((turn.get("role", "user"), _text_of(turn)) for turn in value.get("turns", ()))
            return [ClientContent(" ".join(text for _, text in turns if text), turns, value.get("turnComplete", False))]
        case "toolResponse":
            return [ToolResponse(tuple(_function_response(item) for item in value.get("functionResponses", ())))]
        case _:
            return [ContextUpdate(value)]


def _quick_audio(message: Any) -> Audio | None:
    """A message that is nothing but audio, in either casing: fifty a second and session, so past the schema."""
    if type(message) is not dict or len(message) != 1:
        return None
    inner = message.get("realtimeInput") or message.get("realtime_input")
    if type(inner) is not dict or len(inner) != 1:
        return None
    blob = inner.get("audio")
    if type(blob) is not dict or len(blob) != 2:
        return None
    data, mime_type = blob.get("data"), blob.get("mimeType") or blob.get("mime_type")
    if type(data) is not str or type(mime_type) is not str:
        return None
    try:
        pcm = binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        pcm = decode_base64(data, "realtime_input.audio.data")
    return Audio(pcm, audio_rate(mime_type))


def audio_rate(mime_type: str) -> int:
    """The rate in `audio/pcm;rate=N`; 16,000 when it names none. Raises WireError for anything but PCM."""
    if mime_type == "audio/pcm;rate=16000":
        return 16_000
    kind, _, rest = mime_type.partition(";")
    if kind.strip().lower() != "audio/pcm":
        raise WireError(INVALID_ARGUMENT)
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "rate":
            if not (value.strip().isdecimal() and 4_000 <= int(value) <= 192_000):
                raise WireError(INVALID_ARGUMENT)
            return int(value)
    return 16_000


def _realtime(value: Json) -> list[ClientMessage]:
    if len(value) != 1:
        raise WireError(INVALID_ARGUMENT)
    match next(iter(value.items())):
        case ("audio", blob):
            return [_audio(blob, legacy=False)]
        case ("mediaChunks", blobs):
            return [_audio(blob, legacy=True) if _is_audio(blob) else _image(blob) for blob in blobs]
        case ("video", blob):
            return [_image(blob)]
        case ("text", text):
            return [Text(text)]
        case ("activityStart", _):
            return [ActivityStart()]
        case ("activityEnd", _):
            return [ActivityEnd()]
        case ("audioStreamEnd", True):
            return [AudioStreamEnd()]
    raise WireError(INVALID_ARGUMENT)


def _is_audio(blob: Json) -> bool:
    return str(blob.get("mimeType", "")).startswith("audio/")


def _audio(blob: Json, *, legacy: bool) -> Audio:
    return Audio(blob.get("data", b""), audio_rate(blob.get("mimeType", "")), legacy)


def _image(blob: Json) -> Image:
    mime_type = str(blob.get("mimeType", ""))
    if not mime_type.startswith("image/"):
        raise WireError(INVALID_ARGUMENT)
    return Image(len(blob.get("data", b"")), mime_type)


def _text_of(content: Json) -> str:
    return " ".join(part["text"] for part in content.get("parts", ()) if "text" in part)


def _function_response(item: Json) -> FunctionResponse:
    return FunctionResponse(
        item.get("id", ""),
        item.get("name", ""),
        item.get("response"),
        item.get("scheduling", "WHEN_IDLE"),
        item.get("willContinue", False),
    )
