"""The tables inside a profile that say how its calls behave, and what tokens cost.

`[profiles.NAME.listening]`, `.compression`, `.budget.call` (`key`, `day`), `[[prices]]`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from typing import Any, TypeVar

from gateway.config import values
from gateway.config.tables import Fault, between, one_of, read_fields
from gateway.dialog.budget import Budget, Limits, Scope, Unit
from gateway.dialog.prices import Price, price_of
from gateway.profile import Compression, DuringTools, Endpointing, Listening, Profile, Sensitivity, TurnCoverage

E = TypeVar("E", bound=enum.StrEnum)
Checks = Mapping[str, Callable[[object], Any]]

MAX_TOKENS = 10**12
MAX_USD = 1e6


def _one_word(kind: type[E]) -> Callable[[object], E]:
    def check(value: object) -> E:
        if value not in [member.value for member in kind]:
            raise ValueError(f"must be one of {', '.join(member.value for member in kind if member.value)}")
        return kind(value)

    return check


def _tokens(value: object) -> int:
    number: int = one_of(int, "a whole number")(value)
    if not 0 <= number <= MAX_TOKENS:
        raise ValueError("must be a number of tokens, or 0 for no limit")
    return number


_LISTENING: Checks = {
    "endpointing": _one_word(Endpointing),
    "start_sensitivity": _one_word(Sensitivity),
    "end_sensitivity": _one_word(Sensitivity),
    "prefix_padding": between(0.0, 2.0),
    "silence": between(0.1, 10.0),
    "interruptions": one_of(bool, "true or false"),
    "turn_coverage": _one_word(TurnCoverage),
    "during_tools": _one_word(DuringTools),
}
_COMPRESSION: Checks = {"enabled": one_of(bool, "true or false"), "trigger_tokens": _tokens, "target_tokens": _tokens}
_LIMITS: Checks = {
    "tokens": _tokens,
    "text_tokens": _tokens,
    "audio_tokens": _tokens,
    "image_tokens": _tokens,
    "usd": between(0.000001, MAX_USD, or_zero=True),
}


def complete(profiles: dict[str, Profile], table: object, fault: Fault) -> None:
    """Read the tables inside `[profiles.NAME]` into the profiles that `tables.profiles` has made."""
    if not isinstance(table, dict):
        return  # said by tables.profiles
    for name, entry in table.items():
        if name in profiles and isinstance(entry, dict):
            profiles[name] = _complete(profiles[name], entry, f"profiles.{name}", fault)


def _complete(profile: Profile, entry: Mapping[str, object], where: str, fault: Fault) -> Profile:
    listening = Listening(**_table(where, entry, "listening", _LISTENING, fault))
    unheard = {"start_sensitivity", "end_sensitivity", "prefix_padding"} & set(_dict(entry.get("listening")))
    if listening.endpointing is not Endpointing.MODEL:
        unheard |= (
            {"silence"} & set(_dict(entry.get("listening"))) if listening.endpointing is Endpointing.PUSH_TO_TALK else set()
        )
        for name in sorted(unheard):
            fault(f"{where}.listening.{name}: means nothing with endpointing = {listening.endpointing.value}")
    compression = Compression(**_table(where, entry, "compression", _COMPRESSION, fault))
    if compression.trigger_tokens and compression.target_tokens >= compression.trigger_tokens:
        fault(f"{where}.compression.target_tokens: must be less than trigger_tokens")
    if not compression.enabled and (compression.trigger_tokens or compression.target_tokens):
        fault(f"{where}.compression: sizes mean nothing with enabled = false")
    return replace(
        profile,
        listening=listening,
        compression=compression,
        budget=_budget(where, entry, fault),
    )


def _budget(where: str, entry: Mapping[str, object], fault: Fault) -> Budget:
    scopes = _dict(entry.get("budget"))
    if "budget" in entry and not isinstance(entry["budget"], dict):
        fault(f"{where}.budget: must be tables: [{where}.budget.call]")
    names = [scope.value for scope in Scope]
    for name in scopes:
        if name not in names:
            fault(f"{where}.budget.{name}: unknown; there are {', '.join(names)}")
    return Budget(**{name: Limits(**_table(f"{where}.budget", scopes, name, _LIMITS, fault)) for name in names})


def _table(where: str, entry: Mapping[str, object], name: str, checks: Checks, fault: Fault) -> dict[str, Any]:
    table = entry.get(name, {})
    if not isinstance(table, dict):
        fault(f"{where}.{name}: must be a table: [{where}.{name}]")
        return {}
    return read_fields(f"{where}.{name}", table, checks, fault)


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def lines(profile: Profile) -> list[str]:
    """The tables inside a profile as TOML, without what is at its default."""
    found: list[str] = []
    parts: list[tuple[str, object, object]] = [
        ("listening", profile.listening, Listening()),
        ("compression", profile.compression, Compression()),
        *((f"budget.{scope.value}", getattr(profile.budget, scope.value), Limits()) for scope in Scope),
    ]
    for name, part, default in parts:
        if part != default:
            found += ["", f"[profiles.{profile.name}.{name}]", *_differences(part, default)]
    return found


def _differences(part: Any, default: Any) -> list[str]:
    values_ = [(field.name, getattr(part, field.name)) for field in fields(part)]
    return [f"{name} = {values.toml(value)}" for name, value in values_ if value != getattr(default, name)]


def _text(parse: Callable[[str], object]) -> Callable[[object], object]:
    return lambda value: parse(one_of(str, "a string")(value))


# --- prices ---


def prices(table: object, fault: Fault) -> tuple[Price, ...]:
    """`[[prices]]`: US dollars per million tokens of the models whose names begin with `model`.

    What is left out is as in the built-in table, if the model is there.
    """
    if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
        fault("prices: must be tables: [[prices]]")
        return ()
    money = between(0.0, 10_000.0)
    amounts = ("text_in", "audio_in", "image_in", "text_out", "audio_out")
    checks: Checks = {"model": _text(values.model), "as_of": _date} | dict.fromkeys(amounts, money)
    rows = []
    for number, entry in enumerate(table, 1):
        where = f"prices {number}"
        options = read_fields(where, entry, checks, fault)
        base = price_of(options.get("model", ""))
        missing = [name for name in ("model", "as_of", *(() if base else amounts)) if name not in entry]
        if missing:
            fault(f"{where}: no {', '.join(missing)}")
        elif set(options) == set(entry):
            rows.append(replace(base, **options) if base else Price(**options))
    return tuple(rows)


def check_prices(profiles: Mapping[str, Profile], models: Mapping[str, str], own: Sequence[Price], fault: Fault) -> None:
    """A budget of money for a model whose tokens have no price would never be used up.

    `models`: each backend's default model by its name; a profile's fallbacks spend its budget, too.
    """
    for profile in profiles.values():
        if not any(unit is Unit.USD for _, unit, _ in profile.budget.limits()):
            continue
        at, seen = profile, {profile.name}
        while True:
            model = at.model or models.get(at.backend, "")
            if model and price_of(model, own) is None:
                fault(f"profiles.{profile.name}.budget: usd, but no price is known for {model}; add one to [[prices]]")
            if at.fallback in seen or at.fallback not in profiles:
                break
            at = profiles[at.fallback]
            seen.add(at.name)


def _date(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    try:
        return date.fromisoformat(one_of(str, "a date")(value)).isoformat()
    except ValueError:
        raise ValueError("must be a date such as 2026-11-21") from None
