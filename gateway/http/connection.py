"""One client's TCP connection, with the limits that aiohttp leaves to others: how many there may be, and how slow they may be.

Heads have a deadline here, bodies have theirs where they are read (`body.read_body`), idle connections a keep-alive time-out.
What goes wrong below the application (hardly HTTP, a bug in a handler) is answered as a problem too, and never with a traceback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from gateway.http.problem import problem_response
from gateway.wire.whip import PROBLEM_TYPE, Problem

HEAD_TIMEOUT = 5.0
"""Seconds from the first byte of a request (or from the connection) to the end of its head."""

UNREAD_TIMEOUT = 20.0
"""Seconds a client may leave a response unread. Nothing here is long: the largest is a page of 100 KiB."""

MAX_CONNECTIONS = 1_000
MAX_PER_ADDRESS = 40
"""Connections of one address. A browser opens six; an office behind one address rarely has forty calls in their setup at once.
`http.per_address` of the configuration says otherwise."""

RETRY_AFTER = 2
"""Seconds after which whoever found no room may try again."""

_BUG = Problem(500, "internal_error", "something broke on our side; the log has it")


@dataclass(slots=True)
class Room:
    """Who is connected, and how many may be. Times in seconds.

    `per_address` does not count for loopback addresses unless `strict`: there a proxy speaks for everybody.
    """

    most: int = MAX_CONNECTIONS
    per_address: int = MAX_PER_ADDRESS
    strict: bool = False
    head_timeout: float = HEAD_TIMEOUT
    unread_timeout: float = UNREAD_TIMEOUT
    connections: int = 0
    refused: int = 0
    """Connections that found no room, since the beginning."""
    addresses: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> Problem | None:
        """One more of `address`, or why not. `leave` must follow, only where this gave None."""
        if self.connections >= self.most:
            self.refused += 1
            return Problem(503, "too_many_connections", "the server has no room for another connection")
        if self.addresses[address] >= self.per_address and (self.strict or not _is_loopback(address)):
            self.refused += 1
            return Problem(429, "too_many_connections", f"at most {self.per_address} connections at a time from one address")
        self.connections += 1
        self.addresses[address] += 1
        return None

    def leave(self, address: str) -> None:
        """One less."""
        self.connections -= 1
        self.addresses[address] -= 1
        if not self.addresses[address]:
            del self.addresses[address]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # no address: a socket that is already gone
        return False


class Connection(web.RequestHandler):
    """aiohttp's protocol for one client, in a `Room`. Middleware says with `began` and `ended` when a request is at work."""

    __slots__ = ("_address", "_answered", "_begun", "_head_timer", "_in", "_requests", "_room", "_unread_timer")

    def __init__(self, room: Room, server: web.Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._room = room
        self._in = False
        self._address = ""
        self._requests = self._begun = 0
        self._answered = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client, or one too many: that is told why and let go."""
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        refusal = self._room.enter(self._address)
        if refusal is not None:
            stream = cast(asyncio.Transport, transport)
            stream.write(_raw(refusal, retry_after=RETRY_AFTER))
            stream.close()
            return
        self._in = True
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone."""
        if not self._in:
            return
        self._in = False
        self._room.leave(self._address)
        for timer in (self._head_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._unread_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Part of a request."""
        if not self._in:
            return
        if not self._requests and self._head_timer is None:
            self._await_head()
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._unread_timer = self._loop.call_later(self._room.unread_timeout, self._abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # --- from the middleware ---

    def began(self) -> None:
        """A request's head is complete."""
        self._requests += 1
        self._begun += 1
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def ended(self) -> None:
        """Its response is ready."""
        self._requests -= 1
        self._answered = True

    # --- aiohttp ---

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The response where the application has none: a request that can't be read, or a bug in a handler.

        Raises ConnectionError when part of another response is already on its way.
        """
        del message  # it quotes what could not be read
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        # aiohttp refuses every other wish itself, before any handler, and stumbles over one that it can't quote.
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            status = 417
        else:
            self.log_exception("Error handling request", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun")
        response = _told(_BUG if status >= 500 else Problem(status, _code(status), "this is not HTTP as we read it"))
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send it. What aiohttp itself refuses before any middleware has its own plain words: a problem instead."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = _told(Problem(resp.status, _code(resp.status), resp.reason))
        return await super().finish_response(request, resp, start_time)

    # --- deadlines ---

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._room.head_timeout, self._too_slow)

    def _too_slow(self) -> None:
        self._head_timer = None
        transport = self.transport
        if self._request_count > self._begun:  # it is here, and its handler has not had its turn yet: it is we who are slow
            return
        if self._requests or transport is None or transport.is_closing():
            return
        if not self._answered:  # later it may be an idle connection with a byte too many on it
            transport.write(_raw(Problem(408, "request_timeout", "the request's head took too long")))
        self.force_close()

    def _abort(self) -> None:
        self._unread_timer = None
        if self.transport is not None:
            self.transport.abort()


def _code(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_")


def _told(problem: Problem) -> web.Response:
    response = problem_response(problem)
    response.headers.update({"X-Content-Type-Options": "nosniff", "Server": "gateway"})
    return response


def _raw(problem: Problem, retry_after: int | None = None) -> bytes:
    """A whole response for a connection that has no request."""
    body = json.dumps(problem.as_json()).encode()
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}", f"Content-Type: {PROBLEM_TYPE}"]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "Cache-Control: no-store", "Server: gateway"]
    lines += [f"Retry-After: {retry_after}"] if retry_after is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + body
