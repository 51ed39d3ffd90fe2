"""The log: one JSON object a line, safe to ship.

`{"ts", "level", "logger", "message", "call_id"?, "fields"?, "repeated"?, "error"?, "traceback"?}`. Rooms log with the
standard `logging` and pass `extra={"call_id": …, "seconds": 1.5}`: whatever stands there beside the call is a field. What this
room guarantees for every line, whoever wrote it:

* no SDP, ICE or DTLS credentials, API keys or bearer tokens: recognised and replaced; configured secrets are replaced literally;
* no transcripts: `CallLog` never reads them, and libraries that would print frames are held at WARNING (`QUIET`);
* one line is one line: control characters, line separators and text direction marks are escaped, long values cut;
* a flood becomes a count: one line per second for the same logger, text template and call (`FloodGate`);
* a traceback only at ERROR and above, as a field: a crash is a bug, everything else is told by its type and text.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

from gateway.events import (
    BudgetReached,
    CallEnded,
    CallEvent,
    CallInfo,
    CallReport,
    CallSetUp,
    CallStarted,
    EndReason,
    MediaReport,
    ModelSwapped,
    Moderated,
    StageReached,
    TokensUsed,
    ToolEnded,
    ToolOutcome,
    Trouble,
)

log = logging.getLogger(__name__)

MAX_TEXT = 2_000
MAX_TRACEBACK = 16_000
MASK = "[redacted]"

QUIET = ("aiortc", "aioice", "websockets", "google_genai", "google", "httpx", "httpcore", "aiohttp", "asyncio", "urllib3")
"""Loggers never let below WARNING: at DEBUG they print frames, SDP and headers, at INFO a line per ICE check."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A session description in any form, to the end of what looks like it: credentials and addresses are all over it.
    (re.compile(r"\bv=0(?:\\r|\\n|\r|\n).*", re.DOTALL), f"{MASK} sdp"),
    (re.compile(r"a=(?:ice-ufrag|ice-pwd|fingerprint|crypto|candidate):[^\r\n\\\"']*", re.IGNORECASE), MASK),
    (re.compile(r"\b(ice-ufrag|ice-pwd|ufrag|pwd|password)([=:]\s*)[^\s,;\"']+", re.IGNORECASE), rf"\1\2{MASK}"),
    (re.compile(r"\b(Bearer|Token)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"([?&](?:key|access_token|token)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    (
        re.compile(r"(x-goog-api-key|api[_-]?key|authorization)([\"']?\s*[:=]\s*[\"']?)(?!\[redacted)[^\s,\"'}]+", re.IGNORECASE),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"AIza[0-9A-Za-z_-]{20,}"), MASK),
    (re.compile(r"auth_tokens/[0-9A-Za-z_-]+"), MASK),
)


_NOT_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "call_id", "fields", "repeated"}
"""What a record carries of its own, and what of `extra` has a place of its own in the line."""


class Redactor:
    """Takes secrets out of text. `secrets` are replaced literally; those under 6 characters are ignored, they would hit words."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= 6}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """The text without secrets, uncut."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


class JsonLines(logging.Formatter):
    """A record as one JSON object, ASCII only."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(_message(record)),
        }
        call_id = getattr(record, "call_id", None)
        if call_id:
            line["call_id"] = self._clean(str(call_id), 100)
        fields = {name: value for name, value in vars(record).items() if name not in _NOT_FIELDS}
        fields |= getattr(record, "fields", {})
        if fields:
            line["fields"] = self._value(fields)
        repeated = getattr(record, "repeated", 0)
        if repeated:
            line["repeated"] = repeated
        if record.exc_info and record.exc_info[1] is not None:
            exc = record.exc_info[1]
            line["error"] = self._clean(f"{type(exc).__name__}: {exc}")
            if record.levelno >= logging.ERROR:
                line["traceback"] = self._clean("".join(traceback.format_exception(exc)), MAX_TRACEBACK)
        # ensure_ascii escapes everything beyond ASCII, C1 controls and direction marks included; DEL is ASCII and is left.
        return json.dumps(line, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")

    def _clean(self, text: str, limit: int = MAX_TEXT) -> str:
        # Cut generously before redacting, so that a huge text costs little, and again after.
        text = self._redact(text[: 4 * limit])
        return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more)"

    def _value(self, value: object, depth: int = 0) -> object:
        match value:
            case None | bool() | int():
                return value
            case float():
                return round(value, 6) if value == value and abs(value) != float("inf") else None
            case Mapping() if depth < 4:
                return {self._clean(str(key), 100): self._value(item, depth + 1) for key, item in value.items()}
            case list() | tuple() if depth < 4:
                return [self._value(item, depth + 1) for item in value[:100]]
            case _:
                return self._clean(str(value))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's template and arguments do not match
        return f"{record.msg} {record.args}"


class FloodGate(logging.Filter):
    """Lets one line per second through for each (logger, level, template, call); the next one says how many were kept back.

    Remembers at most `keys` of them and forgets the one unseen longest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, keys: int = 512) -> None:
        super().__init__()
        self._clock = clock
        self._keys = keys
        self._seen: OrderedDict[tuple[str, int, str, object], list[float]] = OrderedDict()  # → [last let through, kept back]

    def filter(self, record: logging.LogRecord) -> bool:
        """True when the line may pass."""
        now = self._clock()
        key = (record.name, record.levelno, str(record.msg)[:80], getattr(record, "call_id", None))
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= self._keys:
                self._seen.popitem(last=False)
            self._seen[key] = [now, 0]
            return True
        self._seen.move_to_end(key)
        if now - seen[0] < 1.0:
            seen[1] += 1
            return False
        record.repeated = int(seen[1])
        seen[0], seen[1] = now, 0
        return True


