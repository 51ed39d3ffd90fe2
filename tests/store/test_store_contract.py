"""Every store against the contract of tests/store/contract.py. A new back-end adds a row here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.store.memory import MemoryStore
from tests.store.contract import CHECKS, Bench, Make


@asynccontextmanager
async def memory() -> AsyncIterator[Bench]:
    now = 1000.0

    async def later(seconds: float) -> None:
        nonlocal now
        now += seconds

    store = MemoryStore(lambda: now)
    try:
        yield Bench(store, later)
    finally:
        await store.close()


ROWS: list[Make] = [memory]


@pytest.mark.parametrize("make", ROWS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(make: Make, check: Callable[[Bench], Awaitable[None]]) -> None:
    async def body() -> None:
        async with asyncio.timeout(15), make() as bench:
            await check(bench)

    asyncio.run(body())


def test_memory_does_not_grow_with_the_days() -> None:
    async def body() -> None:
        now = 0.0
        store = MemoryStore(lambda: now)
        bench = Bench(store, lambda _: asyncio.sleep(0))
        for day in range(1000):
            await bench.one("call", 1, account=f"day {day}")
            now += 10.0
        assert len(store) <= 2

    asyncio.run(body())
