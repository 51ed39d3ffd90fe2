"""What one connection did, for whoever asks later: audio both ways, messages with their times, and what was against the rules."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.emulator.counting import read_count
from gateway.emulator.schema import Json
from gateway.emulator.sound import OUTPUT_RATE

GAP = 0.06
"""Seconds by which a chunk of audio may be late before it counts as a gap."""

_CADENCE_EDGES = (0.005, 0.015, 0.025, 0.045, 0.060, 0.080, 0.120, 0.250)


class Message(NamedTuple):
    """One WebSocket message. `at`: loop time. `incoming`: from the client. `kind`: its top-level field, or audio."""

    at: float
    incoming: bool
    kind: str
    size_bytes: int
    note: str = ""


class Violation(NamedTuple):
    """Something a client must not do."""

    at: float
    what: str


class Tape:
    """The newest `limit` seconds of audio at one rate. Keeps the chunks it is given: nothing is copied."""

    def __init__(self, rate: int, limit: float) -> None:
        self.rate = rate
        self.total_bytes = 0
        """Of everything ever added, kept or not."""
        self._limit = round(limit * rate) * 2
        self._parts: deque[bytes] = deque()
        self._kept = 0

    def add(self, pcm: bytes) -> None:
        """Append; the oldest gives way."""
        self.total_bytes += len(pcm)
        if not self._limit:
            return
        self._parts.append(pcm)
        self._kept += len(pcm)
        while self._kept > self._limit and len(self._parts) > 1:
            self._kept -= len(self._parts.popleft())

    @property
    def pcm(self) -> bytes:
        """What is kept."""
        return b"".join(self._parts)

    @property
    def seconds(self) -> float:
        """Of everything, kept or not."""
        return self.total_bytes / (2 * self.rate)


@dataclass(slots=True)
class Arrivals:
    """How the caller's audio came: chunk sizes, spacing, gaps, and whether it kept pace with the wall clock."""

    chunks: int = 0
    odd: int = 0
    """Chunks of an odd number of bytes."""
    sizes: Counter[int] = field(default_factory=Counter)
    spacing: Counter[int] = field(default_factory=Counter)
    """Index into the cadence histogram → chunks."""
    gaps: int = 0
    longest_gap: float = 0.0
    first_at: float | None = None
    last_at: float = 0.0
    seconds: float = 0.0
    _last_seconds: float = 0.0

    def add(self, now: float, size_bytes: int, seconds: float) -> None:
        """One chunk."""
        if self.first_at is None:
            self.first_at = now
        else:
            since = now - self.last_at
            index = 0
            for edge in _CADENCE_EDGES:
                if since < edge:
                    break
                index += 1
            self.spacing[index] += 1
            late = since - self._last_seconds
            if late > GAP:
                self.gaps += 1
                self.longest_gap = max(self.longest_gap, late)
        self.chunks += 1
        self.sizes[size_bytes] += 1
        self.seconds += seconds
        self.last_at, self._last_seconds = now, seconds

    @property
    def pace(self) -> float | None:
        """Seconds of audio per second of wall clock; None before there is enough to tell."""
        if self.first_at is None or self.last_at - self.first_at < 0.5:
            return None
        return (self.seconds - self._last_seconds) / (self.last_at - self.first_at)

    def view(self) -> Json:
        """As JSON."""
        edges = [*(f"<{round(edge * 1000)}ms" for edge in _CADENCE_EDGES), f">={round(_CADENCE_EDGES[-1] * 1000)}ms"]
        return {
            "chunks": self.chunks,
            "odd_chunks": self.odd,
            "chunk_bytes": {str(size): number for size, number in sorted(self.sizes.items())[:50]},
            "cadence": {edges[index]: number for index, number in sorted(self.spacing.items())},
            "gaps": self.gaps,
            "longest_gap": round(self.longest_gap, 4),
            "pace": None if self.pace is None else round(self.pace, 4),
        }


