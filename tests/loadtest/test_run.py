"""The whole load test, against a far end that shares no code with it."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.loadtest.command import add_arguments, main, table
from gateway.loadtest.run import LoadPlan, run
from tests.loadtest.far_end import FarEnd, far_end
from tests.starved import judged

Outcome = tuple[dict[str, Any], FarEnd, list[str]]


def load(good: Callable[[Outcome], bool] = lambda _: True, **plan: Any) -> Outcome:
    async def trial() -> Outcome:
        async with far_end() as end:
            seen: list[str] = []
            report = await run(LoadPlan(**{"url": end.url} | plan), lambda word, _: seen.append(word))
            left = [t for t in asyncio.all_tasks() if (t.get_name() or "").startswith("loadtest")]
            assert not left
            return report, end, seen

    outcome, _ = asyncio.run(judged(trial, good))
    return outcome


def in_time(outcome: Outcome) -> bool:
    """What the far end said was measured: 50 packets a second, first audio soon."""
    report, end, _ = outcome
    packets, first = report["packets"], report["setup"]["first_audio"]["max"]
    return min(end.heard) > 1.0 and packets["rate_least"] > 45 and 0.01 < report["gap"]["p50"] < 0.03 and first < 5


def test_callers_speak_hear_and_hang_up() -> None:
    report, end, seen = load(in_time, calls=3, ramp=0.2, seconds=1.5, settle=0.2, key="sesame")
    assert seen == ["connected", "window", "end"]
    assert report["connected"] == 3
    assert report["errors"] == {}
    assert end.ended == 3
    assert set(end.keys) == {"Bearer sesame"}
    # What they said was heard, as speech. One caller's second and a half may be a pause between two sentences; not all three,
    # for callers begin at different places of the recording.
    assert in_time((report, end, seen)), report
    assert max(end.loudest) > 3000
    # Every packet was authentic.
    assert report["packets"]["loss"] == 0.0
    assert report["packets"]["forged"] == 0
    assert report["packets"]["proved"] >= 3
    assert report["packets"]["reports"] > 0
    setup = report["setup"]
    assert 0 < setup["answered"]["p50"] < setup["connected"]["p50"] < setup["first_audio"]["max"]
    assert "3 of 3 callers connected" in table(report)


def test_callers_who_do_not_speak() -> None:
    _, end, _ = load(lambda outcome: min(outcome[1].heard) > 0.2, calls=1, ramp=0.0, seconds=0.5, settle=0.1, quiet=True)
    assert max(end.loudest) < 1_000


def test_a_far_end_that_is_not_there_is_an_error_in_the_report() -> None:
    report, _, _ = load(url="http://127.0.0.1:9/whip", calls=2, ramp=0.0, seconds=0.0, settle=0.0)
    assert report["connected"] == 0
    assert sum(report["errors"].values()) == 2
    assert "ClientConnectorError" in next(iter(report["errors"]))
    assert "0 of 2 callers" in table(report)


def test_the_command_reports_failure_by_its_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = ["--url", "http://127.0.0.1:9/whip", "--calls", "1", "--ramp", "0", "--seconds", "0", "--settle", "0", "--json"]
    assert main(parser.parse_args(arguments), {}) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["connected"] == 0
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["connected", "window", "end"]
