"""Captures the seeds: `python -m tests.fuzz.capture` calls a leg with Chrome's own engine and opens a model session at the
emulator, and writes what passed into seeds.json. Run by hand when what callers or the service send has changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import Clock
from gateway.dial.loopback import loopback_candidates
from gateway.emulator import Emulator
from gateway.events import CallEnded, EndReason
from gateway.legs.webrtc.leg import WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import MODEL_INPUT_RATE, AudioFrame
from gateway.model import connection
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.wire.sdp import parse_offer
from tests.audio import speech
from tests.fakes import Diary, FakeLeg
from tests.legs.chrome import RATE, ChromeCaller
from tests.legs.contract import Listener, cut, ticking
from tests.legs.test_chrome_engine import call

SEEDS = Path(__file__).parent / "seeds.json"
KEPT = 16
"""Of each kind; a mutator needs variety, not length."""


class _Tap:
    """An SRTP session that remembers what it has unlocked."""

    def __init__(self, session: Any, rtp: list[bytes], rtcp: list[bytes]) -> None:
        self._session, self._rtp, self._rtcp = session, rtp, rtcp

    def unprotect(self, data: bytes) -> bytes:
        self._rtp.append(packet := self._session.unprotect(data))
        return bytes(packet)

    def unprotect_rtcp(self, data: bytes) -> bytes:
        self._rtcp.append(packet := self._session.unprotect_rtcp(data))
        return bytes(packet)


async def _peer(codecs: Sequence[str] | None, kept: dict[str, list[bytes]]) -> None:
    async with call(codecs) as (caller, leg, sink):
        rtp: list[bytes] = []
        leg._rx = _Tap(leg._rx, rtp, kept["rtcp"])  # type: ignore[assignment]
        async with ticking(leg, cut(speech(leg.rate, 3.0), leg.rate)):
            saying = asyncio.ensure_future(caller.say(speech(RATE, 3.0)))
            for key in "15":
                caller.transceiver.sender.dtmf.insert_dtmf(key, 70, 50)
                await asyncio.sleep(0.4)
            await saying
            await sink.until(lambda: sink.seconds > 2.0)
        kept["+".join(codecs) if codecs else "chrome"] = rtp[: 3 * KEPT]


async def _wire(kept: dict[str, list[bytes]]) -> None:
    """Every datagram of a call, as the port sees it, and what the client posts."""
    mux = await UdpMux.open("127.0.0.1", 0)
    deliver = mux._deliver
    seen: list[bytes] = []
    mux._deliver = lambda data, *rest: (seen.append(data), deliver(data, *rest))[1]  # type: ignore[func-returns-value, method-assign, assignment, misc]
    caller, sink = ChromeCaller(), Listener()
    offer = await caller.offer()
    kept["offer"] = [offer]
    leg, sdp = await answer(parse_offer(offer), mux, WebRtcSettings(worker="gw1"), mux.clock())
    leg.start(sink)
    await caller.answered(sdp)
    await sink.until(lambda: sink.connections == 1)
    async with ticking(leg, cut(speech(leg.rate, 1.0), leg.rate)):
        await caller.say(speech(RATE, 1.0))
        await caller.opened.wait()
        caller.post("client-ready", {"version": "1.0.0", "about": {"library": "x"}})
        caller.post("send-text", {"content": "hello", "options": {"run_immediately": True}})
        await sink.until(lambda: len(sink.messages) >= 2)
    await leg.close(EndReason.CALLER_HUNG_UP)
    await caller.close()
    await mux.close()
    kept["stun"] = [data for data in seen if data[0] < 4][:KEPT]
    kept["dtls"] = [data for data in seen if 19 < data[0] < 64][:KEPT]
    kept["srtp"] = [data for data in seen if 127 < data[0] < 192][:KEPT]


async def _model(kept: dict[str, list[bytes]], patch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    parse = connection.parse
    patch.setattr(connection, "parse", lambda raw: (seen.append(raw), parse(raw))[1])
    loop = asyncio.get_running_loop()
    async with Emulator(port=0, first_chunk=0.05, silence_duration=0.3, await_playback=False) as emulator:
        settings = GeminiSettings(
            api_key="key",
            base_url=emulator.base_url,
            ca_file=str(emulator.ca_file),
            model="gemini-3.8-live",
            api_version="v1beta",
        )
        model, clock, diary, leg = GeminiModel(settings), Clock(loop), Diary(), FakeLeg()
        calls = Registry(worker="w", max_calls=1, model=model, model_alias="m", clock=clock, observe=diary, loop=loop)
        live = calls.start(calls.admit(leg.kind), leg, Profile(greeting="Say hello."))
        await asyncio.sleep(1.0)
        live.connected()
        for frame in cut(speech(MODEL_INPUT_RATE, 2.0) + bytes(2 * MODEL_INPUT_RATE), MODEL_INPUT_RATE):
            live.hear(AudioFrame(frame.pcm, MODEL_INPUT_RATE, loop.time()))
            await asyncio.sleep(0.01)
        await asyncio.sleep(2.0)
        live.hang_up(EndReason.CALLER_HUNG_UP)
        while not diary.of(CallEnded):
            await asyncio.sleep(0.02)
        clock.stop()
        await model.close()
    kinds: dict[str, bytes] = {}
    for raw in seen:
        content = json.loads(raw)
        inner = content.get("serverContent", {})
        kinds.setdefault(",".join(sorted([*content, *inner])), raw if len(raw) < 3_000 else _shorter(content))
    kept["model"] = list(kinds.values())


def _shorter(message: dict[str, Any]) -> bytes:
    for part in message["serverContent"]["modelTurn"]["parts"]:
        part["inlineData"]["data"] = part["inlineData"]["data"][:960]
    return json.dumps(message).encode()


def main() -> None:
    """Call, listen, write."""
    kept: dict[str, list[bytes]] = {"rtcp": []}
    with loopback_candidates(), pytest.MonkeyPatch.context() as patch:
        for codecs in (None, ["opus", "telephone-event"], ["PCMU", "telephone-event", "CN"], ["G722", "telephone-event"]):
            asyncio.run(_peer(codecs, kept))
        asyncio.run(_wire(kept))
        asyncio.run(_model(kept, patch))
    kept["rtcp"] = kept["rtcp"][:KEPT]
    text = json.dumps({name: [data.hex() for data in pieces] for name, pieces in kept.items()}, indent=0)
    SEEDS.write_text(text + "\n")
    print({name: len(pieces) for name, pieces in kept.items()}, f"{len(text) // 1024} KiB")


if __name__ == "__main__":
    main()
