"""Functions as the service is told of them: `FunctionDeclaration`s of the setup.

Parameters go as the API's `Schema` (`type` in capitals), which every model reads. Which answers a model waits for differs by
model: some only wait, some never do, and where there is a choice the default differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.dialog.consent import GOOD_FOR
from gateway.toolspec import CONFIRMATION, Behavior, ToolSpec

MAX_FUNCTIONS = 512
"""Of one session, all tools together."""


@dataclass(frozen=True, slots=True)
class Functions:
    """How a family of models calls functions."""

    blocking: bool = True
    """Can wait for an answer."""
    non_blocking: bool = True
    """Can keep talking until it comes."""
    blocks_by_default: bool = True


FUNCTIONS = Functions()
"""Of a model without a row."""


def behavior(wanted: Behavior | None, can: Functions) -> Behavior:
    """What the model will do, whatever was wanted."""
    default = Behavior.BLOCKING if can.blocks_by_default else Behavior.NON_BLOCKING
    if wanted is None:
        return default
    takes = can.blocking if wanted is Behavior.BLOCKING else can.non_blocking
    return wanted if takes else default


def declarations(tools: Iterable[ToolSpec], can: Functions) -> list[dict[str, Any]]:
    """The `functionDeclarations` of a setup. A behavior that is the model's own anyway is not said, one it refuses neither."""
    return [_declaration(tool, can) for tool in tools]


def _declaration(tool: ToolSpec, can: Functions) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name, "description": tool.description}
    parameters = schema(tool.parameters) if tool.parameters else {}
    if tool.confirm:
        parameters = _with_confirmation(parameters)
        declared["description"] = f"{tool.description} The caller must confirm it: the first call only asks.".strip()
    if parameters:
        declared["parameters"] = parameters
    how = behavior(tool.behavior, can)
    if how is not behavior(None, can):
        declared["behavior"] = how.value
    return declared


def _with_confirmation(parameters: Mapping[str, Any]) -> dict[str, Any]:
    token = {
        "type": "STRING",
        "description": f"Leave out at first. The token of the first answer, once the caller said yes; good for {GOOD_FOR:.0f} s.",
    }
    properties = dict(parameters.get("properties", {})) | {CONFIRMATION: token}
    return {"type": "OBJECT"} | dict(parameters) | {"properties": properties}


def schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of `dialog.arguments` in the API's spelling."""
    spelled: dict[str, Any] = {}
    for key, value in parameters.items():
        match key:
            case "type":
                spelled[key] = value.upper()
            case "properties":
                spelled[key] = {name: schema(inner) for name, inner in value.items()}
            case "items":
                spelled[key] = schema(value)
            case "anyOf":
                spelled[key] = [schema(inner) for inner in value]
            case "additionalProperties":
                pass  # not a word of the API; undeclared properties are refused anyway
            case _:
                spelled[key] = value
    return spelled
