"""What the service sends, as JSON: camelCase, standard padded base64, two-space indentation and a newline at the end."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence

import orjson

from gateway.emulator.models import Backend
from gateway.emulator.schema import Json


def encode(message: object) -> bytes:
    """A message as it goes on the wire."""
    return orjson.dumps(message, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def setup_complete(session_id: str | None) -> Json:
    """`session_id` on Vertex only."""
    return {"setupComplete": {"sessionId": session_id} if session_id else {}}


def audio_part(pcm: bytes, backend: Backend, rate: int = 24_000) -> Json:
    """`modelTurn` with one audio part."""
    # A recording of Vertex shows the bare type and a role, one of the Developer API the rate and none.
    mime_type = f"audio/pcm;rate={rate}" if backend is Backend.DEVELOPER or rate != 24_000 else "audio/pcm"
    data = binascii.b2a_base64(pcm, newline=False).decode()
    turn: Json = {"parts": [{"inlineData": {"mimeType": mime_type, "data": data}}]}
    if backend is Backend.VERTEX:
        turn["role"] = "model"
    return {"modelTurn": turn}


def server_content(**fields: object) -> Json:
    """`serverContent` with these fields."""
    return {"serverContent": fields}


def tool_call(calls: Sequence[Mapping[str, object]]) -> Json:
    """`toolCall`; each call has id, name and perhaps args."""
    return {"toolCall": {"functionCalls": list(calls)}}


def tool_call_cancellation(ids: Sequence[str]) -> Json:
    """`toolCallCancellation`."""
    return {"toolCallCancellation": {"ids": list(ids)}}


def go_away(seconds: float) -> Json:
    """`goAway`; protobuf writes a Duration with an `s`."""
    return {"goAway": {"timeLeft": duration(seconds)}}


def duration(seconds: float) -> str:
    """protobuf JSON of a Duration: `60s`, `49.512s`."""
    return f"{round(seconds, 3):g}s"


def resumption_update(handle: str | None, index: int | None = None) -> Json:
    """`sessionResumptionUpdate`; without a handle the session can't be resumed at this moment."""
    update: Json = {"newHandle": handle, "resumable": True} if handle else {}
    if index is not None:
        update["lastConsumedClientMessageIndex"] = str(index)  # int64 is a string in protobuf JSON
    return {"sessionResumptionUpdate": update}


def usage(prompt: Mapping[str, int], response: Mapping[str, int], backend: Backend) -> Json:
    """`usageMetadata`: tokens by modality (`TEXT`, `AUDIO`, `VIDEO`)."""
    prefix = "response" if backend is Backend.DEVELOPER else "candidates"
    asked, answered = sum(prompt.values()), sum(response.values())
    return {
        "promptTokenCount": asked,
        f"{prefix}TokenCount": answered,
        "totalTokenCount": asked + answered,
        "promptTokensDetails": _details(prompt),
        f"{prefix}TokensDetails": _details(response),
    }


def _details(counts: Mapping[str, int]) -> list[Json]:
    return [{"modality": modality, "tokenCount": tokens} for modality, tokens in counts.items() if tokens]


def vad_signal(*, start: bool) -> Json:
    """Vertex, with `explicitVadSignal`."""
    return {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS" if start else "VAD_SIGNAL_TYPE_EOS"}}


def voice_activity(*, start: bool, offset: float) -> Json:
    """Vertex, beside the signal; `offset` in seconds of audio."""
    return {"voiceActivity": {"type": "ACTIVITY_START" if start else "ACTIVITY_END", "audioOffset": duration(offset)}}
