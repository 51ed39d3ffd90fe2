"""Regular expressions that are certain to be done soon, whatever they are held against.

`re` goes back and tries again: `(a+)+$` against thirty a's and a b takes minutes, and holds the interpreter all the while: no
time-out helps, and no thread. Arguments are a model's, and a model says what its callers make it say. So expressions are those of
Rust's `regex`, an automaton that takes time in proportion to the text, as pydantic-core (which the SDK brings) has it: no
look-around and no back-references, and one that would be too large is refused when it is made.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema


class PatternError(ValueError):
    """No expression, or not one of these; says so."""


@lru_cache(maxsize=256)
def pattern(text: str) -> SchemaValidator:
    """An expression; its `isinstance_python(value)` says whether it fits somewhere in `value`. Raises PatternError."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=text, regex_engine="rust-regex"))
    except SchemaError:
        raise PatternError("must be a regular expression, without look-around and back-references") from None
