"""What the calls of one worker spend, kept in step with the store. Calls write into their tab and read from it; neither waits.

One task settles every open tab about once a second: what the call has used so far goes to the accounts of its API key's day and
of the gateway's day, and what all others use of them comes back. A call holds a minute of talk in advance (`budget.reservation`),
so that many calls on many workers together do not spend what only one of them may.

When the store is away, calls go on with what was last known; after `PATIENCE` nobody new is let in on a shared budget: money is
the one thing that fails closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from gateway.dialog.budget import SHARED, Budget, Reached, Scope, Spending, Unit, reservation
from gateway.dialog.prices import Price, price_of
from gateway.errors import Refused, StoreError
from gateway.store.base import Claim, Standing, Store

log = logging.getLogger(__name__)

SETTLE_EVERY = 1.0
"""Seconds between two rounds; a round settles the tabs on which something changed."""

STALE_AFTER = 5.0
"""Seconds after which the others' use is asked for although this call has used nothing."""

LEASE_TTL = 120.0
"""Seconds after which what a vanished worker's calls held is free again."""

DAY = 86_400.0
ACCOUNT_TTL = 2 * DAY
PATIENCE = 300.0
"""Seconds without the store before a shared budget counts as used up for new calls."""

RETRY_WHEN_HELD = 30.0
"""Seconds to wait where others only hold the rest of a budget: they may give it back."""

Key = tuple[Scope, Unit]


class Tab:
    """What one call spends. `spending` is the call's to write."""

    def __init__(
        self, lease: str, key: str, budget: Budget, model: str, prices: Callable[[str], Price | None] = price_of
    ) -> None:
        self.lease = lease
        self.key = key
        self.budget = budget
        self.spending = Spending(budget, prices(model))
        self._prices = prices
        self.others: dict[Key, float] = {}
        """Of the shared limits, what everybody else uses and holds; the ledger keeps it."""
        self.day = -1  # the day its accounts belong to
        self.before: Mapping[Unit, float] = {}  # what it had used when that day began
        self.settled_at = float("-inf")
        self.settled: float = -1.0  # tokens used when it was settled last
        self.closed = False
        self.final = False  # nothing more will be used, and the store knows all

    def answered_by(self, model: str) -> None:
        """Another model answers from now on, at another price."""
        self.spending.price = self._prices(model)

    def reached(self) -> list[Reached]:
        """The limits that have come to a higher level since the last question."""
        return self.spending.reached(self.others)


