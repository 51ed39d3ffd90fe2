"""The Gemini Live messages, both ways, without a socket.

Up: the frames a caller's audio and words travel in, built by hand: one bytes join instead of three pydantic models. Down:
`parse` makes an object of a raw message, `Downlink` turns objects into `ModelEvent`s. The shapes are those of the
`BidiGenerateContent` reference (v1beta); field names are camelCase, as the service sends them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError

from gateway.dialog.history import Said
from gateway.errors import PacketError
from gateway.events import ModelLeaving, ModelMessageSkipped
from gateway.media.audio import MODEL_OUTPUT_RATE, SAMPLE_BYTES
from gateway.media.resample import Resampler
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
from gateway.wire.gemini_usage import TurnUsage

# --- up ---

AUDIO_MIME = "audio/pcm;rate=16000"
"""What `MODEL_INPUT_RATE` is called on the wire."""

_AUDIO_HEAD = b'{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":"'
_AUDIO_TAIL = b'"}}}'
AUDIO_END = b'{"realtimeInput":{"audioStreamEnd":true}}'
"""The caller's audio pauses: what the service has cached is a finished utterance (automatic activity detection only)."""

ACTIVITY_START = b'{"realtimeInput":{"activityStart":{}}}'
ACTIVITY_END = b'{"realtimeInput":{"activityEnd":{}}}'
"""The caller's turn, where the service does not find it itself. Each without the other is refused (close 1007)."""


def audio_frame(pcm: bytes) -> bytes:
    """A realtime input message with PCM16 LE mono 16 kHz."""
    return b"".join((_AUDIO_HEAD, binascii.b2a_base64(pcm, newline=False), _AUDIO_TAIL))


def text_frame(text: str) -> bytes:
    """Typed words as realtime input: a turn of its own, unordered relative to the audio."""
    return orjson.dumps({"realtimeInput": {"text": clean(text)}})


def content_frame(text: str) -> bytes:
    """Typed words as a finished user turn, ordered with everything else; the model answers at once."""
    turn = {"role": "user", "parts": [{"text": clean(text)}]}
    return orjson.dumps({"clientContent": {"turns": [turn], "turnComplete": True}})


def seed_frame(turns: Iterable[Said], *, complete: bool) -> bytes:
    """The conversation so far. `complete`: for a service that waits until it has all of it; else it is kept for the next turn."""
    contents = [{"role": said.role.value, "parts": [{"text": clean(said.text)}]} for said in turns]
    return orjson.dumps({"clientContent": {"turns": contents, "turnComplete": complete}})


def tool_frame(answer: ToolAnswer) -> bytes:
    """A function's result. Raises TypeError when the response is not JSON."""
    return orjson.dumps({"toolResponse": {"functionResponses": [tool_response(answer)]}})


def tool_response(answer: ToolAnswer) -> dict[str, Any]:
    """One FunctionResponse; what is not said is left to the service."""
    response: dict[str, Any] = {"id": answer.id, "name": answer.name, "response": dict(answer.response)}
    if answer.scheduling:
        response["scheduling"] = answer.scheduling
    if answer.will_continue:
        response["willContinue"] = True
    return response


def instruction_frame(text: str) -> bytes:
    """Another system instruction from now on, in the middle of a session."""
    return orjson.dumps({"contextUpdate": {"systemInstruction": {"role": "user", "parts": [{"text": clean(text)}]}}})


def declaration_frame(functions: list[dict[str, Any]]) -> bytes:
    """Other functions from now on, in the middle of a session; an empty list takes all away."""
    tools = [{"functionDeclarations": functions}] if functions else []
    return orjson.dumps({"contextUpdate": {"tools": {"tools": tools}}})


def clean(text: str) -> str:
    """`text` without lone surrogates: JSON can carry them into a str, UTF-8 can't carry them on."""
    return text.encode("utf-8", "replace").decode()


# --- down ---

KNOWN = frozenset(
    {
        "setupComplete",
        "serverContent",
        "toolCall",
        "toolCallCancellation",
        "goAway",
        "sessionResumptionUpdate",
        "usageMetadata",
        "voiceActivity",
        "voiceActivityDetectionSignal",
    }
)

MAX_SKIPS_IN_A_ROW = 32
"""Unreadable messages one after another, with nothing sensible between, before the session is given up."""

# Base64 by pydantic's compiled validator: 5 µs for 240 ms of audio where binascii takes 18. It takes both alphabets, padded or
# not, as the service's own clients do, and refuses anything else.
_BASE64 = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))

_IDLE = frozenset({"IDLE", "INTERACTION_STATUS_UNSPECIFIED"})


