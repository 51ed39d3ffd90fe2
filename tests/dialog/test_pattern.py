"""Expressions that do not go back: they find what they should, are done soon, and say what they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.arguments import check, conform
from gateway.dialog.pattern import PatternError, pattern


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("^[A-Z]{2}-[0-9]+$", "AB-12", "AB-12x"),
        ("[0-9]+", "room 12", "room"),
        (r"^\+?[0-9 ]{6,20}$", "+49 30 1234", "12345"),
        (r"^[^@\s]+@[^@\s]+\.[a-z]+$", "a@b.example", "a@b"),
        ("(?i)^(yes|no)$", "YES", "maybe"),
        (r"^\d{4}-\d\d-\d\d$", "2026-11-22", "22.11.2026"),
        ("ä|[ß-ÿ]", "größe", "groesse"),
    ],
)
def test_what_operators_write(text: str, fits: str, does_not: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": text}}}
    assert check(schema) == []
    assert conform({"a": fits}, schema) == ({"a": fits}, [])
    assert conform({"a": does_not}, schema)[1] == [f"a: must match {text}"]


@pytest.mark.parametrize("text", ["(a+)+$", "^(a|a)*$", "^(a|b?a)+$", "(.*)*x", "a?" * 100 + "a" * 100 + "$", "(x+x+)+y|(a*)*c"])
def test_what_would_take_re_for_ever(text: str) -> None:
    assert not pattern(text).isinstance_python("a" * 10_000 + "b")


@pytest.mark.parametrize(
    "text", ["(", "a{99999999999}", "(" * 5_000 + ")" * 5_000, "(?=a)", "(?<!a)b", r"(a)\1", "(?>a*)", "((a{100}){100}){100}"]
)
def test_what_is_refused(text: str) -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": text}}}
    fault = "must be a regular expression, without look-around and back-references"
    assert check(schema) == [f"parameters.a.pattern: {fault}"]


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        found = pattern(text)
    except PatternError:
        return
    assert found.isinstance_python(text) in (True, False)
