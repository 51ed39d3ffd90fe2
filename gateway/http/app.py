"""The two HTTP applications of a worker. Everything they need comes as arguments; they keep no state of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.access import ApiKey
from gateway.http.auth import cross_origin, require_key
from gateway.http.body import BODY_TIMEOUT, MAX_BODY_BYTES
from gateway.http.calls import Calls
from gateway.http.ops import Admin, Probes
from gateway.http.page import WEB_ROOT, Page
from gateway.http.problem import problems
from gateway.http.trouble import BreakModel, Trouble
from gateway.http.watch import Unwatched, Watch, timed
from gateway.http.whip import Answer, Whip
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.wire.whip import IceServer


def make_app(
    registry: Registry,
    answer: Answer,
    profiles: Mapping[str, Profile],
    *,
    model: str,
    emulator: bool,
    api_keys: Sequence[ApiKey] = (),
    cors_origins: frozenset[str] = frozenset(),
    ice_servers: Sequence[IceServer] = (),
    watch: Watch | None = None,
    break_model: BreakModel | None = None,
    web_root: Path = WEB_ROOT,
    body_timeout: float = BODY_TIMEOUT,
) -> web.Application:
    """The public application: page, WHIP, `/v1`, probes.

    `answer(offer, offered_at)` makes the leg and the SDP answer; `model` is what `/v1/profiles` names as answering.
    `break_model` lets callers break things on purpose: without it there is no such route.
    """
    watch = watch or Unwatched()
    app = web.Application(
        client_max_size=MAX_BODY_BYTES,
        middlewares=[timed(watch), cross_origin(cors_origins), problems, require_key(api_keys, watch)],
    )
    app.add_routes(Whip(registry, answer, profiles, api_keys, ice_servers, watch, body_timeout).routes())
    app.add_routes(Calls(registry, profiles, model=model, emulator=emulator, body_timeout=body_timeout).routes())
    if break_model is not None:
        app.add_routes(Trouble(registry, break_model, body_timeout).routes())
    app.add_routes(Probes(registry).routes())
    app.add_routes(Page(web_root).routes())
    return app


def make_admin_app(
    registry: Registry, metrics: CollectorRegistry, drain: Callable[[], None], *, model: str, emulator: bool
) -> web.Application:
    """The operators' application: `/metrics`, `/status`, `/drain` (calls `drain()` and returns), probes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[timed(Unwatched()), problems])
    app.add_routes(Admin(registry, metrics, drain, model=model, emulator=emulator).routes())
    app.add_routes(Probes(registry).routes())
    return app
