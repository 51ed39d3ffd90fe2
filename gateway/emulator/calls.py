"""Tool calls that wait for an answer, and what to make of the answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.emulator.client import FunctionResponse
from gateway.emulator.models import Backend
from gateway.emulator.schema import Json
from gateway.emulator.voices import Call


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer to a call that waits. `last`: no more will come for this id."""

    response: FunctionResponse
    blocking: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Stray:
    """An answer nobody waits for: `why` is unknown | cancelled | answered."""

    response: FunctionResponse
    why: str


class PendingCalls:
    """Calls sent and not yet answered, by id."""

    def __init__(self, backend: Backend, draw: random.Random) -> None:
        self._backend, self._draw = backend, draw
        self._waiting: dict[str, bool] = {}
        """Id → blocking."""
        self._done: dict[str, str] = {}
        """Id → answered | cancelled."""

    def send(self, calls: Sequence[Call], functions: Mapping[str, bool]) -> list[Json]:
        """These calls, with ids, as they go on the wire."""
        wire: list[Json] = []
        for call in calls:
            call_id = self._new_id()
            self._waiting[call_id] = functions.get(call.name, True)
            wire.append({"name": call.name, **({} if call.args is None else {"args": call.args}), "id": call_id})
        return wire

    @property
    def waiting(self) -> tuple[str, ...]:
        """Ids without an answer, oldest first."""
        return tuple(self._waiting)

    @property
    def blocked(self) -> bool:
        """A blocking call waits: the model is silent."""
        return any(self._waiting.values())

    def cancel(self) -> tuple[str, ...]:
        """Give up all that wait; their ids."""
        ids = self.waiting
        for call_id in ids:
            self._finish(call_id, "cancelled")
        self._waiting.clear()
        return ids

    def answer(self, response: FunctionResponse) -> Accepted | Stray:
        """One answer from the client."""
        blocking = self._waiting.get(response.call_id)
        if blocking is None:
            return Stray(response, self._done.get(response.call_id, "unknown"))
        # A blocking function can't answer in instalments.
        last = blocking or not response.will_continue
        if last:
            del self._waiting[response.call_id]
            self._finish(response.call_id, "answered")
        return Accepted(response, blocking, last)

    def _finish(self, call_id: str, how: str) -> None:
        self._done[call_id] = how
        if len(self._done) > 10_000:
            del self._done[next(iter(self._done))]

    def _new_id(self) -> str:
        if self._backend is Backend.DEVELOPER:
            return f"function-call-{self._draw.randrange(10**18, 10**19)}"
        digits = f"{self._draw.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
