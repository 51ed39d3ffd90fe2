"""Opening a port for an application."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.errors import ConfigError, words_of
from gateway.http.connection import Connection, Room

KEEPALIVE = 30.0
"""Seconds an idle connection is kept."""

LINGERING = 2.0
"""Seconds a client that was refused in the middle of its body gets to read why."""

CLOSE_TIMEOUT = 2.0
"""Seconds that requests still being answered get when a listener closes."""


log = logging.getLogger(__name__)


def _ours(record: logging.LogRecord) -> bool:
    """Whether a complaint of the HTTP server is about us. What is hardly HTTP, and clients that leave in the middle, come from
    strangers all day long: aiohttp would log each with a traceback and the bytes it choked on, which may be an Authorization
    header."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError):
        return True
    record.exc_info, record.exc_text = None, None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    record.msg, record.args = "x not HTTP, or gone: %s", (type(error).__name__,)
    return log.isEnabledFor(logging.DEBUG)


log.addFilter(_ours)


@dataclass(slots=True)
class Listener:
    """An open port."""

    host: str
    port: int
    _runner: web.AppRunner

    @property
    def url(self) -> str:
        """Where people find it."""
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{name}:{self.port}"

    async def close(self) -> None:
        """Stop listening and let go of every connection. Idempotent."""
        await self._runner.cleanup()


class _Site(web.TCPSite):
    """A port whose connections are ours."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, room: Room) -> None:
        super().__init__(runner, host, port)
        self._room = room

    async def start(self) -> None:
        await web.BaseSite.start(self)
        loop, server = asyncio.get_running_loop(), self._runner.server
        assert server is not None, "set up before it starts"

        def connection() -> Connection:
            # No access log: paths carry call ids, and the metrics count every request.
            # No decompression: nobody compresses an offer, but a small body could become a large one.
            return Connection(
                self._room,
                server,
                loop=loop,
                access_log=None,
                logger=log,
                auto_decompress=False,
                keepalive_timeout=KEEPALIVE,
                lingering_time=LINGERING,
            )

        self._server = await loop.create_server(connection, self._host, self._port, backlog=self._backlog)


async def listen(app: web.Application, host: str, port: int, room: Room | None = None) -> Listener:
    """Serve `app` at `host:port`, 0 for any free port, to as many as there is `room` for. Raises ConfigError when the address
    can't be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT)
    await runner.setup()
    try:
        await _Site(runner, host, port, room or Room()).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise ConfigError([f"can't listen on {host}, port {port}: {words_of(error)}"]) from None
    bound = runner.addresses[0][1] if runner.addresses else port
    return Listener(host, int(bound), runner)
