"""Operators' functions: found, looked at, run in threads or on the loop, and kept from doing harm."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.model.tools.python import PythonTools, Threads, find, mismatch
from gateway.model.tools.request import ToolError
from gateway.toolspec import Behavior, ToolKind, ToolSpec
from tests.model.tools import functions
from tests.model.tools.asking import request

HERE = "tests.model.tools.functions"


def run(name: str, args: dict[str, Any] | None = None, **spec: Any) -> tuple[object, list[object]]:
    """What a function of ours gives, and its instalments."""
    path = f"{HERE}:{name}"
    parts: list[object] = []
    tool = ToolSpec("t", ToolKind.PYTHON, path=path, **spec)
    runner = PythonTools({path: find(path)})
    return asyncio.run(runner.run(request(tool, args, parts))), parts


def test_a_plain_function_runs_in_a_thread() -> None:
    functions.THREADS.clear()
    assert run("add", {"a": 1, "b": 2}) == (3, [])
    assert functions.THREADS == ["tool"]


def test_an_async_one_runs_on_the_loop_and_knows_who_asks() -> None:
    assert run("greet", {"name": "Ada"})[0] == {"said": "Hello Ada", "call": "c1"}


def test_a_thread_knows_who_asks_too() -> None:
    assert run("who")[0] == "c1 fc1"


def test_a_method_by_its_path() -> None:
    assert run("Shop.price", {"item": "abc"})[0] == 3.0


def test_an_async_generator_gives_instalments_or_a_list() -> None:
    assert run("count", {"to": 3}, behavior=Behavior.NON_BLOCKING) == (None, [0, 1, 2])
    assert run("count", {"to": 3}, behavior=Behavior.BLOCKING) == ([0, 1, 2], [])
    with pytest.raises(ToolError):
        run("count", {"to": 100}, behavior=Behavior.BLOCKING)


def test_what_it_raises_comes_back() -> None:
    with pytest.raises(KeyError):
        run("broken")
    with pytest.raises(ToolError, match="no such order"):
        run("polite")


@pytest.mark.parametrize("name", ["leave", "leave_too"])
def test_it_cannot_end_the_process(name: str) -> None:
    with pytest.raises(ToolError):
        run(name)


def test_threads_are_counted_until_they_end_even_when_nobody_waits() -> None:
    async def body() -> None:
        functions.RELEASE.clear()
        threads = Threads(2)
        waits = [asyncio.create_task(threads.run(functions.wait_for_release, {})) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ToolError, match="too many"):
            await threads.run(functions.add, {"a": 1})
        waits[0].cancel()
        await asyncio.wait(waits[:1])
        assert threads.busy == 2, "cancelling does not free a thread"
        functions.RELEASE.set()
        assert await waits[1] == "released"
        async with asyncio.timeout(5):
            while threads.busy:
                await asyncio.sleep(0)
        assert await threads.run(functions.add, {"a": 1}) == 2

    asyncio.run(body())
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "tool")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere", "package.module:function"),
        ("nowhere:", "package.module:function"),
        (":f", "package.module:function"),
        ("a b:f", "package.module:function"),
        ("os:system;ls", "package.module:function"),
        ("nowhere_at_all:f", "can't be imported"),
        (f"{HERE}:missing", "has no missing"),
        (f"{HERE}:Shop.missing", "has no Shop.missing"),
        (f"{HERE}:not_callable", "not callable"),
        (f"{HERE}:generator", "async"),
    ],
)
def test_paths_that_lead_nowhere(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        find(path)


def test_a_module_beside_the_configuration_and_one_that_breaks(tmp_path: Path) -> None:
    (tmp_path / "own_tools_a.py").write_text("def f(): return 7\n")
    (tmp_path / "own_tools_b.py").write_text("raise RuntimeError('not today')\n")
    (tmp_path / "own_tools_c.py").write_text("import sys\nsys.exit(3)\n")
    assert find("own_tools_a:f", str(tmp_path))() == 7
    with pytest.raises(ValueError, match="RuntimeError: not today"):
        find("own_tools_b:f", str(tmp_path))
    with pytest.raises(ValueError, match="SystemExit"):
        find("own_tools_c:f", str(tmp_path))


def schema(*names: str, required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": list(required)}


def test_a_function_must_take_what_is_declared() -> None:
    assert mismatch(functions.add, schema("a", "b", required=("a",))) is None
    assert mismatch(functions.add, schema("a", "b")) is not None, "a may be missing"
    assert mismatch(functions.add, schema("a", "c", required=("a",))) is not None
    assert mismatch(functions.who, {}) is None
    assert mismatch(print, schema()) is None
