"""What a function's arguments must look like, and whether they do.

The schema language is the part of OpenAPI's (JSON Schema's) that the Live service takes in `FunctionDeclaration.parameters`, so
that what the model is told and what is checked are the same words: `type`, `description`, `title`, `nullable`, `default`,
`example`, `anyOf`; string `enum pattern minLength maxLength format`; number and integer `minimum maximum format`; array `items
minItems maxItems`; object `properties required propertyOrdering minProperties maxProperties`. Properties that are not declared
are refused, always; so is a `pattern` that could take for ever (gateway/dialog/pattern.py).

`check` judges a schema, `conform` arguments, `simplify` makes such a schema of any JSON Schema (an MCP server's). None of them
raises on bad input: faults are short sentences for the operator, or for the model.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.dialog.pattern import PatternError, pattern

Schema = Mapping[str, Any]

MAX_DEPTH = 16
"""Of a schema and of arguments: more than a person writes, less than a recursion costs."""
MAX_NODES = 2_000
"""Schemas in one that was simplified: references multiply, and the schema is another server's."""

MAX_FAULTS = 5
"""Told of one set of arguments: the model repairs its call with the first few."""

_TEXTS = frozenset({"description", "title"})
_ANY = frozenset({"type", "description", "title", "nullable", "default", "example"})
_OWN: Mapping[str, frozenset[str]] = {
    "string": frozenset({"enum", "pattern", "minLength", "maxLength", "format"}),
    "number": frozenset({"minimum", "maximum", "format"}),
    "integer": frozenset({"minimum", "maximum", "format"}),
    "boolean": frozenset(),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "propertyOrdering", "minProperties", "maxProperties"}),
}
_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_FORMATS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"enum", "date-time", "date", "email", "byte", "password"}),
    "number": frozenset({"float", "double"}),
    "integer": frozenset({"int32", "int64"}),
}
_INTEGERS: Mapping[str, int] = {"int32": 31, "int64": 63}
_PROPERTY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


# --- the schema ---


def check(schema: object, where: str = "parameters") -> list[str]:
    """What is wrong with the schema of a function's arguments; empty: it can be declared."""
    faults: list[str] = []
    if schema == {}:
        return faults
    if isinstance(schema, Mapping):
        schema = {"type": "object"} | dict(schema)
    _check(schema, where, faults, 0)
    if not faults and isinstance(schema, Mapping) and schema.get("type") != "object":
        faults.append(f"{where}: arguments are an object, not {schema.get('type')}")
    return faults


def _check(schema: object, where: str, faults: list[str], depth: int) -> None:
    if not isinstance(schema, Mapping):
        faults.append(f"{where}: must be a table")
        return
    if depth > MAX_DEPTH:
        faults.append(f"{where}: nested deeper than {MAX_DEPTH}")
        return
    if "anyOf" in schema:
        _check_any_of(schema, where, faults, depth)
        return
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _OWN:
        faults.append(f"{where}.type: must be one of {', '.join(_OWN)}")
        return
    for key, value in schema.items():
        if key == "additionalProperties" and kind == "object":
            if value is not False:
                faults.append(f"{where}.additionalProperties: undeclared properties are always refused")
        elif key not in _ANY | _OWN[kind]:
            faults.append(f"{where}.{key}: not known for {kind}")
        else:
            _check_keyword(kind, key, value, where, faults)
    _check_order(schema, "minimum", "maximum", where, faults)
    for unit in ("Length", "Items", "Properties"):
        _check_order(schema, f"min{unit}", f"max{unit}", where, faults)
    if kind == "array":
        if "items" not in schema:
            faults.append(f"{where}.items: an array needs them")
        else:
            _check(schema["items"], f"{where}.items", faults, depth + 1)
    if kind == "object":
        _check_object(schema, where, faults, depth)


