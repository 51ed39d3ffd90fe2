"""Webhooks: a tool call is a POST, its answer is the response.

    POST URL
    Content-Type: application/json
    Idempotency-Key: <tool call id>

    {"tool": "…", "arguments": {…}, "tool_call_id": "…", "call_id": "…", "profile": "…"}

A 2xx with JSON is the value, with any other text that text; everything else is an error. Redirects are not followed, no more is
read than the tool's output limit, and a request that did not arrive (no connection, 502, 503, 504) is sent once more with the
same key. Which addresses may be connected to is decided in `egress`, for every connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway import __version__
from gateway.model.tools import egress
from gateway.model.tools.request import ToolError, ToolRequest
from gateway.toolspec import Webhook

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
RETRY_AFTER = 0.25
MAX_CONNECTIONS = 100
"""To one webhook, of all calls of this worker; more wait for one to be free, within the tool's time-out."""

_NOT_ARRIVED = frozenset({502, 503, 504})
_TEXTS = ("text/", "application/json", "application/problem+json")


class NotAllowed(OSError):
    """A name resolved to addresses that may not be asked."""


class CheckedResolver(AbstractResolver):
    """The system's resolver, without the addresses that are not allowed. What it gives is what is connected to."""

    def __init__(self, networks: Sequence[egress.Network], inner: AbstractResolver | None = None) -> None:
        self._networks = networks
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """The allowed addresses of a name. Raises NotAllowed, and OSError when it does not resolve."""
        found = await self._inner.resolve(host, port, family)
        fine = [one for one in found if egress.allowed(ip_address(one["host"]), self._networks)]
        if not fine:
            raise NotAllowed(f"{host} resolves to addresses that are not allowed")
        return fine

    async def close(self) -> None:
        """Nothing to let go of but what the system's resolver holds."""
        await self._inner.close()


class HttpTools:
    """Posts the calls of HTTP tools; one pool of connections per webhook. `resolver` stands in for the system's."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver
        self._pools: dict[Webhook, aiohttp.ClientSession] = {}

    async def open(self, webhooks: Iterable[Webhook], stack: AsyncExitStack) -> None:
        """Make the pools; `stack` closes them. Connects to nothing yet."""
        for webhook in webhooks:
            connector = aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                resolver=CheckedResolver(webhook.networks, self._resolver),
                use_dns_cache=False,  # every connection is looked at
            )
            headers = {"User-Agent": f"gemini-voice-gateway/{__version__}", "Accept-Encoding": "identity"}
            if webhook.token:
                headers["Authorization"] = f"Bearer {webhook.token}"
            pool = aiohttp.ClientSession(
                connector=connector,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                auto_decompress=False,  # a few bytes could become gigabytes
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
            self._pools[webhook] = await stack.enter_async_context(pool)

    async def run(self, request: ToolRequest) -> object:
        """See Runner."""
        webhook = request.tool.webhook
        assert webhook is not None, "an HTTP tool has a webhook"
        if (fault := egress.fault(webhook.url, webhook.hosts, webhook.networks)) is not None:
            raise ToolError(f"the tool's URL {fault}")
        try:
            try:
                status, value = await self._post(webhook, request)
            except (aiohttp.ClientConnectionError, OSError):
                status, value = 503, None
            if status in _NOT_ARRIVED:
                await asyncio.sleep(RETRY_AFTER)
                status, value = await self._post(webhook, request)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            about = {"call_id": request.call_id, "tool": request.tool.name, "cause": type(exc).__name__}
            log.warning("! webhook failed", extra=about)
            raise ToolError("the service behind this function can't be reached") from exc
        if not 200 <= status < 300:
            raise ToolError(f"the service behind this function answered {status}")
        return value

    async def _post(self, webhook: Webhook, request: ToolRequest) -> tuple[int, object]:
        body = {
            "tool": request.tool.name,
            "arguments": request.args,
            "tool_call_id": request.tool_call_id,
            "call_id": request.call_id,
            "profile": request.profile,
        }
        headers = {"Content-Type": "application/json", "Idempotency-Key": header_text(request.tool_call_id)}
        pool = self._pools[webhook]
        async with pool.post(webhook.url, data=orjson.dumps(body), headers=headers, allow_redirects=False) as response:
            if not 200 <= response.status < 300:
                return response.status, None
            return response.status, await _value(response, request.tool.output_limit)


async def _value(response: aiohttp.ClientResponse, limit: int) -> object:
    raw = bytearray()
    while len(raw) <= limit and (chunk := await response.content.read(limit + 1 - len(raw))):
        raw += chunk
    if not raw:
        return None
    kind = response.content_type
    if "Content-Encoding" in response.headers or not kind.startswith(_TEXTS):
        raise ToolError("the service behind this function gave something that is not text")
    if kind.endswith("json") and len(raw) <= limit:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise ToolError("the service behind this function gave broken JSON") from None
    return raw.decode("utf-8", "replace")


def header_text(text: str) -> str:
    """`text` as a header may carry it: what is no visible ASCII becomes `_`."""
    return "".join(char if "!" <= char <= "~" else "_" for char in text[:128])
