"""The worker itself: its loop and limits, whom it refuses, what it answers over HTTP, which version it is."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import ProcessCollector

from gateway import __version__
from gateway.events import Refusal
from gateway.telemetry.labels import (
    AUTH_REASONS,
    AUTH_SURFACES,
    LOOP_LAG,
    MAX_ROUTES,
    METHODS,
    OTHER,
    REFUSALS,
    SDP_REASONS,
    SETUP,
    STATUSES,
    closed,
)
from gateway.telemetry.saturation import Stress, Throttled
from gateway.telemetry.series import Make


class WorkerMetrics:
    """Everything that is not about one call. `calls` tells how many there are."""

    def __init__(self, make: Make, calls: Callable[[], int]) -> None:
        counters = make.counters
        self._calls = calls
        self._routes: set[str] = set()
        self._draining_now = False
        self._calls_at_most = 0
        self._stress = Stress()
        self._capacity = make.gauge("call_capacity", "Calls this worker admits at most.")
        self._loop_lag = make.histogram("event_loop_lag_seconds", "Lateness of a 50 ms ticker.", LOOP_LAG)
        self._loop_blocked = counters("event_loop_blocked_total", "Ticks late by more than so much.", "over")
        self._tasks = make.gauge("asyncio_tasks", "Tasks on the event loop.")
        self._stressed = make.gauge("worker_stress", "The limit that is nearest: CPU, loop lag, calls, files or memory; 0 to 1.")
        self._refused = counters("admission_refused_total", "Calls not admitted.", "reason")
        self._auth_failures = counters("auth_failures_total", "Requests with no or a wrong key.", "surface", "reason")
        self._sdp_rejected = counters("sdp_rejected_total", "Offers turned away at the door.", "reason")
        self._requests = counters("http_requests_total", "HTTP requests.", "route", "method", "status")
        self._request_seconds = make.histograms("http_request_seconds", "Time to the response.", SETUP, "route")
        self._draining = make.gauge("draining", "1 while no new call is admitted.")
        make.gauge("drain_remaining_calls", "Calls a drain still waits for.", lambda: calls() if self._draining_now else 0)
        revision = __version__.partition("+")[2] or "unknown"
        build = make.gauges("build_info", "What is running.", "version", "revision", "python", "aiortc")
        build(__version__, revision, platform.python_version(), version("aiortc")).set(1)
        make.gauge("config_loaded_timestamp_seconds", "Unix time of the configuration's load.").set_to_current_time()
        ProcessCollector(registry=make.registry)
        make.registry.register(Throttled())
        for over in ("100ms", "1s"):
            self._loop_blocked(over)
        for reason in Refusal:
            self._refused(reason.value)

    def refused(self, reason: str) -> None:
        """A call was not admitted; `reason` as in `errors.Refused`."""
        self._refused(closed(reason, REFUSALS)).inc()

    def auth_failed(self, surface: str, reason: str) -> None:
        """A request came with no key (`missing`) or a wrong one (`bad_sig`)."""
        self._auth_failures(closed(surface, AUTH_SURFACES), closed(reason, AUTH_REASONS)).inc()

    def sdp_rejected(self, reason: str) -> None:
        """An offer was turned away before it reached the WebRTC stack."""
        self._sdp_rejected(closed(reason, SDP_REASONS)).inc()

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A response was sent. `route` is the route's template, never the path asked for; 14 of them count."""
        if route not in self._routes:
            if len(self._routes) < MAX_ROUTES - 1:
                self._routes.add(route)
            else:
                route = OTHER
        self._requests(route, closed(method, METHODS), closed(f"{status // 100}xx", STATUSES)).inc()
        self._request_seconds(route).observe(seconds)

    def set_capacity(self, calls: int) -> None:
        """Calls this worker admits at most."""
        self._calls_at_most = calls
        self._capacity.set(calls)

    def set_draining(self, draining: bool) -> None:
        """New calls are refused from now on (or again welcome)."""
        self._draining_now = draining
        self._draining.set(draining)

    def set_tasks(self, tasks: int) -> None:
        """Tasks on the event loop just now."""
        self._tasks.set(tasks)

    def loop_lag(self, seconds: float) -> None:
        """The loop's ticker came `seconds` late."""
        self._stress.lag(seconds)
        self._loop_lag.observe(seconds)
        if seconds > 0.1:
            self._loop_blocked("100ms").inc()
        if seconds > 1.0:
            self._loop_blocked("1s").inc()

    def second(self, load: float) -> None:
        """A second has passed, in which `load` of a core was used."""
        self._stressed.set(self._stress.now(load, self._calls(), self._calls_at_most))
