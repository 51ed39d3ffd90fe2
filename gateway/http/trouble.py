"""`POST /v1/calls/{call_id}/trouble`: a visitor breaks something and hears the call recover. Only with the built-in emulator.

What is asked for is a JSON object with a `kind`; the model's side is broken in the emulator, the network in the call's own leg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aiohttp import web

from gateway.errors import Conflict, SignalingError, Unprocessable
from gateway.http.body import read_json
from gateway.http.whip import live_call
from gateway.registry import Registry

BreakModel = Callable[[str, str], bool]
"""Breaks the model session of a call (its id) by the emulator's words for it; False: there is none at the moment."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A number that a kind of trouble takes."""

    least: float
    most: float
    default: float
    whole: bool = False


KINDS: Mapping[str, Mapping[str, _Field]] = {
    "goaway": {"lead": _Field(0.0, 60.0, 5.0)},
    "close": {},
    "half_open": {},
    "slow": {"speed": _Field(0.3, 10.0, 0.6)},
    "loss": {"share": _Field(0.0, 0.5, 0.1), "seconds": _Field(1.0, 30.0, 10.0), "seed": _Field(0, 2**31, 1, whole=True)},
}
"""What can be asked for, and within which limits. Times in seconds, `speed` against real time, `share` 0 to 1."""

_WORDS = {"goaway": "goaway=0,{lead:g}", "close": "close_1011=0", "half_open": "half_open=0", "slow": "starve={speed:g}"}


@runtime_checkable
class LossyLeg(Protocol):
    """A leg that can make a bad network."""

    def lose(self, share: float, seconds: float, seed: int) -> None:
        """Throw away this share of the media packets, both ways."""


class Trouble:
    """The one route."""

    def __init__(self, registry: Registry, break_model: BreakModel, body_timeout: float) -> None:
        self._registry = registry
        self._break_model = break_model
        self._body_timeout = body_timeout

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`."""
        return [web.post("/v1/calls/{call_id}/trouble", self.make)]

    async def make(self, request: web.Request) -> web.Response:
        """202 with the trouble as it was understood."""
        kind, numbers = read_trouble(await read_json(request, self._body_timeout))
        call = live_call(self._registry, request.match_info["call_id"])
        if kind == "loss":
            if not isinstance(call.leg, LossyLeg):
                raise Unprocessable("this call's leg can't lose packets on demand")
            call.leg.lose(numbers["share"], numbers["seconds"], int(numbers["seed"]))
        elif not self._break_model(call.call_id, _WORDS[kind].format(**numbers)):
            raise Conflict("the call has no model session at the moment", code="no_session")
        return web.json_response({"kind": kind} | numbers, status=202)


def read_trouble(wanted: object) -> tuple[str, dict[str, float]]:
    """The kind of trouble and its numbers, those left out at their defaults. Raises SignalingError."""
    kind = wanted.get("kind") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(kind, str) or kind not in KINDS:
        raise SignalingError(f"the body is an object whose kind is one of {', '.join(KINDS)}")
    fields = KINDS[kind]
    if unknown := wanted.keys() - fields.keys() - {"kind"}:
        raise SignalingError(f"{kind} takes {', '.join(fields) or 'nothing else'}: not {min(unknown)[:40]}")
    return kind, {name: _number(name, wanted.get(name, field.default), field) for name, field in fields.items()}


def _number(name: str, value: object, field: _Field) -> float:
    if isinstance(value, bool) or not isinstance(value, int if field.whole else int | float):
        raise SignalingError(f"{name} is a {'whole ' if field.whole else ''}number")
    if not field.least <= value <= field.most:
        raise SignalingError(f"{name} is {field.least:g} to {field.most:g}")
    return value
