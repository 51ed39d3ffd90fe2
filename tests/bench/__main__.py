"""`make bench`: the tables, as text and JSON. `python -m tests.bench [ratio half memory setup] [--seconds S]`."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.latency import measure_latency
from tests.bench.measure import OTHER_CORE, Run, measure
from tests.bench.process import await_quiet, commit, cpu_model
from tests.bench.search import Search, capacity, found, in_turns
from tests.bench.setups import measure_setups

RESULTS = Path(__file__).parent / "results"


class Report:
    """Text as it comes, JSON at the end."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.lines: list[str] = []
        self.data: dict[str, Any] = {"commit": commit(), "cpu": cpu_model(), "cores": os.cpu_count(), "runs": []}

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def await_quiet(self) -> None:
        """Give whatever else runs here a chance to end: with it, figures would be about both."""
        if not await_quiet(self.patience):
            self.say("  (the machine is not quiet)")

    def attempt(self, name: str, persona: str, seconds: float, *, talking: bool) -> Callable[[int], Run]:
        """A function that makes one run and notes it."""

        def attempt(calls: int) -> Run:
            self.await_quiet()
            run = measure(name, calls, persona=persona, seconds=seconds, talking=talking)
            self.data["runs"].append(run.as_json())
            self.say("  " + run.line())
            return run

        return attempt

    def write(self, into: Path) -> None:
        into.mkdir(parents=True, exist_ok=True)
        stem = f"{time.strftime('%Y%m%d-%H%M', time.gmtime())}-{self.data['commit'].rstrip('+')}"
        (into / f"{stem}.json").write_text(json.dumps(self.data, indent=1) + "\n")
        (into / f"{stem}.txt").write_text("\n".join(self.lines) + "\n")


def _ours(args: argparse.Namespace, more: int = 0) -> Search:
    return capacity(start=args.start + more, step=args.step, resolution=args.resolution)


def _textbook(args: argparse.Namespace) -> Search:
    return capacity(start=args.textbook_start, step=args.textbook_step, resolution=1)


def bench_capacity(report: Report, args: argparse.Namespace) -> None:
    report.say("calls per core, the model always talking")
    calls = found(_ours(args), report.attempt("ours", "talker", args.seconds, talking=True))
    report.data["capacity"] = calls
    report.say(f"calls per core, always talking: {calls}")


def bench_half(report: Report, args: argparse.Namespace) -> None:
    report.say("calls per core, the model talking half the time")
    calls = found(_ours(args, 20), report.attempt("ours", "talker:3,3", args.seconds, talking=False))
    report.data["capacity_half"] = calls
    report.say(f"calls per core, talking half the time: {calls}")


def bench_textbook(report: Report, args: argparse.Namespace) -> None:
    report.say("the textbook gateway, the model always talking")
    calls = found(_textbook(args), report.attempt("textbook", "talker", args.seconds, talking=True))
    report.data["textbook"] = calls
    report.say(f"textbook calls per core: {calls}")


def bench_ratio(report: Report, args: argparse.Namespace) -> None:
    report.say("calls per core, the model always talking: ours and the textbook gateway in turns")
    searches = (("ours", _ours(args)), ("textbook", _textbook(args)))
    ours, textbook = in_turns([(search, report.attempt(name, "talker", args.seconds, talking=True)) for name, search in searches])
    report.data |= {"capacity": ours, "textbook": textbook}
    report.say(f"calls per core, always talking: {ours}; the textbook gateway: {textbook}")
    if textbook:
        report.data["ratio"] = ours / textbook
        counts = "" if textbook >= 12 else "; does not count: the textbook should pass 12 itself"
        report.say(f"ratio: {report.data['ratio']:.2f}{counts}")


def bench_memory(report: Report, args: argparse.Namespace) -> None:
    del args
    rows = (
        ("idle", "nobody speaks", "talker:1,100000", True),
        ("unanswered", "the caller speaks, the model does not", "talker:1,100000", False),
        ("talking", "both speak, without end", "talker", False),
    )
    for word, what, persona, quiet in rows:
        report.await_quiet()
        run = measure("ours", 40, persona=persona, seconds=10.0, talking=persona == "talker", quiet=quiet)
        report.data[f"memory_{word}"] = run.memory_per_call
        report.data["runs"].append(run.as_json())
        report.say(f"memory per {word} call ({what}): {run.memory_per_call / 1024:.0f} KiB ({run.threads} threads)")


def bench_cpu(report: Report, args: argparse.Namespace) -> None:
    run = report.attempt("ours", "talker", args.seconds, talking=True)(80)
    report.data["cpu_at_80"] = run.cpu_per_call
    report.say(f"CPU per call-second at 80 calls: {run.cpu_per_call * 1000:.2f} ms")


def bench_setup(report: Report, args: argparse.Namespace) -> None:
    del args
    report.await_quiet()
    cost = measure_setups("ours")
    report.data["setup"] = asdict(cost)
    report.say(f"setup: {cost.line()}")


def bench_latency(report: Report, args: argparse.Namespace) -> None:
    del args
    report.data["latency"] = []
    for calls in (5, 50):
        report.await_quiet()
        added = measure_latency(calls)
        report.data["latency"].append(added.figures())
        report.say(added.line())


TABLES: dict[str, Callable[[Report, argparse.Namespace], None]] = {
    "cpu": bench_cpu,
    "capacity": bench_capacity,
    "half": bench_half,
    "textbook": bench_textbook,
    "ratio": bench_ratio,
    "memory": bench_memory,
    "setup": bench_setup,
    "latency": bench_latency,
}

DEFAULT = ("cpu", "ratio", "half", "memory", "setup", "latency")
"""The ratio finds both capacities."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument(
        "tables", nargs="*", choices=[*TABLES, []], help="default: all but capacity and textbook, which ratio has too"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a window (default %(default)s)")
    parser.add_argument("--start", type=int, default=80, help="calls to begin the search with (default %(default)s)")
    parser.add_argument("--textbook-start", type=int, default=10, help="the same for the textbook gateway (default %(default)s)")
    parser.add_argument("--step", type=int, default=20, help="calls more while they pass (default %(default)s)")
    parser.add_argument("--textbook-step", type=int, default=4, help="the same for the textbook gateway (default %(default)s)")
    parser.add_argument("--resolution", type=int, default=4, help="of a capacity, in calls (default %(default)s)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine (default %(default)s)")
    parser.add_argument("--into", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    report = Report(args.patience)
    report.say(f"{report.data['cpu']}, {report.data['cores']} cores, commit {report.data['commit']}")
    for name in args.tables or DEFAULT:
        TABLES[name](report, args)
    report.write(args.into)


if __name__ == "__main__":
    main()
