"""A load test: callers arrive over a ramp, stay, hang up; and the account of what they heard."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import aiohttp

from gateway.errors import LegError
from gateway.loadtest.caller import PTIME, Caller, CallerResult
from gateway.loadtest.dtls import Identity
from gateway.loadtest.meter import percentile
from gateway.loadtest.speech import quiet, speech

SLOTS = 4
"""Callers take their 20 ms steps in this many groups, so that they don't send in chorus."""
AT_ONCE = 16
"""Hang-ups under way at the same time."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to do. Seconds are floats."""

    url: str
    """The WHIP endpoint, query included: `http://127.0.0.1:8080/whip?profile=default`."""
    calls: int = 10
    ramp: float = 5.0
    """Seconds over which the callers arrive, evenly."""
    seconds: float = 30.0
    """Length of the window that counts."""
    settle: float = 2.0
    """Seconds between the last caller's connect and that window."""
    linger: float = 0.0
    """Seconds between that window and the first hang-up, for whoever else wants to look at the gateway under load."""
    key: str = ""
    """API key of the gateway."""
    quiet: bool = False
    """The callers' microphones are open, and nobody speaks."""


Report = dict[str, object]
Progress = Callable[[str, int], None]
"""Told (`connected` | `window` | `end`, calls up) as the test goes on."""


async def run(plan: LoadPlan, progress: Progress = lambda _word, _calls: None) -> Report:
    """Do it and give the report, ready for JSON. A caller that fails is an entry in it, not an exception."""
    identity, packets = Identity(), quiet() if plan.quiet else speech()
    callers = [Caller(number, identity, packets, url=plan.url, key=plan.key) for number in range(plan.calls)]
    slots: list[list[Caller]] = [callers[n::SLOTS] for n in range(SLOTS)]
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as http,
            asyncio.TaskGroup() as tasks,
        ):
            clock = tasks.create_task(_step(slots), name="loadtest:clock")
            report = await _call(plan, callers, http, progress)
            clock.cancel()
    finally:
        for caller in callers:
            caller.close()
    return report


async def _call(plan: LoadPlan, callers: Sequence[Caller], http: aiohttp.ClientSession, progress: Progress) -> Report:
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as arrivals:
        for number, caller in enumerate(callers):
            due = began + plan.ramp * number / max(1, plan.calls)
            arrivals.create_task(_arrive(caller, due, http), name=f"loadtest:{number}")
    progress("connected", sum(caller.media for caller in callers))
    await asyncio.sleep(plan.settle)
    for caller in callers:
        caller.forget()
    progress("window", sum(caller.media for caller in callers))
    await asyncio.sleep(plan.seconds)
    report = account(plan, [caller.result for caller in callers])
    progress("end", sum(caller.media for caller in callers))
    await asyncio.sleep(plan.linger)
    hanging_up = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as departures:
        for caller in callers:
            departures.create_task(_leave(caller, http, hanging_up), name=f"loadtest:{caller.result.number}")
    return report


async def _arrive(caller: Caller, due: float, http: aiohttp.ClientSession) -> None:
    await asyncio.sleep(due - asyncio.get_running_loop().time())
    try:
        await caller.connect(http)
    except LegError:
        caller.close()  # why is in its result


async def _leave(caller: Caller, http: aiohttp.ClientSession, at_once: asyncio.Semaphore) -> None:
    async with at_once:
        await caller.hang_up(http)


async def _step(slots: Sequence[Sequence[Caller]]) -> None:
    """Every caller's step each 20 ms, on a grid; ends when cancelled. A grid point missed by a whole round is dropped."""
    loop = asyncio.get_running_loop()
    due, slot = loop.time(), 0
    while True:
        now = loop.time()
        if now - due > PTIME:
            due = now
        for caller in slots[slot]:
            caller.step(now)
        slot = (slot + 1) % len(slots)
        due += PTIME / len(slots)
        await asyncio.sleep(due - loop.time())


def account(plan: LoadPlan, results: Sequence[CallerResult]) -> Report:
    """The report of a finished window: seconds and ratios, percentiles over callers or over all packets as named."""
    up = [result for result in results if result.connected is not None]
    streams = [result.meter for result in up]
    gaps = sorted(gap for meter in streams for gap in meter.gaps)
    worst = sorted((meter.gap(0.99) or 0.0 for meter in streams), reverse=True)
    received = sum(meter.packets for meter in streams)
    lost = sum(meter.lost for meter in streams)
    return {
        "url": plan.url,
        "calls": plan.calls,
        "connected": len(up),
        "errors": Counter(result.error for result in results if result.error),
        "seconds": plan.seconds,
        "setup": {
            "answered": _spread(result.answered for result in up),
            "connected": _spread(result.connected for result in up),
            "first_packet": _spread(result.first_packet for result in up),
            "first_audio": _spread(result.first_audio for result in up),
        },
        "packets": {
            "received": received,
            "lost": lost,
            "reordered": sum(meter.reordered for meter in streams),
            "loss": lost / (received + lost) if received + lost else 0.0,
            "rate_least": min((meter.packets / plan.seconds for meter in streams), default=0.0),
            "proved": sum(result.proved for result in up),
            "forged": sum(result.forged for result in up),
            "reports": sum(result.reports for result in up),
        },
        "gap": {
            **{f"p{share}": percentile(gaps, share / 100) for share in (50, 90, 99)},
            "p99.9": percentile(gaps, 0.999),
            "max": gaps[-1] if gaps else None,
            "p99_worst_stream": worst[0] if worst else None,
            "streams_p99_over_60ms": sum(gap >= 0.06 for gap in worst),
        },
    }


def _spread(values: Iterable[float | None]) -> dict[str, float | None]:
    present = [value for value in values if value is not None]
    return {"p50": percentile(present, 0.5), "p95": percentile(present, 0.95), "max": max(present, default=None)}
