"""Why a Live connection failed: one table from close codes, reasons and HTTP statuses to what we make of it.

The service's reasons are cut at 123 bytes and reworded without notice, so rows match substrings, case ignored, first match
wins. The text of a `Failure` is our own wording: a caller reads it, and reasons may quote keys, projects and addresses.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from gateway.errors import ModelError, ModelRefused, ModelUnavailable


class Kind(enum.Enum):
    """What a failure says something about."""

    ACCESS = "access"  # key, permission, region
    MODEL = "model"  # there is no such model here
    SETTINGS = "settings"  # what the session is set up with, or what it has come to hold
    QUOTA = "quota"  # what we may use is used up
    BUSY = "busy"  # the service has too much to do
    HANDLE = "handle"  # this session can't be resumed
    LIFETIME = "lifetime"  # a connection lasts only so long
    SERVICE = "service"  # something broke over there
    NETWORK = "network"  # something broke on the way


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed connection, understood.

    `code` is a label of the closed list `CODES`. `retryable`: another connect may help. `slow`: but not soon, the service is
    short of capacity or we of quota. `drop_handle`: not with the same resumption handle.
    """

    code: str
    text: str
    retryable: bool = True
    slow: bool = False
    drop_handle: bool = False
    kind: Kind = Kind.SERVICE

    @property
    def refused(self) -> bool:
        """Trying again won't help."""
        return not self.retryable

    def error(self) -> ModelError:
        """As the exception a call understands."""
        kind = ModelUnavailable if self.retryable else ModelRefused
        return kind(self.text, code=self.code)


CLOSE_CODES = frozenset({1000, 1001, 1006, 1007, 1008, 1011, 1012, 1013})
CODES = frozenset(
    {*map(str, CLOSE_CODES), "http401", "http403", "http404", "http429", "http5xx", "dns", "tls", "timeout", "other"}
)
"""Every label `ModelClosed.code` can have (operations.md §1.2)."""


@dataclass(frozen=True, slots=True)
class _Row:
    says: str
    """Lower-case substring of the service's reason."""
    text: str
    kind: Kind = Kind.SERVICE
    slow: bool = False


_FINAL = frozenset({Kind.ACCESS, Kind.MODEL, Kind.SETTINGS, Kind.QUOTA})
"""What the next attempt would meet again."""

_BAD_KEY = "the model service refuses the API key"
_NO_MODEL = "the model service does not offer this model"
_QUOTA = "the quota of the model service is used up"
_BUSY = "the model service is at its limit of sessions"
_LIFETIME = "the model service ended the connection at the end of its lifetime"

_ROWS: tuple[_Row, ...] = (
    _Row("api key", _BAD_KEY, Kind.ACCESS),
    _Row("unregistered callers", _BAD_KEY, Kind.ACCESS),
    _Row("unauthenticated", _BAD_KEY, Kind.ACCESS),
    _Row("permission", "the model service denies access", Kind.ACCESS),
    _Row("user location", "the model service is not offered in this region", Kind.ACCESS),
    _Row("session not found", "the session to resume is gone", Kind.HANDLE),
    _Row("session expired", "the session to resume is gone", Kind.HANDLE),
    _Row("is not found for api version", _NO_MODEL, Kind.MODEL),
    _Row("not supported in the live api", _NO_MODEL, Kind.MODEL),
    _Row("not supported for bidigeneratecontent", _NO_MODEL, Kind.MODEL),
    _Row("requested entity was not found", _NO_MODEL, Kind.MODEL),
    # The two capacity rows come first: their texts speak of resources, as those of an exhausted quota do.
    _Row("maximum concurrent", _BUSY, Kind.BUSY, slow=True),
    _Row("overloaded", "the model service is overloaded", Kind.BUSY, slow=True),
    _Row("quota", _QUOTA, Kind.QUOTA, slow=True),
    _Row("credits are depleted", _QUOTA, Kind.QUOTA, slow=True),
    _Row("billing", _QUOTA, Kind.QUOTA, slow=True),
    _Row("resource_exhausted", "the model service is overloaded", Kind.BUSY, slow=True),
    _Row("goaway", _LIFETIME, Kind.LIFETIME),
    _Row("deadline expired", _LIFETIME, Kind.LIFETIME),
    _Row("operation was aborted", "the model service aborted the session"),
    _Row("not implemented, or supported", "the model service can't do what this session asked for"),
    _Row("invalid json payload", "the model service refuses the session's settings", Kind.SETTINGS),
    _Row("invalid argument", "the model service refuses the session's settings", Kind.SETTINGS),
)

