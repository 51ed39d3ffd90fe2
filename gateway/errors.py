"""The exception tree. The type says whose fault it was; fault decides status code, log level and who is paged.

GatewayError
├── ConfigError             the operator's: every fault listed, exit 2
├── SignalingError  400     the client's: what it sent can't be accepted
│   ├── Unauthorized        401   missing or wrong API key
│   ├── NotFound            404   unknown or ended call, unknown path
│   ├── NotAcceptable       406   no codec in common
│   ├── Conflict            409   not possible in the state things are in
│   ├── PreconditionFailed  412   wrong ETag
│   ├── TooLarge            413   over a stated limit
│   ├── UnsupportedMedia    415   wrong Content-Type
│   ├── Unprocessable       422   understood, but not supported here
│   └── PreconditionRequired 428  If-Match missing
├── Refused         503     ours: full, draining; says when to try again
├── PacketError             the far end's: a datagram or message that does not parse; counted, never fatal
├── LegError                the leg could not be brought up or was lost
├── ModelError      502     upstream's: the model session failed
│   ├── ModelRefused        bad key, unknown model, quota, invalid setup: trying again won't help
│   └── ModelUnavailable    unreachable, timed out, closed: it may help
├── StoreError              the store's: it can't be reached or answers nonsense; calls go on without it
└── LibraryMissing          the machine's: a native library is not there; the text names what to install
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence


class GatewayError(Exception):
    """Base of everything this program raises on purpose."""


class ConfigError(GatewayError):
    """The configuration cannot be used. `faults` lists every fault found, not just the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


def words_of(error: OSError | OverflowError) -> str:
    """Why a port can't be had, in the system's own words; asyncio wraps them in others."""
    # Errors of names (EAI_…) have numbers below zero.
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return str(error)


class SignalingError(GatewayError):
    """The client sent something we can't accept. `status` is the HTTP status, `code` a stable short name."""

    status = 400
    code = "bad_request"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        self.detail = detail
        if code is not None:
            self.code = code
        super().__init__(detail)


class Unauthorized(SignalingError):
    """No API key, or not one of ours."""

    status = 401
    code = "unauthorized"


class NotFound(SignalingError):
    """No such call, or it has ended."""

    status = 404
    code = "not_found"


class NotAcceptable(SignalingError):
    """No real audio codec in common."""

    status = 406
    code = "no_common_codec"


class Conflict(SignalingError):
    """Not possible in the state things are in; it may be in a moment."""

    status = 409
    code = "conflict"


class PreconditionFailed(SignalingError):
    """`If-Match` names another ICE session than the current one."""

    status = 412
    code = "wrong_etag"


class TooLarge(SignalingError):
    """Over a limit that the text names."""

    status = 413
    code = "too_large"


class UnsupportedMedia(SignalingError):
    """The body is not of the type this resource takes."""

    status = 415
    code = "unsupported_media_type"


class Unprocessable(SignalingError):
    """Well-formed, but not something this server does."""

    status = 422
    code = "unprocessable"


class PreconditionRequired(SignalingError):
    """`If-Match` is missing (RFC 9725 §4.3.1)."""

    status = 428
    code = "if_match_required"


class Refused(GatewayError):
    """We don't take this call now. `reason` is an admission reason (a metric label); `retry_after` in seconds."""

    def __init__(self, detail: str, *, reason: str, retry_after: float) -> None:
        self.detail = detail
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(detail)


class PacketError(GatewayError, ValueError):
    """A datagram or message from the far end does not parse. Counted and dropped, never fatal."""


class LegError(GatewayError):
    """The leg could not be brought up."""


class ModelError(GatewayError):
    """The model session failed. The text is safe to show to a caller: no URL, no key.

    `code` is a label of `events.ModelClosed`, empty where no connection was tried.
    """

    def __init__(self, text: str, *, code: str = "") -> None:
        self.code = code
        super().__init__(text)


class ModelRefused(ModelError):
    """The service will not serve this session (key, model name, quota, setup): trying again won't help."""


class ModelUnavailable(ModelError):
    """The service can't be reached, timed out or closed the session."""


class StoreError(GatewayError):
    """The store can't be reached in time, or what it keeps can't be read."""


class LibraryMissing(GatewayError):
    """A native library can't be loaded; the text names what to install."""
