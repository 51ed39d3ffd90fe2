"""Who is asking: `Authorization: Bearer` on `/whip` and `/v1`, and cross-origin rules (Fetch) for pages of other sites."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.access import ANYONE, ApiKey, find_key
from gateway.errors import Unauthorized
from gateway.http.problem import Handler
from gateway.http.watch import Watch

KEY = web.RequestKey("key", ApiKey)
"""The key a request came with."""

EXPOSED = "Location, ETag, Link, Retry-After"
OPEN = frozenset({"/v1/openapi.yaml"})
PREFLIGHT_VALID = 600
"""Seconds a browser may remember a preflight."""


def require_key(keys: Sequence[ApiKey], watch: Watch) -> Middleware:
    """Middleware: no key of ours, no entry. Preflights carry none, and what they tell is no secret."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if request.method == "OPTIONS" or path in OPEN or not (path == "/whip" or path.startswith(("/whip/", "/v1/"))):
            request[KEY] = ANYONE
            return await handler(request)
        try:
            request[KEY] = find_key(keys, request.headers.get("Authorization"))
        except Unauthorized as error:
            watch.auth_failed("http", "missing" if error.code == "key_missing" else "bad_sig")
            raise
        return await handler(request)

    return check


def cross_origin(origins: frozenset[str]) -> Middleware:
    """Middleware: pages of `origins` may read our responses; answers their preflights. Others get nothing to read by."""

    @web.middleware
    async def allow(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin", "")
        known = origin in origins
        asked = request.headers.get("Access-Control-Request-Method")
        if known and request.method == "OPTIONS" and asked is not None:
            response: web.StreamResponse = web.Response(
                headers={
                    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
                    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
                    "Access-Control-Max-Age": str(PREFLIGHT_VALID),
                }
            )
            if request.path == "/whip":
                response.headers["Accept-Post"] = "application/sdp"
        else:
            response = await handler(request)
        if origins:
            response.headers.add("Vary", "Origin")
        if known:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
        return response

    return allow
