"""The live calls of one worker: admit, refuse, find, drain."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass

from gateway.call import Call, Observe
from gateway.clock import Clock
from gateway.errors import NotFound, Refused
from gateway.events import EndReason, LegKind, Refusal
from gateway.ledger import Ledger, Tab
from gateway.legs.base import Leg
from gateway.media.uplink import MIN_CHUNK
from gateway.model.base import CALL, Model
from gateway.model.tools.desk import OWN_TOOLS, Tools
from gateway.profile import Profile

log = logging.getLogger(__name__)

RETRY_WHEN_FULL = 5.0
"""Seconds a refused caller should wait: about the time in which one of a few dozen calls ends."""

RETRY_WHEN_DRAINING = 1.0
"""Another worker, or the next one on this address, answers at once."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A place held for a call that is still being set up. `offered_at`: loop time."""

    call_id: str
    kind: LegKind
    offered_at: float


class Registry:
    """Owns every call's task. Capacity is held from the moment of admission, before anything costly is made."""

    def __init__(
        self,
        *,
        worker: str,
        max_calls: int,
        model: Model,
        model_alias: str,
        clock: Clock,
        observe: Observe,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger | None = None,
        tools: Tools = OWN_TOOLS,
    ) -> None:
        self.worker = worker
        self.max_calls = max_calls
        self.draining = False
        self.chunk = MIN_CHUNK
        """Seconds of audio in a message to the model, of all calls: see `set_chunk`."""
        self.refused = dict.fromkeys(Refusal, 0)
        self._model = model
        self._model_alias = model_alias
        self._clock = clock
        self._observe = observe
        self._loop = loop
        self._ledger = ledger
        self._tools = tools
        self._tabs: dict[str, Tab] = {}  # by call id, from admission to end
        self._admitted: dict[str, Admission] = {}
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended = 0
        """Calls so far that are over."""
        self._cut = 0  # calls ended by us in a drain
        self._empty = asyncio.Event()  # nobody to wait for
        self._empty.set()

    def __len__(self) -> int:
        return len(self._calls) + len(self._admitted)

    def admit(self, kind: LegKind) -> Admission:
        """Hold a place for one call, or raise Refused. `start` or `give_up` must follow."""
        if self.draining:
            self.refused[Refusal.DRAINING] += 1
            raise Refused("the server is shutting down", reason=Refusal.DRAINING.value, retry_after=RETRY_WHEN_DRAINING)
        if len(self) >= self.max_calls:
            self.refused[Refusal.CAPACITY] += 1
            raise Refused(
                f"the server is full: {self.max_calls} calls", reason=Refusal.CAPACITY.value, retry_after=RETRY_WHEN_FULL
            )
        admission = Admission(f"{self.worker}-{secrets.token_hex(16)}", kind, self._loop.time())
        self._admitted[admission.call_id] = admission
        self._empty.clear()
        return admission

    async def afford(self, admission: Admission, profile: Profile, key: str) -> None:
        """Look whether budgets shared with other calls have anything left; raises Refused. `key`: the API key's name.

        The only question to the store that somebody waits for, and nobody is talking yet.
        """
        if self._ledger is None:
            return
        try:
            self._tabs[admission.call_id] = await self._ledger.open(
                admission.call_id, key, profile.budget, profile.model or self._model_alias
            )
        except Refused:
            self.refused[Refusal.BUDGET] += 1
            raise

    def give_up(self, admission: Admission) -> None:
        """The leg could not be made: free the place. Harmless after `start`."""
        if self._admitted.pop(admission.call_id, None) is not None:
            self._close_tab(admission.call_id)
        self._check_empty()

    def start(self, admission: Admission, leg: Leg, profile: Profile) -> Call:
        """The leg is there: the call begins."""
        call = Call(
            admission.call_id,
            leg,
            profile,
            self._model,
            model_alias=profile.model or self._model_alias,
            observe=self._observe,
            loop=self._loop,
            offered_at=admission.offered_at,
            tab=self._tabs.get(admission.call_id),
            tools=self._tools,
        )
        call.uplink.chunk = self.chunk
        self._calls[call.call_id] = call
        del self._admitted[admission.call_id]
        task = self._loop.create_task(self._live(call), name=call.call_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return call

    def set_chunk(self, seconds: float) -> None:
        """From now on so much audio makes a message to the model, of every call and of those to come."""
        self.chunk = seconds
        for call in self._calls.values():
            call.uplink.chunk = seconds

    def find(self, call_id: str) -> Call:
        """The live call of that id; raises NotFound for unknown and ended ones alike."""
        try:
            return self._calls[call_id]
        except KeyError:
            raise NotFound("no such call, or it has ended") from None

    def calls(self) -> list[Call]:
        """Every live call, oldest first."""
        return list(self._calls.values())

    async def drain(self, deadline: float) -> int:
        """Refuse new calls, let the old ones end for `deadline` seconds, then end them. Returns how many had to be ended."""
        self.draining = True
        try:
            async with asyncio.timeout(deadline):
                await self._empty.wait()
        except TimeoutError:
            self.cut_off()
            await asyncio.gather(*self._tasks)
        return self._cut

    def cut_off(self) -> None:
        """End every call now."""
        for call in self.calls():
            if not call.over:
                self._cut += 1
                call.hang_up(EndReason.DRAINED)

    async def _live(self, call: Call) -> None:
        CALL.set(call.call_id)  # in this task and all that it starts
        self._clock.add(call)
        try:
            try:
                await call.run()
            except Exception as exc:  # guarded dispatch: a bug ends one call, never its neighbours
                call.fail(exc)
            await call.finish()
        finally:
            self._clock.discard(call)
            del self._calls[call.call_id]
            self.ended += 1
            self._close_tab(call.call_id)
            self._check_empty()

    def _close_tab(self, call_id: str) -> None:
        tab = self._tabs.pop(call_id, None)
        if tab is not None and self._ledger is not None:
            self._ledger.close(tab)

    def _check_empty(self) -> None:
        if not len(self):
            self._empty.set()
