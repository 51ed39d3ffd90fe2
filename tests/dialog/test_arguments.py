"""Schemas and arguments: what may be declared, what conforms, and what becomes of foreign schemas."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.arguments import MAX_DEPTH, MAX_FAULTS, MAX_NODES, check, conform, simplify

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$", "maxLength": 8},
        "size": {"type": "string", "enum": ["S", "M", "L"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "price": {"type": "number", "minimum": 0},
        "gift": {"type": "boolean"},
        "note": {"type": "string", "nullable": True},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 3},
        "due": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "id": {"type": "integer", "format": "int32"},
        "to": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "zip": {"type": "string"}},
            "required": ["city"],
        },
        "who": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
    "required": ["sku"],
}

BAD: list[Any] = [
    # missing, unknown
    {},
    {"count": 1},
    {"sku": "AB-1", "colour": "red"},
    {"sku": "AB-1", "": 1},
    {"sku": "AB-1", "__proto__": {}},
    {"sku": "AB-1", "Sku": "AB-1"},
    {"sku": "AB-1", "to": {"city": "Oslo", "street": "x"}},
    {"sku": "AB-1", "to": {}},
    {"sku": "AB-1", "to": {"zip": "0150"}},
    # texts
    {"sku": None},
    {"sku": 7},
    {"sku": True},
    {"sku": ["AB-1"]},
    {"sku": {"value": "AB-1"}},
    {"sku": ""},
    {"sku": "ab-1"},
    {"sku": "AB-1; DROP TABLE orders"},
    {"sku": "AB-1\n../../etc/passwd"},
    {"sku": "AB-123456"},
    {"sku": "XAB-1"},
    {"sku": "AB-1", "size": "XL"},
    {"sku": "AB-1", "size": "s"},
    {"sku": "AB-1", "size": ""},
    {"sku": "AB-1", "size": 0},
    {"sku": "AB-1", "size": None},
    {"sku": "AB-1", "note": 1},
    {"sku": "AB-1", "due": "tomorrow"},
    {"sku": "AB-1", "due": "2026-02-30"},
    {"sku": "AB-1", "due": "2026-11-21T10:00:00Z"},
    {"sku": "AB-1", "at": "2026-11-21"},
    {"sku": "AB-1", "at": "2026-11-21T10:00:00"},
    # numbers
    {"sku": "AB-1", "count": 0},
    {"sku": "AB-1", "count": 100},
    {"sku": "AB-1", "count": -1},
    {"sku": "AB-1", "count": 1.5},
    {"sku": "AB-1", "count": "1"},
    {"sku": "AB-1", "count": True},
    {"sku": "AB-1", "count": None},
    {"sku": "AB-1", "count": [1]},
    {"sku": "AB-1", "count": float("nan")},
    {"sku": "AB-1", "count": float("inf")},
    {"sku": "AB-1", "price": -0.01},
    {"sku": "AB-1", "price": "1.00"},
    {"sku": "AB-1", "price": float("-inf")},
    {"sku": "AB-1", "price": False},
    {"sku": "AB-1", "id": 2**31},
    {"sku": "AB-1", "id": -(2**31) - 1},
    # truth
    {"sku": "AB-1", "gift": 1},
    {"sku": "AB-1", "gift": "true"},
    {"sku": "AB-1", "gift": None},
    # lists
    {"sku": "AB-1", "tags": "one"},
    {"sku": "AB-1", "tags": []},
    {"sku": "AB-1", "tags": ["a", "b", "c", "d"]},
    {"sku": "AB-1", "tags": [""]},
    {"sku": "AB-1", "tags": [1]},
    {"sku": "AB-1", "tags": [None]},
    {"sku": "AB-1", "tags": {"0": "a"}},
    {"sku": "AB-1", "tags": [["a"]]},
    # objects and choices
    {"sku": "AB-1", "to": "Oslo"},
    {"sku": "AB-1", "to": [{"city": "Oslo"}]},
    {"sku": "AB-1", "to": None},
    {"sku": "AB-1", "who": 1.5},
    {"sku": "AB-1", "who": None},
    {"sku": "AB-1", "who": []},
]


def test_there_are_sixty_bad_ones() -> None:
    assert len(BAD) >= 60


@pytest.mark.parametrize("args", BAD, ids=repr)
def test_bad_arguments(args: Any) -> None:
    value, faults = conform(args, ORDER)
    assert faults
    assert value == {}
    assert all(len(fault) < 200 for fault in faults)


@pytest.mark.parametrize(
    "args",
    [
        {"sku": "AB-1"},
        {"sku": "AB-1", "size": "M", "count": 99, "price": 0, "gift": False, "note": None, "tags": ["a"]},
        {"sku": "AB-1", "due": "2026-11-21", "at": "2026-11-21T10:00:00+01:00", "id": -5, "to": {"city": "Oslo"}},
        {"sku": "AB-1", "who": "me"},
        {"sku": "AB-1", "who": 7},
    ],
    ids=repr,
)
def test_good_arguments(args: dict[str, Any]) -> None:
    assert conform(args, ORDER) == (args, [])


def test_whole_numbers_that_came_as_doubles_are_whole() -> None:
    value, faults = conform({"sku": "AB-1", "count": 3.0, "price": 3.0}, ORDER)
    assert not faults
    assert type(value["count"]) is int
    assert type(value["price"]) is float


def test_a_function_without_parameters_takes_none() -> None:
    assert conform({}, {}) == ({}, [])
    assert conform({"a": 1}, {}) == ({}, ["a: unknown"])


def test_faults_are_few_and_arguments_that_nest_too_deep_are_one() -> None:
    many = {f"p{number}": 1 for number in range(100)}
    assert len(conform(many, ORDER)[1]) == MAX_FAULTS
    deep: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    args: Any = ["x"]
    for _ in range(MAX_DEPTH + 5):
        deep, args = {"type": "array", "items": deep}, [args]
    assert conform({"a": args}, {"type": "object", "properties": {"a": deep}})[1]


# Our judgement against that of a whole JSON Schema implementation, on the words they share.
SCALARS: list[dict[str, Any]] = [
    {"type": "string", "minLength": 1, "maxLength": 3},
    {"type": "string", "enum": ["a", "b"]},
    {"type": "integer", "minimum": -1, "maximum": 5},
    {"type": "number", "minimum": 0.5},
    {"type": "boolean"},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abx", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.lists(st.sampled_from(SCALARS), min_size=1, max_size=3), st.dictionaries(st.sampled_from(["p0", "p1", "p2", "q"]), VALUES)
)
def test_it_judges_as_a_whole_validator_does(kinds: list[dict[str, Any]], args: dict[str, Any]) -> None:
    properties = {f"p{number}": kind for number, kind in enumerate(kinds)}
    schema = {"type": "object", "properties": properties, "required": ["p0"], "additionalProperties": False}
    assert not check(schema)
    assert bool(conform(args, schema)[1]) is not jsonschema.Draft202012Validator(schema).is_valid(args)


@given(VALUES)
def test_any_schema_is_judged_and_any_foreign_one_made_ours(value: Any) -> None:
    check(value)
    simple = simplify({"type": "object", "properties": {"a": value}})
    assert conform({}, simple) == ({}, [])


# --- schemas ---


@pytest.mark.parametrize(
    "schema",
    [
        7,
        [],
        {"type": "list"},
        {"type": "string"},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"properties": {"a": {}}},
        {"properties": {"a": "string"}},
        {"properties": {"a": {"type": "text"}}},
        {"properties": {"a": {"type": "string", "minimum": 1}}},
        {"properties": {"a": {"type": "string", "minLength": -1}}},
        {"properties": {"a": {"type": "string", "minLength": True}}},
        {"properties": {"a": {"type": "string", "minLength": 3, "maxLength": 2}}},
        {"properties": {"a": {"type": "string", "pattern": "("}}},
        {"properties": {"a": {"type": "string", "enum": []}}},
        {"properties": {"a": {"type": "string", "enum": [1]}}},
        {"properties": {"a": {"type": "string", "format": "uuid"}}},
        {"properties": {"a": {"type": "integer", "enum": ["1"]}}},
        {"properties": {"a": {"type": "number", "minimum": 2, "maximum": 1}}},
        {"properties": {"a": {"type": "number", "maximum": "1"}}},
        {"properties": {"a": {"type": "array"}}},
        {"properties": {"a": {"type": "array", "items": {"type": "x"}}}},
        {"properties": {"a": {"type": "object"}}},
        {"properties": {"a b": {"type": "string"}}},
        {"properties": {"a": {"type": "string"}}, "required": ["b"]},
        {"properties": {"a": {"type": "string"}}, "required": ["a", "a"]},
        {"properties": {"a": {"type": "string"}}, "required": "a"},
        {"properties": {"a": {"type": "string"}}, "additionalProperties": True},
        {"properties": {"a": {"anyOf": []}}},
        {"properties": {"a": {"anyOf": [{"type": "string"}], "type": "string"}}},
        {"properties": {"a": {"type": "string", "nullable": "yes"}}},
        {"properties": {"a": {"type": "string", "description": 7}}},
        {"properties": {"a": {"$ref": "#/$defs/A"}}},
    ],
    ids=repr,
)
def test_schemas_that_cannot_be_declared(schema: Any) -> None:
    faults = check(schema)
    assert faults
    assert all(fault.startswith("parameters") for fault in faults)


def test_every_fault_of_a_schema_is_told() -> None:
    faults = check({"properties": {"a": {"type": "x"}, "b": {"type": "string", "pattern": "("}}, "required": ["c"]})
    assert [fault.split(":")[0] for fault in faults] == ["parameters.a.type", "parameters.b.pattern", "parameters.required"]


def test_a_good_schema() -> None:
    assert check(ORDER) == []
    assert check({}) == []


def test_a_foreign_schema_is_made_ours() -> None:
    foreign = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "title": "addArguments",
        "properties": {
            "a": {"title": "A", "type": "integer", "exclusiveMinimum": 0},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "how": {"const": "plain"},
            "mode": {"enum": ["x", "y"]},
            "item": {"$ref": "#/$defs/Item"},
            "tree": {"$ref": "#/$defs/Tree"},
            "kinds": {"type": ["string", "null"]},
            "either": {"oneOf": [{"type": "string"}, {"type": "boolean"}]},
            "all": {"allOf": [{"type": "string"}, {"minLength": 2}]},
            "list": {"type": "array"},
            "free": {"type": "object", "additionalProperties": True},
            "one": {"const": 1},
        },
        "required": ["a"],
        "$defs": {
            "Item": {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]},
            "Tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}},
        },
    }
    simple = simplify(foreign)
    own = simple["properties"]
    assert own["a"] == {"type": "integer", "title": "A"}
    assert own["b"] == {"type": "integer", "nullable": True}
    assert own["how"] == {"type": "string", "enum": ["plain"]}
    assert own["mode"] == {"type": "string", "enum": ["x", "y"]}
    assert own["item"]["required"] == ["n"]
    assert own["kinds"] == {"type": "string", "nullable": True}
    assert own["either"] == {"anyOf": [{"type": "string"}, {"type": "boolean"}]}
    assert own["all"] == {"type": "string", "minLength": 2}
    assert own["list"] == {"type": "array", "items": {"type": "string"}}
    assert own["one"] == {"type": "integer"}
    assert simple["required"] == ["a"]
    args = {"a": 1, "b": None, "free": {"anything": [1]}, "tree": {"left": {"left": {}}}}
    assert conform(args, simple) == (args, [])
    assert conform({"a": 1, "z": 1}, simple)[1] == ["z: unknown"]
    assert simplify({"type": "object", "properties": {}}) == {}
    assert simplify(None) == {}


@pytest.mark.parametrize(
    "odd",
    [
        {"properties": {"a": {"type": "string"}}, "required": [{"b": 1}, ["a"], "a", None]},
        {"properties": {"a": {"type": "string", "format": {"x": 1}}}},
        {"properties": {"a": {"type": "string", "pattern": "a{99999999999}"}}},
    ],
)
def test_a_foreign_schema_may_hold_anything(odd: dict[str, Any]) -> None:
    assert simplify(odd)["properties"]["a"] == {"type": "string"}
    assert check(odd)


def test_references_that_multiply_end_sooner() -> None:
    """Eight ways back to itself at each level: eight to the eighth schemas, were it not for the bound."""
    node = {"type": "object", "properties": {f"p{n}": {"$ref": "#/$defs/Node"} for n in range(8)} | {"word": {"type": "string"}}}
    simple = simplify(node | {"$defs": {"Node": node}})

    def count(schema: object) -> int:
        return 1 + sum(map(count, schema.values())) if isinstance(schema, dict) else 0

    assert 9 < count(simple) < 4 * MAX_NODES
    assert simple["properties"]["word"] == {"type": "string"}
    args = {"word": "x", "p0": {"word": "y", "p7": {}}}
    assert conform(args, simple) == (args, [])
