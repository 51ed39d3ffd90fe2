"""Load and lag in fake time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pulse import LARGEST_CHUNK, Pulse, chunk_for
from tests import clock


def test_the_chunk_grows_with_the_load_and_does_not_flutter() -> None:
    assert chunk_for(0.1, 0.02) == 0.02
    assert chunk_for(0.6, 0.02) == 0.04
    assert chunk_for(0.75, 0.04) == 0.06
    assert chunk_for(0.95, 0.06) == LARGEST_CHUNK
    assert chunk_for(0.53, 0.02) == 0.02
    assert chunk_for(0.37, 0.04) == 0.04  # not far enough below the step: stays
    assert chunk_for(0.34, 0.04) == 0.02


@pytest.mark.parametrize("cost", [20e-6, 35e-6, 50e-6])
@pytest.mark.parametrize("rest", [5e-3, 6.5e-3, 8e-3])
def test_what_a_larger_chunk_saves_does_not_bring_the_smaller_one_back(cost: float, rest: float) -> None:
    """CPU seconds: of a message to the model, and of all else that a call-second takes; less where packets come in rows."""
    in_rows = {0.02: 1.0, 0.04: 1.0, 0.06: 0.88, 0.1: 0.8}

    def load(calls: int, chunk: float) -> float:
        return calls * (rest * in_rows[chunk] + cost / chunk)

    def settled(calls: int, chunk: float) -> float:
        found = [chunk := chunk_for(load(calls, chunk), chunk) for _ in range(10)]
        assert len(set(found[4:])) == 1, (calls, found)
        return chunk

    chunk, busy = 0.02, []
    for calls in [*range(1, 200), *range(199, 0, -1)]:
        before, chunk = chunk, settled(calls, chunk)
        busy.append((before, chunk, load(calls, chunk)))
    up, down = busy[:199], busy[199:]
    assert all(chunk >= before for before, chunk, _ in up)
    assert all(chunk <= before for before, chunk, _ in down)
    assert all(chunk == LARGEST_CHUNK for _, chunk, now in up if now > 0.8), "in time, before the core is full"
    assert all(chunk == 0.02 for _, chunk, now in up if now <= 0.44)
    assert chunk == 0.02


def test_lag_and_load_are_told() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clock.FakeTimeLoop)
        lags: list[float] = []
        loads: list[float] = []
        began = loop.time()
        pulse = Pulse(loop, on_lag=lags.append, on_second=loads.append, cpu=lambda: (loop.time() - began) * 0.25)
        await asyncio.sleep(3.2)
        assert len(lags) >= 60
        assert max(lags) < 1e-6
        assert loads == [pytest.approx(0.25)] * 3
        loop.now += 0.5
        assert pulse.late >= 0.4
        await asyncio.sleep(0.001)
        assert max(lags) >= 0.4
        pulse.stop()

    clock.run(body())
