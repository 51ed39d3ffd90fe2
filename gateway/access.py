"""Who may do what: API keys, and which profiles a key may pick. Pure; the keys come from the configuration."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import SignalingError, Unauthorized
from gateway.profile import DEFAULT_PROFILE, Profile


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One integrator's key. `name` may be logged, `secret` never."""

    name: str
    secret: str = field(repr=False)
    profiles: frozenset[str] | None = None
    """The profiles this key may pick, private ones included; None: every public one."""


ANYONE = ApiKey("anyone", "")
"""Who calls a gateway that has no keys."""


def find_key(keys: Sequence[ApiKey], authorization: str | None) -> ApiKey:
    """The key that an `Authorization: Bearer` header (RFC 6750 §2.1) carries; ANYONE where there are no keys.

    Every key is compared, each in constant time: how long a wrong guess takes tells nothing. Raises Unauthorized, with code
    `key_missing` or `key_wrong`.
    """
    if not keys:
        return ANYONE
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("an API key is required: Authorization: Bearer <key>", code="key_missing")
    # Bytes that are no UTF-8 come as lone surrogates (PEP 383): the way back, and no key of ours.
    offered = token.strip().encode("utf-8", "surrogateescape")
    found = None
    for key in keys:
        if hmac.compare_digest(key.secret.encode(), offered):
            found = key
    if found is None:
        raise Unauthorized("this API key is not known", code="key_wrong")
    return found


def may_pick(key: ApiKey, profile: Profile) -> bool:
    """Whether callers with this key may have that profile."""
    return profile.public if key.profiles is None else profile.name in key.profiles


def allowed(key: ApiKey, profiles: Iterable[Profile]) -> list[Profile]:
    """The profiles this key may pick, in the order of the configuration."""
    return [profile for profile in profiles if may_pick(key, profile)]


def pick(key: ApiKey, profiles: Mapping[str, Profile], name: str | None) -> Profile:
    """The profile a caller asked for; without a name the default, or the only one its key allows.

    Raises SignalingError (400); a forbidden profile reads like an unknown one.
    """
    if name is None:
        choices = allowed(key, profiles.values())
        name = choices[0].name if len(choices) == 1 else DEFAULT_PROFILE
    profile = profiles.get(name)
    if profile is None or not may_pick(key, profile):
        raise SignalingError("no such profile, or not for this key", code="unknown_profile")
    return profile
