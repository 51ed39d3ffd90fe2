"""The Live messages: any bytes give events or one counted skip, and the shapes of the service's reference give the right ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.events import ContextRead, ModelLeaving, ModelMessageSkipped, TokensUsed
from gateway.model.base import (
    AudioOut,
    GenerationComplete,
    InputTranscript,
    ModelEvent,
    ModelInterrupted,
    OutputTranscript,
    ToolAnswer,
    ToolCall,
    ToolCancelled,
    TurnComplete,
)
from gateway.wire.gemini import (
    AUDIO_END,
    MAX_SKIPS_IN_A_ROW,
    Downlink,
    audio_frame,
    content_frame,
    parse,
    parse_duration,
    text_frame,
    tool_frame,
)
from tests.audio import tone

NOW = 12.5


def receive(downlink: Downlink, raw: bytes, now: float = NOW) -> list[ModelEvent]:
    try:
        message = parse(raw)
    except PacketError as exc:
        return [downlink.unreadable(exc)]
    return downlink.receive(message, now)


def pretty(message: object) -> bytes:
    """As the service writes it: two-space pretty print and a newline."""
    return (json.dumps(message, indent=2) + "\n").encode()


def speech(pcm: bytes, mime: str = "audio/pcm;rate=24000", **content: object) -> dict[str, Any]:
    blob = {"mimeType": mime, "data": base64.b64encode(pcm).decode()}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}, **content}}


# --- up ---


@given(st.binary(max_size=4000))
def test_audio_frame_is_json_that_carries_the_samples(pcm: bytes) -> None:
    audio = json.loads(audio_frame(pcm))["realtimeInput"]["audio"]
    assert audio["mimeType"] == "audio/pcm;rate=16000"
    assert base64.b64decode(audio["data"], validate=True) == pcm


@given(st.text())
def test_words_travel_as_they_are(text: str) -> None:
    assert json.loads(text_frame(text)) == {"realtimeInput": {"text": text}}
    turn = json.loads(content_frame(text))["clientContent"]
    assert turn == {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}


def test_lone_surrogates_are_replaced() -> None:
    assert json.loads(text_frame("a\ud800b")) == {"realtimeInput": {"text": "a?b"}}
    assert json.loads(content_frame("\udfff"))["clientContent"]["turns"][0]["parts"] == [{"text": "?"}]


def test_audio_end() -> None:
    assert json.loads(AUDIO_END) == {"realtimeInput": {"audioStreamEnd": True}}


# --- down: what the reference shows ---


def test_speech() -> None:
    assert receive(Downlink(), pretty(speech(b"\x01\x02" * 4800))) == [AudioOut(b"\x01\x02" * 4800, NOW)]


@pytest.mark.parametrize("mime", ["audio/pcm;rate=24000", "audio/pcm", "audio/pcm; rate=24000", "Audio/PCM;rate=24000"])
def test_speech_by_any_of_its_names(mime: str) -> None:
    assert receive(Downlink(), pretty(speech(b"\x01\x02", mime))) == [AudioOut(b"\x01\x02", NOW)]


@pytest.mark.parametrize(
    "mime", ["audio/pcm;rate=0", "audio/pcm;rate=4000000", "audio/opus", "image/png", "", "audio/pcm;rate=24000;rate=8000", None]
)
def test_what_is_no_speech_is_skipped(mime: str | None) -> None:
    message = speech(b"\x01\x02")
    message["serverContent"]["modelTurn"]["parts"][0]["inlineData"]["mimeType"] = mime
    assert receive(Downlink(), pretty(message)) == [ModelMessageSkipped("audio_format")]


@given(st.binary(max_size=300))
def test_both_base64_alphabets_padded_or_not(pcm: bytes) -> None:
    pcm += b"\x00" * (len(pcm) % 2)
    want = [AudioOut(pcm, NOW)] if pcm else []
    for data in (base64.b64encode(pcm).decode(), base64.urlsafe_b64encode(pcm).decode()):
        for spelled in (data, data.rstrip("=")):
            message = speech(b"")
            message["serverContent"]["modelTurn"]["parts"][0]["inlineData"]["data"] = spelled
            assert receive(Downlink(), pretty(message)) == want


def test_speech_of_another_rate_is_resampled_and_the_next_turn_is_not() -> None:
    downlink = Downlink()
    said = tone(440, 16_000, 1.0)
    heard = b""
    for at in range(0, len(said), 1601):  # cut within samples, too
        for event in receive(downlink, pretty(speech(said[at : at + 1601], "audio/pcm;rate=16000"))):
            assert isinstance(event, AudioOut)
            heard += event.pcm
    assert len(heard) / 48_000 == pytest.approx(1.0, abs=0.005)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(heard, np.int16)[:12_000]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=4)
    receive(downlink, pretty({"serverContent": {"turnComplete": True}}))
    assert receive(downlink, pretty(speech(said))) == [AudioOut(said, NOW)]


def test_several_parts_are_spoken_in_order_and_other_parts_are_not() -> None:
    message = speech(b"\x01\x02")
    parts = message["serverContent"]["modelTurn"]["parts"]
    parts[:0] = [{"text": "**Planning**", "thought": True}, {"executableCode": {"language": "PYTHON", "code": "1"}}]
    parts.append({"inlineData": {"mimeType": "audio/pcm", "data": base64.b64encode(b"\x03\x04").decode()}})
    assert receive(Downlink(), pretty(message)) == [AudioOut(b"\x01\x02", NOW), AudioOut(b"\x03\x04", NOW)]


def test_a_bundle_keeps_its_order() -> None:
    message = speech(
        b"\x01\x02",
        turnComplete=True,
        generationComplete=True,
        inputTranscription={"text": " hello"},
        outputTranscription={"text": "Hi there"},
    )
    message["usageMetadata"] = {"promptTokenCount": 7}
    assert receive(Downlink(), pretty(message)) == [
        InputTranscript(" hello"),
        OutputTranscript("Hi there"),
        AudioOut(b"\x01\x02", NOW),
        GenerationComplete(),
        TokensUsed("input", "unknown", "plain", 7),
        ContextRead(7),
        TurnComplete(),
    ]


def test_interrupted_drops_what_its_own_message_carries() -> None:
    message = speech(b"\x01\x02", interrupted=True, outputTranscription={"text": "and"}, inputTranscription={"text": "stop"})
    assert receive(Downlink(), pretty(message)) == [ModelInterrupted(NOW), InputTranscript("stop")]


def test_interrupted_alone_and_twice() -> None:
    downlink = Downlink()
    for _ in range(2):
        assert receive(downlink, pretty({"serverContent": {"interrupted": True}})) == [ModelInterrupted(NOW)]


def test_turn_complete_tells_its_reason() -> None:
    message = {"serverContent": {"turnComplete": True, "turnCompleteReason": "RESPONSE_REJECTED"}}
    assert receive(Downlink(), pretty(message)) == [TurnComplete("RESPONSE_REJECTED")]


def test_an_interaction_of_several_turns_ends_when_idle() -> None:
    downlink = Downlink()
    assert receive(downlink, pretty({"serverContent": {"turnComplete": True, "interactionStatus": "IN_PROGRESS"}})) == []
    assert receive(downlink, pretty(speech(b"\x01\x02", interactionStatus="IN_PROGRESS"))) == [AudioOut(b"\x01\x02", NOW)]
    assert receive(downlink, pretty({"serverContent": {"interactionStatus": "IDLE"}})) == [TurnComplete()]
    assert receive(downlink, pretty({"serverContent": {"interactionStatus": "IDLE"}})) == []
    assert receive(downlink, pretty({"serverContent": {"turnComplete": True, "interactionStatus": "IDLE"}})) == [TurnComplete()]


@pytest.mark.parametrize(
    "message",
    [
        {"setupComplete": {}},
        {"setupComplete": {"sessionId": "7f"}},
        {"serverContent": {"interimInputTranscription": {"text": "hel"}}},
        {"serverContent": {"waitingForInput": True}},
        {"serverContent": {"groundingMetadata": {"webSearchQueries": ["x"]}}},
        {"serverContent": {"inputTranscription": {"finished": True}}},
        {"serverContent": {"modelTurn": {"role": "model"}}},
        {"serverContent": {"somethingNew": [1]}},
        {"toolCall": {"functionCalls": []}},
        {"toolCallCancellation": {}},
        {"voiceActivity": {"type": "ACTIVITY_START", "audioOffset": "1.250s"}},
        {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS"}},
        {"sessionResumptionUpdate": {}},
        {"serverContent": None},
    ],
)
def test_known_and_of_no_consequence(message: object) -> None:
    assert receive(Downlink(), pretty(message)) == []


def test_tools() -> None:
    calls = [
        {"name": "f", "args": {"a": 1}, "id": "function-call-1"},
        {"name": "g", "id": "2"},
        {"name": "h", "id": "3", "args": None},
    ]
    assert receive(Downlink(), pretty({"toolCall": {"functionCalls": calls}})) == [
        ToolCall("function-call-1", "f", {"a": 1}),
        ToolCall("2", "g", {}),
        ToolCall("3", "h", {}),
    ]
    cancelled = {"toolCallCancellation": {"ids": ["function-call-1", "2"]}}
    assert receive(Downlink(), pretty(cancelled)) == [ToolCancelled(("function-call-1", "2"))]


def test_tool_answers() -> None:
    assert json.loads(tool_frame(ToolAnswer("7", "f", {"output": [1, "é"]}))) == {
        "toolResponse": {"functionResponses": [{"id": "7", "name": "f", "response": {"output": [1, "é"]}}]}
    }
    answer = ToolAnswer("7", "f", {"error": "no"}, scheduling="SILENT", will_continue=True)
    assert json.loads(tool_frame(answer))["toolResponse"]["functionResponses"][0] == {
        "id": "7",
        "name": "f",
        "response": {"error": "no"},
        "scheduling": "SILENT",
        "willContinue": True,
    }


def test_go_away_and_handles_are_kept_for_the_session() -> None:
    downlink = Downlink()
    assert downlink.go_away_at is None
    assert receive(downlink, pretty({"goAway": {"timeLeft": "49.5s"}})) == [ModelLeaving(49.5)]
    assert downlink.go_away_at == NOW + 49.5
    assert receive(downlink, pretty({"sessionResumptionUpdate": {"newHandle": "Cihh", "resumable": True}})) == []
    assert downlink.handle == "Cihh"
    # While the model speaks the service sends updates without a handle: the last good one stays.
    receive(downlink, pretty({"sessionResumptionUpdate": {"resumable": False}}))
    receive(downlink, pretty({"sessionResumptionUpdate": {"newHandle": "not resumable"}}))
    assert downlink.handle == "Cihh"


# --- down: odd bytes ---


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=12))
def test_speech_is_cut_only_between_samples_and_nothing_is_lost(chunks: list[bytes]) -> None:
    downlink = Downlink()
    heard = b""
    for chunk in chunks:
        for event in receive(downlink, pretty(speech(chunk))):
            assert isinstance(event, AudioOut)
            assert len(event.pcm) % 2 == 0
            heard += event.pcm
    sent = b"".join(chunks)
    assert heard == sent[: len(sent) // 2 * 2]


def test_an_odd_byte_does_not_outlive_its_turn() -> None:
    downlink = Downlink()
    for end in ({"interrupted": True}, {"turnComplete": True}):
        receive(downlink, pretty(speech(b"\x01\x02\x03")))
        receive(downlink, pretty({"serverContent": end}))
        assert receive(downlink, pretty(speech(b"\x05\x06"))) == [AudioOut(b"\x05\x06", NOW)]


# --- down: bad input ---


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"{}", "empty"),
        (b"null", "empty"),
        (b"{", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"[1]", "not_an_object"),
        (b'"hi"', "not_an_object"),
        (b"7", "not_an_object"),
        (b'{"server_content": {"turn_complete": true}}', "unknown"),
        (b'{"surprise": 1}', "unknown"),
        (b'{"error": {"code": 429}}', "error_object"),
        (b'{"code": 503, "message": "busy"}', "error_object"),
        (b'{"toolCall": {"functionCalls": {}}}', "wrong_type"),
        (b'{"toolCall": {"functionCalls": [1]}}', "wrong_type"),
        (b'{"toolCall": {"functionCalls": [{"name": "f", "args": [1]}]}}', "wrong_type"),
        (b'{"toolCallCancellation": {"ids": [1]}}', "wrong_type"),
        (b'{"serverContent": []}', "wrong_type"),
        (b'{"serverContent": {"turnComplete": "yes"}}', "wrong_type"),
        (b'{"serverContent": {"modelTurn": {"parts": {}}}}', "wrong_type"),
        (b'{"serverContent": {"modelTurn": {"parts": [1]}}}', "wrong_type"),
        (b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": "x"}]}}}', "wrong_type"),
        (b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": 5}}]}}}', "wrong_type"),
        (b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "*"}}]}}}', "bad_base64"),
        (b'{"serverContent": {"outputTranscription": {"text": 1}}}', "wrong_type"),
        (b'{"goAway": {"timeLeft": 50}}', "wrong_type"),
        (b'{"goAway": {"timeLeft": "soon"}}', "wrong_type"),
        (b'{"usageMetadata": {"promptTokenCount": -1}}', "wrong_type"),
        (b'{"sessionResumptionUpdate": {"resumable": true, "newHandle": 1}}', "wrong_type"),
    ],
)
def test_what_cannot_be_read_is_one_counted_skip(raw: bytes, why: str) -> None:
    assert receive(Downlink(), raw) == [ModelMessageSkipped(why)]


def test_a_message_is_taken_whole_or_not_at_all() -> None:
    downlink = Downlink()
    bad = speech(b"\x01\x02\x03", interrupted=True, turnComplete=1)
    bad["goAway"] = {"timeLeft": "5s"}
    assert receive(downlink, pretty(bad)) == [ModelMessageSkipped("wrong_type")]
    assert downlink.go_away_at is None
    assert receive(downlink, pretty(speech(b"\x05\x06"))) == [AudioOut(b"\x05\x06", NOW)]


def test_hopeless_after_a_row_of_skips_and_not_when_they_are_scattered() -> None:
    downlink = Downlink()
    for _ in range(3):
        for _ in range(MAX_SKIPS_IN_A_ROW - 1):
            receive(downlink, b"{")
        assert not downlink.hopeless
        receive(downlink, b'{"setupComplete": {}}')
    for _ in range(MAX_SKIPS_IN_A_ROW):
        assert not downlink.hopeless
        receive(downlink, b'{"surprise": 1}')
    assert downlink.hopeless


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    events = receive(Downlink(), raw)
    assert all(isinstance(event, ModelEvent) for event in events)


_KEYS = st.sampled_from(
    [
        "serverContent",
        "modelTurn",
        "parts",
        "inlineData",
        "mimeType",
        "data",
        "interrupted",
        "turnComplete",
        "generationComplete",
        "inputTranscription",
        "outputTranscription",
        "text",
        "usageMetadata",
        "promptTokenCount",
        "promptTokensDetails",
        "modality",
        "tokenCount",
        "goAway",
        "timeLeft",
        "sessionResumptionUpdate",
        "newHandle",
        "resumable",
        "interactionStatus",
        "toolCall",
        "functionCalls",
        "toolCallCancellation",
        "ids",
        "name",
        "args",
        "error",
        "code",
    ]
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["audio/pcm", "AAAA", "AAA", "50s", "IDLE", "IN_PROGRESS", "AUDIO"])
    | st.text(max_size=5)
)
_MESSAGES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)


@given(st.lists(_MESSAGES, max_size=4))
def test_any_json_gives_events_or_one_counted_skip(messages: list[object]) -> None:
    downlink = Downlink()
    for message in messages:
        events = receive(downlink, json.dumps(message).encode())
        assert all(isinstance(event, ModelEvent) for event in events)
        skips = [event for event in events if isinstance(event, ModelMessageSkipped)]
        assert not skips or events == skips


@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_durations(seconds: float) -> None:
    assert parse_duration(f"{seconds:.9f}s") == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("value", ["", "s", "5", "-1s", "nans", "infs", "1e99s", 5, 5.0, None, {}, "5 s m"])
def test_bad_durations(value: object) -> None:
    with pytest.raises(PacketError):
        parse_duration(value)
