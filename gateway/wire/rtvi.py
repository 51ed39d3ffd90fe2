"""RTVI 2 on the data channel: `{id, label: "rtvi-ai", type, data}`. Values in, text out; no sockets and no clock of its own.

Names and shapes are those of `@pipecat-ai/client-js` (protocol 2.x, docs.pipecat.ai "RTVI standard"), so that its clients work
as they are. A function of the client's is asked for by `llm-function-call-in-progress`, which took the place of the older
`llm-function-call`; clients that know both would run it twice if both were sent. Ours beside the standard: `bot-interrupted`;
`metrics.turn`; `server-message` of type `budget`, `model-swapped`, in a demonstration `packets-withheld`, and `call-ended`, after
which nothing comes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialog.lifecycle import State
from gateway.dialog.turns import Turn
from gateway.errors import PacketError
from gateway.events import (
    BrowserToolRequested,
    BudgetReached,
    CallEnded,
    CallerSaid,
    CallerStartedSpeaking,
    CallerStoppedSpeaking,
    CallEvent,
    ClientMessage,
    ClientReady,
    DisconnectBot,
    EndReason,
    Interrupted,
    ModelHeard,
    ModelSaid,
    ModelStartedSpeaking,
    ModelStoppedSpeaking,
    ModelSwapped,
    PacketsWithheld,
    PushToTalk,
    SendText,
    StateChanged,
    ToolEnded,
    ToolOutcome,
    ToolResult,
    Trouble,
    TurnEnded,
)

LABEL = "rtvi-ai"
VERSION = "2.0.0"
"""What we speak: nothing that came with 2.1 or later."""

MAX_MESSAGE_BYTES = 16 * 1024
MAX_TEXT = 10_000
"""Characters of one typed message."""

MAX_VERSION = 32
MAX_CALL_ID = 256
MAX_ASKED = 64
"""Function calls of the client's that are not over; the oldest is forgotten."""

MAX_WAITING = 256
"""Messages kept for a client that has not introduced itself yet; the oldest gives way."""

MAX_SEGMENTS = 512
"""Pieces of an answer that are not heard yet; the oldest is forgotten. A minute of playout has about 200."""

_REASONS: dict[EndReason, str] = {
    EndReason.CALLER_HUNG_UP: "You hung up.",
    EndReason.MODEL_HUNG_UP: "The model ended the call.",
    EndReason.HUNG_UP_BY_API: "The operator ended the call.",
    EndReason.CALLER_GONE: "The connection was closed.",
    EndReason.IDLE: "Nobody spoke for a while.",
    EndReason.MAX_DURATION: "The call reached its time limit.",
    EndReason.BUDGET: "The budget for this call is used up.",
    EndReason.MODERATED: "The call was ended by the operator's rules.",
    EndReason.ICE_TIMEOUT: "No network path was found.",
    EndReason.DTLS_FAILED: "The secure connection could not be made.",
    EndReason.MEDIA_TIMEOUT: "The network was lost.",
    EndReason.MODEL_REFUSED: "The model refused the call.",
    EndReason.MODEL_UNAVAILABLE: "The model can't be reached.",
    EndReason.DRAINED: "The server is shutting down.",
    EndReason.CRASHED: "Something broke on our side.",
}

# Typed words reach the model as they are, except for what no keyboard types: C0 and C1 controls (not tab and line feed), and the
# invisible marks that reorder or hide text.
_INVISIBLE = (range(9), range(11, 32), range(127, 160), (0x200B, 0x200E, 0x200F), range(0x2028, 0x202F), range(0x2060, 0x2070))
_CONTROLS = dict.fromkeys(code for codes in (*_INVISIBLE, range(0xFEFF, 0xFF00), range(0xE0000, 0xE0080)) for code in codes)


# --- what the client says ---


def parse(raw: str | bytes) -> ClientMessage | None:
    """One message of the client; None for what an RTVI client says that means nothing to a call (keep-alive, camera state).

    Raises PacketError for everything else, unknown types included.
    """
    if len(raw) > MAX_MESSAGE_BYTES:
        raise PacketError(f"message of {len(raw)}, limit {MAX_MESSAGE_BYTES} bytes")
    if raw[:5] in ("ping:", b"ping:"):  # pipecat's WebRTC transport, every second
        return None
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise PacketError(f"message is no JSON: {exc.msg}") from None
    if not isinstance(message, dict):
        raise PacketError("message is no JSON object")
    kind = message.get("type")
    if kind == "signalling":  # pipecat's WebRTC transport: which tracks are on
        return None
    if message.get("label") != LABEL:
        raise PacketError(f"message without label {LABEL}")
    data = message.get("data")
    data = data if isinstance(data, dict) else {}
    match kind:
        case "client-ready":
            version = data.get("version")
            return ClientReady(version[:MAX_VERSION] if isinstance(version, str) else "")
        case "send-text":
            return SendText(_text(data.get("content")))
        case "client-message":
            return _client_message(data)
        case "talk":
            return _talk(data)
        case "disconnect-bot":
            return DisconnectBot()
        case "llm-function-call-result":
            return _tool_result(data)
        case _:
            raise PacketError("message of an unknown type")


