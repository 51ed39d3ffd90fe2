"""All that a call knows of its caller, and all that a leg knows of its call."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.events import CallEvent, ClientMessage, EndReason, LegKind
from gateway.media.audio import AudioFrame


class Ability(enum.Enum):
    """What a leg can do. Abilities, not leg kinds, decide behaviour."""

    CONTINUOUS = "continuous"  # wants a packet every ptime, silence included
    TELL = "tell"  # shows captions and state
    DIGITS_OUT = "digits_out"
    TRANSFER = "transfer"
    MARK = "mark"  # the far end reports what it has played
    HOLD = "hold"


class LegSink(Protocol):
    """What a leg calls. Plain calls on the event loop; none waits, none may be called before `Leg.start`."""

    @property
    def patience(self) -> float:
        """Seconds by which `hear_row` may be called late, with several frames: a worker near capacity saves by it. Next to
        nothing while the caller's silence is what an answer waits for. A leg need not make use of it."""

    @property
    def ahead(self) -> deque[Callable[[], None]]:
        """What the clock does on coming ticks instead of ticking the call: one of these each, the front one first. The leg puts
        the sending of prepared frames there, and takes it back when nothing of them may leave any more."""

    def connected(self) -> None:
        """Media can flow both ways from now on (webrtc: DTLS is up). Called once, before `hear`.

        Until then the call holds its answer back, so that no word of a greeting is spoken to nobody.
        """

    def hear(self, frame: AudioFrame) -> None:
        """A stretch of the caller's audio: PCM16 mono at 16 kHz, continuous (gaps already concealed)."""

    def hear_row(self, frames: Sequence[AudioFrame]) -> None:
        """`hear` for several in a row, where they come together anyway: cheaper than one after the other."""

    def digit(self, digit: str, seconds: float) -> None:
        """A DTMF digit (`0-9*#A-D`) was pressed for `seconds`."""

    def played(self, seconds: float) -> None:
        """`seconds` more of what `send` was given can now have reached the caller's ears (send log, marks)."""

    def message(self, value: ClientMessage) -> None:
        """The client asked for something: parsed and typed."""

    def note(self, event: CallEvent) -> None:
        """News that only the leg knows (setup stages, media reports): handed to the observers as it is."""

    def fail(self, exc: Exception) -> None:
        """A bug surfaced while something was delivered for this call: it ends with cause `crashed`, its neighbours go on.

        Called only by the guarded dispatchers that design names: the registry, the clock, the UDP mux.
        """

    def gone(self, reason: EndReason) -> None:
        """The caller's side is over. Called at most once; nothing else is called afterwards."""


class Leg(Protocol):
    """The caller's side of a call."""

    @property
    def kind(self) -> LegKind:
        """A metric label, so a closed set."""

    @property
    def rate(self) -> int:
        """Hz of the frames `send` takes (PCM16 mono, 20 ms)."""

    @property
    def can(self) -> frozenset[Ability]:
        """What this leg can do."""

    def start(self, sink: LegSink) -> None:
        """From now on deliver to `sink`. Called once, before anything else."""

    def send(self, frame: AudioFrame | None) -> None:
        """One 20 ms frame at `rate`, or None for silence. Never waits; called on the call's tick."""

    @property
    def room(self) -> int:
        """Frames that `prepare` would take now, straight after `send`; 0: none, or not on this tick."""

    def prepare(self, frames: Sequence[AudioFrame]) -> None:
        """The frames of the coming ticks, at most `room`: several in a row cost less than each in its turn. Each leaves on its
        own tick, by way of the sink's `ahead`, without the call's being ticked."""

    def resynced(self) -> None:
        """Ticks were dropped, and the prepared frames, the front one already taken from `ahead`, are due from the next tick on
        (only where there is `room`)."""

    def clear(self) -> float:
        """Forget what the far end has not played yet, prepared frames too; seconds handed over and unheard."""

    def tell(self, event: CallEvent) -> None:
        """Captions, state, errors for a client that can show them. Never waits; bounded."""

    def send_digits(self, digits: str) -> None:
        """Send DTMF towards the caller (only with DIGITS_OUT)."""

    async def transfer(self, target: str) -> None:
        """Hand the caller over to `target` (only with TRANSFER)."""

    async def close(self, reason: EndReason) -> None:
        """Say goodbye and let go of every socket and task. Idempotent; the second caller waits for the first."""
