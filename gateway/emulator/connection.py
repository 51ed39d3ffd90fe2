"""What the parts of one connection share, and the only way out of it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.emulator import messages
from gateway.emulator.agenda import Agenda
from gateway.emulator.conversations import Conversation
from gateway.emulator.models import Backend
from gateway.emulator.reasons import Reason
from gateway.emulator.record import Message, SessionRecord
from gateway.emulator.schema import clip_reason
from gateway.emulator.settings import Frames
from gateway.emulator.world import Upgrade, World


@dataclass(frozen=True, slots=True)
class Frame:
    """A WebSocket message to send."""

    data: bytes
    text: bool = False


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer this ping."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close with this, then nothing more."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Reset the TCP connection."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Read and write nothing any more, but keep TCP."""


Output = Frame | Pong | Close | Abort | Freeze


class Connection:
    """One connection: options, timer, chance, record, and the frames that wait to be sent."""

    def __init__(self, world: World, upgrade: Upgrade, record: SessionRecord) -> None:
        self.world, self.upgrade, self.record = world, upgrade, record
        self.settings = world.settings
        self.backend: Backend = upgrade.backend
        self.options = upgrade.options
        self.agenda = Agenda()
        self.draw = random.Random(f"{world.settings.seed}:{record.session_id}")
        self.conversation: Conversation | None = None
        self.closed = False
        self._output: list[Output] = []

    def take(self) -> list[Output]:
        """What there is to send, in order."""
        output, self._output = self._output, []
        return output

    def send(self, kind: str, message: object, now: float) -> None:
        """Encode and send a message; `kind` is for the record."""
        self.send_raw(kind, messages.encode(message), now)

    def send_raw(self, kind: str, data: bytes, now: float) -> None:
        """Send bytes as they are."""
        if self.closed:
            return
        frames = self.settings.frames
        if "text_frames" in self.options:
            frames = Frames.TEXT
        elif "mixed_frames" in self.options:
            frames = Frames.MIXED
        text = frames is Frames.TEXT or (frames is Frames.MIXED and self.draw.random() < 0.5)
        self._output.append(Frame(data, text))
        self.record.sent_messages += 1
        self.record.messages.append(Message(now, False, kind, len(data)))

    def ping(self, payload: bytes, now: float) -> None:
        """Answer a ping, now, later or never."""
        if "no_pong" in self.options or self.closed:
            return
        if delay := self.options.number("pong_delay"):
            self.agenda.enter(now + delay, lambda _: self._output.append(Pong(payload)))
        else:
            self._output.append(Pong(payload))

    def close(self, why: Reason, now: float) -> None:
        """Close from our side."""
        code, reason = why[0], clip_reason(why[1])
        self._end(Close(code, reason), "server", code, reason, now)

    def abort(self, now: float) -> None:
        """Reset the connection."""
        self._end(Abort(), "server", 1006, "reset", now)

    def freeze(self, now: float) -> None:
        """Go half-open."""
        self._end(Freeze(), "server", 1006, "half-open", now)

    def gone(self, code: int, reason: str, now: float) -> None:
        """The client closed, or the network did (1006)."""
        self._end(None, "client" if code != 1006 else "network", code, reason, now)

    def _end(self, output: Output | None, by: str, code: int, reason: str, now: float) -> None:
        if self.closed:
            return
        self.closed = True
        if output is not None:
            self._output.append(output)
        self.record.ended = now
        self.record.close = (by, code, reason)
        if self.conversation is not None and self.conversation.session_id == self.record.session_id:
            self.conversation.session_id = None
        self.agenda.clear()