def _client_message(data: dict[str, Any]) -> ClientMessage:
    """`{t, d}`, RTVI's place for what the standard does not have. Ours is `{"t": "talk", "d": {"on": true}}`."""
    if data.get("t") != "talk":
        raise PacketError("client-message of an unknown kind")
    return _talk(data.get("d"))


def _talk(data: object) -> ClientMessage:
    """`{"on": true}`: the button is down."""
    on = data.get("on") if isinstance(data, dict) else None
    if not isinstance(on, bool):
        raise PacketError("talk without on")
    return PushToTalk(on)


def _text(content: object) -> str:
    if not isinstance(content, str):
        raise PacketError("send-text without content")
    text = content.translate(_CONTROLS).strip()
    if not text:
        raise PacketError("send-text says nothing")
    if len(text) > MAX_TEXT:
        raise PacketError(f"send-text of {len(text)} characters, limit {MAX_TEXT}")
    return text


def _tool_result(data: dict[str, Any]) -> ToolResult:
    """`{function_name, tool_call_id, arguments, result}`: which call it is says the id, and what is no result reads as null."""
    call_id = data.get("tool_call_id")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= MAX_CALL_ID:
        raise PacketError("function call result without tool_call_id")
    return ToolResult(call_id, data.get("result"))


# --- what the client is told ---


def envelope(number: int, kind: str, data: object | None = None) -> str:
    """One message of ours."""
    body: dict[str, object] = {"id": f"g{number}", "label": LABEL, "type": kind}
    if data is not None:
        body["data"] = data
    try:
        return orjson.dumps(body).decode()
    except orjson.JSONEncodeError:
        # Half of a surrogate pair, where the model's words were cut within a character; the client puts it together again.
        return json.dumps(body)


@dataclass(slots=True)
class _Segment:
    """A piece of an answer as the model gave it; `heard` characters of it have been played."""

    number: int
    text: str
    heard: int = 0