def parse(raw: bytes) -> dict[str, Any]:
    """One message of the service. Raises PacketError whose text is a short fixed word (`ModelMessageSkipped.why`)."""
    if not raw:
        return {}
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise PacketError("bad_json") from None
    if message is None:
        return {}
    if not isinstance(message, dict):
        raise PacketError("not_an_object")
    return message


def parse_duration(value: object) -> float:
    """A protobuf Duration in JSON (`"50s"`, `"49.512s"`) in seconds. Raises PacketError."""
    if isinstance(value, str) and value.endswith("s"):
        try:
            seconds = float(value[:-1])
        except ValueError:
            seconds = -1.0
        if 0.0 <= seconds < 1e9:
            return seconds
    raise PacketError("wrong_type")


class Downlink:
    """Everything one session's sockets say, as events. Give it each message in the order it was read.

    `audio` in a message is a base64 str (off the wire) or bytes (the SDK has decoded it already).
    """

    def __init__(self) -> None:
        self.handle = ""
        """The last handle with which the session can be resumed; empty: none yet."""
        self.handle_at = float("-inf")
        """Loop time at which it came."""
        self.consumed: int | None = None
        """Number of the last client message it stands for, where the service counts them (the setup is 0)."""
        self._usage = TurnUsage()
        self.restart()

    def restart(self) -> None:
        """The next message is the first of another socket."""
        self.go_away_at: float | None = None
        """Loop time at which the service has announced to cut this connection."""
        self.skipped_in_a_row = 0
        self._speech = _Speech()
        self._turn_over = True  # the next content opens a new turn
        self._held: TurnComplete | None = None  # an end of turn in the middle of an interaction

    def receive(self, message: Mapping[str, Any], now: float) -> list[ModelEvent]:
        """What `message`, read at loop time `now`, means. Never raises: what can't be read is counted and skipped whole."""
        try:
            events = self._read(message, now)
        except PacketError as exc:
            return [self.unreadable(exc)]
        self.skipped_in_a_row = 0
        return events

    def unreadable(self, exc: PacketError) -> ModelMessageSkipped:
        """A message that `parse` refused."""
        self.skipped_in_a_row += 1
        return ModelMessageSkipped(str(exc))

    @property
    def hopeless(self) -> bool:
        """Nothing that comes can be read any more."""
        return self.skipped_in_a_row >= MAX_SKIPS_IN_A_ROW

    def _read(self, message: Mapping[str, Any], now: float) -> list[ModelEvent]:
        if message.keys().isdisjoint(KNOWN):
            raise PacketError(_why_unknown(message))
        content = _object(message, "serverContent")
        go_away = _object(message, "goAway")
        update = _object(message, "sessionResumptionUpdate")
        usage = _object(message, "usageMetadata")
        left = parse_duration(go_away["timeLeft"]) if "timeLeft" in go_away else 0.0
        handle = _text(update, "newHandle") if _flag(update, "resumable") else ""
        consumed = _index(update, "lastConsumedClientMessageIndex")
        tools = _tools(message)

        events = self._content(content, now) if content else []
        events += tools
        if usage:
            # The account comes before the end of the turn it belongs to.
            end = next((n for n, event in enumerate(events) if isinstance(event, TurnComplete)), len(events))
            events[end:end] = self._usage.report(usage)
        if go_away:
            self.go_away_at = now + left
            events.append(ModelLeaving(left))
        if handle:
            self.handle, self.handle_at, self.consumed = handle, now, consumed
        return events

    def _content(self, content: Mapping[str, Any], now: float) -> list[ModelEvent]:
        # All is read before anything is believed: a message is taken whole or not at all.
        interrupted = _flag(content, "interrupted")
        generated = _flag(content, "generationComplete")
        complete = _flag(content, "turnComplete")
        heard = _text(_object(content, "inputTranscription"), "text")
        said = _text(_object(content, "outputTranscription"), "text")
        status = _text(content, "interactionStatus")
        reason = _text(content, "turnCompleteReason")
        blobs = _audio(_object(content, "modelTurn"))

        events: list[ModelEvent] = []
        if blobs and self._turn_over:
            self._turn_over = False
            self._usage.new_turn()
        if interrupted:
            # What the flag's own message carries was generated for the answer that is being cut off.
            self._speech = _Speech()
            events.append(ModelInterrupted(now))
        if heard:
            events.append(InputTranscript(heard))
        if not interrupted:
            if said:
                events.append(OutputTranscript(said))
            for rate, pcm in blobs:
                if samples := self._speech.whole(rate, pcm):
                    events.append(AudioOut(samples, now))
        if generated:
            events.append(GenerationComplete())
        if complete:
            if self._turn_over:
                self._usage.new_turn()  # a turn without any audio
            self._turn_over, self._speech = True, _Speech()
            self._held = TurnComplete(reason)
        # Models that think at length end several turns in one interaction; only IDLE ends the answer.
        if self._held is not None and (not status or status in _IDLE):
            events.append(self._held)
            self._held = None
        return events


