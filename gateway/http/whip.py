"""WHIP (RFC 9725): an offer makes a call, a fragment adds candidates, DELETE hangs up.

Our documented extension: `sendrecv` audio is answered as such, and the caller hears the model on the same section.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from aiohttp import web

from gateway.access import ApiKey, find_key, pick
from gateway.call import Call
from gateway.dialog.context import fill, names
from gateway.dialog.lifecycle import State
from gateway.errors import NotFound, Refused, SignalingError, Unauthorized
from gateway.events import EndReason, LegKind, SetupStage, StageReached
from gateway.http.auth import KEY
from gateway.http.body import BODY_TIMEOUT, read_body
from gateway.http.watch import ARRIVED, Watch
from gateway.legs.base import Leg
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.wire.sdp import Offer, parse_offer
from gateway.wire.whip import FRAGMENT_TYPE, SDP_TYPE, Fragment, IceServer, check_if_match, ice_server_links, parse_fragment

log = logging.getLogger(__name__)

# The closed list of gateway_sdp_rejected_total; what is not here does not parse.
_REJECTIONS = {
    "too_large": "size",
    "line_too_long": "line_len",
    "too_many_sections": "mlines",
    "unsupported_section": "mlines",
    "too_many_candidates": "candidates",
    "too_many_codecs": "codec",
    "no_common_codec": "codec",
    "no_fingerprint": "fingerprint",
    "too_many_fingerprints": "fingerprint",
    "no_rtcp_mux": "no_mux",
}


@runtime_checkable
class WhipLeg(Leg, Protocol):
    """What WHIP wants of a leg, beside what every call wants."""

    etag: str
    """Names the ICE session; unquoted."""

    async def add_candidates(self, fragment: Fragment) -> None:
        """Trickled candidates. Raises Unprocessable for what would be an ICE restart."""


Answer = Callable[[Offer, float], Awaitable[tuple[WhipLeg, str]]]
"""Makes a leg for an offer that came in at that loop time, and the SDP answer with all our candidates."""


def live_call(registry: Registry, call_id: str) -> Call:
    """The call of that id. Raises NotFound for one that is over, also while its sockets are still being closed."""
    call = registry.find(call_id)
    if call.state in (State.ENDING, State.ENDED):
        raise NotFound("no such call, or it has ended")
    return call


def _context(profile: Profile, query: Mapping[str, str]) -> str:
    """What the model is told of the caller: the query's `caller.NAME=value`. Raises SignalingError for one nobody asked for."""
    data = {name.removeprefix("caller."): value for name, value in query.items() if name.startswith("caller.")}
    unasked = data.keys() - set(names(profile.context_template))
    if unasked:
        raise SignalingError("the profile asks for no such data about the caller", code="unknown_caller_data")
    return fill(profile.context_template, data)


class Whip:
    """`/whip` and `/whip/{call_id}`."""

    def __init__(
        self,
        registry: Registry,
        answer: Answer,
        profiles: Mapping[str, Profile],
        keys: Sequence[ApiKey],
        ice_servers: Sequence[IceServer],
        watch: Watch,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        self._registry = registry
        self._answer = answer
        self._profiles = profiles
        self._keys = keys
        self._links = ice_server_links(ice_servers)
        self._watch = watch
        self._body_timeout = body_timeout

    def routes(self) -> list[web.RouteDef]:
        """For `add_routes`."""
        return [
            web.post("/whip", self.call),
            web.options("/whip", self.options),
            web.patch("/whip/{call_id}", self.trickle),
            web.delete("/whip/{call_id}", self.hang_up),
        ]

    async def call(self, request: web.Request) -> web.Response:
        """POST: an offer in, 201 with the answer out. Admission holds a place before anything costly is made."""
        stages = [(SetupStage.AUTH, time.monotonic())]
        try:
            profile = pick(request[KEY], self._profiles, request.query.get("profile"))
            profile = replace(profile, context=_context(profile, request.query))
            offer = self._readable(await read_body(request, SDP_TYPE, self._body_timeout))
        except (SignalingError, web.HTTPException):
            self._watch.call_attempted(LegKind.WEBRTC, eligible=False)
            raise
        stages.append((SetupStage.SDP, time.monotonic()))
        self._watch.call_attempted(LegKind.WEBRTC, eligible=True)
        try:
            admission = self._registry.admit(LegKind.WEBRTC)
        except Refused as refused:
            self._watch.admission_refused(refused.reason)
            raise
        try:
            try:
                await self._registry.afford(admission, profile, request[KEY].name)
            except Refused as refused:
                self._watch.admission_refused(refused.reason)
                raise
            stages.append((SetupStage.ADMISSION, time.monotonic()))
            leg, answer = await self._answer(offer, request[ARRIVED])
            stages.append((SetupStage.ANSWER, time.monotonic()))
            call = self._registry.start(admission, leg, profile)
        finally:
            self._registry.give_up(admission)
        await asyncio.sleep(0)  # the call's task takes its first step: it has started before its stages are told
        before = request[ARRIVED]
        for stage, at in stages:
            call.note(StageReached(stage, at - before, at - request[ARRIVED]))
            before = at
        response = web.Response(status=201, body=answer.encode())
        response.headers["Content-Type"] = SDP_TYPE
        response.headers["Location"] = f"/whip/{call.call_id}"
        response.headers["ETag"] = f'"{leg.etag}"'
        for link in self._links:
            response.headers.add("Link", link)
        return response

    def _readable(self, raw: bytes) -> Offer:
        try:
            return parse_offer(raw)
        except SignalingError as error:
            self._watch.sdp_rejected(_REJECTIONS.get(error.code, "parse"))
            log.info("x offer refused: %s", error.code)
            raise

    async def options(self, request: web.Request) -> web.Response:
        """OPTIONS: what POST takes. TURN credentials only for who could make a call (RFC 9725 §4.6)."""
        response = web.Response(headers={"Accept-Post": SDP_TYPE, "Allow": "OPTIONS, POST"})
        try:
            find_key(self._keys, request.headers.get("Authorization"))
        except Unauthorized:
            return response
        for link in self._links:
            response.headers.add("Link", link)
        return response

    async def trickle(self, request: web.Request) -> web.Response:
        """PATCH: candidates found since the offer. 204, and no ETag: the ICE session stays the same."""
        raw = await read_body(request, FRAGMENT_TYPE, self._body_timeout)
        leg = live_call(self._registry, request.match_info["call_id"]).leg
        if not isinstance(leg, WhipLeg):
            raise NotFound("this call was not made over WHIP, or its caller is away")
        check_if_match(request.headers.get("If-Match"), leg.etag)
        await leg.add_candidates(parse_fragment(raw))
        return web.Response(status=204)

    async def hang_up(self, request: web.Request) -> web.Response:
        """DELETE: the caller has hung up. Entity tags do not matter here (RFC 9725 §4.3.1)."""
        live_call(self._registry, request.match_info["call_id"]).hang_up(EndReason.CALLER_HUNG_UP)
        return web.Response()
