"""What one call costs until it works: gateway CPU from the offer to connected and to the first packet, one call at a time."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass

import aiohttp

from gateway.loadtest.caller import PTIME, Caller
from gateway.loadtest.dtls import Identity
from gateway.loadtest.speech import speech
from tests.bench.measure import Bench, started
from tests.bench.process import Process

PATIENCE = 10.0


@dataclass(frozen=True)
class SetupCost:
    """CPU seconds of the gateway, and wall seconds; medians."""

    cpu_connected: float
    cpu_first_packet: float
    cpu_whole: float
    """From the offer to everything let go again."""
    answered: float
    connected: float
    first_packet: float
    idle: float
    """CPU share of a gateway without calls; already taken off the figures above."""

    def line(self) -> str:
        return (
            f"CPU to connected {self.cpu_connected * 1000:.1f} ms, to the first packet {self.cpu_first_packet * 1000:.1f} ms, "
            f"whole call {self.cpu_whole * 1000:.1f} ms; answered after {self.answered * 1000:.1f} ms, "
            f"connected {self.connected * 1000:.1f} ms, first packet {self.first_packet * 1000:.1f} ms; idle {self.idle:.1%}"
        )


async def quiet(process: Process, seconds: float) -> float:
    """CPU seconds used while we do nothing for `seconds`."""
    before = process.cpu()
    await asyncio.sleep(seconds)
    return process.cpu() - before


async def one(
    bench: Bench, number: int, identity: Identity, http: aiohttp.ClientSession, idle: float
) -> tuple[float, ...] | None:
    """(CPU to connected, to the first packet, whole) and (answered, connected, first packet); None if it failed."""
    loop = asyncio.get_running_loop()
    cpu = bench.gateway.cpu
    caller = Caller(number, identity, speech(), url=bench.url)
    began, before = loop.time(), cpu()
    await caller.connect(http)
    connected = cpu() - before - idle * (loop.time() - began)
    while caller.result.first_packet is None and loop.time() - began < PATIENCE:
        caller.step(loop.time())
        await asyncio.sleep(PTIME / 10)
    first_packet = cpu() - before - idle * (loop.time() - began)
    await caller.hang_up(http)
    await asyncio.sleep(0.5)  # let it finish: the model's socket closes, the garbage goes
    whole = cpu() - before - idle * (loop.time() - began)
    result = caller.result
    if result.answered is None or result.connected is None or result.first_packet is None:
        return None
    return connected, first_packet, whole, result.answered, result.connected, result.first_packet


def measure_setups(name: str, calls: int = 40) -> SetupCost:
    """Medians over `calls` calls, one after another, after three that don't count."""

    async def body(bench: Bench) -> SetupCost:
        identity = Identity()
        await asyncio.sleep(1.0)
        idle = await quiet(bench.gateway, 2.0) / 2.0
        async with aiohttp.ClientSession() as http:
            rows = [await one(bench, number, identity, http, idle) for number in range(calls + 3)]
        columns = list(zip(*(row for row in rows[3:] if row is not None), strict=True))
        return SetupCost(*(statistics.median(column) for column in columns), idle)

    with started(name, "talker") as bench:
        return asyncio.run(body(bench))
