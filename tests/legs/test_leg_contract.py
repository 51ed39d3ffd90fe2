"""Every leg against the contract of tests/legs/contract.py. A new leg adds a row here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.legs.caller import webrtc_pair
from tests.legs.contract import CHECKS, PATIENCE, Make, Pair, leaves_nothing_behind

ROWS: list[Make] = [webrtc_pair]


@pytest.mark.parametrize("make", ROWS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(make: Make, check: Callable[[Pair], Awaitable[None]]) -> None:
    async def body() -> None:
        async with make(patience=PATIENCE.get(check, 15.0)) as pair:
            await check(pair)

    asyncio.run(body())


@pytest.mark.parametrize("make", ROWS, ids=lambda make: make.__name__)
def test_nothing_is_left(make: Make) -> None:
    asyncio.run(leaves_nothing_behind(make))
