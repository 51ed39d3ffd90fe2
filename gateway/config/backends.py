"""The services that may answer, `[model]` and `[backends.NAME]`: the Gemini API for developers, or Vertex AI.

Where a service is and in which version follows from which one it is and, on Vertex AI, from the location, as in the SDK.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from gateway.config import values
from gateway.config.tables import Fault, Read, entries, from_file, one_of, read_fields, read_secret
from gateway.config.tree import ModelConfig
from gateway.profile import Profile
from gateway.wire.gemini_setup import MODELS, RETIRED, Backend, capabilities

Options = dict[str, Any]
"""Of one service, by the names of `ModelConfig`."""

DEVELOPER_URL = "https://generativelanguage.googleapis.com/"
API_VERSIONS = {Backend.DEVELOPER: "v1beta", Backend.VERTEX: "v1beta1"}
"""Every public page of the Live service is about these, although the SDK defaults to v1 for developers."""

OF_VERTEX = ("project", "location", "credentials_file")
OF_ONE_SERVICE = (*OF_VERTEX, "api_key", "base_url", "ca_file", "api_version")
"""What makes no sense with another kind of service, and is not taken over from `[model]` by a backend of another kind."""

NOT_OURS = frozenset({"default", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS"})
"""Origins of settings that nobody wrote for this program: Google's own machines set these variables for all."""


def url(backend: Backend, location: str) -> str:
    """Where the service is, if the operator names no other address. `location`: empty for a key of Vertex AI's express mode."""
    if backend is Backend.DEVELOPER:
        return DEVELOPER_URL
    if location in ("", "global"):
        return "https://aiplatform.googleapis.com/"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com/"
    return f"https://{location}-aiplatform.googleapis.com/"


def complete(options: Mapping[str, Any]) -> Options:
    """With address and version, which follow from the rest where they are empty."""
    backend = options.get("backend", Backend.DEVELOPER)
    return dict(options) | {
        "base_url": options.get("base_url") or url(backend, options.get("location", "")),
        "api_version": options.get("api_version") or API_VERSIONS[backend],
        "ca_file": options.get("ca_file"),
    }


def has_access(options: Mapping[str, Any]) -> bool:
    """It is said who we are: by a key, or on Vertex AI by a project, whose credentials are Google's default ones."""
    return bool(options.get("api_key") or (options.get("backend") is Backend.VERTEX and options.get("project")))


def check(where: str, options: Mapping[str, Any], given: Collection[str], fault: Fault, read: Read) -> None:
    """What the options of a service mean together. `given`: those that were written for it. The emulator asks nobody's name."""
    written = [name for name in OF_VERTEX if name in given and options.get(name)]
    if options.get("backend") is not Backend.VERTEX:
        for name in written:
            fault(f"{where}.{name}: means nothing with backend = developer")
        return
    project, location = options.get("project"), options.get("location")
    if project and not location:
        fault(f"{where}.location: a project on Vertex AI wants one, such as us-central1")
    elif location and not project:
        fault(f"{where}.project: a location on Vertex AI wants one")
    elif not has_access(options) and not options.get("emulator"):
        fault(f"{where}: Vertex AI wants project and location, or a key of its express mode as api_key")
    if "credentials_file" in written and not project:
        fault(f"{where}.credentials_file: means nothing without a project")
    if project and (path := options.get("credentials_file")):
        _check_credentials(f"{where}.credentials_file", path, fault, read)


def _check_credentials(where: str, path: str, fault: Fault, read: Read) -> None:
    text = from_file(where, path, fault, read)
    if text is None:
        return
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        fault(f"{where}: {path} holds no Google credentials: a JSON object with a type")


def check_ca_file(where: str, path: str | None, fault: Fault, read: Read) -> None:
    """The authorities of a service, if it has its own."""
    certificate = from_file(where, path, fault, read) if path else None
    if certificate is not None and "-----BEGIN CERTIFICATE-----" not in certificate:
        fault(f"{where}: {path} holds no PEM certificate")


