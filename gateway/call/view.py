"""What others see of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.events import CallEvent, CallInfo

Observe = Callable[[CallInfo, CallEvent], None]


@dataclass(frozen=True, slots=True)
class CallView:
    """What the API shows of a call."""

    call_id: str
    leg: str
    profile: str
    model: str
    state: str
    started_at: float
    """Wall-clock seconds since the epoch."""
    seconds: float
    turns: int
    interruptions: int
    tokens: dict[str, int]
