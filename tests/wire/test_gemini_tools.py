"""Functions as the service is told of them: its own words, and what each model takes, judged by the emulator's strict setup."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialog.arguments import check
from gateway.emulator.models import MODELS, Backend
from gateway.emulator.setup_check import check_setup
from gateway.profile import Profile
from gateway.toolspec import CONFIRMATION, Behavior, ToolKind, ToolSpec
from gateway.wire.gemini_setup import capabilities, connect_config, left_out
from gateway.wire.gemini_tools import Functions, behavior, declarations, schema

DEVELOPER = [name for name, model in MODELS.items() if Backend.DEVELOPER in model.backends]


def spec(**options: Any) -> ToolSpec:
    return ToolSpec("f", ToolKind.PYTHON, "Does it.", **options)


@pytest.mark.parametrize("wanted", [None, *Behavior])
@pytest.mark.parametrize("model", DEVELOPER)
def test_every_model_takes_what_is_declared_and_does_what_we_believe(model: str, wanted: Behavior | None) -> None:
    can = capabilities(model)
    tool = spec(behavior=wanted)
    body: dict[str, Any] = {"model": f"models/{model}", "tools": connect_config(Profile(tools=(tool,)), can)["tools"]}
    if can.thinking_level:
        body["generationConfig"] = {"thinkingConfig": {"thinkingLevel": can.thinking_level}}
    setup = check_setup(body, Backend.DEVELOPER, "v1beta")
    assert setup.functions == {"f": behavior(wanted, can.functions) is Behavior.BLOCKING}


def test_a_wish_that_a_model_does_not_take_is_told_once() -> None:
    tool = spec(behavior=Behavior.NON_BLOCKING)
    assert left_out(Profile(tools=(tool,)), capabilities("gemini-3.1-flash-live-preview")) != []
    assert left_out(Profile(tools=(tool,)), capabilities("gemini-3.8-live")) == []


def test_parameters_in_the_apis_spelling() -> None:
    given = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["a"]},
            "list": {"type": "array", "items": {"type": "integer"}},
            "any": {"anyOf": [{"type": "boolean"}, {"type": "number"}]},
        },
        "required": ["type"],
        "additionalProperties": False,
    }
    assert not check(given)
    assert schema(given) == {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "enum": ["a"]},
            "list": {"type": "ARRAY", "items": {"type": "INTEGER"}},
            "any": {"anyOf": [{"type": "BOOLEAN"}, {"type": "NUMBER"}]},
        },
        "required": ["type"],
    }


def test_a_tool_without_parameters_says_nothing_of_them() -> None:
    assert declarations([spec()], Functions()) == [{"name": "f", "description": "Does it."}]


def test_a_tool_to_confirm_takes_a_token_that_it_does_not_need() -> None:
    (declared,) = declarations(
        [spec(confirm=True, parameters={"type": "object", "properties": {"n": {"type": "integer"}}})], Functions()
    )
    assert set(declared["parameters"]["properties"]) == {"n", CONFIRMATION}
    assert "required" not in declared["parameters"]
    assert "confirm" in declared["description"]
    (bare,) = declarations([spec(confirm=True)], Functions())
    assert set(bare["parameters"]["properties"]) == {CONFIRMATION}


def test_a_profile_without_tools_declares_none() -> None:
    assert "tools" not in connect_config(Profile(), capabilities(""))