def backends(table: object, first: Mapping[str, Any], fault: Fault, read: Read) -> dict[str, Options]:
    """`[backends.NAME]`: what differs from the `[model]` table. Values by the names of `ModelConfig`, address and version
    still empty where they follow from the rest.
    """
    checks: Mapping[str, Callable[[object], Any]] = {
        "backend": _text(values.backend),
        "project": _text(values.project),
        "location": _text(values.location),
        "credentials_file": _text(values.path),
        "api_key": one_of(str, "a string"),
        "api_key_file": one_of(str, "a string"),
        "base_url": _text(values.https_url),
        "ca_file": _text(values.path),
        "api_version": _text(values.api_version),
        "model": _text(values.model),
    }
    found: dict[str, Options] = {}
    for name, entry in entries("backends", table, fault):
        where = f"backends.{name}"
        options = read_fields(where, entry, checks, fault)
        key = read_secret(where, options, "api_key", fault, read)
        own = {field: value for field, value in options.items() if field not in ("api_key", "api_key_file")}
        if not entry:
            fault(f"{where}: differs in nothing from [model]")
        try:
            own |= {"api_key": values.secret(key)} if key else {}
            whole = _inherited(first, own) | own
            found[values.name(name)] = whole
        except ValueError as error:
            fault(f"{where}: {error}")
            continue
        if options.keys() == entry.keys():  # a rule about an option that is at fault waits
            check(where, whole, own, fault, read)
            other = whole.get("backend") is not first.get("backend") is Backend.VERTEX
            if other and not whole.get("emulator") and not key and "api_key_file" not in entry:
                fault(f"{where}: [model] is on Vertex AI, so this one wants its own api_key")
        if "ca_file" in own:
            check_ca_file(f"{where}.ca_file", own["ca_file"], fault, read)
    return found


def _inherited(first: Mapping[str, Any], own: Mapping[str, Any]) -> Options:
    """What a backend has of `[model]`."""
    kind = first.get("backend", Backend.DEVELOPER)
    if own.get("backend", kind) is not kind:
        return {name: value for name, value in first.items() if name not in OF_ONE_SERVICE}
    # A key of the express mode and a project are two ways to say who we are: its own one counts.
    if own.get("api_key") and not own.get("project"):
        return {name: value for name, value in first.items() if name not in OF_VERTEX}
    return dict(first)


def _text(parse: Callable[[str], object]) -> Callable[[object], object]:
    return lambda value: parse(one_of(str, "a string")(value))


def check_services(
    profiles: Mapping[str, Profile], backends: Iterable[str], models: Mapping[str, str], unknown_models: bool, fault: Fault
) -> None:
    """Names that lead nowhere, and fallbacks that lead in a circle.

    `models`: each backend's default model by its name; `""` is the `[model]` table.
    """
    for name, model in models.items():
        if model and (name == "" or model != models[""]):
            _check_model(f"backends.{name}.model" if name else "model.model", model, unknown_models, fault)
    for profile in profiles.values():
        where = f"profiles.{profile.name}"
        if profile.backend and profile.backend not in backends:
            fault(f"{where}.backend: no backend is called {profile.backend!r}")
        if profile.model:
            _check_model(f"{where}.model", profile.model, unknown_models, fault)
        if profile.fallback and profile.fallback not in profiles:
            fault(f"{where}.fallback: no profile is called {profile.fallback!r}")
        elif profile.fallback:
            _check_fallback(where, profile, profiles, models, fault)


def _check_model(where: str, model: str, unknown_models: bool, fault: Fault) -> None:
    name = model.rpartition("/")[2]
    if since := RETIRED.get(name):
        fault(f"{where}: {model} was shut down on {since}")
    elif not capabilities(model).model and not unknown_models:
        near = difflib.get_close_matches(name, [row.model for row in MODELS], 1)
        hint = f"meant {near[0]}?" if near else f"known: {', '.join(row.model for row in MODELS)}"
        fault(f"{where}: {model} is no Live model this version knows; {hint} (model.unknown_models = true takes it all the same)")


def _check_fallback(
    where: str, profile: Profile, profiles: Mapping[str, Profile], models: Mapping[str, str], fault: Fault
) -> None:
    seen = [profile.name]
    at = profile
    while at.fallback and at.fallback in profiles:
        if at.fallback in seen:
            if at.fallback == profile.name:  # once per circle and member; a profile that leads into one is not its fault
                fault(f"{where}.fallback: leads in a circle: {' → '.join([*seen, at.fallback])}")
            return
        at = profiles[at.fallback]
        seen.append(at.name)
    other = profiles[profile.fallback]
    if (profile.backend, _model_of(profile, models)) == (other.backend, _model_of(other, models)):
        fault(f"{where}.fallback: {other.name} has the same backend and model")


def _model_of(profile: Profile, models: Mapping[str, str]) -> str:
    return profile.model or models.get(profile.backend, "")


def model_configs(found: Mapping[str, Mapping[str, Any]]) -> dict[str, ModelConfig]:
    """The backends as values, once nothing is at fault."""
    return {name: ModelConfig(**complete(options)) for name, options in found.items()}


def lines(name: str, backend: ModelConfig, mask: str) -> list[str]:
    """A backend as TOML, its key masked."""
    found = ["", f"[backends.{name}]", f'backend = "{backend.backend}"']
    if backend.api_key:
        found.append(f'api_key = "{mask}"')
    shown = ("model", *OF_VERTEX, "base_url", "ca_file", "api_version")
    return found + [f"{field} = {values.toml(value)}" for field in shown if (value := getattr(backend, field))]
