"""What a tool gave, as the model is told: JSON within a limit, or an error in words."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MAX_ERROR_CHARACTERS = 500


class Outcome(enum.StrEnum):
    """How a call ended; the values of `events.ToolOutcome`."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    DENIED = "denied"
    CANCELLED = "cancelled"
    BAD_ARGS = "bad_args"


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave. `response` is ready for the wire: JSON, within its limit."""

    response: Mapping[str, Any]
    outcome: Outcome = Outcome.OK


def output(value: object, limit: int) -> Result:
    """A tool's value as its answer: `{"output": …}`, cut at `limit` bytes of JSON and then marked `truncated`.

    What is no JSON (an object of a class of one's own, a cycle) becomes an error, as the model could not be told.
    """
    if isinstance(value, str) and len(value) > limit:
        return _cut(value.encode("utf-8", "replace"), limit)
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
    try:
        raw = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # orjson's error for everything it can't say, circular and too deep values included
        return failure("the tool gave something that is not JSON")
    if len(raw) > limit:
        return _cut(raw, limit)
    return Result({"output": orjson.loads(raw)})  # a copy: the tool can't change it any more


def failure(text: str, outcome: Outcome = Outcome.ERROR) -> Result:
    """An answer that says what went wrong, in words for the model."""
    return Result({"error": text[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()}, outcome)


def _cut(raw: bytes, limit: int) -> Result:
    return Result({"output": raw[:limit].decode("utf-8", "ignore"), "truncated": True})
