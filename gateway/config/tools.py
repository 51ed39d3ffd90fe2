"""`[profiles.NAME.tools.TOOL]`: the functions a profile's model may have called.

What is wrong with one is found here, before the first call: an unknown kind, a schema that can't be declared, a function that
can't be imported or would not take the declared arguments, a URL that no webhook may have. Importing runs the operator's modules.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any, TypeVar

from gateway.config import values
from gateway.config.tables import Fault, Read, from_file, one_of
from gateway.dialog.arguments import check
from gateway.model.tools import egress, python
from gateway.toolspec import (
    CONFIRMATION,
    HANG_UP,
    NAME,
    Behavior,
    McpServer,
    Scheduling,
    ToolKind,
    ToolSpec,
    Webhook,
)

E = TypeVar("E", bound=enum.StrEnum)

HANG_UP_DESCRIPTION = (
    "Ends the call. Say goodbye to the caller first, in the same turn: the call ends when the caller has heard it. "
    "If the caller speaks before that, the call goes on and you may call this again."
)

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[?[0-9a-f:.]+\]?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _text(most: int) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not value or len(value) > most or "\0" in value:
            raise ValueError(f"must be text of 1 to {most} characters")
        return value

    return parse


def _number(least: float, most: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        number: float = one_of(float, "a number")(value)
        if not least <= number <= most:
            raise ValueError(f"must be {least:g} to {most:g}")
        return number

    return parse


def _whole(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"must be a whole number, {least} to {most}")
        return value

    return parse


def _choice(kind: type[E]) -> Callable[[object], E]:
    def parse(value: object) -> E:
        for member in kind:
            if value == member.value:
                return member
        raise ValueError(f"must be one of {', '.join(member.value for member in kind)}")

    return parse


def _list(each: Callable[[str], Any]) -> Callable[[object], tuple[Any, ...]]:
    def parse(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise ValueError("must be a list of texts")
        return tuple(each(item) for item in value)

    return parse


def _host(value: str) -> str:
    host = value.lower().rstrip(".")
    if _HOST.fullmatch(host) is None:
        raise ValueError(f"{value!r} is no host name")
    return host.strip("[]")


def _environment(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(item, str) and "\0" not in item for item in value.values()):
        raise ValueError("must be a table of texts")
    for name in value:
        if _VARIABLE.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no variable's name")
    return tuple(value.items())


def _schema(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    return {"type": "object"} | value if value else {}


def _secret_text(value: object) -> str:
    return values.secret(_text(8_192)(value))


_LIMITS: Mapping[str, Callable[[object], Any]] = {
    "timeout": _number(0.1, 300.0),
    "per_minute": _whole(1, 600),
    "output_limit": _whole(64, 256 * 1024),
}
_COMMON: Mapping[str, Callable[[object], Any]] = {
    "description": _text(4_000),
    "confirm": one_of(bool, "true or false"),
    "behavior": _choice(Behavior),
    "scheduling": _choice(Scheduling),
    **_LIMITS,
}
_DECLARED = {**_COMMON, "parameters": _schema}
_TOKEN = {"token": _secret_text, "token_file": _text(4_096)}
FIELDS: Mapping[ToolKind, Mapping[str, Callable[[object], Any]]] = {
    ToolKind.PYTHON: {**_DECLARED, "function": _text(500)},
    ToolKind.HTTP: {**_DECLARED, **_TOKEN, "url": _text(2_000), "hosts": _list(_host), "networks": _list(ip_network)},
    ToolKind.MCP: {**_COMMON, **_TOKEN, "command": _list(str), "env": _environment, "url": _text(2_000), "only": _list(str)},
    ToolKind.BROWSER: _DECLARED,
    ToolKind.BUILTIN: {"description": _text(4_000)},
}
"""What may be said of a tool, by its kind."""


def tools(table: object, fault: Fault, read: Read, folder: str) -> dict[str, tuple[ToolSpec, ...]]:
    """The tools of each profile in the file's `profiles` table. `folder`: where modules may be, after Python's own path."""
    found: dict[str, tuple[ToolSpec, ...]] = {}
    for profile, entry in table.items() if isinstance(table, dict) else ():
        named = entry.get("tools", {}) if isinstance(entry, dict) else {}
        where = f"profiles.{profile}.tools"
        if not isinstance(named, dict) or not all(isinstance(one, dict) for one in named.values()):
            fault(f"{where}: must be tables: [{where}.NAME]")
            continue
        specs = [_tool(f"{where}.{name}", name, one, fault, read, folder) for name, one in named.items()]
        found[profile] = tuple(spec for spec in specs if spec is not None)
    return found


def _tool(where: str, name: str, entry: Mapping[str, object], fault: Fault, read: Read, folder: str) -> ToolSpec | None:
    """One tool; None after a fault."""
    faults: list[str] = []
    if NAME.fullmatch(name) is None:
        faults.append(f"{where}: a name has letters, digits, _ and -, at most 64")
    try:
        kind = _choice(ToolKind)(entry.get("kind"))
    except ValueError as error:
        fault(f"{where}.kind: {error}")
        return None
    options = _options(where, kind, entry, faults)
    secret = secret_of(where, options, faults, read)
    parameters = options.get("parameters", {})
    if not any(one.startswith(f"{where}.parameters") for one in faults):
        faults += check(parameters, f"{where}.parameters")
    if CONFIRMATION in (parameters.get("properties") or {}) and options.get("confirm"):
        faults.append(f"{where}.parameters.{CONFIRMATION}: the name is taken by confirm")
    if not options.get("description") and kind not in (ToolKind.MCP, ToolKind.BUILTIN) and "description" not in entry:
        faults.append(f"{where}: no description; the model needs one to know when to call it")
    extra: dict[str, Any] = {}
    match kind:
        case ToolKind.PYTHON:
            extra = {"path": function_path(where, options, parameters, bool(faults), faults, folder)}
        case ToolKind.HTTP:
            extra = {"webhook": webhook(where, entry, options, secret, faults)}
        case ToolKind.MCP:
            extra = {"server": _server(where, entry, options, secret, faults), "only": options.get("only", ())}
        case ToolKind.BUILTIN:
            if name != HANG_UP:
                faults.append(f"{where}: no built-in tool has this name; there is {HANG_UP}")
            options.setdefault("description", HANG_UP_DESCRIPTION)
    for one in faults:
        fault(one)
    if faults:
        return None
    common = {key: value for key, value in options.items() if key in _DECLARED}
    return ToolSpec(name=name, kind=kind, **common, **extra)


def _options(where: str, kind: ToolKind, entry: Mapping[str, object], faults: list[str]) -> dict[str, Any]:
    fields = FIELDS[kind]
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "kind":
            continue
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            faults.append(f"{where}.{key}: unknown for kind {kind.value}" + (f"; meant {near[0]}?" if near else ""))
            continue
        try:
            found[key] = fields[key](value)
        except ValueError as error:
            faults.append(f"{where}.{key}: {error}")
    return found


def secret_of(where: str, options: Mapping[str, Any], faults: list[str], read: Read) -> str:
    """The bearer token of `token` or `token_file`; empty without one."""
    if "token" in options and "token_file" in options:
        faults.append(f"{where}: token and token_file: one of the two")
    if "token_file" not in options:
        return str(options.get("token", ""))
    secret = from_file(f"{where}.token_file", options["token_file"], faults.append, read)
    try:
        return values.secret(secret or "")
    except ValueError as error:
        faults.append(f"{where}.token_file: {error}")
        return ""


def function_path(
    where: str, options: Mapping[str, Any], parameters: Mapping[str, Any], at_fault: bool, faults: list[str], folder: str
) -> str:
    """The import path of `function`, looked up and held against the parameters unless something is `at_fault` already."""
    path = str(options.get("function", ""))
    if not path:
        faults.append(f"{where}.function: must be given: package.module:function")
        return path
    try:
        function = python.find(path, folder)
    except ValueError as error:
        faults.append(f"{where}.function: {error}")
        return path
    if not at_fault and (why := python.mismatch(function, parameters)) is not None:
        faults.append(f"{where}.function: {path} {why}")
    return path


def webhook(where: str, entry: Mapping[str, object], options: Mapping[str, Any], secret: str, faults: list[str]) -> Webhook:
    """Where to post, of `url`, `hosts` and `networks`."""
    url = str(options.get("url", ""))
    host = egress.host_of(url)
    hosts, networks = options.get("hosts", (host,) if host else ()), options.get("networks", ())
    if "url" not in entry:
        faults.append(f"{where}.url: must be given")
    elif url and (why := egress.fault(url, hosts, networks)) is not None:
        faults.append(f"{where}.url: {why}")
    return Webhook(url, hosts, networks, secret)


def _server(where: str, entry: Mapping[str, object], options: Mapping[str, Any], secret: str, faults: list[str]) -> McpServer:
    if ("command" in entry) == ("url" in entry):
        faults.append(f"{where}: an MCP server has a command or a url, one of the two")
    url = str(options.get("url", ""))
    if url and (not egress.host_of(url) or not url.startswith(("https://", "http://"))):
        faults.append(f"{where}.url: must be https://HOST/… or http://HOST/…")
    if "env" in entry and "url" in entry:
        faults.append(f"{where}.env: only for a command")
    if secret and "command" in entry:
        faults.append(f"{where}.token: only for a url; give a command its secrets by env")
    return McpServer(options.get("command", ()), options.get("env", ()), url, secret)


def tool_lines(tool: ToolSpec, mask: str) -> Iterator[str]:
    """The tool as it is written in the file, secrets masked."""
    said: dict[str, object] = {"kind": tool.kind, "description": tool.description}
    if tool.kind is not ToolKind.BUILTIN:
        said |= {
            "timeout": tool.timeout,
            "per_minute": tool.per_minute,
            "output_limit": tool.output_limit,
            "confirm": tool.confirm,
        }
        said |= {"behavior": tool.behavior, "scheduling": tool.scheduling, "function": tool.path, "only": tool.only}
    if tool.webhook is not None:
        said |= {"url": tool.webhook.url, "hosts": tool.webhook.hosts, "token": mask if tool.webhook.token else ""}
        said["networks"] = [str(network) for network in tool.webhook.networks]
    if tool.server is not None:
        said |= {"command": tool.server.command, "url": tool.server.url, "token": mask if tool.server.token else ""}
        said["env"] = dict.fromkeys((name for name, _ in tool.server.env), mask)
    said["parameters"] = tool.parameters
    for name, value in said.items():
        if value or value is False:
            yield f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    """Inline TOML. What JSON writes for texts, numbers and truth is TOML, too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{values.toml(name)} = {_toml(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return values.toml(value)
