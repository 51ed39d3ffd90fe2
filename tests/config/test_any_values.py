"""Whatever stands in the file: a configuration, or its faults, each on one line; never an exception."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import describe, load
from gateway.config.settings import SETTINGS
from gateway.config.tables import PROFILE_FIELDS
from gateway.errors import ConfigError

SECTIONS = sorted({setting.path.partition(".")[0] for setting in SETTINGS if "." in setting.path})
KEYS = sorted({setting.path.rpartition(".")[2] for setting in SETTINGS} | {"api_key_file", "api_keys_file"})
BACKEND = ["backend", "project", "location", "credentials_file", "api_key", "api_key_file", "base_url", "ca_file", "model"]
TOOL = ["kind", "description", "function", "url", "token", "token_file", "command", "only", "parameters", "timeout", "confirm"]
TOOL += ["networks", "per_minute", "output_limit", "behavior", "scheduling", "headers", "environment"]
MODERATION = ["kind", "function", "url", "token_file", "who", "timeout", "on_failure"]
PRICE = ["model", "as_of", "text_in", "audio_in", "image_in", "text_out", "audio_out"]
WORDS = [
    *("", "x", "default", "vertex", "developer", "gemini-3.8-live", "us-central1", "python", "http", "mcp"),
    *("browser", "builtin"),
    *("json:dumps", "no.such:thing", "https://a.example/", "https://[", "http://a:b", "/missing", "/dir", "call", "key", "day"),
    *(
        "a\nb",
        "\x7f",
        "é",
        "127.0.0.1",
        "0.0.0.0",
        "::",
        "NON_BLOCKING",
        "model",
        "gateway",
        "push_to_talk",
        "{name}",
        "{",
        "a\0b",
    ),
]


def dumped(value: object) -> str:
    """A value as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            return "{" + ", ".join(f"{dumped(str(name))} = {dumped(item)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(dumped, value)) + "]"
        case datetime.date():
            return value.isoformat()
    return str(value)


words = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8"), max_size=8)
scalars = (
    words
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, 5, 0.5, 10, -1])
    | st.floats()
    | st.booleans()
    | st.dates(datetime.date(2000, 1, 1))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)


def table(keys: list[str], inner: Mapping[str, st.SearchStrategy[Any]] | None = None) -> st.SearchStrategy[Any]:
    """Some of these keys with anything in them, and `inner` keys with what belongs there, or anything."""
    known = {key: values for key in keys} | {key: value | values for key, value in (inner or {}).items()}
    return st.fixed_dictionaries({}, optional=known) | values


def named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`[table.NAME]`, with any names."""
    return st.dictionaries(st.sampled_from(["default", "a", "b"]) | words, inner, max_size=3) | values


listening = table(["endpointing", "start_sensitivity", "prefix_padding", "silence", "interruptions", "turn_coverage"])
limits = table(["tokens", "audio_tokens", "usd"])
inside = {
    "listening": listening,
    "compression": table(["enabled", "trigger_tokens", "target_tokens"]),
    "budget": table([], {"call": limits, "key": limits, "day": limits}),
    "tools": named(table(TOOL)),
    "moderation": table(MODERATION),
}
documents = st.fixed_dictionaries(
    {},
    optional={
        **{section: table(KEYS) for section in SECTIONS},
        "profiles": named(table(list(PROFILE_FIELDS), inside)),
        "backends": named(table(BACKEND)),
        "prices": st.lists(table(["model", "as_of", "text_in", "audio_in", "image_in", "text_out", "audio_out"]), max_size=2)
        | values,
        "keys": named(table(["secret", "secret_file", "profiles"])),
        "ice_servers": st.lists(table(["urls", "username", "credential", "credential_file"]), max_size=2) | values,
        "libopus": values,
        "worker": values,
        "nonsense": values,
    },
)


def read(path: str) -> str:
    """Files that are there, those that are not, and those that are none."""
    if path == "/dir":
        raise IsADirectoryError(21, "Is a directory", path)
    if path == "/text":
        return "text"
    if "\0" in path:
        raise ValueError("embedded null byte")
    raise FileNotFoundError(2, "No such file or directory", path)


@settings(max_examples=40, deadline=None)
@given(documents)
def test_any_values_give_a_config_or_one_line_a_fault(document: dict[str, Any]) -> None:
    text = "\n".join(f"{name} = {dumped(value)}" for name, value in document.items())
    tomllib.loads(text)  # what is tried is TOML
    faults: tuple[str, ...] = ()
    try:
        config = load({"config": "x"}, {}, read=lambda path: text if path == "x" else read(path))
    except ConfigError as error:
        faults = error.faults or ("",)
    else:
        tomllib.loads(describe(config))
    for fault in faults:
        assert fault, "a fault says what it is"
        assert fault.isprintable(), repr(fault)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda text: "\0" not in text), min_size=3, max_size=3))
def test_any_words_of_a_profile_are_shown_so_that_they_can_be_loaded_again(texts: list[str]) -> None:
    title, instruction, greeting = texts
    words = {"title": title, "system_instruction": instruction, "greeting": greeting, "goodbye": title, "idle_prompt": title}
    tool = {
        "kind": "browser",
        "description": instruction or "x",
        "parameters": {"properties": {"a": {"type": "string", "description": greeting}}},
    }
    text = f"profiles = {dumped({'default': words | {'tools': {'show': tool}}})}"
    config = load({"config": "x"}, {}, read=lambda _: text)
    again = load({"config": "x"}, {}, read=lambda _: describe(config))
    assert again.profiles == config.profiles
    assert again.profiles["default"].system_instruction == instruction
