"""`/v1`, the probes, the page, the operators' port, and the description that all of it must fit."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import jsonschema
import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter

from gateway.access import ApiKey
from gateway.errors import ConfigError
from gateway.events import CallEnded, EndReason
from gateway.http.app import make_admin_app
from gateway.http.listen import listen
from gateway.http.page import WEB_ROOT
from gateway.profile import MAX_INSTRUCTION
from tests.http.house import API, House, described, problem, run

# --- /v1 ---


def test_live_calls() -> None:
    async def body(gateway: House) -> None:
        empty = await gateway.http.get("/v1/calls")
        assert await empty.json() == {"calls": []}
        await gateway.call()
        await gateway.call()
        response = await gateway.http.get("/v1/calls")
        await described(response)
        calls = (await response.json())["calls"]
        assert len(calls) == 2
        assert calls[0]["started_at"] <= calls[1]["started_at"]
        assert calls[0]["started_at"].endswith("Z")
        one = await gateway.http.get(f"/v1/calls/{calls[0]['call_id']}")
        await described(one)
        assert (await one.json())["call_id"] == calls[0]["call_id"]
        assert response.headers["Cache-Control"] == "no-store"

    run(body)


def test_hanging_up_from_outside() -> None:
    async def body(gateway: House) -> None:
        await gateway.call()
        await gateway.call()
        first, second = (call.call_id for call in gateway.registry.calls())
        response = await gateway.http.post(f"/v1/calls/{first}/hangup")
        await described(response)
        assert (await response.json())["state"] == "ending"
        await problem(await gateway.http.post(f"/v1/calls/{first}/hangup"), 404, "not_found")
        left = (await (await gateway.http.get("/v1/calls")).json())["calls"]
        assert [call["call_id"] for call in left] == [second]
        await gateway.registry.drain(0.0)
        assert [event.reason for event in gateway.diary.of(CallEnded)] == [EndReason.HUNG_UP_BY_API, EndReason.DRAINED]

    run(body)


def test_profiles_of_whoever_asks() -> None:
    async def body(gateway: House) -> None:
        async def names(key: str) -> list[str]:
            response = await gateway.http.get("/v1/profiles", headers={"Authorization": f"Bearer {key}"})
            await described(response)
            found = await response.json()
            assert (found["emulator"], found["model"]) == (True, "gemini-3.8-live")
            return [profile["name"] for profile in found["profiles"]]

        assert await names("b") == ["default", "help"]
        assert await names("a") == ["sales"]

    run(body, api_keys=(ApiKey("one", "a", frozenset({"sales"})), ApiKey("two", "b")))


def test_a_profile_without_title_is_called_by_its_name() -> None:
    async def body(gateway: House) -> None:
        found = await (await gateway.http.get("/v1/profiles", headers={"Authorization": "Bearer a"})).json()
        assert found["profiles"] == [{"name": "sales", "title": "sales"}]

    run(body, api_keys=(ApiKey("one", "a", frozenset({"sales"})),))


# --- probes ---


def test_probes() -> None:
    async def body(gateway: House) -> None:
        for path in ("/livez", "/readyz"):
            await described(await gateway.http.get(path))
        assert (await gateway.call()).status == 201
        assert (await gateway.http.get("/readyz")).status == 200, "full, but there for its live calls"
        gateway.registry.draining = True
        response = await gateway.http.get("/readyz")
        await problem(response, 503, "draining")
        assert (await gateway.http.get("/livez")).status == 200

    run(body, max_calls=1)


# --- the page ---


def test_the_page_and_its_files() -> None:
    async def body(gateway: House) -> None:
        for path, kind in (
            ("/", "text/html"),
            ("/call.js", "text/javascript"),
            ("/call.d.ts", "text/plain"),
            ("/favicon.ico", "image/svg+xml"),
        ):
            response = await gateway.http.get(path)
            assert (response.status, response.content_type) == (200, kind), path
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            await described(response)
            again = await gateway.http.get(path, headers={"If-None-Match": response.headers["ETag"]})
            assert again.status == 304
            await described(again)

    run(body)


def test_every_file_of_the_page_is_served() -> None:
    async def body(gateway: House) -> None:
        for path in WEB_ROOT.iterdir():
            assert await (await gateway.http.get(f"/{path.name}")).read() == path.read_bytes()

    run(body)


@pytest.mark.parametrize(
    "path", ["/nothing.js", "/..%2fpyproject.toml", "/%2e%2e/pyproject.toml", "/call.js/x", "/v1/x", "/index.html%00"]
)
def test_nothing_else_is(path: str) -> None:
    async def body(gateway: House) -> None:
        url = gateway.http._base_url
        assert url is not None
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, text = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 404 " in head
        assert b"application/problem+json" in head
        assert b"setuptools" not in text
        writer.close()

    run(body)


def test_a_gateway_without_a_page(tmp_path: Path) -> None:
    async def body(gateway: House) -> None:
        await problem(await gateway.http.get("/favicon.ico"), 404, "not_found")
        assert (await gateway.http.get("/")).status == 404
        assert (await gateway.http.get("/livez")).status == 200

    run(body, web_root=tmp_path / "missing")


# --- what is counted ---


def test_requests_are_counted_by_route() -> None:
    async def body(gateway: House) -> None:
        await gateway.call()
        await gateway.http.get("/v1/calls/canary")
        await gateway.http.get("/canary/canary/canary")
        assert gateway.watch.requests == [("/whip", "POST", 201), ("/v1/calls/{call_id}", "GET", 404), ("other", "GET", 404)]

    run(body)


# --- the operators' port ---


def test_the_admin_application() -> None:
    async def body(gateway: House) -> None:
        metrics = CollectorRegistry()
        Counter("canaries", "Birds.", registry=metrics).inc()
        drains: list[None] = []
        app = make_admin_app(gateway.registry, metrics, lambda: drains.append(None), model="gemini-3.8-live", emulator=False)
        listener = await listen(app, "127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(listener.url) as http:
                response = await http.get("/metrics")
                assert "canaries_total 1.0" in await response.text()
                assert response.content_type == "text/plain"
                await gateway.call()
                status = await (await http.get("/status")).json()
                assert (status["calls"], status["max_calls"], status["draining"], status["worker"]) == (1, 3, False, "w0")
                assert status["version"]
                assert (await http.get("/readyz")).status == 200
                assert (await http.post("/drain", headers={"Origin": "http://evil.example"})).status == 403
                assert (await http.get("/drain")).status == 405
                assert not drains
                assert (await http.post("/drain")).status == 202
                assert len(drains) == 1
                assert (await http.get("/whip")).status == 404
        finally:
            await listener.close()

    run(body)


def test_the_operators_paths_are_not_on_the_public_port() -> None:
    async def body(gateway: House) -> None:
        for path in ("/metrics", "/status"):
            assert (await gateway.http.get(path)).status == 404
        assert (await gateway.http.post("/drain")).status == 404

    run(body)


def test_a_port_in_use_is_a_fault_of_the_configuration() -> None:
    async def body(gateway: House) -> None:
        url = gateway.http._base_url
        assert url is not None
        app = make_admin_app(gateway.registry, CollectorRegistry(), lambda: None, model="", emulator=False)
        with pytest.raises(ConfigError, match=rf"can't listen on 127.0.0.1, port {url.port}: Address already in use"):
            await listen(app, "127.0.0.1", url.port or 0)
        app = make_admin_app(gateway.registry, CollectorRegistry(), lambda: None, model="", emulator=False)
        with pytest.raises(ConfigError, match=r"192\.0\.2\.1, port 0"):
            await listen(app, "192.0.2.1", 0)

    run(body)


# --- the description ---


def test_the_description_and_the_application_name_the_same() -> None:
    async def body(gateway: House) -> None:
        routes = {
            (route.resource.canonical, route.method.lower())
            for route in gateway.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
        verbs = {"get", "post", "put", "patch", "delete", "options"}
        described_ = {(path, verb) for path, item in API["paths"].items() for verb in item if verb in verbs}
        assert routes == described_

    run(body)


def test_the_description_is_served() -> None:
    async def body(gateway: House) -> None:
        response = await gateway.http.get("/v1/openapi.yaml")
        assert response.content_type == "application/yaml"
        assert yaml.safe_load(await response.read()) == API
        await described(response)

    run(body)


def test_the_description_is_sound() -> None:
    references: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for name, entry in value.items():
                if name == "$ref":
                    references.append(entry)
                if name in ("schema", "items"):
                    jsonschema.Draft202012Validator.check_schema(entry)
                walk(entry)
        elif isinstance(value, list):
            for entry in value:
                walk(entry)

    walk(API)
    assert references
    for reference in references:
        found = API
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
    names = [
        operation["operationId"] for item in API["paths"].values() for verb, operation in item.items() if verb != "parameters"
    ]
    assert len(set(names)) == len(names)
    assert API["openapi"].startswith("3.1")


# --- changes ---


def test_a_change_says_what_was_done() -> None:
    async def body(gateway: House) -> None:
        await gateway.call()
        (call,) = gateway.registry.calls()
        response = await gateway.http.patch(f"/v1/calls/{call.call_id}", json={"instructions": "Be kind.", "voice": "Kore"})
        await described(response)
        assert response.status == 200
        answer = await response.json()
        assert (answer["done"], answer["call"]["call_id"]) == ("context_update", call.call_id)
        (told,) = gateway.model.sessions[0].updates
        assert (told.system_instruction, told.voice) == ("Be kind.", "Kore")

    run(body)


@pytest.mark.parametrize(
    ("body_", "status", "code", "part"),
    [
        ("{", 400, "bad_request", "no JSON"),
        ('{"instructions": "\\ud83d"}', 400, "bad_request", "no JSON"),
        ('{"instructions": NaN}', 400, "bad_request", "no JSON"),
        ("[" * 60_000, 400, "bad_request", "no JSON"),
        ("[]", 400, "bad_change", "an object with any of instructions, tools, voice, language"),
        ("{}", 400, "bad_change", "an object with any of"),
        ('{"greeting": "Hi"}', 400, "bad_change", "greeting: unknown"),
        ('{"instructions": 5}', 400, "bad_change", "instructions: must be a text"),
        ('{"tools": "all"}', 400, "bad_change", "tools: must be a list of names"),
        ('{"tools": ["launch"], "voice": "Kora"}', 400, "bad_change", "the profile has no 'launch'; voice: is not one of"),
    ],
)
def test_what_a_change_may_not_say(body_: str, status: int, code: str, part: str) -> None:
    async def body(gateway: House) -> None:
        await gateway.call()
        (call,) = gateway.registry.calls()
        headers = {"Content-Type": "application/json"}
        response = await gateway.http.patch(f"/v1/calls/{call.call_id}", data=body_, headers=headers)
        await described(response)
        await problem(response, status, code)
        assert part in (await response.json())["detail"]
        assert not any(session.updates for session in gateway.model.sessions)

    run(body)


@pytest.mark.parametrize("escaped", [True, False])
def test_the_longest_instruction_fits_a_change(escaped: bool) -> None:
    async def body(gateway: House) -> None:
        await gateway.call()
        (call,) = gateway.registry.calls()
        path, headers = f"/v1/calls/{call.call_id}", {"Content-Type": "application/json"}

        def change(text: str) -> bytes:
            return json.dumps({"instructions": text}, ensure_ascii=escaped).encode()

        longest = "\N{WAVING HAND SIGN}" * MAX_INSTRUCTION
        assert (await gateway.http.patch(path, data=change(longest), headers=headers)).status == 200
        assert gateway.model.sessions[0].updates[-1].system_instruction == longest
        await problem(await gateway.http.patch(path, data=change(longest + "x"), headers=headers), 400, "bad_change")
        found = await problem(await gateway.http.patch(path, data=change("x" * 2**21), headers=headers), 413, "too_large")
        assert "1265536 bytes" in found["detail"]

    run(body)


def test_a_change_of_no_call_and_of_no_json() -> None:
    async def body(gateway: House) -> None:
        await problem(await gateway.http.patch("/v1/calls/none", json={"voice": "Kore"}), 404, "not_found")
        await gateway.call()
        (call,) = gateway.registry.calls()
        await problem(await gateway.http.patch(f"/v1/calls/{call.call_id}", data="voice=Kore"), 415, "unsupported_media_type")

    run(body)


def test_a_change_waits_for_a_model_that_is_still_being_opened() -> None:
    async def body(gateway: House) -> None:
        gateway.model.delay = 0.3
        await gateway.call()
        (call,) = gateway.registry.calls()
        response = await gateway.http.patch(f"/v1/calls/{call.call_id}", json={"instructions": "Be kind."})
        assert (response.status, (await response.json())["done"]) == (200, "context_update")

    run(body)
