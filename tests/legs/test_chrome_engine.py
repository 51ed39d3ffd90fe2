"""Chrome's own engine against the leg: every codec both ways, redundancy, keys, hanging up."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from gateway.dialog.lifecycle import State
from gateway.events import EndReason, StateChanged
from gateway.legs.webrtc.leg import WebRtcLeg, WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import MODEL_INPUT_RATE, AudioFrame
from gateway.media.codec import CodecName
from gateway.wire.sdp import parse_offer
from tests.audio import segment_correlations, speech
from tests.legs.chrome import RATE, ChromeCaller
from tests.legs.contract import Listener, cut, ticking
from tests.starved import judged

SECONDS = 3.0
PATIENCE = 12.0
"""Seconds of the answer that are listened to for those of speech: a busy engine plays late."""
WARP = 0.02
"""The engine's own threads starve unseen by this loop: its jitter buffer then stretches what it plays, within a segment too."""


@contextlib.asynccontextmanager
async def call(codecs: Sequence[str] | None = None) -> AsyncIterator[tuple[ChromeCaller, WebRtcLeg, Listener]]:
    """A connected call."""
    mux = await UdpMux.open("127.0.0.1", 0)
    caller, sink = ChromeCaller(codecs=codecs), Listener()
    leg, sdp = await answer(parse_offer(await caller.offer()), mux, WebRtcSettings(worker="gw1"), mux.clock())
    try:
        leg.start(sink)
        await caller.answered(sdp)
        await sink.until(lambda: sink.connections == 1)
        yield caller, leg, sink
    finally:
        await leg.close(EndReason.CALLER_HUNG_UP)
        await caller.close()
        assert len(mux) == 0
        await mux.close()


@dataclass(frozen=True)
class Heard:
    """One call's outcome."""

    codecs: set[CodecName]
    up: list[float]
    down: list[float]
    concealed: float
    lost: int

    @property
    def good(self) -> bool:
        """Speech on both sides. No packet is lost on the loopback interface: nothing may be invented."""
        clear = statistics.median(self.up) > 0.9 and statistics.median(self.down) > 0.9 and min(self.up) > 0.6
        return clear and self.concealed < 0.05 and self.lost == 0


@pytest.mark.parametrize("codec", ["opus", "PCMU", "PCMA", "G722"])
def test_speech_both_ways(codec: str) -> None:
    async def trial() -> Heard:
        async with call([codec, "telephone-event"]) as (caller, leg, sink):
            rate = leg.rate
            down = [0.0]
            async with ticking(leg, cut(speech(rate, SECONDS), rate)):
                await caller.say(speech(RATE, SECONDS))
                await sink.until(lambda: sink.seconds > SECONDS - 0.1)
                # Now: an engine with nothing more to say sends nothing more, and what then fills the line is made up as well.
                concealed, lost = leg._receiver.plc_seconds, leg._receiver.lost
                while statistics.median(down) <= 0.9 and len(caller.heard) < 2 * caller.rate * PATIENCE:
                    await caller.heard_seconds(len(caller.heard) / (2 * caller.rate) + 0.3)
                    down = segment_correlations(speech(caller.rate, SECONDS), bytes(caller.heard), caller.rate, warp=WARP)
        assert sink.failed == []
        up = segment_correlations(speech(MODEL_INPUT_RATE, SECONDS), sink.heard, MODEL_INPUT_RATE)
        return Heard({c.name for c in leg.codecs}, up, down, concealed, lost)

    heard, _ = asyncio.run(judged(trial, lambda heard: heard.good))
    assert heard.codecs == {CodecName(codec.upper()), CodecName.TELEPHONE_EVENT}
    assert heard.good, heard


def test_chrome_sends_redundancy_in_every_packet_and_most_are_the_usual_one() -> None:
    async def body() -> None:
        async with call() as (caller, leg, sink):
            counts = dict.fromkeys((CodecName.RED, CodecName.OPUS), 0)
            in_line, short = leg._receiver.in_line, 0
            names = {codec.payload_type: codec.name for codec in leg.codecs}

            def count(packet: bytes, now: float) -> AudioFrame | None:
                nonlocal short
                counts[names[packet[1] & 127]] += 1
                frame = in_line(packet, now)
                short += frame is not None
                return frame

            leg._receiver.in_line = count  # type: ignore[method-assign]
            async with ticking(leg):
                await caller.say(speech(RATE, 1.0))
                await sink.until(lambda: sink.seconds > 0.9)
        assert counts[CodecName.RED] > 40
        assert counts[CodecName.OPUS] == 0
        assert short > 20, "nothing in the shape of its packets sends them the long way"

    asyncio.run(body())


def test_a_key_pressed_in_chrome() -> None:
    async def body() -> None:
        async with call() as (caller, leg, sink), ticking(leg):
            speaking = asyncio.ensure_future(caller.say(speech(RATE, 2.0)))
            await sink.until(lambda: sink.seconds > 0.2)
            caller.transceiver.sender.dtmf.insert_dtmf("5#", 100, 70)
            await sink.until(lambda: len(sink.digits) == 2)
            assert sink.digits == ["5", "#"]
            speaking.cancel()
            await asyncio.wait([speaking])

    asyncio.run(body())


def test_the_data_channel_and_hanging_up() -> None:
    async def body() -> None:
        async with call() as (caller, leg, sink):
            await asyncio.wait_for(caller.opened.wait(), 30)
            leg.tell(StateChanged(State.ACTIVE))
            caller.post("client-ready", {"version": "2.1.0"})
            assert (await caller.message("bot-ready"))["data"]["version"].startswith("2.")  # type: ignore[index]
            async with ticking(leg), asyncio.timeout(30.0):
                await caller.close()
                await sink.until(lambda: bool(sink.reasons))
            assert sink.reasons == [EndReason.CALLER_GONE]

    asyncio.run(body())


def test_chrome_notices_that_the_gateway_hung_up() -> None:
    async def body() -> None:
        async with call() as (caller, leg, _):
            await asyncio.wait_for(caller.opened.wait(), 30)
            closed = asyncio.Event()
            caller.channel.on("close", lambda _: closed.set())
            await leg.close(EndReason.MAX_DURATION)
            ended = await caller.message("server-message")
            assert ended["data"]["reason"] == "max_duration"  # type: ignore[index]
            await asyncio.wait_for(closed.wait(), 30)

    asyncio.run(body())
