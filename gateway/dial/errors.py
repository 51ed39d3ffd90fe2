"""What goes wrong with a call from the terminal."""

from __future__ import annotations

from gateway.errors import GatewayError


class DialError(GatewayError):
    """The call did not work; the text says why in one line."""
