"""What calls spend, in step with the store: shared budgets, midnight, refusals, and a store that is away. Fake time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.dialog.budget import Budget, Level, Limits, Scope
from gateway.errors import Refused, StoreError
from gateway.ledger import DAY, PATIENCE, Ledger, Tab
from gateway.store.base import Claim, Standing
from gateway.store.memory import MemoryStore
from tests import clock

MODEL = "gemini-3.8-live"


class Flaky(MemoryStore):
    """A store that can be taken away."""

    away = False

    async def settle(self, lease: str, claims: Sequence[Claim], *, lease_ttl: float, account_ttl: float) -> list[Standing]:
        if self.away:
            raise StoreError("away")
        return await super().settle(lease, claims, lease_ttl=lease_ttl, account_ttl=account_ttl)


class House:
    """Workers of one store, and the wall clock of them all."""

    def __init__(self, *budgets: Budget, begins: float = 0.0) -> None:
        self.loop = asyncio.get_running_loop()
        self._offset = begins - self.loop.time()
        self.store = Flaky(self.loop.time)
        self.budgets = budgets

    def wall(self) -> float:
        return self.loop.time() + self._offset

    def ledger(self) -> Ledger:
        return Ledger(self.store, self.budgets, wall=self.wall)


def spend(tab: Tab, tokens: int) -> list[Level]:
    tab.spending.add("output", "audio", "plain", tokens)
    return [reached.level for reached in tab.reached()]


def test_two_workers_share_a_key_and_a_third_call_is_refused() -> None:
    async def body() -> None:
        budget = Budget(key=Limits(tokens=20_000))
        house = House(budget)
        async with house.ledger() as one, house.ledger() as two:
            a, b = await one.open("a", "acme", budget, MODEL), await two.open("b", "acme", budget, MODEL)
            other = await two.open("c", "other", budget, MODEL)
            assert spend(a, 7000) == []
            assert spend(b, 7000) == []
            await asyncio.sleep(8)
            # 14,000 are used, and each holds 3,000 of what is left: it is time to warn, and nobody else comes in.
            assert [reached.level for reached in a.reached()] == [Level.WARN]
            with pytest.raises(Refused) as refused:
                await one.open("d", "acme", budget, MODEL)
            assert refused.value.reason == "budget"
            assert spend(other, 100) == [], "another key has another budget"
            one.close(a)
            await asyncio.sleep(6)
            assert (await one.open("e", "acme", budget, MODEL)).spending.level is Level.FREE, "what was held is free again"
            spend(b, 6000)
            assert b.spending.level is Level.SOFT

    clock.run(body())


def test_the_day_counts_every_key_and_is_published() -> None:
    async def body() -> None:
        budget = Budget(day=Limits(tokens=100_000, usd=100.0))
        house = House(budget)
        async with house.ledger() as ledger:
            a = await ledger.open("a", "acme", budget, MODEL)
            unlimited = await ledger.open("b", "other", Budget(), MODEL)
            spend(a, 30_000)
            spend(unlimited, 20_000)
            await asyncio.sleep(7)
            assert ledger.used_ratio == pytest.approx(0.5)
            assert a.others[Scope.DAY, next(unit for _, unit, _ in budget.limits())] == 20_000

    clock.run(body())


def test_a_new_day_begins_at_nothing_for_calls_that_go_on() -> None:
    async def body() -> None:
        budget = Budget(key=Limits(tokens=10_000))
        house = House(budget, begins=DAY * 20_000 - 10)
        async with house.ledger() as ledger:
            tab = await ledger.open("a", "acme", budget, MODEL)
            assert spend(tab, 7000) == []
            await asyncio.sleep(15)
            assert spend(tab, 7000) == [], "7,000 yesterday, 7,000 today"
            await asyncio.sleep(2)
            assert spend(tab, 1500) == [Level.WARN]

    clock.run(body())


def test_calls_go_on_without_the_store_and_new_ones_are_refused_in_the_end() -> None:
    async def body() -> None:
        budget = Budget(key=Limits(tokens=10_000))
        house = House(budget)
        async with house.ledger() as ledger:
            tab = await ledger.open("a", "acme", budget, MODEL)
            await asyncio.sleep(2)
            house.store.away = True
            assert spend(tab, 8000) == [Level.WARN], "its own use is always known"
            await ledger.open("b", "acme", budget, MODEL)
            await asyncio.sleep(PATIENCE + 10)
            with pytest.raises(Refused, match="can't be checked"):
                await ledger.open("c", "acme", budget, MODEL)
            await ledger.open("d", "acme", Budget(call=Limits(tokens=1)), MODEL)
            house.store.away = False
            await asyncio.sleep(6)
            name = next(claim for claim in house.store._accounts)
            assert await house.store.used([name]) == [8000], "nothing was forgotten"

    clock.run(body())


def test_what_ended_calls_used_stays_and_is_counted_once() -> None:
    async def body() -> None:
        budget = Budget(key=Limits(tokens=100_000))
        house = House(budget)
        async with house.ledger() as ledger:
            for number in range(5):
                tab = await ledger.open(f"call {number}", "acme", budget, MODEL)
                spend(tab, 1000)
                await asyncio.sleep(1.5)
                spend(tab, 500)
                ledger.close(tab)
                ledger.close(tab)
            await asyncio.sleep(2)
            last = await ledger.open("last", "acme", budget, MODEL)
            ((_, others),) = last.others.items()
            assert others == 5 * 1500

    clock.run(body())


def test_a_model_without_a_price_has_no_money_budget_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        budget = Budget(call=Limits(usd=0.001), day=Limits(usd=0.001))
        async with House(budget).ledger() as ledger:
            for number in range(3):
                tab = await ledger.open(f"{number}", "acme", budget, "inhouse-live")
                assert spend(tab, 1_000_000) == []

    clock.run(body())
    assert len([record for record in caplog.records if "no price is known" in record.getMessage()]) == 1


def test_an_answer_that_was_never_billed_is_on_the_days_account() -> None:
    async def body() -> None:
        budget = Budget(key=Limits(tokens=20_000))
        house = House(budget)
        async with house.ledger() as ledger:
            tab = await ledger.open("a", "acme", budget, MODEL)
            tab.spending.passed(said=790.0)  # and the caller hangs up before the turn is over
            ledger.close(tab)
            await ledger.settle()
            with pytest.raises(Refused):
                await ledger.open("b", "acme", Budget(key=Limits(tokens=19_000)), MODEL)

    clock.run(body())
