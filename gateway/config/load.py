"""Flags before environment before file before default; every fault found is reported, not just the first."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gateway.config import backends, moderation, policies, tables, tools, values
from gateway.config.settings import SETTINGS, Setting
from gateway.config.tables import Fault, Read
from gateway.config.tree import AdminConfig, CallsConfig, Config, HttpConfig, LogConfig, ModelConfig, UdpConfig
from gateway.errors import ConfigError
from gateway.wire.gemini_setup import Backend

T = TypeVar("T")

CONFIG_ENV = "GATEWAY_CONFIG"
TABLES = ("profiles", "backends", "prices", "keys", "ice_servers")
_TOML_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", list: "a list of strings"}


def read_text(path: str) -> str:
    """A file's text; raises OSError, UnicodeDecodeError."""
    return Path(path).read_text(encoding="utf-8")


def load(flags: Mapping[str, str], environ: Mapping[str, str], *, read: Read = read_text) -> Config:
    """The configuration of this process.

    `flags` holds what the command line said, by the settings' TOML paths, and under `config` the file to read. Raises
    ConfigError with every fault.
    """
    faults: list[str] = []
    path = flags.get("config") or environ.get(CONFIG_ENV, "")
    document = _document(path, faults.append, read)
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        text, origin = _raw(setting, flags, environ, document, path, faults.append, read)
        origins[setting.path] = origin
        if text is None:
            continue
        try:
            found[setting.path] = setting.parse(text)
        except ValueError as error:
            # What was written helps the operator, unless it is a secret.
            faults.append(f"{origin} ({setting.path}): {error}" + ("" if setting.secret else f", not {text!r}"))

    profiles = tables.profiles(document.get("profiles", {}), faults.append)
    folder = str(Path(path).absolute().parent) if path else ""
    for name, specs in tools.tools(document.get("profiles", {}), faults.append, read, folder).items():
        if specs and name in profiles:
            profiles[name] = replace(profiles[name], tools=specs)
    policies.complete(profiles, document.get("profiles", {}), faults.append)
    moderation.complete(profiles, document.get("profiles", {}), faults.append, read, folder)
    services = {path.removeprefix("model."): value for path, value in found.items() if path.startswith("model.")}
    others = backends.backends(document.get("backends", {}), services, faults.append, read)
    models = {"": str(found.get("model.model", ""))} | {name: str(options.get("model", "")) for name, options in others.items()}
    backends.check_services(profiles, others, models, bool(found.get("model.unknown_models")), faults.append)
    prices = policies.prices(document.get("prices", []), faults.append)
    policies.check_prices(profiles, models, prices, faults.append)
    keys = tables.keys(found.get("http.api_keys", ""), document.get("keys", {}), faults.append, read)
    for key in keys:
        unknown = sorted((key.profiles or frozenset()) - set(profiles))
        faults += [f"keys.{key.name}.profiles: no profile is called {name!r}" for name in unknown]
    servers = tables.ice_servers(document.get("ice_servers", []), faults.append, read)
    emulator = _check_rules(found, origins, bool(keys), services, faults.append, read)
    if faults:
        raise ConfigError([_one_line(fault) for fault in faults])
    if emulator and not found["model.emulator"]:
        origins["model.emulator"] = "no Gemini key"
    return Config(
        worker=found["worker"],
        libopus=found["libopus"],
        http=_part(HttpConfig, "http", found | {"http.api_keys": keys}),
        admin=_part(AdminConfig, "admin", found),
        udp=_part(UdpConfig, "udp", found),
        model=ModelConfig(**backends.complete(services | {"emulator": emulator})),
        calls=_part(CallsConfig, "calls", found),
        log=_part(LogConfig, "log", found),
        ice_servers=servers,
        profiles=profiles,
        backends=backends.model_configs({name: options | {"emulator": emulator} for name, options in others.items()}),
        prices=prices,
        origins=origins,
    )


