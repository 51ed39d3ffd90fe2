"""Is there a call? The states of a call and every move between them, as a table.

`CONNECTING` the model session is being opened · `ACTIVE` the model is there; the caller's media may still be on its way (ICE,
DTLS: that both sides are there is told by the event `CallSetUp`) · `AWAY` the caller's leg is gone, the model is paused and the
call waits to be attached again · `ENDING` sockets are being closed · `ENDED` nothing is left. What is not in the table cannot
happen.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from gateway.errors import GatewayError


class State(enum.StrEnum):
    """Where a call is in its life."""

    CONNECTING = "connecting"
    ACTIVE = "active"
    AWAY = "away"
    ENDING = "ending"
    ENDED = "ended"


class Step(enum.Enum):
    """What moves a call."""

    MODEL_READY = "model_ready"
    DETACH = "detach"
    ATTACH = "attach"
    FINISH = "finish"
    CLOSED = "closed"


TRANSITIONS: Mapping[State, Mapping[Step, State]] = {
    State.CONNECTING: {Step.MODEL_READY: State.ACTIVE, Step.DETACH: State.ENDING, Step.FINISH: State.ENDING},
    State.ACTIVE: {Step.DETACH: State.AWAY, Step.FINISH: State.ENDING},
    State.AWAY: {Step.ATTACH: State.ACTIVE, Step.FINISH: State.ENDING},
    State.ENDING: {
        Step.MODEL_READY: State.ENDING,
        Step.DETACH: State.ENDING,
        Step.FINISH: State.ENDING,
        Step.CLOSED: State.ENDED,
    },
    State.ENDED: {Step.DETACH: State.ENDED, Step.FINISH: State.ENDED},
}

AWAY_PATIENCE: float = 0.0
"""Seconds an AWAY call waits for its caller. 0 unless the caller holds a re-attach token."""


class NoSuchMove(GatewayError):
    """A step the table does not allow in this state: a bug in the caller of `Lifecycle.step`."""


class Lifecycle:
    """One call's position in the table."""

    def __init__(self) -> None:
        self.state = State.CONNECTING
        self.over = False
        """No more audio: ending or ended. Kept beside `state`, for it is asked with every packet."""

    def step(self, step: Step) -> bool:
        """Move. True when the state changed. Raises NoSuchMove when the table has no such row."""
        try:
            after = TRANSITIONS[self.state][step]
        except KeyError:
            raise NoSuchMove(f"{step.value} while {self.state.value}") from None
        changed = after is not self.state
        self.state = after
        self.over = after in (State.ENDING, State.ENDED)
        return changed