class SessionRecord:
    """One connection to the emulator. Times are the loop's monotonic seconds."""

    def __init__(self, session_id: str, path: str, started: float, *, record_seconds: float, record_messages: int) -> None:
        self.session_id = session_id
        self.path = path
        self.started = started
        self.ready: float | None = None
        """When setupComplete was sent."""
        self.ended: float | None = None
        self.conversation = ""
        """The same for all connections that resumed one another."""
        self.resumed = False
        self.model = ""
        self.persona = ""
        self.tag = ""
        """What the client called this session, in the header `x-emulator-tag`."""
        self.faults: tuple[str, ...] = ()
        self.setup: Json | None = None
        self.headers: dict[str, str] = {}
        self.heard = Tape(16_000, record_seconds)
        """Caller audio. Its rate is that of the first chunk."""
        self.said = Tape(OUTPUT_RATE, record_seconds)
        """Model audio, as sent."""
        self.arrivals = Arrivals()
        self.rates: Counter[int] = Counter()
        """Declared rate of caller audio → chunks."""
        self.messages: deque[Message] = deque(maxlen=record_messages)
        self.received_messages = 0
        self.sent_messages = 0
        self.violations: list[Violation] = []
        self.texts: list[str] = []
        """What the caller typed, or the gateway prompted."""
        self.context: list[str] = []
        """What the client told the model without asking for an answer: history, notes."""
        self.updates: list[Json] = []
        """Bodies of `contextUpdate`."""
        self.spoken: list[tuple[float, float]] = []
        """The caller's speech: (began, ended) in seconds of audio, one per turn."""
        self.turns = 0
        self.interruptions = 0
        self.tokens = {"prompt": 0, "response": 0}
        self.tool_results: list[tuple[str, str, object]] = []
        """(id, name, response) of every tool answer that was accepted."""
        self.handles: list[str] = []
        """Resumption handles issued."""
        self.close: tuple[str, int, str] | None = None
        """(by: server|client|network, code, reason)."""

    @property
    def received(self) -> bytes:
        """Caller audio as received, PCM16 at `heard.rate` (the newest, up to the recording limit)."""
        return self.heard.pcm

    @property
    def sent(self) -> bytes:
        """Model audio as sent, PCM16 at 24 kHz (the newest, up to the recording limit)."""
        return self.said.pcm

    def violation(self, now: float, what: str) -> None:
        """Note something against the rules; bounded."""
        if len(self.violations) < 1000:
            self.violations.append(Violation(now, what))

    def sent_kinds(self) -> list[str]:
        """Kinds of the messages sent and kept, in order."""
        return [message.kind for message in self.messages if not message.incoming]

    def brief(self) -> Json:
        """One line of the list."""
        return {
            "id": self.session_id,
            "conversation": self.conversation,
            "model": self.model,
            "persona": self.persona,
            "tag": self.tag,
            "open": self.ended is None,
            "turns": self.turns,
            "heard_seconds": round(self.heard.seconds, 3),
            "said_seconds": round(self.said.seconds, 3),
            "violations": len(self.violations),
        }

    def view(self, now: float) -> Json:
        """Everything, as JSON; times are seconds since this connection began."""
        count = read_count(self.received) if self.persona.startswith("counter") else None
        return {
            **self.brief(),
            "path": self.path,
            "headers": self.headers,
            "resumed": self.resumed,
            "seconds": round((self.ended if self.ended is not None else now) - self.started, 3),
            "ready_after": None if self.ready is None else round(self.ready - self.started, 4),
            "close": None if self.close is None else dict(zip(("by", "code", "reason"), self.close, strict=True)),
            "faults": list(self.faults),
            "setup": self.setup,
            "audio_in": {"rates": {str(rate): number for rate, number in self.rates.items()}, **self.arrivals.view()},
            "count_in": None
            if count is None
            else {
                "counted": count.counted,
                "foreign": count.foreign,
                "lost": count.lost,
                "doubled": count.doubled,
                "jumps": [[jump.at, jump.expected, jump.found] for jump in count.jumps[:100]],
            },
            "spoken": [[round(began, 3), round(ended, 3)] for began, ended in self.spoken],
            "texts": self.texts,
            "context": self.context,
            "updates": self.updates,
            "interruptions": self.interruptions,
            "tokens": self.tokens,
            "tool_results": [{"id": call_id, "name": name, "response": value} for call_id, name, value in self.tool_results],
            "handles": len(self.handles),
            "violations": [{"at": round(item.at - self.started, 4), "what": item.what} for item in self.violations],
            "received_messages": self.received_messages,
            "sent_messages": self.sent_messages,
            "messages": [
                {
                    "at": round(message.at - self.started, 4),
                    "from": "client" if message.incoming else "server",
                    "kind": message.kind,
                    "bytes": message.size_bytes,
                    **({"note": message.note} if message.note else {}),
                }
                for message in self.messages
            ],
        }


class Records:
    """The sessions of an emulator, oldest first: by number (`[0]`, `[-1]`) or by id."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._by_id: dict[str, SessionRecord] = {}

    def add(self, record: SessionRecord) -> None:
        """A new connection; the oldest ended ones beyond the limit are forgotten."""
        self._by_id[record.session_id] = record
        ended = [item.session_id for item in self if item.ended is not None]
        for session_id in ended[: max(0, len(ended) - self._keep)]:
            del self._by_id[session_id]

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[SessionRecord]:
        return iter(list(self._by_id.values()))

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._by_id

    def __getitem__(self, key: int | str) -> SessionRecord:
        """Raises KeyError or IndexError."""
        return self._by_id[key] if isinstance(key, str) else list(self._by_id.values())[key]

    def of_conversation(self, conversation: str) -> list[SessionRecord]:
        """All connections of one conversation, in order."""
        return [record for record in self if record.conversation == conversation]
