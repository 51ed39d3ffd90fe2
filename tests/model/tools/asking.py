"""Requests for tests of the runners."""

from __future__ import annotations

from typing import Any

from gateway.model.tools.request import ToolRequest
from gateway.toolspec import ToolSpec


def request(tool: ToolSpec, args: dict[str, Any] | None = None, parts: list[object] | None = None) -> ToolRequest:
    """One run; instalments go into `parts`."""
    return ToolRequest(tool, args or {}, "fc1", "c1", "default", (parts if parts is not None else []).append)
