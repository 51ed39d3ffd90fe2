"""Composition of one worker: build everything, become ready, drain. The only place that knows every concrete class."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace

from aiohttp import web
from google.auth.credentials import Credentials
from prometheus_client import CollectorRegistry

from gateway.clock import Clock
from gateway.config import Config, ModelConfig
from gateway.dial.straight import House
from gateway.emulator import Emulator
from gateway.emulator.faults import parse_options
from gateway.errors import ConfigError, LibraryMissing, words_of
from gateway.events import CallEvent, CallInfo
from gateway.garbage import Rounds, spare_the_collector
from gateway.http.app import make_admin_app, make_app
from gateway.http.connection import Room
from gateway.http.listen import listen
from gateway.ledger import Ledger
from gateway.legs.webrtc.leg import WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media import opus
from gateway.media.uplink import PAIRED_FROM
from gateway.model.base import Model
from gateway.model.credentials import default_credentials, fixed_token
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.model.services import Services
from gateway.model.tools.toolbox import open_toolbox
from gateway.profile import Profile
from gateway.pulse import Pulse, chunk_for
from gateway.registry import Registry
from gateway.store.memory import MemoryStore
from gateway.telemetry.log import CallLog
from gateway.telemetry.metrics import Metrics
from gateway.wire.gemini_setup import Backend, capabilities, left_out

log = logging.getLogger(__name__)

EMULATOR_KEY = "emulator"
"""The emulator takes any key; this one says in its records who called."""

TAG_HEADER = "x-emulator-tag"
"""By this the emulator knows which call a session is for, so that the page can break its own."""


async def serve(config: Config, *, announce: Callable[[str], None]) -> int:
    """Run one worker until SIGTERM, SIGINT or `/drain`, then drain. Returns the exit code.

    `announce(url)` is called once calls are taken, with the page's address.
    Raises ConfigError (a port can't be bound, a tool is not there) and LibraryMissing (libopus), both before the first call.
    """
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    try:
        opus.load(config.libopus)
    except LibraryMissing as exc:
        raise ConfigError([f"libopus: {exc}"]) if config.libopus else exc from None
    drain = asyncio.Event()
    async with AsyncExitStack() as stack:
        profiles = _profiles(config)
        model, emulator = await _services(config, profiles, stack)
        mux = await _mux(config)
        stack.push_async_callback(mux.close)

        toolbox = await stack.enter_async_context(open_toolbox(profiles, model=config.model.model))

        prometheus = CollectorRegistry()
        models = dict.fromkeys([config.model.model, *(profile.model for profile in profiles.values())])
        metrics = Metrics(prometheus, list(models), tools=toolbox.names)
        metrics.set_capacity(config.calls.max_calls)
        metrics.watch_udp(lambda: mux.dropped, mux.port)
        metrics.tools.watch(lambda: toolbox.running)
        clock = Clock(loop, before=mux.read, idle=mux.listen)
        stack.callback(clock.stop)
        budgets = [profile.budget for profile in profiles.values()]
        ledger = await stack.enter_async_context(Ledger(MemoryStore(), budgets, prices=config.prices))
        registry = Registry(
            worker=config.worker,
            max_calls=config.calls.max_calls,
            model=model,
            model_alias=config.model.model,
            clock=clock,
            observe=_both(metrics.observe, CallLog().observe),
            loop=loop,
            tools=toolbox,
            ledger=ledger,
        )
        pulse = Pulse(
            loop, on_lag=metrics.loop_lag, on_second=functools.partial(_each_second, registry, mux, ledger, metrics, Rounds())
        )
        stack.callback(pulse.stop)

        name, emulated = config.model.model, config.model.emulator
        settings = WebRtcSettings(worker=config.worker)
        public = make_app(
            registry,
            lambda offer, offered_at: answer(offer, mux, settings, offered_at),
            toolbox.profiles,
            api_keys=config.http.api_keys,
            cors_origins=config.http.cors_origins,
            ice_servers=config.ice_servers,
            watch=metrics,
            model=name,
            emulator=emulated,
            break_model=None if emulator is None else functools.partial(_break_model, emulator),
        )
        private = make_admin_app(registry, prometheus, drain.set, model=name, emulator=emulated)
        faults: list[str] = []
        with _told_later(faults):
            admin = await listen(private, config.admin.host, config.admin.port)
            stack.push_async_callback(admin.close)
        with _told_later(faults):
            page = await listen(public, config.http.host, config.http.port, Room(per_address=config.http.per_address))
            stack.push_async_callback(page.close)
        if faults:
            raise ConfigError(faults)
        if config.http.insecure and not config.http.api_keys:
            log.warning("anyone who can reach this port can call: no API key is set")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, drain.set)
        spare_the_collector()
        seconds = round(time.monotonic() - began, 3)
        where = {"url": page.url, "admin": admin.url, "udp_port": mux.port, "model": name, "emulated": emulated}
        log.info("ready", extra=where | {"seconds": seconds})
        announce(page.url)
        await drain.wait()
        metrics.set_draining(True)
        log.info("draining", extra={"calls": len(registry), "timeout": config.calls.drain_timeout})
        # A second signal means it: whoever is still talking is cut off now, not at the deadline.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, registry.cut_off)
        ended = await registry.drain(config.calls.drain_timeout)
        log.info("drained", extra={"calls_cut_off": ended})
    return 0


@contextmanager
def _told_later(faults: list[str]) -> Iterator[None]:
    """Keeps the faults of one port, so that those of the next are told with them."""
    try:
        yield
    except ConfigError as error:
        faults += error.faults


@asynccontextmanager
async def open_house(config: Config) -> AsyncIterator[House]:
    """A house for one call from this process: no page, no media socket, no port. Raises ConfigError."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        profiles = _profiles(config)
        model, _ = await _services(config, profiles, stack)
        toolbox = await stack.enter_async_context(open_toolbox(profiles, model=config.model.model))
        clock = Clock(loop)
        stack.callback(clock.stop)
        budgets = [profile.budget for profile in profiles.values()]
        ledger = await stack.enter_async_context(Ledger(MemoryStore(), budgets, prices=config.prices))
        registry = Registry(
            worker=config.worker,
            max_calls=1,
            model=model,
            model_alias=config.model.model,
            clock=clock,
            observe=CallLog().observe,
            loop=loop,
            tools=toolbox,
            ledger=ledger,
        )
        name = f"{config.model.model} in the built-in emulator" if config.model.emulator else config.model.model
        yield House(registry, toolbox.profiles, name)


def _profiles(config: Config) -> dict[str, Profile]:
    """The profiles, each with the name of its model. Says what of them its model does not take."""
    found = {}
    for name, profile in config.profiles.items():
        backend = config.backends[profile.backend] if profile.backend else config.model
        found[name] = replace(profile, model=profile.model or backend.model)
        for option in left_out(found[name], capabilities(found[name].model, backend.backend)):
            where = {"profile": name, "model": found[name].model}
            log.warning(f"profile {name}: {found[name].model} does not take {option}", extra=where)
    return found


async def _services(config: Config, profiles: Mapping[str, Profile], stack: AsyncExitStack) -> tuple[Services, Emulator | None]:
    backends = {"": config.model, **config.backends}
    emulator = None
    if config.model.emulator:
        # A demo keeps little: the records are for tests, and each session's sound would stay in memory.
        emulator = await stack.enter_async_context(Emulator(port=0, record_seconds=30.0, keep_sessions=10))
        log.warning(
            "no Gemini key, or --emulator: the built-in emulator answers, a parrot",
            extra={"emulator": emulator.base_url, "ca_file": str(emulator.ca_file)},
        )
    credentials = await asyncio.to_thread(_credentials, backends)
    models: dict[str, Model] = {}
    for name, backend in backends.items():
        settings = gemini_settings(backend, credentials[name])
        if emulator is not None:
            settings = replace(settings, api_key=EMULATOR_KEY, base_url=emulator.base_url, ca_file=str(emulator.ca_file))
            settings = replace(settings, tag_header=TAG_HEADER)
        models[name] = model = _gemini(settings)
        stack.push_async_callback(model.close)
        await model.warm_up()
    return Services(models, {name: backend.model for name, backend in backends.items()}, profiles), emulator


def _break_model(emulator: Emulator, call_id: str, words: str) -> bool:
    """See `http.trouble.BreakModel`."""
    return emulator.break_session(call_id, parse_options(words))


def _credentials(backends: Mapping[str, ModelConfig]) -> dict[str, Credentials | None]:
    """Who we are on Google Cloud, for each backend that asks. Blocks. Raises ConfigError with all that is missing."""
    found: dict[str, Credentials | None] = {}
    faults: list[str] = []
    for name, backend in backends.items():
        try:
            found[name] = credentials_of(backend)
        except ConfigError as error:
            faults += [f"backends.{name}: {fault}" if name else f"model: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return found


def credentials_of(backend: ModelConfig) -> Credentials | None:
    """Who we are on Google Cloud; None where a key says it. Blocks, raises ConfigError."""
    if backend.backend is not Backend.VERTEX or not backend.project:
        return None
    return fixed_token(EMULATOR_KEY) if backend.emulator else default_credentials(backend.credentials_file)


def gemini_settings(backend: ModelConfig, credentials: Credentials | None) -> GeminiSettings:
    """A service of the configuration as its client wants it."""
    return GeminiSettings(
        api_key=backend.api_key,
        base_url=backend.base_url,
        ca_file=backend.ca_file,
        model=backend.model,
        api_version=backend.api_version,
        fast_frames=backend.fast_frames,
        backend=backend.backend,
        project=backend.project,
        location=backend.location,
        credentials=credentials,
    )


def _gemini(settings: GeminiSettings) -> GeminiModel:
    try:
        return GeminiModel(settings)
    except ssl.SSLError:
        raise ConfigError([f"{settings.ca_file}: holds no certificate that can be read"]) from None


async def _mux(config: Config) -> UdpMux:
    try:
        return await UdpMux.open(config.udp.host, config.udp.port, config.udp.advertise)
    except OSError as exc:
        faults = [f"can't bind UDP {config.udp.host}, port {config.udp.port}: {words_of(exc)}"]
    # There will be no gateway, but the other ports that can't be had are told with this one.
    for host, port in ((config.admin.host, config.admin.port), (config.http.host, config.http.port)):
        with _told_later(faults):
            await (await listen(web.Application(), host, port)).close()
    raise ConfigError(faults)


def _both(
    first: Callable[[CallInfo, CallEvent], None], second: Callable[[CallInfo, CallEvent], None]
) -> Callable[[CallInfo, CallEvent], None]:
    def observe(info: CallInfo, event: CallEvent) -> None:
        first(info, event)
        second(info, event)

    return observe


def _each_second(registry: Registry, mux: UdpMux, ledger: Ledger, metrics: Metrics, rounds: Rounds, load: float) -> None:
    """The uplink's chunk and the way datagrams are read follow the load; what is counted slowly is counted here."""
    metrics.second(load)
    metrics.set_tasks(len(asyncio.all_tasks()))
    metrics.set_draining(registry.draining)
    metrics.set_budget_used(ledger.used_ratio)
    registry.set_chunk(chunk_for(load, registry.chunk))
    mux.listen(by_clock=registry.chunk >= PAIRED_FROM and len(registry) > 0)
    if rounds.due(registry.ended, len(registry), load):
        gc.collect()
