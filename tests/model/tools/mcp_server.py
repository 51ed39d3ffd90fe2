"""A real MCP server on stdin and stdout, for tests: what it offers, how it fails, and how it dies."""

from __future__ import annotations

import os
from typing import Literal

from mcp.server import MCPServer

server = MCPServer("test")


@server.tool()
def add(a: int, b: int = 1, how: Literal["plain", "loud"] = "plain") -> str:
    """Adds two numbers."""
    return f"{a + b}{'!' if how == 'loud' else ''}"


@server.tool()
def where() -> dict[str, str | None]:
    """What it was started with."""
    return {"secret": os.environ.get("SERVER_SECRET"), "key": os.environ.get("GEMINI_API_KEY"), "pid": str(os.getpid())}


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("out of paper")


@server.tool()
def die() -> str:
    """Takes the server with it."""
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
