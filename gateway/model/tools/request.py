"""What a tool is asked, and what it may say instead of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from gateway.errors import GatewayError
from gateway.profile import Change
from gateway.toolspec import ToolSpec


class ToolError(GatewayError):
    """The tool could not do it. The text is told to the model, which may tell the caller: no secrets in it."""


def no_change(change: Change) -> None:
    """Where there is nothing to change."""
    raise ToolError(f"this can't be changed from here: {change}")


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One run of a tool. The arguments conform to its schema."""

    tool: ToolSpec
    args: Mapping[str, Any]
    tool_call_id: str
    """The model's id for it; the idempotency key."""
    call_id: str
    profile: str
    part: Callable[[object], None]
    """Takes an instalment of the result; only for a NON_BLOCKING tool."""
    change: Callable[[Change], None] = no_change
    """Asks for another instruction, other tools, another voice or language from now on; from any thread. Raises ToolError."""


class Runner(Protocol):
    """Runs the tools of one kind."""

    async def run(self, request: ToolRequest) -> object:
        """The tool's value, to be told as JSON. May raise ToolError, and whatever the tool itself raises; may be cancelled."""


class Foreign:
    """Runs code that is not ours and keeps what it raised as a value: `with Foreign() as attempt: …`, then `attempt.failure`.

    A bug of ours crashes; one of an operator's function is that function's result.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> bool:
        # sys.exit() in somebody's function ends that function, not the gateway.
        if not isinstance(exc, Exception | SystemExit):
            return False
        self.failure = exc
        return True
