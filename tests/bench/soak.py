"""`make soak`: callers come and go for an hour; what the gateway holds in between must not grow.

Waves of callers arrive, talk with a parrot that is interrupted often, and hang up. Between two waves there is no call, and the
process is looked at: own memory, open files, threads, tasks. The first waves are warm-up; the others must not trend upwards.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.bench.measure import OTHER_CORE, Bench, load, started
from tests.bench.process import commit, cpu_model

LEAST_WARM_UP = 8
WARM_UP = 0.25
"""Share of the waves, and the least number, that don't count: the allocator's arenas find the size that busy moments set."""
MEMORY_SLACK = 2 * 2**20
"""Bytes by which the last third of the waves may lie above the first: allocators breathe. In an hour a KiB a call would show."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Look:
    """What an idle gateway holds."""

    at: float
    memory: int
    files: int
    threads: int
    tasks: int


def scrape(admin: str) -> dict[str, float]:
    """Sums over labels of every metric."""
    with urllib.request.urlopen(f"{admin}/metrics", timeout=10) as response:
        text = response.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def look(bench: Bench, began: float) -> Look:
    """Once no call and no wave's socket is left; raises TimeoutError when calls stay."""
    deadline = time.monotonic() + PATIENCE
    settled = 0.0
    while True:
        told = scrape(bench.admin)
        quiet = told.get("gateway_calls_active", 0.0) == 0.0
        now = time.monotonic()
        settled = (settled or now) if quiet else 0.0
        # Three seconds without a call: the tasks gauge is a second old at most, and closing handshakes are over.
        if settled and now - settled > 3.0:
            return Look(
                now - began,
                bench.gateway.memory(),
                bench.gateway.files(),
                bench.gateway.threads(),
                int(told["gateway_asyncio_tasks"]),
            )
        if now > deadline:
            raise TimeoutError(f"{told['gateway_calls_active']:.0f} calls are left after {PATIENCE:.0f} s")


def warm(looks: Sequence[Look]) -> Sequence[Look]:
    """The looks that count."""
    return looks[max(LEAST_WARM_UP, round(WARM_UP * len(looks))) :]


def grown(looks: Sequence[Look]) -> list[str]:
    """What trends upwards, in words; empty: nothing. Compares the first with the last third.

    Memory by the median. Things that are counted by the least: one that is there for a moment (the scrape's own task) is no
    growth, and one that stays raises the least as well.
    """
    third = max(1, len(looks) // 3)
    faults = []
    for name, slack, least in (("memory", MEMORY_SLACK, False), ("files", 0, True), ("threads", 0, True), ("tasks", 0, True)):
        typical = min if least else statistics.median
        first = typical(getattr(each, name) for each in looks[:third])
        last = typical(getattr(each, name) for each in looks[-third:])
        if last - first > slack:
            faults.append(f"{name} grew from {first:.0f} to {last:.0f}")
    return faults


def soak(minutes: float, calls: int, wave: float) -> int:
    """Returns the exit status."""
    looks: list[Look] = []
    ended = 0
    with started("ours", "parrot") as bench:
        began = time.monotonic()
        while time.monotonic() - began < 60 * minutes or len(looks) < LEAST_WARM_UP + 3:
            for event in load(bench, calls, wave * 0.4, ramp=wave * 0.6, settle=0.0):
                if event["event"] == "report":
                    ended += int(event.get("connected", 0))
                elif event["event"] == "broken":
                    raise SystemExit(f"the load tool broke off: {event['why']}")
            looks.append(look(bench, began))
            print(f"{looks[-1].at / 60:6.1f} min  {ended:>6} calls  {json.dumps(asdict(looks[-1]))}", flush=True)
    faults = grown(warm(looks))
    verdict = "; ".join(faults) or "nothing grew"
    print(f"{cpu_model()}, commit {commit()}: {minutes:.0f} min, {ended} calls of at most {calls} at once: {verdict}")
    into = Path(__file__).parent / "results" / f"soak-{time.strftime('%Y%m%d-%H%M', time.gmtime())}.json"
    into.parent.mkdir(exist_ok=True)
    into.write_text(
        json.dumps({"commit": commit(), "calls": ended, "verdict": verdict, "looks": [asdict(each) for each in looks]}) + "\n"
    )
    return 1 if faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--calls", type=int, default=85, help="at once, at the top of a wave (half capacity)")
    parser.add_argument("--wave", type=float, default=35.0, help="seconds from the first call of a wave to the first hang-up")
    args = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    sys.exit(soak(args.minutes, args.calls, args.wave))


if __name__ == "__main__":
    main()