def _one_line(fault: str) -> str:
    """What was written may hold anything; what is complained about stays on its line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in fault)


def _part(kind: type[T], prefix: str, found: Mapping[str, Any]) -> T:
    return kind(**{path.removeprefix(f"{prefix}."): value for path, value in found.items() if path.startswith(f"{prefix}.")})


def _document(path: str, fault: Fault, read: Read) -> dict[str, Any]:
    if not path:
        return {}
    try:
        document = tomllib.loads(read(path))
    except OSError as error:
        fault(f"{path}: can't be read: {error.strerror}")
        return {}
    except ValueError as error:  # not UTF-8, or not TOML; the text names line and column
        fault(f"{path}: {error}")
        return {}
    known = {setting.path for setting in SETTINGS} | {f"{setting.path}_file" for setting in SETTINGS if setting.secret}
    sections = {name.partition(".")[0] for name in known if "." in name}
    for name, value in document.items():
        if name in sections and isinstance(value, dict):
            for key in value:
                _check_known(f"{name}.{key}", known, fault)
        elif name in sections:
            fault(f"{path}: {name} must be a table: [{name}]")
        elif name not in TABLES:
            _check_known(name, known | sections | set(TABLES), fault)
    return document


def _check_known(name: str, known: set[str], fault: Fault) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        fault(f"{name}: unknown" + (f"; meant {near[0]}?" if near else ""))


def _raw(
    setting: Setting,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    document: Mapping[str, Any],
    path: str,
    fault: Fault,
    read: Read,
) -> tuple[str | None, str]:
    """What was written, and where; None after a fault. An empty variable is one that is not set."""
    if setting.path in flags:
        return flags[setting.path], setting.flag or setting.path
    if setting.secret:
        # Every _FILE that is named must be there, even one that another variable outranks.
        files = {
            name: tables.from_file(f"{name}_FILE", environ[f"{name}_FILE"], fault, read)
            for name in setting.env
            if f"{name}_FILE" in environ
        }
        for name in setting.env:
            if environ.get(name) and name in files:
                fault(f"{name} and {name}_FILE: one of the two")
            if environ.get(name) or name in files:
                return environ.get(name) or files[name], name if environ.get(name) else f"{name}_FILE"
    for name in setting.env:
        if environ.get(name):
            return environ[name], name
    section, _, key = setting.path.rpartition(".")
    table = document.get(section, {}) if section else document
    if isinstance(table, dict):
        if setting.secret and f"{key}_file" in table:
            return _toml_secret(setting, table, key, fault, read), path
        if key in table:
            return _toml_text(setting, table[key], fault), path
    return setting.default, "default"


def _toml_secret(setting: Setting, table: Mapping[str, Any], key: str, fault: Fault, read: Read) -> str | None:
    if key in table:
        fault(f"{setting.path} and {setting.path}_file: one of the two")
    if not isinstance(table[f"{key}_file"], str):
        fault(f"{setting.path}_file: must be a string")
        return None
    return tables.from_file(f"{setting.path}_file", table[f"{key}_file"], fault, read)


def _toml_text(setting: Setting, value: object, fault: Fault) -> str | None:
    """A TOML value as an operator would have written it into a variable, so that there is one parser for both."""
    if setting.toml is list and isinstance(value, list) and all(isinstance(item, str) for item in value):
        if any("," in item or "\n" in item for item in value):
            fault(f"{setting.path}: an item of the list holds a comma or a line break")
            return None
        return ",".join(value)
    if setting.toml is list and isinstance(value, str):
        return value
    if (type(value) is setting.toml and setting.toml is not list) or (setting.toml is float and type(value) is int):
        return str(value).lower() if isinstance(value, bool) else str(value)
    fault(f"{setting.path}: must be {_TOML_NAMES[setting.toml]}")
    return None


def _check_rules(
    found: Mapping[str, Any], origins: Mapping[str, str], keys: bool, services: Mapping[str, Any], fault: Fault, read: Read
) -> bool:
    """What settings mean together. Returns whether the emulator answers; rules about a setting that is at fault wait."""
    host = found.get("http.host")
    loopback = host is None or values.is_loopback(host)
    if not loopback and not keys and not found.get("http.insecure", True) and "http.api_keys" in found:
        fault(f"{host} can be reached by others: set GATEWAY_API_KEYS, or --insecure-no-auth to let anyone call")
    if found.get("http.port") and found.get("http.port") == found.get("admin.port"):
        fault("http.port and admin.port must differ")
    backends.check_ca_file("model.ca_file", found.get("model.ca_file"), fault, read)
    if {f"model.{name}" for name in ("backend", "emulator", "api_key", *backends.OF_VERTEX)} <= set(found):
        given = [name for name in services if origins[f"model.{name}"] not in backends.NOT_OURS]
        backends.check("model", services, given, fault, read)
    if found.get("model.backend") is Backend.VERTEX:
        return bool(found.get("model.emulator"))
    if found.get("model.emulator", True) or found.get("model.api_key", "?"):
        return bool(found.get("model.emulator"))
    if origins["model.base_url"] != "default":
        fault(f"{origins['model.base_url']} names a service, but there is no key for it: set GEMINI_API_KEY")
    elif not loopback:
        fault(
            f"no Gemini key, and {host} can be reached by others: set GEMINI_API_KEY or GOOGLE_API_KEY (or …_FILE); "
            "--emulator if callers shall meet a parrot"
        )
    elif origins["model.emulator"] != "default":
        fault(
            f"no Gemini key, and {origins['model.emulator']} says no emulator: set GEMINI_API_KEY or GOOGLE_API_KEY (or …_FILE)"
        )
    return True