def _check_any_of(schema: Schema, where: str, faults: list[str], depth: int) -> None:
    if extra := schema.keys() - _TEXTS - {"anyOf", "nullable"}:
        faults.append(f"{where}: anyOf excludes {', '.join(sorted(extra))}")
    choices = schema["anyOf"]
    if not isinstance(choices, list) or not choices:
        faults.append(f"{where}.anyOf: must be a list of schemas")
        return
    for number, choice in enumerate(choices):
        _check(choice, f"{where}.anyOf[{number}]", faults, depth + 1)


def _check_keyword(kind: str, key: str, value: object, where: str, faults: list[str]) -> None:
    wrong = ""
    if key in _TEXTS and not isinstance(value, str):
        wrong = "must be text"
    elif key == "nullable" and not isinstance(value, bool):
        wrong = "must be true or false"
    elif key in _COUNTS and (type(value) is not int or value < 0):
        wrong = "must be a whole number from 0"
    elif key in ("minimum", "maximum") and not _is_number(value):
        wrong = "must be a number"
    elif key == "enum" and (not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value)):
        wrong = "must be a list of texts"
    elif key == "format" and (not isinstance(value, str) or value not in _FORMATS[kind]):
        wrong = f"must be one of {', '.join(sorted(_FORMATS[kind]))}"
    elif key == "pattern":
        wrong = _pattern_fault(value)
    if wrong:
        faults.append(f"{where}.{key}: {wrong}")


def _check_order(schema: Schema, least: str, most: str, where: str, faults: list[str]) -> None:
    low, high = schema.get(least), schema.get(most)
    if _is_number(low) and _is_number(high) and low > high:  # type: ignore[operator]
        faults.append(f"{where}: {least} is above {most}")


def _check_object(schema: Schema, where: str, faults: list[str], depth: int) -> None:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        # The service refuses an object without properties, and nothing could ever be put into it.
        faults.append(f"{where}.properties: an object needs them")
        return
    for name, inner in properties.items():
        if _PROPERTY.fullmatch(str(name)) is None:
            faults.append(f"{where}.{name}: a name holds letters, digits and _ . -")
        _check(inner, f"{where}.{name}", faults, depth + 1)
    for key in ("required", "propertyOrdering"):
        names = schema.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            faults.append(f"{where}.{key}: must be a list of names")
        elif unknown := sorted(set(names) - set(properties)):
            faults.append(f"{where}.{key}: no property is called {', '.join(unknown)}")
        elif len(set(names)) != len(names):
            faults.append(f"{where}.{key}: a name twice")


# --- the arguments ---


