"""What every store promises, as checks that any back-end can be put through. A new one adds a row in test_store_contract.py.

A row makes a store and a hand on its clock: `later(seconds)` lets its time pass, whether that is a number or really waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.store.base import Claim, Standing, Store

LEASE_TTL = 0.3
ACCOUNT_TTL = 1.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A fresh store under test, shared by as many workers as the check pleases."""

    store: Store
    later: Callable[[float], Awaitable[None]]

    async def settle(self, lease: str, *claims: Claim, lease_ttl: float = LEASE_TTL) -> list[Standing]:
        """With times to live that a back-end in real time can be waited for."""
        return await self.store.settle(lease, claims, lease_ttl=lease_ttl, account_ttl=ACCOUNT_TTL)

    async def one(self, lease: str, used: int, hold: int = 0, limit: int = 10_000, account: str = "a") -> Standing:
        """One claim on one account."""
        (standing,) = await self.settle(lease, Claim(account, used, hold, limit))
        return standing


Make = Callable[[], AbstractAsyncContextManager[Bench]]


async def reserves_up_to_the_limit_and_not_a_token_more(bench: Bench) -> None:
    """The known figures: a budget of 10,000, six calls that want 3,000 each."""
    granted = [(await bench.one(f"call {number}", 0, 3000)).granted for number in range(6)]
    assert granted == [3000, 3000, 3000, 1000, 0, 0]


async def at_the_same_moment_too(bench: Bench) -> None:
    """Two hundred at once at a limit of ten: where one reads before another writes, more than ten get through."""
    standings = await asyncio.gather(*(bench.one(f"call {number}", 0, 1, limit=10) for number in range(200)))
    assert sum(standing.granted for standing in standings) == 10


async def what_is_used_is_told_in_all_so_twice_is_once(bench: Bench) -> None:
    assert (await bench.one("call", 100)).used == 100
    assert (await bench.one("call", 100)).used == 100
    assert (await bench.one("call", 250)).used == 250
    assert (await bench.one("call", 200)).used == 250, "an older message came late"
    assert (await bench.one("other", 50)).used == 300


async def use_may_exceed_what_was_held_and_the_limit(bench: Bench) -> None:
    await bench.one("call", 0, 100, limit=100)
    standing = await bench.one("call", 400, 100, limit=100)
    assert standing.used == 400
    assert standing.granted == 0


async def a_hold_is_replaced_not_added(bench: Bench) -> None:
    for hold in (3000, 2000, 2500):
        await bench.one("call", 0, hold)
    assert (await bench.one("other", 0)).held == 2500


async def ones_own_hold_is_not_in_ones_way(bench: Bench) -> None:
    assert (await bench.one("call", 0, 10_000)).granted == 10_000
    standing = await bench.one("call", 0, 10_000)
    assert (standing.granted, standing.held) == (10_000, 0)


async def a_release_frees_the_hold_and_keeps_the_use(bench: Bench) -> None:
    await bench.one("call", 4000, 6000)
    assert (await bench.one("other", 0, 5000)).granted == 0
    await bench.store.release("call", ["a"])
    standing = await bench.one("other", 0, 9000)
    assert (standing.used, standing.held, standing.granted) == (4000, 0, 6000)
    await bench.store.release("call", ["a"])
    await bench.store.release("nobody", ["a", "no such account"])
    assert await bench.store.used(["a"]) == [4000]


async def what_a_crash_held_lapses(bench: Bench) -> None:
    await bench.one("crashed", 1000, 9000)
    assert (await bench.one("other", 0, 5000)).granted == 0
    await bench.later(LEASE_TTL * 1.5)
    standing = await bench.one("other", 0, 5000)
    assert (standing.used, standing.granted) == (1000, 5000)
    # It was only slow, and speaks again: its use is not counted a second time.
    assert (await bench.one("crashed", 1200)).used == 1200


async def an_account_nobody_settles_is_forgotten(bench: Bench) -> None:
    await bench.one("call", 700)
    await bench.later(ACCOUNT_TTL * 0.6)
    assert (await bench.one("call", 700)).used == 700  # settled again: its time begins anew
    await bench.later(ACCOUNT_TTL * 0.6)
    assert await bench.store.used(["a"]) == [700]
    await bench.later(ACCOUNT_TTL * 0.6)
    assert await bench.store.used(["a"]) == [0]


async def accounts_do_not_touch(bench: Bench) -> None:
    names = ["key:a:2026-11-21:usd", "key:b:2026-11-21:usd", "day:2026-11-21:tokens", 'a "name" {of} an\nykind*?\0é']
    standings = await bench.settle("call", *(Claim(name, number) for number, name in enumerate(names, 1)))
    assert [standing.used for standing in standings] == [1, 2, 3, 4]
    assert await bench.store.used([*reversed(names), "none"]) == [4, 3, 2, 1, 0]
    await bench.store.release("call", names[:1])
    assert await bench.store.used(names) == [1, 2, 3, 4]


async def no_limit_grants_what_is_wanted(bench: Bench) -> None:
    assert (await bench.one("call", 10**12, 5, limit=0)).granted == 5


async def large_amounts_stay_exact(bench: Bench) -> None:
    """A million dollars in millionths, to the last one."""
    most = 10**12 - 1
    assert (await bench.one("call", most, limit=10**12)).used == most
    assert (await bench.one("other", 1, 5, limit=10**12)) == Standing(10**12, 0, 0)


async def nothing_asked_is_nothing_answered(bench: Bench) -> None:
    assert await bench.settle("call") == []
    assert await bench.store.used([]) == []
    await bench.store.release("call", [])


async def closing_twice_is_closing_once(bench: Bench) -> None:
    await bench.store.close()
    await bench.store.close()


CHECKS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    reserves_up_to_the_limit_and_not_a_token_more,
    at_the_same_moment_too,
    what_is_used_is_told_in_all_so_twice_is_once,
    use_may_exceed_what_was_held_and_the_limit,
    a_hold_is_replaced_not_added,
    ones_own_hold_is_not_in_ones_way,
    a_release_frees_the_hold_and_keeps_the_use,
    what_a_crash_held_lapses,
    an_account_nobody_settles_is_forgotten,
    accounts_do_not_touch,
    no_limit_grants_what_is_wanted,
    large_amounts_stay_exact,
    nothing_asked_is_nothing_answered,
    closing_twice_is_closing_once,
)
