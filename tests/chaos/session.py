"""Break the model's side on purpose and count: the rows of `tests.chaos.rows`, as a table and as JSON.

`python -m tests.chaos.session` runs every row for some seconds, `--full` as often as the README promises: one row after the
other, each within its time, at most 20 calls at once. `--vertex` against the Vertex AI flavour, `--both` on either, `--seed N`
with other chance, `--write` into `results/`; names of rows run only those.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.process import await_quiet, commit, cpu_model
from tests.chaos.rows import ROWS, Finding, Scale

RESULTS = Path(__file__).parent / "results"

FAST = Scale(calls=6, rounds=2, outage=6.0)
FULL = Scale(calls=20, rounds=10, outage=60.0)

LIMIT = 600.0
"""Seconds for one row; the longest of the full ones takes five minutes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row came to."""

    row: str
    backend: str
    findings: tuple[Finding, ...]
    seconds: float
    load: float
    """The machine's load average of the last minute, at the end: ours is about 1."""
    broken: str = ""
    """Why there is nothing to judge."""

    def good(self, slack: float = 1.0) -> bool:
        """Every finding is."""
        return not self.broken and all(finding.good(slack) for finding in self.findings)

    def lines(self) -> list[str]:
        """As a table."""
        title = f"{self.row}, {self.backend} ({self.seconds:.0f} s, load {self.load:.1f})"
        if self.broken:
            return [title, f"  ✗ {self.broken}"]
        return [title, *(f"  {'✓' if found.good() else '✗'} {_words(found)}" for found in self.findings)]

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self) | {"good": self.good(), "findings": [asdict(each) | {"good": each.good()} for each in self.findings]}


def _words(found: Finding) -> str:
    what = f"{found.what:<50} {found.value:>7.0f} {found.unit}".rstrip()
    return f"{what:<72} bar {found.bar:g}"


def _reasons(group: BaseExceptionGroup[Exception]) -> list[str]:
    found: list[str] = []
    for each in group.exceptions:
        found += _reasons(each) if isinstance(each, BaseExceptionGroup) else [str(each).partition("\n")[0] or repr(each)]
    return found


async def run_row(name: str, scale: Scale) -> Outcome:
    """One row; never raises for what the row finds."""
    loop = asyncio.get_running_loop()
    began, findings, broken = loop.time(), [], ""
    try:
        async with asyncio.timeout(LIMIT):
            findings = await ROWS[name](scale)
    except* (AssertionError, TimeoutError) as group:
        broken = f"after {loop.time() - began:.0f} s: " + "; ".join(_reasons(group))
    backend = "vertex" if scale.vertex else "developer"
    return Outcome(name, backend, tuple(findings), loop.time() - began, os.getloadavg()[0], broken)


def write(outcomes: Sequence[Outcome], scale: Scale, began: float) -> Path:
    """The file of a run that began at `began` (Unix time). Written again after each row, which may be the last."""
    about = {
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "calls": scale.calls,
        "rounds": scale.rounds,
        "outage": scale.outage,
        "seed": scale.seed,
    }
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{time.strftime('%Y%m%d-%H%M', time.gmtime(began))}-{about['commit'].rstrip('+')}"
    lines = [f"{key}: {value}" for key, value in about.items()]
    stem.with_suffix(".txt").write_text("\n".join([*lines, *(line for each in outcomes for line in each.lines())]) + "\n")
    path = stem.with_suffix(".json")
    path.write_text(json.dumps(about | {"rows": [each.as_json() for each in outcomes]}, indent=1) + "\n")
    return path


def main() -> int:
    """Run what was asked for; 1 when a finding is above its bar."""
    flags = argparse.ArgumentParser(description="Break the model's side and count what callers lose.")
    flags.add_argument("rows", nargs="*", help=f"those to run, all by default: {', '.join(ROWS)}")
    flags.add_argument("--full", action="store_true", help="as often as the README promises")
    flags.add_argument("--vertex", action="store_true", help="the Vertex AI flavour")
    flags.add_argument("--both", action="store_true", help="one flavour after the other")
    flags.add_argument("--write", action="store_true", help="keep the result")
    flags.add_argument("--quiet", type=float, default=0.0, help="seconds to wait before each row for a quiet machine, at most")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--calls", type=int, help="at once")
    flags.add_argument("--rounds", type=int, help="of each call, or seeds")
    flags.add_argument("--log", action="store_true", help="say what goes on")
    asked = flags.parse_args()
    if unknown := set(asked.rows) - set(ROWS):
        flags.error(f"no such row: {', '.join(sorted(unknown))}")
    logging.basicConfig(level=logging.INFO if asked.log else logging.CRITICAL)
    size = FULL if asked.full else FAST
    size = replace(size, calls=asked.calls or size.calls, rounds=asked.rounds or size.rounds, seed=asked.seed)
    outcomes, began = [], time.time()
    for vertex in (False, True) if asked.both else (asked.vertex,):
        for name in asked.rows or ROWS:
            if asked.quiet and not await_quiet(asked.quiet):
                print("  (the machine is not quiet)", flush=True)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                outcome = runner.run(run_row(name, replace(size, vertex=vertex)))
            print("\n".join(outcome.lines()), flush=True)
            outcomes.append(outcome)
            if asked.write:
                write(outcomes, size, began)
    bad = [f"{each.row}, {each.backend}" for each in outcomes if not each.good()]
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} rows hold" + (f"; not: {'; '.join(bad)}" if bad else ""))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
