"""Ephemeral tokens: `POST /v1alpha/auth_tokens`, and what a session opened with one may ask for."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.emulator.client import SETUP
from gateway.emulator.schema import INVALID_ARGUMENT, Json, Scalar, WireError, camel, read

_TOKEN: Mapping[str, Any] = {
    "expireTime": Scalar.STRING,
    "newSessionExpireTime": Scalar.STRING,
    "uses": Scalar.INT,
    "bidiGenerateContentSetup": SETUP,
    "fieldMask": Scalar.STRING,
}
_MAX_LIFE = datetime.timedelta(hours=20)
_DEFAULT_LIFE = datetime.timedelta(minutes=30)
_DEFAULT_START = datetime.timedelta(minutes=1)
_MAX_TOKENS = 10_000


@dataclass(slots=True)
class _Token:
    expires: datetime.datetime
    start_until: datetime.datetime
    uses_left: int | None
    """None: unlimited."""
    setup: Json | None
    mask: tuple[str, ...] | None
    """Locked fields; None with a setup: the whole setup is locked."""


class EphemeralTokens:
    """Creates and redeems tokens. `at` is the wall-clock time, timezone-aware."""

    def __init__(self) -> None:
        self._tokens: dict[str, _Token] = {}

    def create(self, name: str, body: object, at: datetime.datetime) -> Json:
        """A token of this name, as the service answers. `body` None: all defaults. Raises WireError."""
        asked = read({} if body is None else body, _TOKEN, "auth_token").value
        expires = _time(asked.get("expireTime"), at + _DEFAULT_LIFE)
        start_until = _time(asked.get("newSessionExpireTime"), at + _DEFAULT_START)
        uses = asked.get("uses", 1)
        if uses < 0 or expires <= at or expires - at > _MAX_LIFE or start_until > expires:
            raise WireError(INVALID_ARGUMENT)
        mask = asked.get("fieldMask")
        self._tokens[name] = _Token(
            expires,
            start_until,
            uses or None,
            asked.get("bidiGenerateContentSetup"),
            None if mask is None else tuple(_canonical(path) for path in mask.split(",") if path),
        )
        if len(self._tokens) > _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return {
            "name": name,
            "expireTime": expires.isoformat(),
            "newSessionExpireTime": start_until.isoformat(),
            "uses": uses,
        }

    def redeem(self, name: str, setup: object, at: datetime.datetime) -> Json:
        """The setup that counts: the client's with the token's locked fields. Resuming does not consume a use.

        Raises WireError (1008) for a token that is unknown, expired, or used up.
        """
        token = self._tokens.get(name)
        asked = read(setup, SETUP, "setup").value
        resumes = bool(asked.get("sessionResumption", {}).get("handle"))
        if token is None or at >= token.expires:
            raise WireError("Requested entity was not found.", code=1008)
        if not resumes:
            if at >= token.start_until or token.uses_left == 0:
                raise WireError("Requested entity was not found.", code=1008)
            if token.uses_left is not None:
                token.uses_left -= 1
        if token.setup is None:
            return asked
        if token.mask is None:
            locked = dict(token.setup)
            # A handle is the one thing a locked client brings itself: else it could never resume.
            if resumes:
                locked["sessionResumption"] = asked["sessionResumption"]
            return locked
        for path in token.mask:
            _lock(asked, token.setup, path.split("."))
        return asked


def _lock(asked: Json, locked: Json, path: list[str]) -> None:
    """Make `asked` agree with `locked` at this path: the token's value, or the server's default where it has none."""
    head, rest = path[0], path[1:]
    if not rest:
        if head == "sessionResumption" and asked.get(head):
            return
        if head in locked:
            asked[head] = locked[head]
        else:
            asked.pop(head, None)
        return
    inner = dict(asked.get(head) or {})
    _lock(inner, locked.get(head) or {}, rest)
    if inner or head in asked:
        asked[head] = inner


def _canonical(path: str) -> str:
    return ".".join(camel(part) for part in path.strip().split("."))


def _time(text: str | None, default: datetime.datetime) -> datetime.datetime:
    if text is None:
        return default
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise WireError(INVALID_ARGUMENT) from None
    # Not documented how the service reads a time without a zone; UTC is what protobuf's Timestamp means.
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
