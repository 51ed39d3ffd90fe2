"""Functions of a real MCP server process: listed, called, failing, and coming back after it died."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.model.tools.mcp import McpConnection, McpTools, connected, parameters_of
from gateway.model.tools.request import ToolError
from gateway.model.tools.toolbox import open_toolbox
from gateway.profile import Profile
from gateway.toolspec import McpServer, ToolKind, ToolSpec
from tests.model.tools.asking import request

ROOT = str(Path(__file__).parents[3])
SERVER = McpServer((sys.executable, "-m", "tests.model.tools.mcp_server"), (("PYTHONPATH", ROOT), ("SERVER_SECRET", "s3")))


def with_server(body: Callable[[McpConnection], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), connected(frozenset({SERVER})) as connections:
            connection = connections[SERVER]
            assert connection.listed is not None, connection.failure
            await body(connection)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()

    asyncio.run(run())


def test_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "ours alone")

    async def body(connection: McpConnection) -> None:
        listed = {tool.name: tool for tool in connection.listed or ()}
        assert set(listed) == {"add", "where", "fail", "die"}
        parameters = parameters_of(listed["add"])
        assert parameters["required"] == ["a"]
        assert parameters["properties"]["how"]["enum"] == ["plain", "loud"]
        assert parameters_of(listed["where"]) == {}
        runner = McpTools({SERVER: connection})
        tool = ToolSpec("add", ToolKind.MCP, server=SERVER, remote="add")
        value = await runner.run(request(tool, {"a": 40, "b": 2, "how": "loud"}))
        assert value in ("42!", {"result": "42!"})
        found = await connection.call("where", {})
        assert isinstance(found, dict)
        assert (found["secret"], found["key"]) == ("s3", None), "none of our environment"
        with pytest.raises(ToolError):
            await connection.call("fail", {})
        with pytest.raises(ToolError):
            await connection.call("no_such", {})

    with_server(body)


def test_a_server_that_dies_is_started_again() -> None:
    async def body(connection: McpConnection) -> None:
        before = await connection.call("where", {})
        with pytest.raises(ToolError):
            await connection.call("die", {})
        after = None
        async with asyncio.timeout(30):
            while after is None:
                try:
                    after = await connection.call("where", {})
                except ToolError:
                    await asyncio.sleep(0.05)
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        assert before["pid"] != after["pid"]

    with_server(body)


def test_the_process_is_gone_in_the_end() -> None:
    pids: list[int] = []

    async def body(connection: McpConnection) -> None:
        found = await connection.call("where", {})
        assert isinstance(found, dict)
        pids.append(int(str(found["pid"])))

    with_server(body)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_profile_gets_the_servers_functions_in_its_place() -> None:
    async def body() -> None:
        own = ToolSpec("hang_up", ToolKind.BUILTIN)
        profile = Profile(tools=(ToolSpec("desk", ToolKind.MCP, "Office.", server=SERVER, only=("add", "where")), own))
        async with open_toolbox({"default": profile}, model="gemini-3.8-live") as toolbox:
            assert toolbox.names == ["add", "hang_up", "where"]
            add = next(tool for tool in toolbox.profiles["default"].tools if tool.name == "add")
            assert (add.remote, add.server, add.description) == ("add", SERVER, "Office. Adds two numbers.")

    asyncio.run(body())


def test_servers_that_are_not_there_are_all_told() -> None:
    gone = McpServer(("/nonexistent/server",))
    quits = McpServer((sys.executable, "-c", "pass"))
    profiles = {
        "a": Profile("a", tools=(ToolSpec("x", ToolKind.MCP, server=gone),)),
        "b": Profile("b", tools=(ToolSpec("y", ToolKind.MCP, server=quits), ToolSpec("z", ToolKind.PYTHON, path="nowhere:f"))),
    }

    async def body() -> None:
        with pytest.raises(ConfigError) as raised:
            async with open_toolbox(profiles, model=""):
                raise AssertionError("opened")
        assert sorted(fault.split(":")[0] for fault in raised.value.faults) == [
            "profiles.a.tools.x",
            "profiles.b.tools.y",
            "profiles.b.tools.z",
        ]

    asyncio.run(body())


def test_names_that_are_not_there_or_there_twice() -> None:
    async def body() -> None:
        twice = ToolSpec("add", ToolKind.BROWSER)
        profile = Profile(tools=(ToolSpec("desk", ToolKind.MCP, server=SERVER, only=("add", "nix")), twice))
        with pytest.raises(ConfigError) as raised:
            async with open_toolbox({"default": profile}, model=""):
                raise AssertionError("opened")
        assert [fault.rpartition(": ")[2] for fault in raised.value.faults] == [
            "the server has no nix",
            "two functions are called add",
        ]

    asyncio.run(body())
