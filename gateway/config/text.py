"""The configuration for people: what is in force, and what there is to set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from gateway.config import backends, moderation, policies, values
from gateway.config.load import CONFIG_ENV, TABLES
from gateway.config.settings import SETTINGS, Setting
from gateway.config.tables import PROFILE_FIELDS
from gateway.config.tools import tool_lines
from gateway.config.tree import Config

MASK = "***"


def describe(config: Config) -> str:
    """The configuration as a TOML file, secrets masked, each setting with where it came from."""
    lines: list[str] = []
    section = ""
    for setting in sorted(SETTINGS, key=lambda setting: "." in setting.path):
        head, _, key = setting.path.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{head}]"]
        origin = config.origins.get(setting.path, "default")
        # API keys of `[keys.NAME]` are shown where they are written.
        value = setting.default if setting.secret and origin == "default" else _value(config, setting)
        lines.append(f"{key} = {_toml(setting, value)}  # {origin}")
    for profile in config.profiles.values():
        lines += ["", f"[profiles.{profile.name}]"]
        options = {name: getattr(profile, name) for name in PROFILE_FIELDS}
        lines += [f"{name} = {values.toml(value)}" for name, value in options.items() if value not in ("", None)]
        lines += policies.lines(profile)
        lines += moderation.lines(profile, MASK)
        for tool in profile.tools:
            lines += ["", f"[profiles.{profile.name}.tools.{tool.name}]", *tool_lines(tool, MASK)]
    for name, backend in config.backends.items():
        lines += backends.lines(name, backend, MASK)
    for price in config.prices:
        lines += ["", "[[prices]]", *(f"{field} = {values.toml(value)}" for field, value in asdict(price).items())]
    for key_ in config.http.api_keys:
        lines += ["", f"[keys.{key_.name}]", f'secret = "{MASK}"']
        if key_.profiles is not None:
            lines.append(f"profiles = {values.toml(sorted(key_.profiles))}")
    for server in config.ice_servers:
        lines += ["", "[[ice_servers]]", f"urls = {values.toml(server.urls)}"]
        if server.credential:
            lines += [f"username = {values.toml(server.username)}", f'credential = "{MASK}"']
    return "\n".join(lines).strip() + "\n"


def markdown() -> str:
    """The README's table of settings."""
    return "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    yield "| variable | flag | in the file | default | meaning |"
    yield "|---|---|---|---|---|"
    tables = ", ".join(f"`{name}`" for name in TABLES)
    yield f"| `{CONFIG_ENV}` | `--config` | | | TOML file with any of these, and {tables}. |"
    for setting in SETTINGS:
        names = [f"`{name}`" for name in setting.env] + ([f"`{name}_FILE`" for name in setting.env] if setting.secret else [])
        flag = f"`{setting.flag}`" if setting.flag else ""
        default = f"`{setting.default}`" if setting.default else ""
        yield f"| {' '.join(names)} | {flag} | `{setting.path}` | {default} | {setting.meaning} |"


def _value(config: Config, setting: Setting) -> object:
    value: object = config
    for name in setting.path.split("."):
        value = getattr(value, name)
    return value


def _toml(setting: Setting, value: object) -> str:
    if setting.secret:
        return f'"{MASK}"' if value else '""'
    if isinstance(value, frozenset | tuple):
        return values.toml(sorted(value) if isinstance(value, frozenset) else list(value))
    return values.toml("" if value is None else value)
