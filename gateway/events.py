"""What can happen in a call: the whole vocabulary between a call and those who watch it.

Events are frozen values, said once by the call (or by its leg through `LegSink.note`) and read by metrics, logs and
the data channel. Label enums live here too, one list each.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.dialog.lifecycle import State
from gateway.dialog.turns import Turn


class LegKind(enum.StrEnum):
    """The caller's side; a metric label, so a closed set."""

    WEBRTC = "webrtc"
    MEDIASTREAM = "mediastream"
    AUDIOSOCKET = "audiosocket"
    SIP = "sip"


class EndReason(enum.StrEnum):
    """Why a call ended. Every end has exactly one; it feeds the log line, the metric label and the API."""

    CALLER_HUNG_UP = "caller_hung_up"
    MODEL_HUNG_UP = "model_hung_up"
    HUNG_UP_BY_API = "hung_up_by_api"
    CALLER_GONE = "caller_gone"  # the connection closed without a goodbye
    IDLE = "idle"
    MAX_DURATION = "max_duration"
    BUDGET = "budget"
    MODERATED = "moderated"  # the moderation hook said so
    ICE_TIMEOUT = "ice_timeout"
    DTLS_FAILED = "dtls_failed"
    MEDIA_TIMEOUT = "media_timeout"  # connected, then no packet for too long
    MODEL_REFUSED = "model_refused"
    MODEL_UNAVAILABLE = "model_unavailable"
    DRAINED = "drained"
    CRASHED = "crashed"  # a bug; the traceback is in the log

    @property
    def result(self) -> str:
        """`success`, `client_error` or `server_error`: whose account the end is charged to."""
        return _RESULTS[self]


_RESULTS: Mapping[EndReason, str] = {
    EndReason.CALLER_HUNG_UP: "success",
    EndReason.MODEL_HUNG_UP: "success",
    EndReason.HUNG_UP_BY_API: "success",
    EndReason.CALLER_GONE: "client_error",
    EndReason.IDLE: "success",
    EndReason.MAX_DURATION: "success",
    EndReason.BUDGET: "success",
    EndReason.MODERATED: "success",
    EndReason.ICE_TIMEOUT: "client_error",
    EndReason.DTLS_FAILED: "client_error",
    EndReason.MEDIA_TIMEOUT: "client_error",
    EndReason.MODEL_REFUSED: "server_error",
    EndReason.MODEL_UNAVAILABLE: "server_error",
    EndReason.DRAINED: "server_error",
    EndReason.CRASHED: "server_error",
}


class SetupStage(enum.StrEnum):
    """The steps of a call's setup, in the order they usually come; a metric label."""

    AUTH = "auth"
    ADMISSION = "admission"
    SDP = "sdp"
    GATHER = "gather"
    ANSWER = "answer"
    ICE = "ice"
    DTLS = "dtls"
    FIRST_RTP_IN = "first_rtp_in"
    MODEL_CONNECT = "model_connect"
    MODEL_READY = "model_ready"
    FIRST_AUDIO_OUT = "first_audio_out"


class Refusal(enum.StrEnum):
    """Why a call was not admitted; a metric label."""

    CAPACITY = "capacity"
    DRAINING = "draining"
    BUDGET = "budget"


# --- what the caller's side may ask for (parsed, typed; see wire/rtvi) ---


@dataclass(frozen=True, slots=True)
class ClientReady:
    """The client on the data channel introduced itself."""

    version: str = ""


@dataclass(frozen=True, slots=True)
class SendText:
    """Typed words of the caller, control characters already stripped, at most 10,000 characters."""

    text: str


@dataclass(frozen=True, slots=True)
class DisconnectBot:
    """The client asks for the end of the call."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The browser's answer to a `BrowserToolRequested`: a JSON value, size already limited."""

    tool_call_id: str
    result: object


@dataclass(frozen=True, slots=True)
class PushToTalk:
    """The caller holds the button down, or lets go of it."""

    talking: bool


ClientMessage = ClientReady | SendText | DisconnectBot | ToolResult | PushToTalk


