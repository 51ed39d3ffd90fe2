"""What the emulator sends is what the SDK's types hold, with nothing left over and nothing lost."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from google.genai import types

from gateway.emulator import messages
from gateway.emulator.models import Backend

DEVELOPER, VERTEX = Backend.DEVELOPER, Backend.VERTEX

SENT: dict[str, dict[str, Any]] = {
    "setup": messages.setup_complete(None),
    "setup on Vertex": messages.setup_complete("b3b9e5c2"),
    "audio": messages.server_content(**messages.audio_part(bytes(range(256)), DEVELOPER)),
    "audio on Vertex": messages.server_content(**messages.audio_part(bytes(range(256)), VERTEX)),
    "transcripts": messages.server_content(outputTranscription={"text": "Hi"}, inputTranscription={"text": " you"}),
    "interim": messages.server_content(interimInputTranscription={"text": "h"}),
    "interrupted": messages.server_content(interrupted=True),
    "complete": messages.server_content(generationComplete=True, turnComplete=True),
    "status": messages.server_content(interactionStatus="IN_PROGRESS"),
    "tool call": messages.tool_call([{"name": "f", "args": {"a": 1}, "id": "function-call-1"}, {"name": "g", "id": "2"}]),
    "cancellation": messages.tool_call_cancellation(["1", "2"]),
    "go away": messages.go_away(49.512),
    "handle": messages.resumption_update("Cih"),
    "no handle": messages.resumption_update(None),
    "usage": {"usageMetadata": messages.usage({"TEXT": 60, "AUDIO": 250}, {"AUDIO": 92}, DEVELOPER)},
    "vad": messages.vad_signal(start=True),
    "voice activity": messages.voice_activity(start=False, offset=1.25),
}


@pytest.mark.parametrize("name", SENT)
def test_the_sdk_knows_every_field(name: str) -> None:
    sent = SENT[name]
    # extra="forbid": a field that the SDK does not know is an error.
    read = types.LiveServerMessage.model_validate_json(orjson.dumps(_as_the_sdk_names_it(sent)))
    again = read.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert _standard(again) == _as_the_sdk_names_it(sent)


def _as_the_sdk_names_it(sent: dict[str, Any]) -> dict[str, Any]:
    """Two keys are called differently on the wire than in the SDK's types, which map them."""
    if "voiceActivity" in sent:
        inner = sent["voiceActivity"]
        return {"voiceActivity": {"voiceActivityType": inner["type"], "audioOffset": inner["audioOffset"]}}
    return sent


def _standard(value: Any) -> Any:
    """The SDK writes base64 in the URL-safe alphabet."""
    if isinstance(value, dict):
        return {
            key: item.translate(str.maketrans("-_", "+/")) if key == "data" else _standard(item) for key, item in value.items()
        }
    return [_standard(item) for item in value] if isinstance(value, list) else value


def test_bytes_on_the_wire() -> None:
    assert messages.encode({"setupComplete": {}}) == b'{\n  "setupComplete": {}\n}\n'
    encoded = messages.encode(SENT["audio"])
    part = orjson.loads(encoded)["serverContent"]["modelTurn"]["parts"][0]["inlineData"]
    assert base64.b64decode(part["data"], validate=True) == bytes(range(256))
    assert part["mimeType"] == "audio/pcm;rate=24000"
    assert messages.encode({"text": "日本"}).decode() == '{\n  "text": "日本"\n}\n'


def test_durations() -> None:
    assert [messages.duration(seconds) for seconds in (60, 49.5, 49.512, 0.1234, 0)] == [
        "60s",
        "49.5s",
        "49.512s",
        "0.123s",
        "0s",
    ]


def test_usage_is_named_after_the_service() -> None:
    usage = messages.usage({"AUDIO": 10, "TEXT": 0}, {"AUDIO": 5}, VERTEX)
    assert usage == {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "totalTokenCount": 15,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
    }


def test_the_index_is_a_string_as_protobuf_writes_an_int64() -> None:
    assert messages.resumption_update("H", 42)["sessionResumptionUpdate"]["lastConsumedClientMessageIndex"] == "42"
