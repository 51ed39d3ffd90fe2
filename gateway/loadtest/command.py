"""The command: arguments in, a table or JSON out."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import uvloop

from gateway.config.values import argument, bearer, or_empty, seconds, web_url, whole
from gateway.loadtest.run import LoadPlan, Report, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `gateway loadtest`."""
    parser.add_argument(
        "--url", type=argument(web_url), default="http://127.0.0.1:8080/whip", help="WHIP endpoint (default %(default)s)"
    )
    parser.add_argument(
        "--calls", type=argument(whole(1, 10_000)), default=10, metavar="N", help="callers at once (default %(default)s)"
    )
    parser.add_argument(
        "--ramp",
        type=argument(seconds(0, 86_400)),
        default=5.0,
        metavar="S",
        help="seconds over which they arrive (default %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=argument(seconds(0, 86_400)),
        default=30.0,
        metavar="S",
        help="length of the measured window (default %(default)s)",
    )
    parser.add_argument(
        "--settle", type=argument(seconds(0, 86_400)), default=2.0, metavar="S", help="seconds before it (default %(default)s)"
    )
    parser.add_argument(
        "--linger",
        type=argument(seconds(0, 86_400)),
        default=0.0,
        metavar="S",
        help="seconds between it and hanging up (default %(default)s)",
    )
    parser.add_argument(
        "--key", type=argument(or_empty(bearer)), default="", help="API key of the gateway; better in GATEWAY_API_KEY"
    )
    parser.add_argument("--quiet", action="store_true", help="callers who do not speak: the noise of a quiet room")
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout, progress as JSON lines on stderr")


def main(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run it. 0: every caller was connected and heard packets; 1: not so."""
    key = args.key or environ.get("GATEWAY_API_KEY", "")
    plan = LoadPlan(args.url, args.calls, args.ramp, args.seconds, args.settle, args.linger, key, args.quiet)

    def progress(word: str, calls: int) -> None:
        line = json.dumps({"event": word, "calls": calls}) if args.json else f"{word}: {calls} calls up"
        print(line, file=sys.stderr, flush=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(run(plan, progress))
    print(json.dumps(report) if args.json else table(report))
    return 0 if report["connected"] == args.calls and not report["errors"] else 1


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.1f}"


def table(report: Report) -> str:
    """The report for people, milliseconds."""
    told: dict[str, Any] = report
    setup, packets, gap = told["setup"], told["packets"], told["gap"]
    lines = [f"{told['connected']} of {told['calls']} callers connected, {told['seconds']:.0f} s measured"]
    lines += [f"  failed: {count} × {error}" for error, count in told["errors"].items()]
    lines.append("since the offer, ms       p50      p95      max")
    for name in ("answered", "connected", "first_packet", "first_audio"):
        spread = setup[name]
        lines.append(f"  {name.replace('_', ' '):<18}" + "".join(f"{_ms(spread[key]):>9}" for key in ("p50", "p95", "max")))
    lines.append(
        f"packets: {packets['received']} received, {packets['lost']} lost ({packets['loss']:.2%}), "
        f"{packets['reordered']} out of order; slowest stream {packets['rate_least']:.1f} a second"
    )
    lines.append(
        "gaps, ms: "
        + ", ".join(f"{key} {_ms(gap[key])}" for key in ("p50", "p90", "p99", "p99.9", "max"))
        + f"; worst stream's p99 {_ms(gap['p99_worst_stream'])}"
    )
    return "\n".join(lines)
