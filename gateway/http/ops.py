"""For those who run the gateway: probes on the public port; metrics, status and drain on the operators' own."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

import gateway
from gateway.errors import Refused
from gateway.events import Refusal
from gateway.http.problem import problem_response
from gateway.registry import RETRY_WHEN_DRAINING, Registry
from gateway.wire.whip import Problem


class Probes:
    """`/livez` and `/readyz`. A full server is ready: it answers for its live calls, and says 503 to new ones itself."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`."""
        return [web.get("/livez", self.live), web.get("/readyz", self.ready)]

    async def live(self, _: web.Request) -> web.Response:
        """The event loop turns."""
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """Calls are taken; while draining they are not."""
        if self._registry.draining:
            raise Refused("draining", reason=Refusal.DRAINING.value, retry_after=RETRY_WHEN_DRAINING)
        return web.json_response({"status": "ok"})


class Admin:
    """`/metrics`, `/status`, `/drain`."""

    def __init__(
        self,
        registry: Registry,
        metrics: CollectorRegistry,
        drain: Callable[[], None],
        *,
        model: str,
        emulator: bool,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._drain = drain
        self._model = model
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/status", self.status),
            web.post("/drain", self.drain),
        ]

    async def metrics(self, _: web.Request) -> web.Response:
        """Everything counted, in the Prometheus text format."""
        return web.Response(body=generate_latest(self._metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(self, _: web.Request) -> web.Response:
        """What this worker is and does."""
        registry = self._registry
        return web.json_response(
            {
                "version": gateway.__version__,
                "python": platform.python_version(),
                "worker": registry.worker,
                "calls": len(registry),
                "max_calls": registry.max_calls,
                "draining": registry.draining,
                "refused": {reason.value: count for reason, count in registry.refused.items()},
                "model": self._model,
                "emulator": self._emulator,
                "tasks": len(asyncio.all_tasks()),
            }
        )

    async def drain(self, request: web.Request) -> web.Response:
        """As SIGTERM: refuse new calls, let the old ones end, then exit. A second one changes nothing."""
        # Any web page can make a browser on this machine send this POST; only then does it carry an Origin.
        if "Origin" in request.headers:
            return problem_response(Problem(403, "forbidden", "not from a web page"))
        self._drain()
        return web.json_response({"status": "draining", "calls": len(self._registry)}, status=202)
