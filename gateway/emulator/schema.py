"""Strict reading of protobuf JSON: both casings, both base64 alphabets, and an error that names the field.

A schema is a mapping from field name (camelCase, as the service spells it) to what the field holds:

* another mapping: a message;
* `[x]`: repeated x;
* a `Scalar`: a value;
* `ANY`: free JSON (function parameters, responses, labels), passed through untouched.

`read` gives the same value with every field name in camelCase. protobuf JSON accepts `lower_snake_case` beside
`lowerCamelCase` at every level (https://protobuf.dev/programming-guides/json/), and so do we.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Json = dict[str, Any]
"""A JSON object. Its values are whatever the sender wrote; that is what this module is for."""


class Scalar(enum.Enum):
    """Kinds of plain values."""

    STRING = "TYPE_STRING"
    BOOL = "TYPE_BOOL"
    INT = "TYPE_INT32"
    NUMBER = "TYPE_DOUBLE"
    BYTES = "TYPE_BYTES"


class _Any(enum.Enum):
    ANY = "ANY"


ANY = _Any.ANY

Spec = Mapping[str, Any] | Sequence[Any] | Scalar | frozenset[str] | _Any
"""What a field holds; a frozenset is an enum's names."""

INVALID_ARGUMENT = "Request contains an invalid argument."


class WireError(Exception):
    """The client's message is refused: the session closes with `code` and `reason` (≤ 123 bytes, RFC 6455 §5.5)."""

    def __init__(self, reason: str, code: int = 1007) -> None:
        self.code = code
        self.reason = clip_reason(reason)
        super().__init__(self.reason)


def clip_reason(reason: str) -> str:
    """The reason as it fits a close frame: 123 bytes of UTF-8, cut like the service cuts it."""
    return reason.encode()[:123].decode(errors="ignore")


@dataclass(slots=True)
class Reading:
    """The result of `read` on a message: its fields, and the paths that were given as JSON null (which reads as absent)."""

    value: Json
    nulls: set[str] = field(default_factory=set)


@lru_cache(maxsize=4096)
def camel(name: str) -> str:
    """`voice_config` → `voiceConfig`; what is already camelCase stays."""
    return re.sub(r"_+([a-zA-Z0-9])", lambda match: match[1].upper(), name)


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`voiceConfig` → `voice_config`: the spelling of the service's error texts."""
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


def read(value: object, schema: Mapping[str, Any], path: str) -> Reading:
    """The message `value` in canonical form. Raises WireError naming the first thing that does not fit."""
    reading = Reading({})
    reading.value = _message(value, schema, path, reading.nulls)
    return reading


def _message(value: object, schema: Mapping[str, Any], path: str, nulls: set[str]) -> Json:
    if not isinstance(value, dict):
        raise WireError(f"Invalid value at '{path}', expected an object.")
    result: Json = {}
    for written, inner in value.items():
        name = written if written in schema else camel(written)
        if name not in schema:
            raise WireError(f"Invalid JSON payload received. Unknown name \"{written}\" at '{path}': Cannot find field.")
        if name in result:
            raise WireError(f"Invalid JSON payload received. Duplicate field \"{written}\" at '{path}'.")
        where = f"{path}.{snake(name)}"
        if inner is None:
            nulls.add(where)
            continue
        result[name] = _value(inner, schema[name], where, nulls)
    return result


def _value(value: object, spec: Spec, path: str, nulls: set[str]) -> Any:
    if isinstance(spec, Mapping):
        return _message(value, spec, path, nulls)
    if isinstance(spec, Scalar):
        return _scalar(value, spec, path)
    if isinstance(spec, frozenset):
        if not isinstance(value, str) or value not in spec:
            raise WireError(f"Invalid value at '{path}' (TYPE_ENUM), {value!r}")
        return value
    if spec is ANY:
        return value
    assert isinstance(spec, Sequence), "a schema holds mappings, lists, scalars, enums and ANY"
    if not isinstance(value, list):
        raise WireError(f"Invalid value at '{path}', expected a list.")
    return [_value(item, spec[0], f"{path}[{index}]", nulls) for index, item in enumerate(value)]


def _scalar(value: object, kind: Scalar, path: str) -> Any:
    fits: bool
    match kind:
        case Scalar.STRING:
            fits = isinstance(value, str)
        case Scalar.BOOL:
            fits = isinstance(value, bool)
        case Scalar.BYTES:
            if isinstance(value, str):
                return decode_base64(value, path)
            fits = isinstance(value, bytes)  # already read once
        case Scalar.INT:
            # protobuf JSON takes integers as numbers or decimal strings.
            if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
                return int(value)
            if isinstance(value, float) and value.is_integer():
                return int(value)
            fits = isinstance(value, int) and not isinstance(value, bool)
        case Scalar.NUMBER:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise WireError(f"Invalid value at '{path}' ({kind.value})")
    return value


_TO_STANDARD = str.maketrans("-_", "+/")


def decode_base64(text: str, path: str) -> bytes:
    """Either alphabet, padded or not. Raises WireError."""
    if "-" in text or "_" in text:
        text = text.translate(_TO_STANDARD)
    if len(text) % 4:
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise WireError(f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed") from None
