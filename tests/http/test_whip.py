"""WHIP over real HTTP: making, trickling, ending, and everything a client can get wrong."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from gateway.access import ApiKey
from gateway.errors import LegError, ModelUnavailable, NotAcceptable
from gateway.events import CallEnded, EndReason, SetupStage, StageReached
from gateway.wire.whip import IceServer
from tests.http.house import ANSWER, FRAGMENT, OFFER, SDP, House, described, problem, run

CANDIDATE = b"a=ice-ufrag:8agw\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 5 typ host\r\n"
PAGE = "https://app.example.com"


def test_an_offer_makes_a_call() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.call()
        assert response.status == 201
        assert response.content_type == "application/sdp"
        assert await response.text() == ANSWER
        call_id = response.headers["Location"].removeprefix("/whip/")
        assert gateway.registry.find(call_id).info.profile == "default"
        assert response.headers["ETag"] == '"ice-1"'
        assert "Link" not in response.headers
        await described(response)

    run(body)


def test_the_stages_of_the_setup_are_told() -> None:
    async def body(gateway: House) -> None:
        await gateway.call()
        stages = [event for event in gateway.diary.of(StageReached) if event.stage is not SetupStage.MODEL_READY]
        assert [event.stage for event in stages] == [SetupStage.AUTH, SetupStage.SDP, SetupStage.ADMISSION, SetupStage.ANSWER]
        assert all(event.seconds >= 0 for event in stages)
        assert [event.total for event in stages] == pytest.approx([sum(e.seconds for e in stages[: n + 1]) for n in range(4)])
        assert type(gateway.diary.events[0]).__name__ == "CallStarted", "a call starts before its stages are told"

    run(body)


def test_a_profile_by_name() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.http.post("/whip?profile=help", data=OFFER, headers=SDP)
        call = gateway.registry.find(response.headers["Location"].removeprefix("/whip/"))
        assert call.info.profile == "help"
        for name in ("nobody", "sales", ""):
            response = await gateway.http.post(f"/whip?profile={name}", data=OFFER, headers=SDP)
            await problem(response, 400, "unknown_profile")
        assert len(gateway.registry) == 1

    run(body)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "counted"),
    [
        (OFFER, {"Content-Type": "application/json"}, 415, "unsupported_media_type", None),
        (OFFER, {"Content-Type": ""}, 415, "unsupported_media_type", None),
        (b"hello", SDP, 400, "bad_sdp", "parse"),
        (b"", SDP, 400, "bad_sdp", "parse"),
        (b"v=0\r\n" + b"a=x\r\n" * 7000, SDP, 413, "too_large", "size"),
        (OFFER.replace(b"m=audio", b"m=video"), SDP, 400, "no_audio", "parse"),
        (OFFER.replace(b"a=fingerprint", b"a=finger"), SDP, 400, "no_fingerprint", "fingerprint"),
        (OFFER.replace(b"a=rtcp-mux\r\n", b""), SDP, 400, "no_rtcp_mux", "no_mux"),
        (OFFER.replace(b"111 63 9 0 8 13 110 126", b"63 126"), SDP, 406, "no_common_codec", "codec"),
        (OFFER + b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n", SDP, 422, "unsupported_section", "mlines"),
    ],
)
def test_offers_that_are_refused(body: bytes, headers: dict[str, str], status: int, code: str, counted: str | None) -> None:
    async def attempt(gateway: House) -> None:
        found = await problem(await gateway.http.post("/whip", data=body, headers=headers), status, code)
        if code == "bad_sdp":
            assert "line 1" in found["detail"]
        assert len(gateway.registry) == 0
        assert gateway.watch.seen == ([("sdp", counted)] if counted else []) + [("attempt", False)]

    run(attempt)


def test_a_body_larger_than_any_is_not_read() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.http.post("/whip", data=b"x" * 100_000, headers=SDP)
        assert response.status == 413
        assert response.content_type == "application/problem+json"
        await described(response)

    run(body)


def test_a_body_that_does_not_come() -> None:
    async def body(gateway: House) -> None:
        url = gateway.http._base_url
        assert url is not None
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 500\r\n\r\nv=0")
        assert b"408" in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert gateway.watch.seen == [("attempt", False)]

    run(body, body_timeout=0.05)


def test_a_full_server_says_when_to_come_back() -> None:
    async def body(gateway: House) -> None:
        assert (await gateway.call()).status == 201
        response = await gateway.call()
        await problem(response, 503, "capacity")
        assert int(response.headers["Retry-After"]) >= 1
        assert gateway.watch.seen == [("attempt", True), ("attempt", True), ("refused", "capacity")]

    run(body, max_calls=1)


def test_a_draining_server_takes_no_calls_and_still_ends_them() -> None:
    async def body(gateway: House) -> None:
        location = (await gateway.call()).headers["Location"]
        gateway.registry.draining = True
        response = await gateway.call()
        await problem(response, 503, "draining")
        assert response.headers["Retry-After"]
        assert (await gateway.http.delete(location)).status == 200

    run(body)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LegError("no socket at /secret/path"), 500, "leg_failed"),
        (ModelUnavailable("the service is away"), 502, "model_failed"),
        (NotAcceptable("nothing in common"), 406, "no_common_codec"),
    ],
)
def test_a_leg_that_cannot_be_made_frees_its_place(error: Exception, status: int, code: str) -> None:
    async def body(gateway: House) -> None:
        gateway.fail = error
        for _ in range(5):
            response = await gateway.call()
            assert response.status == status
            assert (await response.json())["code"] == code
            assert "secret" not in await response.text()
        assert len(gateway.registry) == 0

    run(body)


def test_a_bug_is_500_without_its_traceback() -> None:
    async def body(gateway: House) -> None:
        gateway.fail = ZeroDivisionError("canary")
        response = await gateway.call()
        assert response.status == 500
        assert "canary" not in await response.text()
        assert len(gateway.registry) == 0
        assert gateway.watch.requests == [("/whip", "POST", 500)]
        gateway.fail = None
        assert (await gateway.call()).status == 201

    run(body)


# --- trickle ---


async def made(gateway: House) -> tuple[str, dict[str, str]]:
    response = await gateway.call()
    return response.headers["Location"], FRAGMENT | {"If-Match": response.headers["ETag"]}


def test_candidates_are_added() -> None:
    async def body(gateway: House) -> None:
        location, headers = await made(gateway)
        response = await gateway.http.patch(location, data=CANDIDATE, headers=headers)
        assert response.status == 204
        assert "ETag" not in response.headers
        await described(response)
        (fragment,) = gateway.legs[0].fragments
        assert [candidate.ip for candidate in fragment.all] == ["192.0.2.9"]

    run(body)


@pytest.mark.parametrize(
    ("body", "change", "status", "code"),
    [
        (CANDIDATE, {"If-Match": '"other"'}, 412, "wrong_etag"),
        (CANDIDATE, {"If-Match": 'W/"ice-1"'}, 412, "wrong_etag"),
        (CANDIDATE, {"If-Match": None}, 428, "if_match_required"),
        (CANDIDATE, {"If-Match": "*"}, 422, "ice_restart_unsupported"),
        (CANDIDATE, {"Content-Type": "application/sdp"}, 415, "unsupported_media_type"),
        (b"hello", {}, 400, "bad_sdp"),
        (b"a=x\r\n" * 4000, {}, 413, "too_large"),
    ],
)
def test_fragments_that_are_refused(body: bytes, change: dict[str, str | None], status: int, code: str) -> None:
    async def attempt(gateway: House) -> None:
        location, headers = await made(gateway)
        headers = {name: value for name, value in (headers | change).items() if value is not None}
        await problem(await gateway.http.patch(location, data=body, headers=headers), status, code)
        assert not gateway.legs[0].fragments
        assert gateway.registry.calls(), "the call goes on"

    run(attempt)


def test_a_call_whose_caller_is_away_takes_no_candidates() -> None:
    async def body(gateway: House) -> None:
        location, headers = await made(gateway)
        gateway.registry.calls()[0].leg = None
        await problem(await gateway.http.patch(location, data=CANDIDATE, headers=headers), 404, "not_found")

    run(body)


# --- the end ---


def test_hanging_up() -> None:
    async def body(gateway: House) -> None:
        location, headers = await made(gateway)
        response = await gateway.http.delete(location, headers={"If-Match": '"ignored"'})
        assert response.status == 200
        await described(response)
        for again in (
            await gateway.http.delete(location),
            await gateway.http.patch(location, data=CANDIDATE, headers=headers),
            await gateway.http.get(location.replace("/whip/", "/v1/calls/")),
        ):
            await problem(again, 404, "not_found")
        await gateway.registry.drain(5.0)
        assert [event.reason for event in gateway.diary.of(CallEnded)] == [EndReason.CALLER_HUNG_UP]
        assert gateway.legs[0].closed is EndReason.CALLER_HUNG_UP

    run(body)


def test_calls_that_never_were() -> None:
    async def body(gateway: House) -> None:
        for call_id in ("w0-" + "0" * 32, "x", "ä", "x" * 500):
            await problem(await gateway.http.delete(f"/whip/{call_id}"), 404, "not_found")

    run(body)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_the_endpoint_reserves_other_methods(method: str) -> None:
    async def body(gateway: House) -> None:
        response = await gateway.http.request(method, "/whip")
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) == {"OPTIONS", "POST"}

    run(body)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_session_reserves_other_methods(method: str) -> None:
    async def body(gateway: House) -> None:
        location, _ = await made(gateway)
        response = await gateway.http.request(method, location)
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) == {"DELETE", "PATCH"}

    run(body)


# --- keys ---

KEYS = (ApiKey("shop", "s3cret", frozenset({"sales"})), ApiKey("lab", "other"))


@pytest.mark.parametrize(("header", "why"), [(None, "missing"), ("Bearer wrong", "bad_sig"), ("Basic s3cret", "missing")])
def test_without_a_key_nothing_is_told(header: str | None, why: str) -> None:
    async def body(gateway: House) -> None:
        headers = SDP | ({"Authorization": header} if header else {})
        asked = (
            await gateway.http.post("/whip", data=OFFER, headers=headers),
            await gateway.http.patch("/whip/x", data=CANDIDATE, headers=headers),
            await gateway.http.delete("/whip/x", headers=headers),
            await gateway.http.get("/v1/calls", headers=headers),
            await gateway.http.get("/v1/calls/x", headers=headers),
            await gateway.http.post("/v1/calls/x/hangup", headers=headers),
            await gateway.http.get("/v1/profiles", headers=headers),
        )
        for response in asked:
            await problem(response, 401, "key_missing" if why == "missing" else "key_wrong")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert gateway.watch.seen == [("auth", "http", why)] * len(asked)
        for path in ("/", "/livez", "/readyz", "/v1/openapi.yaml"):
            assert (await gateway.http.get(path, headers=headers)).status == 200

    run(body, api_keys=KEYS)


def test_a_key_and_its_profiles() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.call(Authorization="Bearer s3cret")
        assert response.status == 201
        assert gateway.registry.calls()[0].info.profile == "sales"
        response = await gateway.http.post("/whip?profile=help", data=OFFER, headers=SDP | {"Authorization": "Bearer s3cret"})
        await problem(response, 400, "unknown_profile")
        response = await gateway.call(Authorization="Bearer other")
        assert gateway.registry.calls()[1].info.profile == "default"

    run(body, api_keys=KEYS)


# --- OPTIONS, CORS, ICE servers ---

SERVERS = (IceServer(("stun:stun.example.net",)), IceServer(("turn:turn.example.net",), "user", "canary"))


def test_options() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.http.options("/whip")
        assert response.status == 200
        assert response.headers["Accept-Post"] == "application/sdp"
        assert "Access-Control-Allow-Origin" not in response.headers
        await described(response)

    run(body)


def test_ice_servers_are_linked() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.call()
        links = response.headers.getall("Link")
        assert links[0] == '<stun:stun.example.net>; rel="ice-server"'
        assert 'username="user"; credential="canary"; credential-type="password"' in links[1]
        assert (await gateway.http.options("/whip")).headers.getall("Link") == links
        await described(response)

    run(body, ice_servers=SERVERS)


def test_ice_credentials_are_only_for_key_holders() -> None:
    async def body(gateway: House) -> None:
        assert "Link" not in (await gateway.http.options("/whip")).headers
        assert len((await gateway.http.options("/whip", headers={"Authorization": "Bearer other"})).headers.getall("Link")) == 2

    run(body, ice_servers=SERVERS, api_keys=KEYS)


async def preflight(gateway: House, origin: str, path: str = "/whip", method: str = "POST") -> aiohttp.ClientResponse:
    return await gateway.http.options(path, headers={"Origin": origin, "Access-Control-Request-Method": method})


def test_a_known_page_may_call() -> None:
    async def body(gateway: House) -> None:
        for path, method in (("/whip", "POST"), ("/whip/x", "PATCH"), ("/whip/x", "DELETE"), ("/v1/profiles", "GET")):
            response = await preflight(gateway, PAGE, path, method)
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert method in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
            assert "If-Match" in response.headers["Access-Control-Allow-Headers"]
        response = await gateway.call(Origin=PAGE, Authorization="Bearer other")
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        exposed = {name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
        assert exposed >= {"Location", "ETag", "Link", "Retry-After"}
        assert "Origin" in response.headers["Vary"]
        refused = await gateway.call(Origin=PAGE)
        assert refused.status == 401
        assert refused.headers["Access-Control-Allow-Origin"] == PAGE, "a page must be able to read why"

    run(body, api_keys=KEYS, cors_origins=frozenset({PAGE}))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", PAGE + ".evil.example", "http://app.example.com", ""])
def test_a_strange_page_may_not(origin: str) -> None:
    async def body(gateway: House) -> None:
        for response in (
            await preflight(gateway, origin),
            await preflight(gateway, origin, "/whip/x", "PATCH"),
            await gateway.call(Origin=origin),
        ):
            assert not [name for name in response.headers if name.startswith("Access-Control-")]

    run(body, cors_origins=frozenset({PAGE}))


def test_no_origins_no_cors() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.call(Origin=PAGE)
        assert not [name for name in response.headers if name.startswith("Access-Control-")]
        assert "Vary" not in response.headers

    run(body)
