"""Breaking a call on purpose: what can be asked for, of whom, and that a gateway with a real model has no such route."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.access import ApiKey
from gateway.emulator.faults import parse_options
from gateway.http.trouble import KINDS
from tests.fakes import FakeLeg
from tests.http.house import House, described, problem, run

JSON = {"Content-Type": "application/json"}


async def called(gateway: House) -> str:
    """The id of a new call."""
    await gateway.call()
    return gateway.registry.calls()[-1].call_id


@pytest.mark.parametrize(
    ("wanted", "understood", "words"),
    [
        ({"kind": "goaway"}, {"kind": "goaway", "lead": 5.0}, "goaway=0,5"),
        ({"kind": "goaway", "lead": 0.5}, {"kind": "goaway", "lead": 0.5}, "goaway=0,0.5"),
        ({"kind": "close"}, {"kind": "close"}, "close_1011=0"),
        ({"kind": "half_open"}, {"kind": "half_open"}, "half_open=0"),
        ({"kind": "slow", "speed": 4}, {"kind": "slow", "speed": 4}, "starve=4"),
    ],
)
def test_the_model_is_broken_by_the_emulators_words(wanted: Any, understood: Any, words: str) -> None:
    async def body(gateway: House) -> None:
        call_id = await called(gateway)
        response = await gateway.http.post(f"/v1/calls/{call_id}/trouble", json=wanted)
        assert response.status == 202
        assert await response.json() == understood
        await described(response)
        assert gateway.broken == [(call_id, words)]
        assert parse_options(words).faults, "the emulator knows these words"

    run(body)


def test_the_network_is_broken_in_the_calls_own_leg() -> None:
    async def body(gateway: House) -> None:
        first, second = await called(gateway), await called(gateway)
        for call_id, wanted in ((second, {}), (first, {"share": 0.25, "seconds": 3, "seed": 9})):
            response = await gateway.http.post(f"/v1/calls/{call_id}/trouble", json={"kind": "loss", **wanted})
            assert response.status == 202
            await described(response)
        assert [leg.losses for leg in gateway.legs] == [[(0.25, 3, 9)], [(0.1, 10.0, 1)]]
        assert gateway.broken == []

    run(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 50_000,
        b"{}",
        b'{"kind": "fire"}',
        b'{"kind": ["close"]}',
        b'{"kind": "close", "lead": 1}',
        b'{"kind": "goaway", "lead": -1}',
        b'{"kind": "goaway", "lead": 61}',
        b'{"kind": "goaway", "lead": "5"}',
        b'{"kind": "goaway", "lead": true}',
        b'{"kind": "goaway", "lead": NaN}',
        b'{"kind": "goaway", "lead": 1e999}',
        b'{"kind": "slow", "speed": 0.1}',
        b'{"kind": "loss", "share": 0.9}',
        b'{"kind": "loss", "seconds": 3600}',
        b'{"kind": "loss", "seed": 1.5}',
        b'{"kind": "loss", "seed": ' + b"9" * 400 + b"}",
    ],
)
def test_what_makes_no_sense_breaks_nothing(body: bytes) -> None:
    async def test(gateway: House) -> None:
        call_id = await called(gateway)
        await problem(await gateway.http.post(f"/v1/calls/{call_id}/trouble", data=body, headers=JSON), 400, "bad_request")
        assert (gateway.broken, gateway.legs[0].losses) == ([], [])

    run(test)


def test_what_cant_be_broken() -> None:
    async def body(gateway: House) -> None:
        await problem(await gateway.http.post("/v1/calls/w0-0/trouble", json={"kind": "close"}), 404, "not_found")
        call_id = await called(gateway)
        path = f"/v1/calls/{call_id}/trouble"
        await problem(await gateway.http.post(path, data=b"close"), 415, "unsupported_media_type")
        gateway.has_session = False
        await problem(await gateway.http.post(path, json={"kind": "close"}), 409, "no_session")
        call = gateway.registry.find(call_id)
        call.leg = FakeLeg()
        await problem(await gateway.http.post(path, json={"kind": "loss"}), 422, "unprocessable")

    run(body)


def test_the_key_is_asked_for() -> None:
    async def body(gateway: House) -> None:
        refused = await gateway.http.post("/v1/calls/w0-0/trouble", json={"kind": "close"})
        await problem(refused, 401, "key_missing")
        allowed = await gateway.http.post(
            "/v1/calls/w0-0/trouble", json={"kind": "close"}, headers={"Authorization": "Bearer secret"}
        )
        await problem(allowed, 404, "not_found")

    run(body, api_keys=(ApiKey("one", "secret"),))


def test_a_gateway_with_a_real_model_has_no_such_route() -> None:
    async def body(gateway: House) -> None:
        call_id = await called(gateway)
        for kind in KINDS:
            response = await gateway.http.post(f"/v1/calls/{call_id}/trouble", json={"kind": kind})
            assert response.status == 404
            assert json.loads(await response.text())["code"] == "not_found"
        assert gateway.legs[0].losses == []

    run(body, break_model=None)
