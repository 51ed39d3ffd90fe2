"""`make fuzz`: knock at every door for a while; `python -m tests.fuzz --help`.

First the parsers, in this process; then a real gateway with a call going on, over HTTP and UDP. The same seed gives the same
inputs. Exit code 1 when anything was found; each finding lies in tests/fuzz/found/ and is played back with --replay FILE; the
parsers' ones are played back by `make test` from then on.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.dial.loopback import loopback_candidates
from tests.fuzz.doors import DOORS
from tests.fuzz.engine import FOUND, Finding, batch, replay
from tests.fuzz.live import LIVE, besiege, replayed

SHARE_LIVE = 0.35
"""Of the time goes to the running gateway."""

STRIDE = 200
"""Inputs between two looks at the clock."""


def parsers(names: list[str], seed: int, first: int, seconds: float) -> Iterator[Finding]:
    """Every door in turns until the time is over, so that a short run has been at all of them."""
    until = time.monotonic() + seconds
    done = dict.fromkeys(names, 0)
    for start in itertools.count(first, STRIDE):
        for name in names:
            if time.monotonic() >= until:
                for each, inputs in done.items():
                    print(f"{each:10} {inputs:10,} inputs from {first}")
                return
            count, found = batch(DOORS[name], seed, range(start, start + STRIDE))
            done[name] += count
            yield from found


def main() -> int:
    """Read the command line, knock, report."""
    parse = argparse.ArgumentParser(prog="make fuzz ARGS=...", description=__doc__)
    parse.add_argument("--seconds", type=float, default=600.0, help="about how long (default 600)")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--first", type=int, default=0, help="number of the first input")
    parse.add_argument("--only", action="append", choices=[*DOORS, *LIVE], help="this door; may be repeated")
    parse.add_argument("--replay", type=Path, help="play this file back instead")
    chosen = parse.parse_args()
    if chosen.replay is not None:
        name = chosen.replay.stem.rpartition("-")[0]
        if name in LIVE:
            why = asyncio.run(replayed(name, chosen.replay.read_bytes()))
        else:
            finding = replay(chosen.replay)
            why = finding.why if finding else ""
        print(why or "holds")
        return 1 if why else 0
    names = [name for name in DOORS if chosen.only is None or name in chosen.only]
    live = [name for name in LIVE if chosen.only is None or name in chosen.only]
    for_live = chosen.seconds * (SHARE_LIVE if names else 1.0) if live else 0.0
    places: set[str] = set()
    count = 0
    print(f"seed {chosen.seed}: {len(names)} parsers for {chosen.seconds - for_live:.0f} s, a gateway for {for_live:.0f} s")
    for finding in parsers(names, chosen.seed, chosen.first, chosen.seconds - for_live) if names else ():
        place = f"{finding.door} {finding.why.strip().splitlines()[-2:][0]}"
        if place not in places:
            places.add(place)
            count += _report(finding)
    if live:
        with loopback_candidates():
            for finding in asyncio.run(besiege(live, chosen.seed, for_live)):
                count += _report(finding)
    print(f"{count} findings")
    return 1 if count else 0


def _report(finding: Finding) -> int:
    print(f"\n{finding.door}, input {finding.number}: {finding.save(FOUND)}\n{finding.why}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