def configure(level: str, *, secrets: Sequence[str] = (), stream: IO[str] | None = None) -> logging.Handler:
    """Make the root logger write JSON lines to `stream` (default: stderr) at `level` (debug, info, warning, error).

    Replaces the root's handlers, so it may be called again. Raises ValueError on an unknown level.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonLines(Redactor(secrets)))
    handler.addFilter(FloodGate())
    root = logging.getLogger()
    root.setLevel(level.upper())
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    return handler


@dataclass(slots=True)
class _Account:
    """What is added up over a call for its last line."""

    stages: dict[str, float] = field(default_factory=dict)
    troubles: set[str] = field(default_factory=set)
    packets_in: int = 0
    packets_out: int = 0
    lost_in: int = 0
    lost_out: int = 0
    malformed: int = 0
    concealed: float = 0.0
    underruns: int = 0
    uplink_dropped: float = 0.0
    usd: float = 0.0
    swaps: int = 0
    tools: int = 0
    tools_failed: int = 0


class CallLog:
    """Observer: a line when a call works, one for each different trouble, one when it is over. Never what was said."""

    MAX_TROUBLES = 20

    def __init__(self) -> None:
        self._open: dict[str, _Account] = {}

    def observe(self, info: CallInfo, event: CallEvent) -> None:
        """Take one event to the account, and to the log if it is due."""
        match event:
            case CallStarted():
                self._open[info.call_id] = _Account()
            case StageReached(stage=stage, total=total):
                self._account(info).stages[stage.value] = total
            case CallSetUp(seconds=seconds):
                fields = _who(info) | {"seconds": seconds, "stages": dict(self._account(info).stages)}
                log.info("call set up", extra={"call_id": info.call_id, "fields": fields})
            case MediaReport():
                account = self._account(info)
                account.packets_in += event.packets_in
                account.packets_out += event.packets_out
                account.lost_in += event.lost_in
                account.lost_out += event.lost_out
                account.malformed += event.malformed + event.srtp_failed + event.channel_malformed + event.channel_excess
                account.concealed += event.fec_seconds + event.plc_seconds
            case CallReport():
                account = self._account(info)
                account.underruns += event.playout_underruns
                account.uplink_dropped += event.uplink_dropped_seconds
            case TokensUsed(usd=usd):
                self._account(info).usd += usd
            case ModelSwapped():
                self._account(info).swaps += 1
                swap = {
                    "kind": event.kind,
                    "result": event.result,
                    "gap": event.gap,
                    "replayed": event.replayed,
                    "lost": event.lost,
                }
                log.info("model session swapped", extra={"call_id": info.call_id, "fields": swap})
            case ToolEnded(outcome=outcome):
                account = self._account(info)
                account.tools += 1
                account.tools_failed += outcome is not ToolOutcome.OK
            case Trouble(message=message, fatal=fatal):
                troubles = self._account(info).troubles
                if message not in troubles and len(troubles) < self.MAX_TROUBLES:
                    troubles.add(message)
                    # No template: each trouble is a line of its own for the flood gate.
                    log.warning(f"call in trouble: {message}", extra={"call_id": info.call_id, "fields": {"fatal": fatal}})
            case BudgetReached(level=level, scope=scope, unit=unit):
                fields = {"level": level, "scope": scope, "unit": unit, "used": event.used, "limit": event.limit}
                log.warning(f"budget {level}: {scope} {unit}", extra={"call_id": info.call_id, "fields": fields})
            case Moderated(who=who, action=action, reason=reason, failed=failed):
                fields = {"who": who, "action": action, "reason": reason, "failed": failed}
                log.warning(f"moderation: {action} ({who})", extra={"call_id": info.call_id, "fields": fields})
            case CallEnded():
                self._ended(info, event)
            case _:
                pass  # the rest is said on the data channel and counted in the metrics

    def _account(self, info: CallInfo) -> _Account:
        # A leg may report before the call says it started, or once more after its end: then nothing is kept.
        return self._open.get(info.call_id) or _Account()

    def _ended(self, info: CallInfo, event: CallEnded) -> None:
        account = self._open.pop(info.call_id, None) or _Account()
        summary = event.summary
        fields = _who(info) | {
            "cause": event.reason.value,
            "result": event.reason.result,
            "seconds": summary.seconds,
            "turns": summary.turns,
            "interruptions": summary.interruptions,
            "messages": summary.caller_messages,
            "errors": summary.errors,
            "tokens": dict(summary.tokens),
            "response_median": summary.response_median,
            "packets_in": account.packets_in,
            "packets_out": account.packets_out,
            "lost_in": account.lost_in,
            "lost_out": account.lost_out,
            "malformed": account.malformed,
            "concealed_seconds": account.concealed,
            "underruns": account.underruns,
            "uplink_dropped_seconds": account.uplink_dropped,
            "usd": account.usd,
            "swaps": account.swaps,
            "tools": account.tools,
            "tools_failed": account.tools_failed,
        }
        if event.detail:
            fields["detail"] = event.detail
        level = logging.INFO
        if event.reason is EndReason.CRASHED:
            level = logging.ERROR
        elif event.reason.result == "server_error" and event.reason is not EndReason.DRAINED:
            level = logging.WARNING
        log.log(level, "call ended", extra={"call_id": info.call_id, "fields": fields})


def _who(info: CallInfo) -> dict[str, object]:
    return {"leg": info.leg.value, "profile": info.profile, "model": info.model}
