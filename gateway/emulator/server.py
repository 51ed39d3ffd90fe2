"""The emulator as a server: aiohttp in front of `Session`. Reads, writes and waits; decides nothing about the protocol."""

from __future__ import annotations

import asyncio
import datetime
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from gateway.emulator import reasons, sound
from gateway.emulator.admin import admin_routes, upgrade_of
from gateway.emulator.certificate import Certificate, certificate_in
from gateway.emulator.connection import Abort, Close, Frame, Freeze, Pong
from gateway.emulator.faults import Options
from gateway.emulator.record import Records
from gateway.emulator.script import load_scenario
from gateway.emulator.session import Session
from gateway.emulator.settings import EmulatorSettings
from gateway.emulator.world import World
from gateway.errors import ConfigError, words_of

_FROZEN_FOR = 600.0
"""A half-open connection is given up after this, so that it does not stay for ever."""


class Emulator:
    """A Gemini Live service on this machine.

    ```
    async with Emulator(port=0, persona="tone") as emulator:
        emulator.base_url, emulator.ca_file   # for the client
        emulator.sessions[-1].received        # what the model heard
    ```

    Settings are fields of `EmulatorSettings`, given whole or one by one. Raises ScriptError, OptionError or PersonaError;
    entering raises ConfigError (every port that can't be had) and OSError (folder not writable).
    """

    def __init__(self, settings: EmulatorSettings | None = None, **changes: Any) -> None:
        self.settings = replace(settings or EmulatorSettings(), **changes)
        scenario = load_scenario(self.settings.scenario) if self.settings.scenario else None
        for name in sound.LINES:
            sound.line(name)  # decoded now, not in the middle of a call
        if scenario and self.settings.persona == EmulatorSettings().persona:
            self.settings = replace(self.settings, persona="script")
        self.world = World(self.settings, scenario.persona if scenario else None, scenario.faults if scenario else "")
        self.port = self.settings.port
        self.plain_port = self.settings.plain_port
        self._live: dict[str, _Live] = {}
        self._waiters: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._stack = AsyncExitStack()
        self._runner: web.AppRunner | None = None
        self._sites: list[tuple[web.TCPSite, ssl.SSLContext | None]] = []
        self._certificate: Certificate | None = None

    @property
    def base_url(self) -> str:
        """What a client is given as `base_url`."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"https://{host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The authority a client must trust, PEM."""
        assert self._certificate is not None, "inside async with"
        return self._certificate.ca_file

    @property
    def sessions(self) -> Records:
        """Records of all connections, oldest first."""
        return self.world.records

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = self.settings.certificate_dir
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emulator-")))
            at = datetime.datetime.now(datetime.UTC)
            self._certificate = certificate_in(folder, (self.settings.host, *self.settings.names), at)
            app = web.Application()
            app.add_routes(admin_routes(self.world, self.break_session))
            app.router.add_get("/{tail:.*}", self._connect)
            # A session ends with its connection; aiohttp would let the handler run on.
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=2.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.push_async_callback(self._hang_up)
            self._runner = runner
            faults: list[str] = []
            self.port = await self._open(self.settings.port, self._certificate.server_context(), faults)
            if self.settings.plain_port is not None:
                self.plain_port = await self._open(self.settings.plain_port, None, faults)
            if faults:
                raise ConfigError(faults)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self, port: int, context: ssl.SSLContext | None, faults: list[str]) -> int:
        try:
            return await self._listen(port, context)
        except OSError as error:
            faults.append(f"can't listen on {self.settings.host}, port {port}: {words_of(error)}")
            return port

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> int:
        assert self._runner is not None, "inside async with"
        site = web.TCPSite(self._runner, self.settings.host, port, ssl_context=context)
        await site.start()
        self._sites.append((site, context))
        return int(self._runner.addresses[-1][1])

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Within: every connection is reset and new ones are refused by TCP. After: the same ports serve again."""
        sites, self._sites = self._sites, []
        for site, _ in sites:
            await site.stop()
        await self._hang_up()
        try:
            yield
        finally:
            for (_, context), port in zip(sites, (self.port, self.plain_port), strict=False):
                assert port is not None, "one port per site"
                await self._listen(port, context)

    async def _hang_up(self) -> None:
        for live in list(self._live.values()):
            live.abort()

    # --- for tests and demonstrations ---

    def break_session(self, session_id: str | None, options: Options) -> bool:
        """Faults for a running session, by id or tag, or (None) for the next one; False: no such session runs."""
        if session_id is None:
            self.world.order(options)
            return True
        tagged = (live for live in reversed(self._live.values()) if live.session.record.tag == session_id)
        live = self._live.get(session_id) or (next(tagged, None) if session_id else None)
        if live is None:
            return False
        live.session.inject(options, asyncio.get_running_loop().time())
        live.stir()
        return True

    async def until(self, condition: Callable[[], object], patience: float = 10.0) -> None:
        """Wait until the condition holds; it is looked at whenever a session did something. Raises TimeoutError."""
        if condition():
            return
        entry = (condition, asyncio.get_running_loop().create_future())
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(patience):
                await entry[1]
        finally:
            self._waiters.remove(entry)

    def _stirred(self) -> None:
        for condition, future in self._waiters:
            if not future.done() and condition():
                future.set_result(None)

    # --- one connection ---

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        upgrade = upgrade_of(request, self.world, now)
        deflate = "deflate_off" not in upgrade.options and (self.settings.deflate or "deflate_on" in upgrade.options)
        socket = web.WebSocketResponse(
            max_msg_size=self.settings.max_message_bytes, compress=deflate, heartbeat=None, autoping=False, autoclose=False
        )
        await socket.prepare(request)
        record = self.world.new_record(request.path_qs.partition("?")[0], now)
        record.headers = {
            name.lower(): "***" if name.lower() in ("x-goog-api-key", "authorization") else value
            for name, value in request.headers.items()
        }
        live = _Live(socket, request, Session(self.world, upgrade, record, now), self._stirred)
        self._live[record.session_id] = self.world.running[record.session_id] = live
        try:
            await live.run()
        finally:
            del self._live[record.session_id], self.world.running[record.session_id]
            live.session.gone(1006, "", asyncio.get_running_loop().time())
            self._stirred()
        return socket


class _Live:
    """A session and its socket: one coroutine reads, one task writes and keeps the time."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.Request, session: Session, stirred: Callable[[], None]
    ) -> None:
        self.session = session
        self._socket, self._transport = socket, request.transport
        self._stirred = stirred
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None

    def close(self, why: reasons.Reason, now: float) -> None:
        """Close on behalf of a neighbour."""
        self.session.close(why, now)
        self.stir()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def stir(self) -> None:
        """Something happened: there may be output, another deadline, and somebody waiting for it."""
        self._wake.set()
        self._stirred()

    async def run(self) -> None:
        """Until the connection is over."""
        writer = asyncio.create_task(self._write(), name=f"emulator:{self.session.record.session_id}")
        try:
            await self._read()
        finally:
            writer.cancel()
            await asyncio.wait((writer,))
            if self._timer is not None:
                self._timer.cancel()
        if not writer.cancelled() and (error := writer.exception()) is not None:
            raise error

    async def _read(self) -> None:
        session, loop = self.session, self._loop
        while True:
            if session.read_pause:
                await asyncio.sleep(session.read_pause)
            message = await self._socket.receive()
            now = loop.time()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    session.receive(message.data, now)
                case WSMsgType.PING:
                    session.ping(message.data, now)
                case WSMsgType.PONG:
                    continue
                case WSMsgType.CLOSE:
                    # No code in the frame: RFC 6455 §7.1.5 calls that 1005.
                    session.gone(message.data or 1005, message.extra or "", now)
                    await self._socket.close()
                    return
                case WSMsgType.ERROR:
                    # aiohttp has already closed with this code: a frame against RFC 6455, or one that was too long.
                    code = message.data.code if isinstance(message.data, WebSocketError) else WSCloseCode.PROTOCOL_ERROR
                    session.close((int(code), str(message.data)), now)
                    return
                case _:
                    session.gone(1006, "", now)
                    return
            self.stir()

    async def _write(self) -> None:
        session = self.session
        while True:
            session.wake(self._loop.time())
            self._stirred()
            for output in session.take():
                match output:
                    case Frame(data, text):
                        await self._socket.send_frame(data, WSMsgType.TEXT if text else WSMsgType.BINARY)
                    case Pong(payload):
                        await self._socket.pong(payload)
                    case Close(code, reason):
                        await self._socket.close(code=code, message=reason.encode())
                        return
                    case Abort():
                        self.abort()
                        return
                    case Freeze():
                        await self._freeze()
                        return
            if session.closed:
                return
            self._wake.clear()
            self._set_timer(session.next_at)
            await self._wake.wait()

    def _set_timer(self, when: float | None) -> None:
        if when == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = None if when is None else self._loop.call_at(when, self._timer_rang)

    def _timer_rang(self) -> None:
        self._timer_at = None
        self._wake.set()

    async def _freeze(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        await asyncio.sleep(_FROZEN_FOR)
        self.abort()


async def serve_emulator(settings: EmulatorSettings) -> None:
    """Serve until SIGINT or SIGTERM. Raises what entering `Emulator` raises."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Emulator(settings) as emulator:
        lines = [f"Gemini Live emulator on {emulator.base_url}", f"CA certificate: {emulator.ca_file}"]
        if emulator.plain_port is not None:
            lines.append(f"without TLS on port {emulator.plain_port}")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await stop.wait()


def run_emulator(settings: EmulatorSettings) -> int:
    """`gateway emulator`: serve until told to stop; the exit status. Raises what `Emulator` and entering it raise."""
    asyncio.run(serve_emulator(settings))
    return 0
