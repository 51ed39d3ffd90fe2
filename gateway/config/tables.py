"""The tables of the TOML file that hold many of a kind: profiles, API keys, ICE servers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from gateway.access import ApiKey
from gateway.config import values
from gateway.dialog import context
from gateway.profile import DEFAULT_PROFILE, MAX_INSTRUCTION, Profile, language_fault, voice_fault
from gateway.wire.whip import IceServer

Fault = Callable[[str], None]
Read = Callable[[str], str]

GREETING = "Greet the caller in one short, friendly sentence and ask how you can help."

BUILT_IN = Profile(title="Assistant", greeting=GREETING)
"""The `default` profile where the file has none: a stranger's first call should not meet silence."""


def one_of(kind: type, name: str) -> Callable[[object], Any]:
    """Takes TOML values of one type: bool is no int, a whole number will do as float."""

    def check(value: object) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise ValueError(f"must be {name}")
        return value

    return check


_text = one_of(str, "a string")


def long_text(most: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        text: str = _text(value)
        if len(text) > most or "\0" in text:
            raise ValueError(f"must be text of at most {most} characters")
        return text

    return check


def between(least: float, most: float, *, or_zero: bool = False) -> Callable[[object], float]:
    def check(value: object) -> float:
        number: float = one_of(float, "a number")(value)
        if not least <= number <= most and not (or_zero and number == 0):
            raise ValueError(f"must be {least:g} to {most:g}" + (", or 0 for never" if or_zero else ""))
        return number

    return check


def _checked(fault: Callable[[str], str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        text: str = _text(value)
        if why := fault(text):
            raise ValueError(why)
        return text

    return check


def _name(value: object) -> str:
    name: str = _text(value)
    return values.name(name) if name else ""


def _template(value: object) -> str:
    template: str = long_text(MAX_TEMPLATE)(value)
    context.names(template)
    return template


def _model(value: object) -> str:
    name: str = _text(value)
    return values.model(name) if name else ""


SUBTABLES = frozenset({"tools", "listening", "compression", "budget", "moderation"})
"""Tables of a profile that other modules of this room read."""

MAX_TEMPLATE = 10_000

PROFILE_FIELDS: Mapping[str, Callable[[object], Any]] = {
    "title": long_text(100),
    "model": _model,
    "voice": _checked(voice_fault),
    "language": _checked(language_fault),
    "system_instruction": long_text(MAX_INSTRUCTION),
    "greeting": long_text(2_000),
    "temperature": between(0.0, 2.0),
    "max_duration": between(1.0, 86_400.0),
    "max_duration_warning": between(1.0, 3_600.0, or_zero=True),
    "max_duration_prompt": long_text(2_000),
    "idle_timeout": between(1.0, 86_400.0, or_zero=True),
    "idle_prompt": long_text(2_000),
    "idle_grace": between(1.0, 3_600.0),
    "goodbye": long_text(2_000),
    "tool_nudge": between(1.0, 60.0, or_zero=True),
    "context_template": _template,
    "backend": _name,
    "fallback": _name,
    "public": one_of(bool, "true or false"),
}


def profiles(table: object, fault: Fault) -> dict[str, Profile]:
    """`[profiles.NAME]`, without the tables in them. `default` comes first, and is made where the file has none."""
    found = {DEFAULT_PROFILE: BUILT_IN}
    for name, entry in entries("profiles", table, fault):
        where = f"profiles.{name}"
        own = {key: value for key, value in entry.items() if key not in SUBTABLES}
        options = read_fields(where, own, PROFILE_FIELDS, fault)
        try:
            found[values.name(name)] = Profile(name=name, **options)
        except ValueError as error:
            fault(f"{where}: the name {error}")
    return found


def keys(listed: str, table: object, fault: Fault, read: Read) -> tuple[ApiKey, ...]:
    """API keys: `listed` as in GATEWAY_API_KEYS, and `[keys.NAME]` with `secret` or `secret_file`, and `profiles`.

    The two meet by name, so that secrets may come from the environment and what they allow from the file.
    """
    secrets = _listed(listed, fault)
    limits: dict[str, frozenset[str]] = {}
    for name, entry in entries("keys", table, fault):
        where = f"keys.{name}"
        options = read_fields(where, entry, {"secret": _text, "secret_file": _text, "profiles": _strings}, fault)
        if "profiles" in options:
            limits[name] = frozenset(options["profiles"])
        secret = read_secret(where, options, "secret", fault, read)
        if secret is None and name not in secrets and not {"secret", "secret_file"} & set(entry):
            fault(f"{where}: no secret, neither here nor in GATEWAY_API_KEYS")
        elif secret is not None and name not in secrets:  # the environment comes before the file
            try:
                secrets[values.name(name)] = values.bearer(secret)
            except ValueError as error:
                fault(f"{where}: {error}")
    if len(set(secrets.values())) != len(secrets):
        fault("API keys: two names have the same secret")
    return tuple(ApiKey(name, secret, limits.get(name)) for name, secret in secrets.items())


def ice_servers(table: object, fault: Fault, read: Read) -> tuple[IceServer, ...]:
    """`[[ice_servers]]` with `urls`, and for TURN `username` and `credential` or `credential_file`."""
    if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
        fault("ice_servers: must be tables: [[ice_servers]]")
        return ()
    checks = {"urls": _strings, "username": _text, "credential": _text, "credential_file": _text}
    servers = []
    for number, entry in enumerate(table, 1):
        where = f"ice_servers {number}"
        options = read_fields(where, entry, checks, fault)
        credential = read_secret(where, options, "credential", fault, read) or ""
        try:
            urls = tuple(values.ice_url(url) for url in options.get("urls", ()))
            server = IceServer(urls, values.printable(options.get("username", "")), values.printable(credential))
        except ValueError as error:
            fault(f"{where}: {error}")
            continue
        if not urls and "urls" not in entry:
            fault(f"{where}: no urls")
        if (
            any(url.startswith("turn") for url in urls)
            and not (server.username and credential)
            and "credential_file" not in entry
        ):
            fault(f"{where}: a TURN server wants username and credential")
        servers.append(server)
    return tuple(servers)


def _listed(text: str, fault: Fault) -> dict[str, str]:
    secrets: dict[str, str] = {}
    listed = values.items(text.replace("\n", ","))
    if text and not listed:
        fault("API keys: the list is set and holds none")
    for number, item in enumerate(listed, 1):
        head, colon, tail = item.rpartition(":")
        name, secret = (head, tail) if colon else (f"key{number}", item)
        try:
            values.name(name)
            values.bearer(secret)
        except ValueError as error:
            fault(f"API key {number} of the list: {error}")
            continue
        if name in secrets:
            fault(f"API key {number} of the list: a second key of that name")
        secrets[name] = secret
    return secrets


def read_secret(where: str, options: Mapping[str, Any], name: str, fault: Fault, read: Read) -> str | None:
    if name in options and f"{name}_file" in options:
        fault(f"{where}: {name} and {name}_file: one of the two")
    if f"{name}_file" in options:
        return from_file(f"{where}.{name}_file", options[f"{name}_file"], fault, read)
    return options.get(name)


def from_file(where: str, path: str, fault: Fault, read: Read) -> str | None:
    """The secret in a file. A file that can't be read or is empty is a fault: never "no secret"."""
    if not path:
        fault(f"{where}: names no file")
        return None
    try:
        secret = read(path).strip()
    except OSError as error:
        fault(f"{where}: {path} can't be read: {error.strerror}")
        return None
    except ValueError:  # not UTF-8, or a path no file can have
        fault(f"{where}: {path} is not text")
        return None
    if not secret:
        fault(f"{where}: {path} is empty")
        return None
    return secret


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of strings")
    return value


def entries(name: str, table: object, fault: Fault) -> list[tuple[str, Mapping[str, object]]]:
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        fault(f"{name}: must be tables: [{name}.NAME]")
        return []
    return list(table.items())


def read_fields(
    where: str, entry: Mapping[str, object], checks: Mapping[str, Callable[[object], Any]], fault: Fault
) -> dict[str, Any]:
    found = {}
    for key, value in entry.items():
        if key not in checks:
            near = difflib.get_close_matches(key, checks, 1)
            fault(f"{where}.{key}: unknown" + (f"; meant {near[0]}?" if near else ""))
            continue
        try:
            found[key] = checks[key](value)
        except ValueError as error:
            fault(f"{where}.{key}: {error}")
    return found
