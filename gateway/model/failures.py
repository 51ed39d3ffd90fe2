"""What the SDK, websockets and the system raise, as one kind of value."""

from __future__ import annotations

import ssl
from socket import gaierror

from google.auth.exceptions import GoogleAuthError, TransportError
from google.genai import errors
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from gateway.wire.gemini_faults import (
    BAD_CREDENTIALS,
    DNS,
    NO_ADDRESS,
    NO_SIGN_IN,
    NOT_LIVE,
    TLS,
    UNCONFIRMED,
    UNREACHABLE,
    Failure,
    closed,
    rejected,
    scrub,
    timed_out,
)

OPEN_TIMEOUT = 8.0
"""Seconds for the upgrade to a WebSocket alone."""

CONNECT_ERRORS = (
    *(errors.APIError, ConnectionClosed, InvalidHandshake, InvalidURI, OSError, GoogleAuthError),
    *(TypeError, ValueError, AttributeError),
)
"""What the SDK's connect raises. The last three are its parser on an odd first message."""

LINK_ERRORS = (errors.APIError, ConnectionClosed, OSError)
"""How an open link ends. A TimeoutError is an OSError."""


class NotConnected(Exception):
    """A connect came to nothing."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.text)


def classify(exc: BaseException) -> Failure:
    """What an exception says about the connection."""
    match exc:
        case errors.APIError(code=code, details=details):
            return closed(code, details if isinstance(details, str) else "")
        case ConnectionClosed(rcvd=rcvd):
            return closed(rcvd.code, rcvd.reason) if rcvd is not None else closed(1006, "")
        case TransportError():
            return NO_SIGN_IN
        case GoogleAuthError(retryable=retryable):
            return NO_SIGN_IN if retryable else BAD_CREDENTIALS
        case InvalidStatus(response=response):
            return rejected(response.status_code)
        case InvalidHandshake():
            return NOT_LIVE
        case InvalidURI() | UnicodeEncodeError():
            return NO_ADDRESS
        case TimeoutError():
            return timed_out(OPEN_TIMEOUT)
        case gaierror():
            return DNS
        case ssl.SSLError():
            return TLS
        case OSError():
            return UNREACHABLE
        case _:
            return UNCONFIRMED  # the SDK's parser choked on the first message


def describe(exc: BaseException) -> str:
    """An exception for our log: its type and what it says, without addresses and keys."""
    return f"{type(exc).__name__}: {scrub(str(exc))}"
