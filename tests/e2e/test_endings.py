"""How calls end, as a user sees it: a model that refuses, a signal, a caller that vanishes; each with its reason, said once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import Any

import numpy as np
import pytest
import webrtc

from gateway.emulator import Emulator
from tests.chrome import RATE, ChromePeer
from tests.e2e.running import PATIENCE, Gateway, running_gateway

SILENCE = np.zeros(RATE, np.int16)


def service(emulator: Emulator) -> dict[str, str]:
    return {
        "GEMINI_API_KEY": "key",
        "GATEWAY_GEMINI_BASE_URL": emulator.base_url,
        "GATEWAY_GEMINI_CA_FILE": str(emulator.ca_file),
    }


async def call(gateway: Gateway, peer: ChromePeer) -> str:
    location, answer = await gateway.whip(await peer.offer())
    await peer.accept(answer)
    # A model that refuses at once can end the call between the channel's opening and the introduction: what is told then is what
    # these tests ask for.
    with contextlib.suppress(webrtc.InvalidStateError):
        await peer.introduce()
    return location


async def ended(gateway: Gateway, seconds: float = PATIENCE) -> dict[str, Any]:
    """The one line that says how the call ended."""
    async with asyncio.timeout(seconds):
        while not gateway.said("call ended"):
            await asyncio.sleep(0.05)
    await gateway.nobody_left()
    (line,) = gateway.said("call ended")
    return dict(line["fields"])


@pytest.mark.parametrize("fault", ["bad_key", "bad_model", "quota_connect", "http_503"])
def test_a_model_that_refuses_says_so_on_the_data_channel_and_in_the_log_once(fault: str) -> None:
    async def body() -> None:
        async with Emulator(port=0, faults=fault) as emulator, running_gateway(**service(emulator)) as gateway:
            peer = ChromePeer(SILENCE)
            try:
                await call(gateway, peer)
                error = await peer.told("error")
                assert error["data"]["fatal"] is True
                assert len(error["data"]["message"]) > 10
                fatal = [json.loads(text) for text in peer.messages if '"error"' in text]
                assert len([message for message in fatal if message["type"] == "error"]) == 1
                end = await ended(gateway)
                assert end["cause"] == ("model_unavailable" if fault == "http_503" else "model_refused")
                assert end["result"] == "server_error"
                text = json.dumps(gateway.log)
                assert "key=" not in text
                assert "Traceback" not in text
            finally:
                await peer.close()

    asyncio.run(body())


def test_the_last_that_a_client_reads_is_how_the_call_ended() -> None:
    async def body() -> None:
        async with Emulator(port=0) as emulator, running_gateway(**service(emulator)) as gateway:
            peer = ChromePeer(SILENCE)
            try:
                location = await call(gateway, peer)
                await peer.told("bot-started-speaking")
                call_id = location.rpartition("/")[2]
                async with gateway.http.post(f"{gateway.url}/v1/calls/{call_id}/hangup") as response:
                    assert response.status == 200
                await peer.told("server-message")
                await ended(gateway)
                *_, turn, last = (json.loads(text) for text in peer.messages)
                assert last["data"]["type"] == "call-ended"
                assert (turn["type"], turn["data"]["turn"]["end"]) == ("metrics", "session_closed"), (
                    "of the greeting that was cut off"
                )
            finally:
                await peer.close()

    asyncio.run(body())


def test_sigterm_refuses_new_calls_lets_the_old_end_and_exits_0() -> None:
    async def body() -> None:
        async with Emulator(port=0) as emulator, running_gateway(**service(emulator)) as gateway:
            peer, other = ChromePeer(SILENCE), ChromePeer(SILENCE)
            try:
                location = await call(gateway, peer)
                gateway.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(PATIENCE):
                    while True:
                        async with gateway.http.get(f"{gateway.url}/readyz") as response:
                            if response.status == 503:
                                break
                        await asyncio.sleep(0.02)
                headers = {"Content-Type": "application/sdp"}
                async with gateway.http.post(f"{gateway.url}/whip", data=await other.offer(), headers=headers) as response:
                    assert response.status == 503
                    assert int(response.headers["Retry-After"]) >= 1
                    assert response.content_type == "application/problem+json"
                async with gateway.http.get(f"{gateway.url}/livez") as response:
                    assert response.status == 200
                await gateway.hang_up(location)  # the old call still has its resource
                async with asyncio.timeout(PATIENCE):
                    assert await gateway.process.wait() == 0
                assert gateway.said("call ended")[0]["fields"]["cause"] == "caller_hung_up"
            finally:
                await peer.close()
                await other.close()

    asyncio.run(body())


def test_a_drain_that_takes_too_long_cuts_the_rest_off_and_still_exits_0() -> None:
    async def body() -> None:
        async with Emulator(port=0) as emulator, running_gateway("--drain-timeout", "1", **service(emulator)) as gateway:
            peer = ChromePeer(SILENCE)
            try:
                await call(gateway, peer)
                assert await gateway.stop() == 0
                assert gateway.said("call ended")[0]["fields"]["cause"] == "drained"
            finally:
                await peer.close()

    asyncio.run(body())


def test_a_caller_that_hangs_up_its_own_way_is_gone_at_once() -> None:
    async def body() -> None:
        async with Emulator(port=0) as emulator, running_gateway(**service(emulator)) as gateway:
            peer = ChromePeer(SILENCE)
            await call(gateway, peer)
            await asyncio.sleep(1.0)  # the call itself: a second of it
            await peer.close()  # DTLS close-notify and no DELETE
            end = await ended(gateway)
            assert end["cause"] == "caller_gone"
            assert end["packets_in"] >= 40  # a call shorter than the reports' 5 s is accounted for all the same

    asyncio.run(body())