_BY_CODE: dict[int, _Row] = {
    1000: _Row("", "the model service ended the session"),
    1001: _Row("", "the model service ended the session"),
    1006: _Row("", "the connection to the model service broke", Kind.NETWORK),
    1007: _Row("", "the model service refuses the session's settings", Kind.SETTINGS),
    1008: _Row("", "the model service ended the session for its policy"),
    1009: _Row("", "a message of the model service was too large"),
    1011: _Row("", "the model service had an internal error"),
    1012: _Row("", "the model service restarts"),
    1013: _Row("", "the model service is overloaded", Kind.BUSY, slow=True),
}
_OTHER_CODE = _Row("", "the model service ended the session unexpectedly")

_BY_STATUS: dict[int, Failure] = {
    400: Failure("other", "the model service refuses the request", retryable=False, kind=Kind.SETTINGS),
    401: Failure("http401", _BAD_KEY, retryable=False, kind=Kind.ACCESS),
    403: Failure("http403", "the model service denies access", retryable=False, kind=Kind.ACCESS),
    404: Failure(
        "http404",
        "the model service is not at the configured address or has another API version",
        retryable=False,
        kind=Kind.MODEL,
    ),
    429: Failure("http429", "the model service has too many requests", slow=True, kind=Kind.BUSY),
}

UNCONFIRMED = Failure("other", "the model service did not confirm the session")
GARBAGE = Failure("other", "what the model service says can't be understood")
SETTINGS = Failure(
    "other", "the session's settings can't be expressed for the model service", retryable=False, kind=Kind.SETTINGS
)
NO_ADDRESS = Failure("other", "the configured address of the model service is not usable", retryable=False, kind=Kind.ACCESS)
BAD_CREDENTIALS = Failure("other", "Google refuses the gateway's credentials", retryable=False, kind=Kind.ACCESS)
NO_SIGN_IN = Failure("other", "Google's sign-in can't be reached", kind=Kind.NETWORK)
DNS = Failure("dns", "the name of the model service can't be resolved", kind=Kind.NETWORK)
TLS = Failure(
    "tls",
    "no secure connection to the model service: its certificate or TLS version is not accepted",
    retryable=False,
    kind=Kind.ACCESS,
)
UNREACHABLE = Failure("other", "the model service can't be reached", kind=Kind.NETWORK)
NOT_LIVE = Failure("other", "the configured address does not answer like the model service", kind=Kind.NETWORK)
STALLED = Failure("timeout", "the model service stopped taking the caller's audio", kind=Kind.NETWORK)
SILENT = Failure("timeout", "the model service has fallen silent", kind=Kind.NETWORK)
DEAF = Failure("other", "the model did not answer")


def timed_out(seconds: float) -> Failure:
    """No answer to a connect or setup."""
    return Failure("timeout", f"the model service did not answer within {round(seconds, 1):g} s", kind=Kind.NETWORK)


def closed(code: int, reason: str) -> Failure:
    """A WebSocket close: what the far end gave (1006: nothing)."""
    label = str(code) if code in CLOSE_CODES else "other"
    said = reason.lower()
    row = next((row for row in _ROWS if row.says in said), None) or _BY_CODE.get(code, _OTHER_CODE)
    return Failure(label, row.text, row.kind not in _FINAL, row.slow, row.kind is Kind.HANDLE, row.kind)


def rejected(status: int) -> Failure:
    """An HTTP status instead of the upgrade to a WebSocket."""
    if status >= 500:
        return Failure("http5xx", "the model service is not available", slow=True)
    return _BY_STATUS.get(status, NOT_LIVE)


_SECRETS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://\S+|\bAIza\S+|auth_tokens/\S+|\b(key|token|access_token)=\S+|\b\w{24,}\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
MAX_REASON = 160


def scrub(reason: str) -> str:
    """A reason of the service, fit for our log: no addresses, nothing that looks like a key, no control characters."""
    return _SECRETS.sub("…", _CONTROL.sub(" ", reason))[:MAX_REASON]
