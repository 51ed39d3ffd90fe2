"""What the HTTP room tells whoever counts (telemetry/metrics fits), and when a request came in."""

from __future__ import annotations

import time
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.events import LegKind
from gateway.http.connection import Connection
from gateway.http.problem import Handler

ARRIVED = web.RequestKey("arrived", float)
"""Loop time when the request's head had been read. Taken from `time.monotonic`: uvloop's own clock is exact to 1 ms only."""


class Watch(Protocol):
    """Counters. Never waits."""

    def call_attempted(self, leg: LegKind, *, eligible: bool) -> None:
        """An offer came in; `eligible`: authenticated and readable."""

    def admission_refused(self, reason: str) -> None:
        """A call was not admitted."""

    def auth_failed(self, surface: str, reason: str) -> None:
        """A request came with no key (`missing`) or a wrong one (`bad_sig`)."""

    def sdp_rejected(self, reason: str) -> None:
        """An offer was turned away; `reason` from operations' closed list."""

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A response is ready. `route` is the route's template, never the path asked for."""


class Unwatched:
    """Counts nothing."""

    def call_attempted(self, leg: LegKind, *, eligible: bool) -> None:
        """Passed over."""

    def admission_refused(self, reason: str) -> None:
        """Passed over."""

    def auth_failed(self, surface: str, reason: str) -> None:
        """Passed over."""

    def sdp_rejected(self, reason: str) -> None:
        """Passed over."""

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Passed over."""


def timed(watch: Watch) -> Middleware:
    """Middleware, the outermost: when requests come in, what becomes of them, and what no response may lack."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[ARRIVED] = time.monotonic()
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.began()
        resource = request.match_info.route.resource
        route = "other" if resource is None else resource.canonical
        status = 500  # what aiohttp makes of a bug
        try:
            response = await handler(request)
            status = response.status
        finally:
            if isinstance(connection, Connection):
                connection.ended()
            watch.http_request(route, request.method, status, time.monotonic() - request[ARRIVED])
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Server", "gateway")  # versions are nobody's business
        return response

    return measure