class RtviSession:
    """What one client is told. News waits until it has said client-ready and the model is there; errors and the end wait for
    nobody.

    `stamp` gives the wall-clock time as ISO 8601, for people.
    """

    def __init__(self, stamp: Callable[[], str]) -> None:
        self._stamp = stamp
        self._number = 0
        self._greeted = False  # the client said client-ready
        self._active = False  # the model is there
        self._ready = False  # bot-ready is out
        self._told = False  # it has read of a fatal error
        self._over = False  # it has been told how the call ended
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING)
        self._said = ""  # of the caller, not final yet
        self._segments: deque[_Segment] = deque(maxlen=MAX_SEGMENTS)
        self._segment = 0
        self._asked: dict[str, str] = {}  # function calls of the client's, by id: the function's name

    def heard(self, message: ClientMessage) -> list[str]:
        """What to answer at once to a message of the client."""
        if self._over or not isinstance(message, ClientReady):
            return []
        self._greeted = True
        return self._get_ready()

    def tell(self, event: CallEvent) -> list[str]:
        """What the client should read of `event`: none, one or several messages, to be sent in order."""
        if self._over:
            return []
        match event:
            case StateChanged(state=State.ACTIVE):
                self._active = True
                return self._get_ready()
            case CallEnded(reason=reason):
                return self.ended(reason)
            case Trouble(message=text, fatal=fatal):
                self._told = self._told or fatal
                # `error` is the protocol's name, `message` that of clients before it.
                return self._out("error", {"error": text, "message": text, "fatal": fatal})
        messages: list[tuple[str, object]] = []
        match event:
            case CallerStartedSpeaking():
                messages.append(("user-started-speaking", None))
            case CallerStoppedSpeaking():
                messages.append(("user-stopped-speaking", None))
            case CallerSaid(text=text):
                self._said += text
                messages.append(self._transcript(final=False))
            case ModelStartedSpeaking():
                messages += self._finish_transcript()
                messages.append(("bot-started-speaking", None))
            case ModelStoppedSpeaking():
                messages.append(("bot-stopped-speaking", None))
            case ModelSaid(text=text):
                messages += self._finish_transcript()
                messages += self._new_segment(text)
            case ModelHeard(text=text):
                messages += self._play(text)
            case Interrupted():
                self._segments.clear()
                messages.append(("bot-interrupted", None))
            case ModelSwapped(kind=kind, result=result):
                seconds = {name: round(getattr(event, name), 3) for name in ("gap", "replayed", "lost")}
                messages.append(("server-message", {"type": "model-swapped", "kind": kind, "result": result} | seconds))
            case PacketsWithheld(seconds=seconds, lost_in=lost_in, lost_out=lost_out):
                data = {"type": "packets-withheld", "seconds": seconds, "lost_in": lost_in, "lost_out": lost_out}
                mended = {"restored": round(event.restored, 3), "concealed": round(event.concealed, 3)}
                messages.append(("server-message", data | mended))
            case BudgetReached(level=level, scope=scope, unit=unit):
                # Not the amounts: what others have spent is not this caller's to know.
                messages.append(("server-message", {"type": "budget", "level": level, "scope": scope, "unit": unit}))
            case TurnEnded(turn=turn):
                messages += self._finish_transcript()
                messages.append(("metrics", _metrics(turn)))
            case BrowserToolRequested(tool_call_id=call_id, name=name, args=args):
                self._asked[call_id] = name
                while len(self._asked) > MAX_ASKED:
                    del self._asked[next(iter(self._asked))]
                asked = {"function_name": name, "tool_call_id": call_id, "arguments": dict(args)}
                messages.append(("llm-function-call-in-progress", asked))
            case ToolEnded(tool_call_id=call_id, outcome=outcome) if call_id in self._asked:
                # The client need not hear of functions that are not its own.
                cancelled = outcome in (ToolOutcome.CANCELLED, ToolOutcome.TIMEOUT)
                over = {"function_name": self._asked.pop(call_id), "tool_call_id": call_id, "cancelled": cancelled}
                messages.append(("llm-function-call-stopped", over))
        return [text for kind, data in messages for text in self._out(kind, data)]

    def ended(self, reason: EndReason) -> list[str]:
        """The last words. Said once, however often it is asked."""
        if self._over:
            return []
        self._over = True
        why = _REASONS[reason]
        messages: list[str] = []
        if reason.result == "server_error" and not self._told:
            messages += self._out("error", {"error": why, "message": why, "fatal": True})
        return messages + self._out("server-message", {"type": "call-ended", "reason": reason.value, "message": why})

    # --- parts ---

    def _out(self, kind: str, data: object | None) -> list[str]:
        self._number += 1
        text = envelope(self._number, kind, data)
        if self._ready or kind in ("error", "server-message"):
            return [text]
        self._waiting.append(text)
        return []

    def _get_ready(self) -> list[str]:
        if self._ready or not (self._greeted and self._active):
            return []
        self._ready = True
        self._number += 1
        ready = envelope(self._number, "bot-ready", {"version": VERSION, "about": {"library": "gemini-voice-gateway"}})
        waiting, self._waiting = list(self._waiting), deque(maxlen=MAX_WAITING)
        return [ready, *waiting]

    def _transcript(self, *, final: bool) -> tuple[str, object]:
        return "user-transcription", {"text": self._said, "final": final, "timestamp": self._stamp(), "user_id": "caller"}

    def _finish_transcript(self) -> list[tuple[str, object]]:
        """The answer begins: the caller's words so far will not change any more."""
        if not self._said:
            return []
        message = self._transcript(final=True)
        self._said = ""
        return [message]

    def _new_segment(self, text: str) -> list[tuple[str, object]]:
        self._segment += 1
        segment = _Segment(self._segment, text)
        self._segments.append(segment)
        return [_output(segment, "new", text)]

    def _play(self, text: str) -> list[tuple[str, object]]:
        """`text` is the next unheard part of what was said: one message for each segment it touches."""
        messages = []
        while text:
            if not self._segments:  # said before the client could know, or forgotten
                self._segment += 1
                self._segments.append(_Segment(self._segment, text))
            segment = self._segments[0]
            part = text[: len(segment.text) - segment.heard]
            text = text[len(part) :]
            segment.heard += len(part)
            done = segment.heard == len(segment.text)
            messages.append(_output(segment, "completed" if done else "in-progress", part))
            if done:
                self._segments.popleft()
        return messages


def _output(segment: _Segment, status: str, text: str) -> tuple[str, object]:
    # `token`: pieces are joined as they are, without a space between them.
    data: dict[str, Any] = {"text": text, "spoken": status != "new", "aggregated_by": "token", "segment_id": segment.number}
    data |= {"will_be_spoken": True, "spoken_status": status}
    if status != "new":
        heard = segment.heard
        data["spoken_progress"] = {"accumulated_text": segment.text[:heard], "remaining_text": segment.text[heard:]}
    return "bot-output", data


def _metrics(turn: Turn) -> dict[str, object]:
    own: dict[str, object] = {"kind": turn.kind.value, "end": turn.end.value}
    for name in ("response", "model_first_audio", "leading_silence", "out"):
        value = getattr(turn, name)
        own[name] = None if value is None else round(value, 4)
    own |= {"heard": round(turn.heard, 3), "unheard": round(turn.unheard, 3)}
    data: dict[str, object] = {"turn": own}
    if turn.model_first_audio is not None:
        data["ttfb"] = [{"processor": "model", "value": round(turn.model_first_audio, 4)}]
    return data
