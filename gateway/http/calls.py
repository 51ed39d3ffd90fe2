"""`/v1`: the calls that are live, how to end one, and what a caller may choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from aiohttp import web

from gateway.access import allowed
from gateway.call import Call
from gateway.dialog.lifecycle import State
from gateway.errors import SignalingError
from gateway.events import EndReason
from gateway.http.auth import KEY
from gateway.http.body import BODY_TIMEOUT, MAX_BODY_BYTES, read_json
from gateway.http.whip import live_call
from gateway.profile import MAX_INSTRUCTION, Change, Profile
from gateway.registry import Registry

MAX_FAULTS = 10
"""Of a change that are told."""

MAX_CHANGE_BYTES = 12 * MAX_INSTRUCTION + MAX_BODY_BYTES
"""A character takes twelve bytes at most: two escapes of six."""


def call_json(call: Call) -> dict[str, object]:
    """A call as the API shows it. `started_at` is RFC 3339 in UTC, `seconds` is rounded to milliseconds."""
    view = asdict(call.view())
    started_at = datetime.fromtimestamp(view["started_at"], UTC)
    return {
        **view,
        "started_at": started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "seconds": round(view["seconds"], 3),
    }


def read_change(wanted: Any) -> Change:
    """What the JSON of a PATCH asks for. Raises SignalingError; what the profile does not allow is found by the call."""
    names = [field.name for field in fields(Change)]
    if not isinstance(wanted, dict) or not wanted:
        raise SignalingError(f"the body is an object with any of {', '.join(names)}", code="bad_change")
    faults = [f"{str(name)[:40]}: unknown; there are {', '.join(names)}" for name in wanted if name not in names]
    faults += [
        f"{name}: must be a text" for name, value in wanted.items() if name in names and name != "tools" and not _text(value)
    ]
    tools = wanted.get("tools", [])
    if not isinstance(tools, list) or not all(_text(name) for name in tools):
        faults.append("tools: must be a list of names")
    if faults:
        raise SignalingError("; ".join(faults[:MAX_FAULTS]), code="bad_change")
    return Change(**wanted | ({"tools": tuple(tools)} if "tools" in wanted else {}))


def _text(value: object) -> bool:
    return isinstance(value, str)


class Calls:
    """`/v1/…`."""

    def __init__(
        self,
        registry: Registry,
        profiles: Mapping[str, Profile],
        *,
        model: str,
        emulator: bool,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        self._registry = registry
        self._profiles = profiles
        self._model = model
        self._emulator = emulator
        self._body_timeout = body_timeout
        self._openapi = files("gateway.http").joinpath("openapi.yaml").read_bytes()

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`."""
        return [
            web.get("/v1/calls", self.list, allow_head=False),
            web.get("/v1/calls/{call_id}", self.show, allow_head=False),
            web.patch("/v1/calls/{call_id}", self.change),
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

    async def change(self, request: web.Request) -> web.Response:
        """Another instruction, other tools, another voice or language from now on; the answer says how the model was told."""
        change = read_change(await read_json(request, self._body_timeout, MAX_CHANGE_BYTES))
        call = live_call(self._registry, request.match_info["call_id"])
        updated = await call.change(change)
        # 202: taken, and to be told as soon as there is a session that takes it.
        return web.json_response(
            {"done": "pending" if updated is None else updated.value, "call": call_json(call)},
            status=202 if updated is None else 200,
        )

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