def conform(args: Mapping[str, Any], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """The arguments as the schema means them, and what is wrong with them (at most MAX_FAULTS); empty: they may be used.

    Whole numbers come as `3.0` from a service that keeps them as doubles: where an integer is declared they become one. Nothing
    else is changed, and nothing is filled in.
    """
    faults: list[str] = []
    value = _conform(args, schema or {"type": "object", "properties": {}}, "", faults, 0)
    if faults:
        return {}, faults[:MAX_FAULTS]
    assert isinstance(value, dict), "an object conforms to an object"
    return value, []


def _conform(value: Any, schema: Schema, where: str, faults: list[str], depth: int) -> Any:
    here = where or "arguments"
    if depth > MAX_DEPTH:
        faults.append(f"{here}: nested deeper than {MAX_DEPTH}")
        return None
    if value is None and schema.get("nullable") is True:
        return None
    if "anyOf" in schema:
        return _conform_any_of(value, schema, here, faults, depth)
    kind = schema.get("type", "object")
    judged = _JUDGES[kind](value, schema)
    if isinstance(judged, str):
        faults.append(f"{here}: {judged}")
        return None
    if kind == "integer":
        return int(value)
    if kind == "array":
        inner = schema.get("items", {"type": "string"})
        return [_conform(item, inner, f"{where}[{number}]", faults, depth + 1) for number, item in enumerate(value)]
    if kind == "object":
        return _conform_object(value, schema, where, faults, depth)
    return value


def _conform_any_of(value: Any, schema: Schema, here: str, faults: list[str], depth: int) -> Any:
    for choice in schema["anyOf"]:
        own: list[str] = []
        result = _conform(value, choice, here, own, depth + 1)
        if not own:
            return result
    faults.append(f"{here}: fits none of the {len(schema['anyOf'])} forms it may have")
    return None


def _conform_object(value: Mapping[str, Any], schema: Schema, where: str, faults: list[str], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if properties is None:
        return dict(value)  # a foreign schema's free object: its own server judges it
    result: dict[str, Any] = {}
    dot = f"{where}." if where else ""
    faults += [f"{dot}{name}: missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        if name not in properties:
            faults.append(f"{dot}{name[:64]}: unknown")
        else:
            result[name] = _conform(inner, properties[name], f"{dot}{name}", faults, depth + 1)
        if len(faults) >= MAX_FAULTS:
            break
    return result


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _judge_string(value: object, schema: Schema) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {', '.join(schema['enum'])}"
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        return f"must be {_range(schema, 'minLength', 'maxLength')} characters long"
    if "pattern" in schema and not pattern(schema["pattern"]).isinstance_python(value):
        return f"must match {schema['pattern']}"
    if schema.get("format") in ("date", "date-time") and not _is_date(value, schema["format"]):
        return f"must be a {schema['format']}"
    return None


def _judge_number(value: object, schema: Schema) -> str | None:
    if not _is_number(value):
        return "must be a number"
    if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
        return f"must be {_range(schema, 'minimum', 'maximum')}"
    return None


def _judge_integer(value: object, schema: Schema) -> str | None:
    if not _is_number(value) or (isinstance(value, float) and not value.is_integer()):
        return "must be a whole number"
    bits = _INTEGERS.get(schema.get("format", ""))
    if bits is not None and not -(2**bits) <= value < 2**bits:
        return f"must fit {schema['format']}"
    return _judge_number(value, schema)


def _judge_boolean(value: object, schema: Schema) -> str | None:
    del schema
    return None if isinstance(value, bool) else "must be true or false"


def _judge_array(value: object, schema: Schema) -> str | None:
    if not isinstance(value, list):
        return "must be a list"
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return f"must have {_range(schema, 'minItems', 'maxItems')} items"
    return None


def _judge_object(value: object, schema: Schema) -> str | None:
    if not isinstance(value, Mapping):
        return "must be an object"
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", math.inf):
        return f"must have {_range(schema, 'minProperties', 'maxProperties')} properties"
    return None


_JUDGES: Mapping[str, Callable[[object, Schema], str | None]] = {
    "string": _judge_string,
    "number": _judge_number,
    "integer": _judge_integer,
    "boolean": _judge_boolean,
    "array": _judge_array,
    "object": _judge_object,
}


def _range(schema: Schema, least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _pattern_fault(value: object) -> str:
    if not isinstance(value, str):
        return "must be text"
    try:
        pattern(value)
    except PatternError as error:
        return str(error)
    return ""


def _is_date(text: str, form: str) -> bool:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return False
    return (len(text) == 10 and text[4] == "-") if form == "date" else len(text) > 10 and parsed.tzinfo is not None


# --- foreign schemas ---


def simplify(schema: object) -> dict[str, Any]:
    """A schema of this language for any JSON Schema of a function's arguments: what can't be said is left out.

    The result is no stricter than the original, but for two things: undeclared properties are refused, and what has no type is
    text. Whoever wrote the original checks the rest. References that lead back to themselves end as free objects, the sooner the
    more of them there are: the result has at most `MAX_NODES` schemas.
    """
    root = schema if isinstance(schema, Mapping) else {}
    for depth in (MAX_DEPTH // 2, 4, 2, 1):
        with contextlib.suppress(_TooLargeError):
            simple = _simplify(root, _Foreign(root, depth, MAX_NODES), 0)
            return simple if simple.get("type") == "object" and simple.get("properties") else {}
    return {}


class _TooLargeError(Exception):
    """More schemas than `MAX_NODES` at this depth."""


@dataclass(slots=True)
class _Foreign:
    root: Schema
    depth: int
    """What lies deeper is a free object."""
    left: int
    """Schemas that may still be made."""


def _simplify(schema: object, foreign: _Foreign, depth: int) -> dict[str, Any]:
    if foreign.left == 0:
        raise _TooLargeError
    foreign.left -= 1
    if not isinstance(schema, Mapping) or depth > foreign.depth:
        return {"type": "object"}
    schema = _resolved(schema, foreign.root)
    result: dict[str, Any] = {key: schema[key] for key in _TEXTS if isinstance(schema.get(key), str)}
    if schema.get("nullable") is True:
        result["nullable"] = True
    choices = schema.get("anyOf", schema.get("oneOf"))
    kinds = schema.get("type")
    if isinstance(kinds, list):
        rest = {key: value for key, value in schema.items() if key != "type"}
        choices = [rest | {"type": kind} for kind in kinds]
    if isinstance(choices, list) and choices:
        return result | _choice([choice for choice in choices if isinstance(choice, Mapping)], foreign, depth)
    kind = _kind(schema)
    result["type"] = kind
    for key in _OWN[kind]:
        if key in schema and key not in ("items", "properties", "required", "propertyOrdering"):
            faults: list[str] = []
            _check_keyword(kind, key, schema[key], "", faults)
            if not faults:
                result[key] = schema[key]
    if kind == "string" and isinstance(schema.get("const"), str):
        result["enum"] = [schema["const"]]
    if kind == "array":
        result["items"] = _simplify(schema.get("items", {"type": "string"}), foreign, depth + 1)
    if kind == "object" and isinstance(schema.get("properties"), Mapping) and schema["properties"]:
        properties = {
            name: _simplify(inner, foreign, depth + 1)
            for name, inner in schema["properties"].items()
            if _PROPERTY.fullmatch(str(name)) is not None
        }
        result["properties"] = properties
        required = schema.get("required")
        if isinstance(required, list):  # of anything: the schema is another server's
            names = [name for name in required if isinstance(name, str) and name in properties]
            result |= {"required": names} if names else {}
    return result


def _resolved(schema: Schema, root: Schema) -> dict[str, Any]:
    """`schema` with its reference (`#/$defs/…`) and its `allOf` laid into it."""
    merged = dict(schema)
    for _ in range(MAX_DEPTH):
        reference, parts = merged.pop("$ref", None), merged.pop("allOf", None)
        found: list[object] = [_target(reference, root)] if isinstance(reference, str) else []
        found += parts if isinstance(parts, list) else []
        if not found:
            break
        for part in found:
            if isinstance(part, Mapping):
                merged = dict(part) | merged
    return merged


def _target(reference: str, root: Schema) -> object:
    value: object = root
    for step in reference.removeprefix("#").split("/"):
        if step:
            value = value.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(value, Mapping) else None
    return value


def _choice(choices: list[Schema], foreign: _Foreign, depth: int) -> dict[str, Any]:
    real = [choice for choice in choices if choice.get("type") != "null"]
    nullable: dict[str, Any] = {"nullable": True} if len(real) < len(choices) else {}
    if not real:
        return {"type": "string", "nullable": True}
    if len(real) == 1:
        return _simplify(real[0], foreign, depth + 1) | nullable
    return {"anyOf": [_simplify(choice, foreign, depth + 1) for choice in real]} | nullable


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _OWN:
        return kind
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    example = schema.get("const", next(iter(schema["enum"]), "") if isinstance(schema.get("enum"), list) else "")
    return {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}.get(type(example), "string")
