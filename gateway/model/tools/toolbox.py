"""The tools of one worker: what its profiles name, looked up, connected and shared by its calls."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from weakref import WeakSet

from gateway.errors import ConfigError
from gateway.model.tools import mcp, python
from gateway.model.tools.desk import CallSide, Desk
from gateway.model.tools.http import HttpTools
from gateway.model.tools.moderator import Moderator
from gateway.model.tools.request import Runner
from gateway.profile import DuringTools, Profile
from gateway.toolspec import NAME, McpServer, ToolKind, ToolSpec
from gateway.wire.gemini_setup import capabilities
from gateway.wire.gemini_tools import MAX_FUNCTIONS, behavior


class Toolbox:
    """Gives each call its desk. `open_toolbox` makes one."""

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        runners: Mapping[ToolKind, Runner],
        *,
        model: str,
        hooks: Mapping[ToolKind, Runner] | None = None,
    ) -> None:
        self.profiles = dict(profiles)
        """The profiles, with an MCP server's functions in its place."""
        self._runners = dict(runners)
        self._hooks = dict(hooks or {})
        self._model = model
        self._desks: WeakSet[Desk] = WeakSet()

    @property
    def names(self) -> list[str]:
        """Every function there is, sorted."""
        return sorted({tool.name for profile in self.profiles.values() for tool in profile.tools})

    @property
    def running(self) -> int:
        """Functions at work in this worker just now."""
        return sum(desk.running for desk in self._desks)

    def desk(self, profile: Profile, side: CallSide) -> Desk:
        """The tools of one call."""
        can, wanted = capabilities(profile.model or self._model), profile.listening.during_tools
        tools = [replace(tool, behavior=behavior(tool.behavior, can.functions)) for tool in profile.tools]
        holds = wanted is DuringTools.HOLD or (wanted is DuringTools.DEFAULT and can.deaf_in_tools)
        desk = Desk(tools, self._runners, side, holds=holds)
        self._desks.add(desk)
        return desk

    def moderator(self, profile: Profile, *, call_id: str) -> Moderator | None:
        """Who judges the transcripts of one call; None: nobody."""
        moderation = profile.moderation
        if moderation is None:
            return None
        return Moderator(moderation, self._hooks[moderation.hook.kind], call_id=call_id, profile=profile.name)


@asynccontextmanager
async def open_toolbox(profiles: Mapping[str, Profile], *, model: str) -> AsyncIterator[Toolbox]:
    """Look up and connect to all that the profiles' tools need; `model`: of profiles that name none.

    Raises ConfigError with every fault: a function that is not there, a server that does not list its functions, a name twice.
    """
    tools = [tool for profile in profiles.values() for tool in profile.tools]
    hooks = {name: profile.moderation.hook for name, profile in profiles.items() if profile.moderation is not None}
    servers = frozenset(tool.server for tool in tools if tool.server is not None)
    faults: list[str] = []
    if servers and importlib.util.find_spec("mcp") is None:
        raise ConfigError(["MCP servers need a package that is not installed: pip install 'gemini-voice-gateway[mcp]'"])
    async with AsyncExitStack() as stack:
        functions: dict[str, python.Function] = {}
        for profile in profiles.values():
            for tool in profile.tools:
                try:
                    functions |= python.functions([tool])
                except ValueError as error:
                    faults.append(f"profiles.{profile.name}.tools.{tool.name}: {error}")
        judges: dict[str, python.Function] = {}
        for name, hook in hooks.items():
            try:
                judges |= python.functions([hook])
            except ValueError as error:
                faults.append(f"profiles.{name}.moderation: {error}")
        connections = await stack.enter_async_context(mcp.connected(servers))
        expanded = {name: _expanded(profile, connections, faults) for name, profile in profiles.items()}
        if faults:
            raise ConfigError(faults)
        webhooks = HttpTools()
        await webhooks.open({tool.webhook for tool in [*tools, *hooks.values()] if tool.webhook is not None}, stack)
        runners: dict[ToolKind, Runner] = {
            ToolKind.PYTHON: python.PythonTools(functions),
            ToolKind.HTTP: webhooks,
            ToolKind.MCP: mcp.McpTools(connections),
        }
        # Threads of their own: tools that hang must not keep the transcripts from being judged, nor the other way round.
        judging: dict[ToolKind, Runner] = {ToolKind.PYTHON: python.PythonTools(judges), ToolKind.HTTP: webhooks}
        yield Toolbox(expanded, runners, model=model, hooks=judging)


def _expanded(profile: Profile, connections: Mapping[McpServer, mcp.McpConnection], faults: list[str]) -> Profile:
    """The profile with each MCP entry replaced by the server's functions."""
    found: list[ToolSpec] = []
    for tool in profile.tools:
        if tool.server is None:
            found.append(tool)
            continue
        where = f"profiles.{profile.name}.tools.{tool.name}"
        connection = connections[tool.server]
        if connection.listed is None:
            faults.append(f"{where}: {mcp.described(tool.server)}: {connection.failure}")
            continue
        listed = {one.name: one for one in connection.listed}
        faults += [f"{where}.only: the server has no {name}" for name in tool.only if name not in listed]
        for name, one in listed.items():
            if tool.only and name not in tool.only:
                continue
            if NAME.fullmatch(name) is None:
                faults.append(f"{where}: the model can't call a function named {name!r}; leave it out by only")
                continue
            own = f"{tool.description} {one.description or ''}".strip()
            found.append(replace(tool, name=name, remote=name, description=own, parameters=mcp.parameters_of(one), only=()))
    names = [tool.name for tool in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += [f"profiles.{profile.name}.tools: two functions are called {name}" for name in twice]
    if len(found) > MAX_FUNCTIONS:
        faults.append(f"profiles.{profile.name}.tools: {len(found)} functions; the service takes {MAX_FUNCTIONS}")
    return replace(profile, tools=tuple(found)) if found or profile.tools else profile
