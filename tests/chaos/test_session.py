"""Every row in short: facts strictly, timing with room for a busy machine. `make chaos` runs them in full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from tests.chaos import session
from tests.chaos.rows import ROWS, Finding, Scale
from tests.chaos.session import Outcome, run_row, write

T = TypeVar("T")

SLACK = 50.0
"""How much worse timing may be here: all rows run at once, on a machine that may have other things to do."""

AT_ONCE = 20
SHORT = {"outage": 3.0, "seed": 7}
TWICE = ("half-open-listening", "half-open-answering", "outage", "poisoned-handles", "poisoned-at-once")
"""Longest first; two calls are enough."""
ALONE = "every-fault"
"""It counts the sockets of the process."""


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def judge(outcomes: list[Outcome]) -> None:
    bad = [line for outcome in outcomes if not outcome.good(SLACK) for line in outcome.lines()]
    assert not bad, "\n".join(bad)


def test_every_row_holds_on_both_services() -> None:
    async def body() -> list[Outcome]:
        room, door = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

        async def one(name: str, *, vertex: bool) -> Outcome:
            calls = 2 if name in TWICE or vertex else 3
            async with door:
                for _ in range(calls):
                    await room.acquire()
            try:
                return await run_row(name, Scale(calls=calls, rounds=1, vertex=vertex, **SHORT))  # type: ignore[arg-type]
            finally:
                for _ in range(calls):
                    room.release()

        names = [*TWICE, *(name for name in ROWS if name not in (*TWICE, ALONE))]
        return await asyncio.gather(*(one(name, vertex=vertex) for name in names for vertex in (False, True)))

    outcomes = run(body())
    assert len(outcomes) == 2 * (len(ROWS) - 1)
    assert all(outcome.findings for outcome in outcomes if not outcome.broken)
    judge(outcomes)


def test_every_fault_ends_with_its_reason_and_leaves_nothing_behind() -> None:
    judge([run(run_row(ALONE, Scale(calls=30, rounds=1, **SHORT)))])  # type: ignore[arg-type]


# --- the report ---


def test_a_number_above_its_bar_fails_and_only_timing_has_room() -> None:
    assert Finding("calls lost", 0, 0).good()
    assert not Finding("calls lost", 1, 0).good(SLACK)
    late = Finding("silence", 400, 300, "ms", timing=True)
    assert not late.good()
    assert late.good(SLACK)
    assert not Outcome("row", "developer", (late,), 1.0, 0.5).good()
    assert not Outcome("row", "developer", (), 1.0, 0.5, broken="no connection").good(SLACK)


def failing(error: Exception) -> Callable[[Scale], Awaitable[list[Finding]]]:
    async def row(scale: Scale) -> list[Finding]:
        del scale
        raise error

    return row


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("its connection is open"),
        ExceptionGroup("lives", [ExceptionGroup("", [AssertionError("its connection is open")])]),
    ],
)
def test_a_row_that_breaks_is_said_to_be_broken(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "row", failing(error))
    outcome = run(run_row("row", Scale(calls=1, rounds=1, outage=0.0)))
    assert not outcome.good(SLACK)
    assert "its connection is open" in "".join(outcome.lines())


def test_a_row_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def row(scale: Scale) -> list[Finding]:
        del scale
        await asyncio.Event().wait()
        raise AssertionError("never")

    monkeypatch.setitem(ROWS, "row", row)
    monkeypatch.setattr(session, "LIMIT", 0.01)
    assert not run(run_row("row", Scale(calls=1, rounds=1, outage=0.0))).good(SLACK)


def test_the_file_says_what_was_measured_on_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RESULTS", tmp_path)
    outcome = Outcome("row", "vertex", (Finding("lost", 400, 300, "ms", timing=True),), 1.0, 0.5)
    path = write([outcome], session.FULL, 0.0)
    found = json.loads(path.read_text())
    assert {"commit", "cpu", "cores", "python", "seed"} <= found.keys()
    (row,) = found["rows"]
    assert (row["row"], row["backend"], row["good"]) == ("row", "vertex", False)
    assert row["findings"][0]["value"] == 400
    assert "✗ lost" in path.with_suffix(".txt").read_text()
