"""Request bodies: of the type a resource takes, in time, and no larger than it needs."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from gateway.errors import SignalingError, TooLarge, UnsupportedMedia

BODY_TIMEOUT = 10.0
"""Seconds for a body: slower is an attack, or no network to talk over."""

MAX_BODY_BYTES = 64 * 1024
"""Unless a resource says otherwise."""

JSON_TYPE = "application/json"


async def read_body(request: web.Request, media_type: str, patience: float, most: int = MAX_BODY_BYTES) -> bytes:
    """The body of `media_type`. Raises UnsupportedMedia, TooLarge, SignalingError; aiohttp's 408."""
    if request.content_type != media_type or request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMedia(f"send {media_type}, not compressed")
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            async for part in request.content.iter_any():
                body += part
                if len(body) > most:
                    raise TooLarge(f"the body is larger than {most} bytes")
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise SignalingError("the body broke off or is not framed as it says") from None
    return bytes(body)


async def read_json(request: web.Request, patience: float, most: int = MAX_BODY_BYTES) -> Any:
    """The JSON value (RFC 8259) that the body is. Raises what `read_body` raises."""
    raw = await read_body(request, JSON_TYPE, patience, most)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise SignalingError("the body is no JSON") from None
