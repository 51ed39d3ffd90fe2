"""Expressions without going back: they find what `re` finds, are done soon, and say what they do not know."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.arguments import check, conform
from gateway.dialog.pattern import MAX_STEPS, MAX_TEXT, Pattern, PatternError

ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "\\w", "\\W", "\\b", "\\B", "^", "$", "\\A", "\\Z", "B", "\\n", "()"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = inner.map(lambda text: f"({text})")
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda choices: f"(?:{'|'.join(choices)})"),
        st.tuples(group, st.sampled_from(["?", "*", "+", "*?", "{2}", "{0,2}", "{1,}", "{,3}?", "{0}"])).map("".join),
    )


EXPRESSIONS = st.tuples(st.sampled_from(["", "(?i)", "(?m)", "(?s)", "(?im)"]), st.recursive(ATOMS, _larger, max_leaves=8))


@given(EXPRESSIONS.map("".join), st.text("abB\n ", max_size=7))
def test_it_finds_what_re_finds(text: str, value: str) -> None:
    assert Pattern(text).search(value) == (re.search(text, value) is not None)


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("^[A-Z]{2}-[0-9]+$", "AB-12", "AB-12x"),
        (r"^\+?[0-9 ]{6,20}$", "+49 30 1234", "12345"),
        (r"^[^@\s]+@[^@\s]+\.[a-z]+$", "a@b.example", "a@b"),
        ("(?i)^(yes|no)$", "YES", "maybe"),
        (r"^\d{4}-\d\d-\d\d$", "2026-11-22", "22.11.2026"),
        ("ä|[ß-ÿ]", "größe", "groesse"),
    ],
)
def test_what_operators_write(text: str, fits: str, does_not: str) -> None:
    assert Pattern(text).search(fits)
    assert not Pattern(text).search(does_not)


@pytest.mark.parametrize("text", ["(a+)+$", "^(a|a)*$", "^(a|b?a)+$", "(.*)*x", "a?" * 100 + "a" * 100 + "$", "(x+x+)+y|(a*)*c"])
def test_what_would_take_re_for_ever(text: str) -> None:
    assert not Pattern(text).search("a" * (MAX_TEXT - 1) + "b")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(", "no regular expression"),
        ("a{99999999999}", "no regular expression"),
        ("(" * 5_000 + ")" * 5_000, "no regular expression"),
        ("(?=a)", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "back-references"),
        ("(a)?(?(1)b|c)", "back-references"),
        ("(?>a*)", "do not go back"),
        ("a++", "do not go back"),
        ("(?i:a)b", "flags for a part"),
        (f"a{{{MAX_STEPS}}}", "too large"),
        ("(a{100}){100}", "too large"),
        ("((((){500}){500}){500}){500}" + "a" * MAX_STEPS, "too large"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        Pattern(text)
    (fault,) = check({"properties": {"a": {"type": "string", "pattern": text}}})
    assert fault.startswith("parameters.a.pattern: ")
    assert why in fault


def test_arguments_are_judged_by_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    assert check(schema) == []
    assert conform({"a": "aaa"}, schema) == ({"a": "aaa"}, [])
    assert conform({"a": "a" * 999 + "b"}, schema)[1] == ["a: must match ^(a+)+$"]
    assert conform({"a": "a" * (MAX_TEXT + 1)}, schema)[1] == [f"a: must be at most {MAX_TEXT} characters long"]
