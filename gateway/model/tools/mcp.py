"""Functions of Model Context Protocol servers: one connection a server and worker, kept up, shared by all calls.

The functions are listed once, at start, and only those are ever offered: what a server adds later is not. A server that goes away
is connected to again with growing pauses; until then its functions answer with an error. It gets none of this process's
environment but what every program needs, and what it says on stderr goes to our log at level debug.

Needs the `mcp` package (extra `mcp`), which is imported only when a profile names a server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway import __version__
from gateway.dialog.arguments import simplify
from gateway.model.tools.request import Foreign, ToolError, ToolRequest
from gateway.toolspec import McpServer

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, Tool

log = logging.getLogger(__name__)

START_TIMEOUT = 20.0
"""Seconds for a server to start and list its functions; `npx` and `uvx` may have to fetch one first."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
MAX_PAGES = 20
MAX_LINE = 500

GONE = "the service behind this function is not available just now"


class McpConnection:
    """One server. `run_forever` keeps it connected; the rest may be used by any task."""

    def __init__(self, server: McpServer) -> None:
        self.server = server
        self.name = (server.url and (urlsplit(server.url).hostname or "?")) or os.path.basename(server.command[0])
        self.listed: tuple[Tool, ...] | None = None
        """The server's functions; None before the first connection."""
        self.failure: str = ""
        """Why it could not be connected to at first."""
        self.settled = asyncio.Event()
        """The first attempt to connect is over."""
        self._client: Client | None = None
        self._lost = asyncio.Event()

    async def run_forever(self) -> None:
        """Connect, and again whenever the connection is lost. Ends only if the first attempt fails, or by cancellation."""
        pause = FIRST_PAUSE
        while True:
            with Foreign() as attempt:
                async with self._connected():
                    pause = FIRST_PAUSE
                    await self._lost.wait()
            reason = f"{type(attempt.failure).__name__}: {attempt.failure}" if attempt.failure else "connection lost"
            if self.listed is None:
                self.failure = reason
                self.settled.set()
                return
            log.warning("! MCP server lost", extra={"server": self.name, "cause": reason, "again_in": pause})
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def call(self, name: str, args: Mapping[str, Any]) -> object:
        """The value of one of its functions. Raises ToolError with the server's own words, or when it is not there."""
        from mcp import MCPError

        client = self._client
        if client is None:
            raise ToolError(GONE)
        try:
            result = await client.call_tool(name, dict(args))
        except MCPError as exc:
            if exc.error.code == _connection_closed():
                self._lost.set()
                raise ToolError(GONE) from exc
            raise ToolError(f"the service behind this function refused: {exc.error.message}") from exc
        return value_of(result)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        from mcp import Client

        async with self._transport() as transport, Client(transport, client_info=_ourselves()) as client:
            if self.listed is None:
                self.listed = await _list(client)
            self._lost.clear()
            self._client = client
            self.settled.set()
            try:
                yield
            finally:
                self._client = None

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[AbstractAsyncContextManager[Any]]:
        """What the SDK's client connects through."""
        if self.server.url:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            headers = {"Authorization": f"Bearer {self.server.token}"} if self.server.token else {}
            # No read timeout: a stream of events may be silent, and a call has the tool's own.
            timeout = httpx2.Timeout(30.0, read=None)
            async with httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http:
                yield streamable_http_client(self.server.url, http_client=http)
        else:
            from mcp import StdioServerParameters, stdio_client

            command, *arguments = self.server.command
            parameters = StdioServerParameters(command=command, args=arguments, env=dict(self.server.env))
            async with _logged(self.name) as stderr:
                yield stdio_client(parameters, errlog=stderr)


class McpTools:
    """Runs the functions of MCP servers."""

    def __init__(self, connections: Mapping[McpServer, McpConnection]) -> None:
        self._connections = connections

    async def run(self, request: ToolRequest) -> object:
        """See Runner."""
        server = request.tool.server
        assert server is not None, "an MCP tool has a server"
        return await self._connections[server].call(request.tool.remote, request.args)


@asynccontextmanager
async def connected(servers: frozenset[McpServer]) -> AsyncIterator[dict[McpServer, McpConnection]]:
    """Connections to these servers, tried once: `listed` or `failure` tells how it went. They are closed in the end."""
    connections = {server: McpConnection(server) for server in servers}
    tasks = [asyncio.create_task(one.run_forever(), name=f"mcp:{one.name}") for one in connections.values()]
    try:
        if tasks:
            waits = [asyncio.create_task(one.settled.wait()) for one in connections.values()]
            _, late = await asyncio.wait(waits, timeout=START_TIMEOUT)
            for wait in late:
                wait.cancel()
            for one in connections.values():
                if not one.settled.is_set():
                    one.failure = f"did not list its functions within {START_TIMEOUT:g} s"
        yield connections
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def described(server: McpServer) -> str:
    """A server for a message to the operator."""
    return server.url or shlex.join(server.command)


def parameters_of(tool: Tool) -> dict[str, Any]:
    """The schema of a server's function, in the language of `dialog.arguments`."""
    return simplify(tool.input_schema)


def value_of(result: CallToolResult) -> object:
    """What a server's function gave: its structure if it has one, else its texts. Raises ToolError for an error result."""
    texts = [getattr(part, "text", None) or f"[{part.type}]" for part in result.content]
    text = "\n".join(texts)
    if result.is_error:
        raise ToolError(text or "the function failed")
    return text if result.structured_content is None else result.structured_content


async def _list(client: Client) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(tools)


def _ourselves() -> Any:
    from mcp_types import Implementation

    return Implementation(name="gemini-voice-gateway", version=__version__)


def _connection_closed() -> int:
    from mcp_types import CONNECTION_CLOSED

    return CONNECTION_CLOSED


@asynccontextmanager
async def _logged(name: str) -> AsyncIterator[Any]:
    """A file that a process may write to; its lines go to our log."""
    ours, theirs = os.pipe()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=64 * 1024)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(ours, "rb"))

    async def relay() -> None:
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than the limit: what was read is dropped, the rest goes on
                continue
            if not line:
                return
            log.debug("< MCP server", extra={"server": name, "line": line.decode(errors="replace").rstrip()[:MAX_LINE]})

    reading = asyncio.create_task(relay(), name=f"mcp:{name}:stderr")
    try:
        with os.fdopen(theirs, "w") as file:
            yield file
    finally:
        reading.cancel()
        transport.close()
        await asyncio.gather(reading, return_exceptions=True)