class _Speech:
    """The audio of one turn: whole samples at the model's rate, however it was cut and labelled."""

    __slots__ = ("_odd", "_rate", "_resampler")

    def __init__(self) -> None:
        self._rate = MODEL_OUTPUT_RATE
        self._odd = b""  # the first byte of a sample whose second is in the next message
        self._resampler: Resampler | None = None

    def whole(self, rate: int, pcm: bytes) -> bytes:
        """PCM16 at `rate` as PCM16 at 24 kHz; an odd byte waits for the next message."""
        if rate != self._rate:
            self._rate, self._odd = rate, b""
            self._resampler = Resampler(rate, MODEL_OUTPUT_RATE) if rate != MODEL_OUTPUT_RATE else None
        if self._odd:
            pcm, self._odd = self._odd + pcm, b""
        if len(pcm) % SAMPLE_BYTES:
            pcm, self._odd = pcm[:-1], pcm[-1:]
        return self._resampler.resample(pcm) if self._resampler is not None else pcm


def _tools(message: Mapping[str, Any]) -> list[ModelEvent]:
    """What the model wants of functions, and no longer wants."""
    events: list[ModelEvent] = []
    if (call := _object(message, "toolCall")) and (calls := call.get("functionCalls")) is not None:
        if not isinstance(calls, list):
            raise PacketError("wrong_type")
        for each in calls:
            if not isinstance(each, dict):
                raise PacketError("wrong_type")
            # A function without parameters may come without args, or with a null.
            events.append(ToolCall(_text(each, "id"), _text(each, "name"), _object(each, "args")))
    if (cancelled := _object(message, "toolCallCancellation")) and (ids := cancelled.get("ids")) is not None:
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise PacketError("wrong_type")
        events.append(ToolCancelled(tuple(ids)))
    return events


def _why_unknown(message: Mapping[str, Any]) -> str:
    if not message:
        return "empty"
    return "error_object" if "error" in message or "code" in message else "unknown"


def _audio(turn: Mapping[str, Any]) -> list[tuple[int, bytes]]:
    """The speech in a modelTurn, as rate and PCM: thoughts, text and code are not for the caller's ears."""
    parts = turn.get("parts")
    if parts is None:
        return []
    if not isinstance(parts, list):
        raise PacketError("wrong_type")
    return [_blob(part["inlineData"]) for part in parts if _has_blob(part)]


def _has_blob(part: object) -> bool:
    if not isinstance(part, dict):
        raise PacketError("wrong_type")
    return part.get("inlineData") is not None


def _blob(blob: object) -> tuple[int, bytes]:
    if not isinstance(blob, dict):
        raise PacketError("wrong_type")
    mime, data = blob.get("mimeType"), blob.get("data")
    if not isinstance(mime, str):
        raise PacketError("audio_format")
    rate = _rate(mime)
    if isinstance(data, str):
        try:
            return rate, _BASE64.validate_strings(data)
        except ValidationError:
            raise PacketError("bad_base64") from None
    if data is None:
        return rate, b""
    if not isinstance(data, bytes):
        raise PacketError("wrong_type")
    return rate, data


_MIME = re.compile(r"audio/pcm(?:;rate=(\d{4,6}))?")


@lru_cache(maxsize=16)
def _rate(mime: str) -> int:
    """Hz of the speech. Vertex AI leaves it out. Raises PacketError for what is no PCM between 8 and 96 kHz."""
    match = _MIME.fullmatch("".join(mime.lower().split()))
    rate = 0 if match is None else int(match[1] or MODEL_OUTPUT_RATE)
    if 8_000 <= rate <= 96_000:
        return rate
    raise PacketError("audio_format")


def _object(message: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = message.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise PacketError("wrong_type")


def _flag(message: Mapping[str, Any], key: str) -> bool:
    value = message.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise PacketError("wrong_type")


def _text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise PacketError("wrong_type")


def _index(message: Mapping[str, Any], key: str) -> int | None:
    """A protobuf int64: a string in JSON, a number from the SDK."""
    value = message.get(key)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)
    raise PacketError("wrong_type")
