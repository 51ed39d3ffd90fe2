"""`/v1`: the calls that are live, how to end one, and what a caller may choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files

from aiohttp import web

from gateway.access import allowed
from gateway.call import Call
from gateway.dialog.lifecycle import State
from gateway.events import EndReason
from gateway.http.auth import KEY
from gateway.http.whip import live_call
from gateway.profile import Profile
from gateway.registry import Registry


def call_json(call: Call) -> dict[str, object]:
    """A call as the API shows it. `started_at` is RFC 3339 in UTC, `seconds` is rounded to milliseconds."""
    view = asdict(call.view())
    started_at = datetime.fromtimestamp(view["started_at"], UTC)
    return {
        **view,
        "started_at": started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "seconds": round(view["seconds"], 3),
    }


class Calls:
    """`/v1/…`."""

    def __init__(self, registry: Registry, profiles: Mapping[str, Profile], *, model: str, emulator: bool) -> None:
        self._registry = registry
        self._profiles = profiles
        self._model = model
        self._emulator = emulator
        self._openapi = files("gateway.http").joinpath("openapi.yaml").read_bytes()

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`."""
        return [
            web.get("/v1/calls", self.list, allow_head=False),
            web.get("/v1/calls/{call_id}", self.show, allow_head=False),
            web.post("/v1/calls/{call_id}/hangup", self.hang_up),
            web.get("/v1/profiles", self.profiles, allow_head=False),
            web.get("/v1/openapi.yaml", self.openapi, allow_head=False),
        ]

    async def list(self, _: web.Request) -> web.Response:
        """Every live call, oldest first."""
        over = (State.ENDING, State.ENDED)
        return web.json_response({"calls": [call_json(call) for call in self._registry.calls() if call.state not in over]})

    async def show(self, request: web.Request) -> web.Response:
        """One live call."""
        return web.json_response(call_json(live_call(self._registry, request.match_info["call_id"])))

    async def hang_up(self, request: web.Request) -> web.Response:
        """End a call from outside; the answer shows it as it was left."""
        call = live_call(self._registry, request.match_info["call_id"])
        call.hang_up(EndReason.HUNG_UP_BY_API)
        return web.json_response(call_json(call))

    async def profiles(self, request: web.Request) -> web.Response:
        """What this key's callers may choose from, and who answers."""
        choices = allowed(request[KEY], self._profiles.values())
        return web.json_response(
            {
                "profiles": [{"name": profile.name, "title": profile.title or profile.name} for profile in choices],
                "emulator": self._emulator,
                "model": self._model,
            }
        )

    async def openapi(self, _: web.Request) -> web.Response:
        """This API's description."""
        return web.Response(body=self._openapi, headers={"Content-Type": "application/yaml", "Cache-Control": "max-age=300"})
