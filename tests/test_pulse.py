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
    assert chunk_for(0.53, 0.04) == 0.04  # just below the step: stays
    assert chunk_for(0.49, 0.04) == 0.02


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
