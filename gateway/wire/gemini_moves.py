"""The states of a model session and every move between them, and what its shell is told to do.

             ┌──────────── FAILED ─────────────┐
             ▼                                 │
┌───────▶ WAITING ──CONNECT──▶ CONNECTING ─────┤
│ WAKE    │  ▲  ▲                              │ READY
│   SLEEP │  │  └────────────LOST──────────────┤
└─ASLEEP◀─┘  └──LEFT── LEAVING ◀──LEAVE── OPEN ◀┘          any ──FINISH──▶ OVER
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.wire.gemini_faults import Failure
from gateway.wire.gemini_memory import Reminder


class Phase(enum.Enum):
    """Where a session is."""

    WAITING = "waiting"  # no socket; the next connect has its time
    CONNECTING = "connecting"
    OPEN = "open"
    LEAVING = "leaving"  # hanging up on purpose
    ASLEEP = "asleep"  # no socket and nobody who needs one
    OVER = "over"


class Step(enum.Enum):
    """What moves a session."""

    CONNECT = "connect"
    READY = "ready"
    FAILED = "failed"
    LEAVE = "leave"
    LEFT = "left"
    LOST = "lost"
    SLEEP = "sleep"
    WAKE = "wake"
    FINISH = "finish"


MOVES: Mapping[Phase, Mapping[Step, Phase]] = {
    Phase.WAITING: {Step.CONNECT: Phase.CONNECTING, Step.SLEEP: Phase.ASLEEP, Step.FINISH: Phase.OVER},
    Phase.CONNECTING: {Step.READY: Phase.OPEN, Step.FAILED: Phase.WAITING, Step.FINISH: Phase.OVER},
    Phase.OPEN: {Step.LEAVE: Phase.LEAVING, Step.LOST: Phase.WAITING, Step.FINISH: Phase.OVER},
    Phase.LEAVING: {Step.LEFT: Phase.WAITING, Step.FINISH: Phase.OVER},
    Phase.ASLEEP: {Step.WAKE: Phase.WAITING, Step.FINISH: Phase.OVER},
    Phase.OVER: {Step.FINISH: Phase.OVER},
}


# --- what the shell is to do ---


@dataclass(frozen=True, slots=True)
class Listen:
    """Read the next message, but ask again at `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Hang up properly, read what is still on its way, then report `left`."""


@dataclass(frozen=True, slots=True)
class Break:
    """Drop the connection, nothing comes from it any more; then report `lost` with this."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a socket within `limit` seconds and report `ready` or `failed`. `reminder.turns` are told before all else."""

    kind: str
    handle: str
    limit: float
    reminder: Reminder


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until then (None: until something is to be sent)."""

    until: float | None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The session is over."""

    failure: Failure


Decision = Listen | Leave | Break | Connect | Wait | GiveUp
