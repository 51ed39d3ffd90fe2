"""`[profiles.NAME.moderation]`: who judges a profile's transcripts, by the means of its tools.

A `function` or a `url`, asked with `who`, `text` and `call_id`; see `dialog.moderation` for what they may answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.config import values
from gateway.config.tables import Fault, Read, between, read_fields
from gateway.config.tools import FIELDS, function_path, secret_of, webhook
from gateway.dialog.moderation import Moderation, Ruling, Who
from gateway.profile import Profile
from gateway.toolspec import ToolKind, ToolSpec

TIMEOUT = 2.0
"""Seconds for a verdict unless the profile says otherwise: captions wait that long."""

PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("who", "text", "call_id")},
    "required": ["who", "text", "call_id"],
}


def _speakers(value: object) -> frozenset[Who]:
    names = [who.value for who in Who]
    if not isinstance(value, list) or not value or any(name not in names for name in value):
        raise ValueError(f"must be a list of {', '.join(names)}")
    return frozenset(Who(name) for name in value)


def _ruling(value: object) -> Ruling:
    names = [ruling.value for ruling in Ruling]
    if value not in names:
        raise ValueError(f"must be one of {', '.join(names)}")
    return Ruling(value)


CHECKS: Mapping[str, Callable[[object], Any]] = {
    **{name: FIELDS[ToolKind.HTTP][name] for name in ("url", "hosts", "networks", "token", "token_file")},
    "function": FIELDS[ToolKind.PYTHON]["function"],
    "timeout": between(0.1, 10.0),
    "who": _speakers,
    "on_failure": _ruling,
}


def complete(profiles: dict[str, Profile], table: object, fault: Fault, read: Read, folder: str) -> None:
    """Read the `moderation` tables into the profiles that `tables.profiles` has made. `folder`: see `tools.tools`."""
    for name, entry in table.items() if isinstance(table, dict) else ():
        if name in profiles and isinstance(entry, dict) and "moderation" in entry:
            found = _moderation(f"profiles.{name}.moderation", entry["moderation"], fault, read, folder)
            profiles[name] = replace(profiles[name], moderation=found)


def _moderation(where: str, entry: object, fault: Fault, read: Read, folder: str) -> Moderation | None:
    """The hook; None after a fault."""
    if not isinstance(entry, dict):
        fault(f"{where}: must be a table: [{where}]")
        return None
    faults: list[str] = []
    options = read_fields(where, entry, CHECKS, faults.append)
    hook = ToolSpec("moderation", ToolKind.PYTHON, parameters=PARAMETERS, timeout=options.get("timeout", TIMEOUT))
    if ("function" in entry) == ("url" in entry):
        faults.append(f"{where}: a hook has a function or a url, one of the two")
    elif "function" in entry:
        faults += [f"{where}.{name}: only for a url" for name in ("hosts", "networks", "token", "token_file") if name in entry]
        if "function" in options:
            hook = replace(hook, path=function_path(where, options, PARAMETERS, bool(faults), faults, folder))
    else:
        secret = secret_of(where, options, faults, read)
        hook = replace(hook, kind=ToolKind.HTTP, webhook=webhook(where, entry, options, secret, faults))
    for one in faults:
        fault(one)
    if faults:
        return None
    return Moderation(hook, options.get("who", frozenset(Who)), options.get("on_failure", Ruling.ALLOW))


def lines(profile: Profile, mask: str) -> Iterator[str]:
    """The table as it is written in the file, secrets masked."""
    moderation = profile.moderation
    if moderation is None:
        return
    hook = moderation.hook
    said: dict[str, object] = {}
    if hook.webhook is None:
        said["function"] = hook.path
    else:
        said |= {"url": hook.webhook.url, "hosts": hook.webhook.hosts}
        said["networks"] = [str(network) for network in hook.webhook.networks]
        said["token"] = mask if hook.webhook.token else ""
    said |= {"who": sorted(moderation.who), "timeout": hook.timeout, "on_failure": moderation.on_failure}
    yield from ("", f"[profiles.{profile.name}.moderation]")
    for name, value in said.items():
        if value:
            yield f"{name} = {values.toml(value)}"