# --- what happened ---


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Which call an event is about; constant for the life of the call."""

    call_id: str
    leg: LegKind
    profile: str
    model: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The call was admitted and its object made."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The lifecycle moved. `reason` is known from `ending` on."""

    state: State
    reason: EndReason | None = None


@dataclass(frozen=True, slots=True)
class StageReached:
    """A setup stage is done. `seconds` since the previous stage of the same side, `total` since the offer came."""

    stage: SetupStage
    seconds: float
    total: float


@dataclass(frozen=True, slots=True)
class CallSetUp:
    """First caller RTP decoded and model ready: the call works. `seconds` since the offer came."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CallerStartedSpeaking:
    """Our own VAD heard the caller begin, `ago` seconds before it was sure."""

    ago: float = 0.0


@dataclass(frozen=True, slots=True)
class CallerStoppedSpeaking:
    """Our own VAD heard the caller fall silent."""


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """The model's transcription of the caller; fragments, to be joined as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelStartedSpeaking:
    """First packet of an answer left for the caller."""


@dataclass(frozen=True, slots=True)
class ModelStoppedSpeaking:
    """The answer has been played to its end, or was cut off."""


@dataclass(frozen=True, slots=True)
class ModelSaid:
    """Words the model has generated; the caller may not have heard them yet."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelHeard:
    """Words of the model that the caller's ears have now had: always the next unheard part of what `ModelSaid` said."""

    text: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The caller spoke over the answer. `unheard` seconds were thrown away; `stop` seconds from flag read to the flush."""

    unheard: float
    stop: float


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """One answer is over."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """Token counts of one usage report.

    `direction` input|output, `modality` text|audio|image|unknown, `kind` plain|cached|reasoning|tool.
    """

    direction: str
    modality: str
    kind: str
    tokens: int
    usd: float = 0.0
    """What they cost by the price table; 0 where the model's price is not known."""


@dataclass(frozen=True, slots=True)
class ContextRead:
    """The model has read its whole context, `tokens` long, to answer; once or more in a turn."""

    tokens: int


@dataclass(frozen=True, slots=True)
class ModelConnected:
    """A model session is set up. `kind` initial|goaway|error|drain|rotate."""

    seconds: float
    kind: str = "initial"
    model: str = ""
    """The model that answers from now on, where that is not the call's first; empty: as before."""


@dataclass(frozen=True, slots=True)
class ModelClosed:
    """A model socket closed. `code` from the closed list of operations.md §1.2 (1000 … http429 … timeout other)."""

    code: str


@dataclass(frozen=True, slots=True)
class ModelConnectFailed:
    """A connect to the model's service failed; `code` as in `ModelClosed`, `kind` as in `ModelConnected`."""

    code: str
    kind: str


@dataclass(frozen=True, slots=True)
class ModelLeaving:
    """The service has announced to cut the connection in `left` seconds."""

    left: float


@dataclass(frozen=True, slots=True)
class ModelSwapped:
    """The model session went on on another socket. Seconds of caller's audio; `gap`: no audio from or to the model, as heard."""

    kind: str
    """goaway|error|drain|rotate"""
    result: str
    """ok|refused|no_handle|stale_handle|context_replayed"""
    gap: float
    replayed: float
    lost: float