class Ledger:
    """One per worker; an async context manager. `budgets`: those of every profile, so that it is known what has to be counted."""

    def __init__(
        self,
        store: Store,
        budgets: Iterable[Budget],
        *,
        prices: Sequence[Price] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._prices = prices
        self._wall = wall
        self._counted: dict[Key, None] = {}
        self._day_limits: dict[Unit, int] = {}  # the lowest of any profile
        for budget in budgets:
            for scope, unit, limit in budget.limits():
                if scope in SHARED:
                    self._counted[scope, unit] = None
                if scope is Scope.DAY:
                    self._day_limits[unit] = min(limit, self._day_limits.get(unit, limit))
        self._tabs: dict[str, Tab] = {}
        self._unpriced: set[str] = set()
        self._last_contact = float("-inf")
        self._failing = False
        self._used_today: dict[Unit, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="ledger")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self.settle()
        await self._store.close()

    @property
    def used_ratio(self) -> float:
        """How much of the gateway's day is used up, by the tightest limit; 0 without one."""
        return max((self._used_today.get(unit, 0) / limit for unit, limit in self._day_limits.items()), default=0.0)

    def price(self, model: str) -> Price | None:
        """What this model's tokens cost; one warning for each that is not known."""
        price = price_of(model, self._prices)
        if price is None and model not in self._unpriced and len(self._unpriced) < 100:
            self._unpriced.add(model)
            log.warning("no price is known for %s: its calls have no money budget", model, extra={"model": model})
        return price

    async def open(self, lease: str, key: str, budget: Budget, model: str) -> Tab:
        """A tab for a call that is about to begin. `key`: the API key's name. Raises Refused when a shared budget is used up.

        `close` must follow.
        """
        tab = Tab(lease, key, budget, model, self.price)
        if not self._counted:
            return tab
        try:
            standings = await self._settle(tab)
        except StoreError as exc:
            self._failed(exc)
            if budget.shared and _now() - self._last_contact > PATIENCE:
                self.close(tab)
                raise Refused("budgets can't be checked now", reason="budget", retry_after=RETRY_WHEN_HELD) from None
            return tab
        finally:
            self._tabs[lease] = tab
        for (_, _, limit), standing, hold in standings:
            if limit and (standing.used >= limit or (hold and not standing.granted)):
                self.close(tab)  # what it was granted of other budgets goes back
                used_up = standing.used >= limit
                wait = DAY - self._wall() % DAY if used_up else RETRY_WHEN_HELD
                raise Refused("the budget for today is used up", reason="budget", retry_after=wait)
        return tab

    def close(self, tab: Tab) -> None:
        """The call is over; its last figures are settled with the next round. Harmless when it was closed before."""
        if not tab.closed:
            tab.spending.close()
        tab.closed = True

    async def settle(self) -> None:
        """One round: every open tab, and an end to the closed ones."""
        if not self._counted:
            return
        try:
            for tab in list(self._tabs.values()):
                closed = tab.closed
                if not tab.final and (closed or self._is_due(tab)):
                    await self._settle(tab)
                    tab.final = closed
                if tab.final:
                    await self._store.release(tab.lease, [name for name, *_ in self._accounts(tab)])
                    del self._tabs[tab.lease]
            if self._day_limits:
                day = int(self._wall() // DAY)
                names = [_account(Scope.DAY, "", day, unit) for unit in self._day_limits]
                self._used_today = dict(zip(self._day_limits, await self._store.used(names), strict=True))
            self._contact()
        except StoreError as exc:
            self._failed(exc)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_EVERY)
            await self.settle()

    def _is_due(self, tab: Tab) -> bool:
        changed = tab.settled != tab.spending.used[Unit.TOKENS]
        return changed or _now() - tab.settled_at >= STALE_AFTER or tab.day != int(self._wall() // DAY)

    async def _settle(self, tab: Tab) -> list[tuple[tuple[Scope, Unit, int], Standing, int]]:
        day = int(self._wall() // DAY)
        if tab.day != day:
            await self._turn_page(tab, day)
        tokens = tab.spending.used[Unit.TOKENS]
        limits = {(scope, unit): limit for scope, unit, limit in tab.budget.limits()}
        keys, claims = [], []
        for name, scope, unit in self._accounts(tab):
            limit = limits.get((scope, unit), 0)
            hold = reservation(unit, tab.spending.price) if limit and not tab.closed else 0
            used = round(tab.spending.used[unit] - tab.before.get(unit, 0.0))
            keys.append((scope, unit, limit))
            claims.append(Claim(name, used, hold, limit))
        standings = await self._store.settle(tab.lease, claims, lease_ttl=LEASE_TTL, account_ttl=ACCOUNT_TTL)
        tab.settled, tab.settled_at = tokens, _now()
        for (scope, unit, _), claim, standing in zip(keys, claims, standings, strict=True):
            # Own use is counted from the call's beginning, so what it had used before midnight is taken off again here.
            tab.others[scope, unit] = standing.used - claim.used + standing.held - tab.before.get(unit, 0.0)
        self._contact()
        return [(key, standing, claim.hold) for key, claim, standing in zip(keys, claims, standings, strict=True)]

    async def _turn_page(self, tab: Tab, day: int) -> None:
        """Midnight (UTC) has passed: the old day gets the last of its use, the new one begins at nothing."""
        used = dict(tab.spending.used)
        if tab.day >= 0:
            claims = [Claim(name, round(used[unit] - tab.before.get(unit, 0.0))) for name, _, unit in self._accounts(tab)]
            await self._store.settle(tab.lease, claims, lease_ttl=LEASE_TTL, account_ttl=ACCOUNT_TTL)
            await self._store.release(tab.lease, [claim.account for claim in claims])
            tab.before = used
            tab.spending.new_day()
        tab.day = day

    def _accounts(self, tab: Tab) -> list[tuple[str, Scope, Unit]]:
        return [
            (_account(scope, tab.key if scope is Scope.KEY else "", tab.day, unit), scope, unit) for scope, unit in self._counted
        ]

    def _contact(self) -> None:
        self._last_contact = _now()
        if self._failing:
            self._failing = False
            log.warning("the store is back: budgets are in step again")

    def _failed(self, exc: StoreError) -> None:
        if not self._failing:
            self._failing = True
            log.warning("! the store is away, budgets go on with what was last known: %s", exc)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _account(scope: Scope, key: str, day: int, unit: Unit) -> str:
    return ":".join(part for part in (scope.value, key, str(day), unit.value) if part)
