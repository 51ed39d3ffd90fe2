"""What a tool is declared with: a function the model may have called, as the configuration file describes it.

Every word of it is the operator's. A caller can neither add a tool nor change one; the browser may answer the tools that a
profile lists as the browser's, and no other.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any


class ToolKind(enum.StrEnum):
    """Who does the work."""

    PYTHON = "python"  # a callable from an import path, in this process
    HTTP = "http"  # a webhook
    MCP = "mcp"  # a function of a Model Context Protocol server
    BROWSER = "browser"  # the client on the data channel
    BUILTIN = "builtin"  # the gateway itself


class Behavior(enum.StrEnum):
    """What the model does while it waits."""

    BLOCKING = "BLOCKING"  # it is silent
    NON_BLOCKING = "NON_BLOCKING"  # it keeps talking


class Scheduling(enum.StrEnum):
    """When a model that kept talking takes up a NON_BLOCKING answer."""

    INTERRUPT = "INTERRUPT"
    WHEN_IDLE = "WHEN_IDLE"
    SILENT = "SILENT"


HANG_UP = "hang_up"
"""The built-in tool: the call ends when the goodbye has been heard."""

CONFIRMATION = "confirmation"
"""The argument with which the model repeats a call that the caller had to confirm."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What the service takes as a function's name (it also takes dots and colons; our TOML keys and labels do not)."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where an HTTP tool's calls are posted."""

    url: str
    hosts: tuple[str, ...] = ()
    """Egress allow-list: host names that may be asked, `*.example.com` for all below one. Holds the URL's own host."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Addresses that are allowed although they are not public. The empty default: only the public Internet."""
    token: str = field(default="", repr=False)
    """Sent as `Authorization: Bearer`."""


@dataclass(frozen=True, slots=True)
class McpServer:
    """A Model Context Protocol server: a `command` that speaks on stdin and stdout, or a `url` (streamable HTTP)."""

    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    url: str = ""
    token: str = field(default="", repr=False)
    """Sent as `Authorization: Bearer` to `url`."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One function of one profile."""

    name: str
    kind: ToolKind
    description: str = ""
    """For the model: what it does and when to call it."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Schema of the arguments, an object of the subset in `dialog.arguments`; empty: no arguments."""
    timeout: float = 10.0
    """Seconds; then the model is told that the tool did not answer."""
    per_minute: int = 30
    """Calls of it in one minute of one call; more are denied."""
    output_limit: int = 8 * 1024
    """Bytes of JSON; what is longer is cut and marked."""
    confirm: bool = False
    """Runs only after the caller has been asked and has spoken."""
    behavior: Behavior | None = None
    """None: the model's default. The toolbox replaces it by what the profile's model really does."""
    scheduling: Scheduling | None = None
    path: str = ""
    """python: `package.module:function`."""
    webhook: Webhook | None = None
    server: McpServer | None = None
    remote: str = ""
    """mcp: the function's name at its server; empty in the configuration: all of `only`, or all the server has."""
    only: tuple[str, ...] = ()
    """mcp: the server's functions to offer; empty: every one."""