class ToolOutcome(enum.StrEnum):
    """How a tool call ended; a metric label."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    DENIED = "denied"
    CANCELLED = "cancelled"
    BAD_ARGS = "bad_args"


@dataclass(frozen=True, slots=True)
class BrowserToolRequested:
    """The model wants a tool that the client on the data channel offers; it answers with a `ToolResult`."""

    tool_call_id: str
    name: str
    args: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """One tool call has come to its one end: an answer, or that nobody wants one any more."""

    tool: str
    outcome: ToolOutcome
    seconds: float
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Moderated:
    """The moderation hook did something else than let a piece of transcript pass, or gave no verdict (`failed`).

    `who` caller|model, `action` allow|flag|redact|hang_up; `reason` is the hook's, or why there is no verdict. No transcript.
    """

    who: str
    action: str
    reason: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """A budget is used up to `level`: warn, soft or hard.

    `scope` call|key|day, `unit` tokens|text_tokens|audio_tokens|image_tokens|usd; `used` and `limit` in that unit.
    """

    level: str
    scope: str
    unit: str
    used: float
    limit: float


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What both audio directions did since the last report (about 5 s): deltas in plain numbers, seconds and ratios."""

    window: float
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    lost_in: int = 0
    lost_out: int = 0
    late: int = 0
    reordered: int = 0
    duplicate: int = 0
    malformed: int = 0
    srtp_failed: int = 0
    channel_malformed: int = 0
    """On the data channel: what makes no sense."""
    channel_excess: int = 0
    """On the data channel: what is too long or too much."""
    fec_seconds: float = 0.0
    plc_seconds: float = 0.0
    silence_seconds: float = 0.0
    expected_seconds: float = 0.0
    loss_ratio_in: float | None = None
    loss_ratio_out: float | None = None
    jitter_in: float | None = None
    jitter_out: float | None = None
    rtt: float | None = None
    jitter_buffer_delay: float | None = None


@dataclass(frozen=True, slots=True)
class PathSelected:
    """ICE has a network path. Types host|srflx|prflx|relay; `again`: the caller has moved to it from another in mid-call."""

    local: str
    remote: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class PacketsWithheld:
    """A demonstration threw media packets away for `seconds`, so many each way. Of the caller's audio that was lost,
    `restored` seconds came back from redundancy and `concealed` seconds were made up.
    """

    seconds: float
    lost_in: int
    lost_out: int
    restored: float
    concealed: float


@dataclass(frozen=True, slots=True)
class CallReport:
    """What the call's own buffers did since the last report (about 5 s)."""

    window: float
    uplink_backlog: float = 0.0
    uplink_chunk: float = 0.0
    uplink_dropped_seconds: float = 0.0
    uplink_added: tuple[float, ...] = ()
    """Sampled seconds from a frame's arrival to its write to the model returning."""
    downlink_added: tuple[float, ...] = ()
    """Sampled seconds from model audio read to its first sample's packet out."""
    playout_depth: tuple[float, ...] = ()
    """Sampled once a second while speaking."""
    playout_underruns: int = 0
    playout_underrun_seconds: float = 0.0
    playout_speaking_seconds: float = 0.0
    playout_stretched_seconds: float = 0.0
    playout_overflow_seconds: float = 0.0
    pacer_lag: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong that the caller should read. `fatal`: the call ends for it."""

    message: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class ModelMessageSkipped:
    """A message of the model did not parse; counted and skipped. `why` is a short fixed word."""

    why: str


@dataclass(frozen=True, slots=True)
class CallSummary:
    """The account of a whole call: one log line."""

    seconds: float
    turns: int = 0
    interruptions: int = 0
    caller_messages: int = 0
    errors: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    """`input`, `output`: totals."""
    response_median: float | None = None
    """Median voice-to-voice seconds over this call's turns."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over: leg closed, model session closed, tasks gone."""

    reason: EndReason
    detail: str
    summary: CallSummary


CallEvent = (
    CallStarted
    | StateChanged
    | StageReached
    | CallSetUp
    | CallerStartedSpeaking
    | CallerStoppedSpeaking
    | CallerSaid
    | ModelStartedSpeaking
    | ModelStoppedSpeaking
    | ModelSaid
    | ModelHeard
    | Interrupted
    | TurnEnded
    | TokensUsed
    | ContextRead
    | ModelConnected
    | ModelClosed
    | ModelConnectFailed
    | ModelLeaving
    | ModelSwapped
    | BrowserToolRequested
    | ToolEnded
    | Moderated
    | BudgetReached
    | MediaReport
    | PathSelected
    | PacketsWithheld
    | CallReport
    | Trouble
    | ModelMessageSkipped
    | CallEnded
)
