"""What Chrome's own engine makes of our silences and of our changes of encoder."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator

from gateway.events import EndReason
from gateway.legs.webrtc.leg import WebRtcLeg, WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import AudioFrame
from gateway.media.voice import Profile
from gateway.wire.sdp import parse_offer
from tests.audio import frames, resampled, segment_correlations, silence, speech
from tests.legs.chrome import ChromeCaller
from tests.legs.contract import Listener, ticking
from tests.starved import judged


@contextlib.asynccontextmanager
async def call() -> AsyncIterator[tuple[ChromeCaller, WebRtcLeg]]:
    """A connected call with Opus."""
    mux = await UdpMux.open("127.0.0.1", 0)
    caller, sink = ChromeCaller(codecs=["opus"]), Listener()
    leg, sdp = await answer(parse_offer(await caller.offer()), mux, WebRtcSettings(worker="gw1"), mux.clock())
    try:
        leg.start(sink)
        await caller.answered(sdp)
        await sink.until(lambda: sink.connections == 1)
        yield caller, leg
    finally:
        await leg.close(EndReason.CALLER_HUNG_UP)
        await caller.close()
        await mux.close()


async def inbound(caller: ChromeCaller) -> dict[str, float]:
    """The engine's statistics of the stream it receives."""
    report = await caller.pc.get_stats()
    (stream,) = [entry for entry in report.values() if entry.type == "inbound-rtp"]
    return {name: getattr(stream, name) for name in ("concealed_samples", "total_samples_received", "packets_received")}


def test_a_pause_is_no_loss_for_chrome() -> None:
    """One byte in 400 ms, and Chrome conceals nothing: it plays comfort noise. Without that byte every pause is concealed."""
    pauses = [silence(24_000, seconds) for seconds in (0.4, 1.3)]
    spoken = speech(24_000, 1.0)

    async def trial() -> tuple[dict[str, float], list[float]]:
        async with call() as (caller, leg):
            plan: list[AudioFrame | None] = []
            for pause in pauses:
                plan += [AudioFrame(frame, 24_000) for frame in frames(spoken, 24_000)] + [None] * (len(pause) // 960)
            plan += [AudioFrame(frame, 24_000) for frame in frames(spoken, 24_000)]
            async with ticking(leg, plan):
                await caller.heard_seconds(len(plan) * 0.02 + 0.3)
            found = await inbound(caller)
            sent = b"".join(spoken + pause for pause in pauses) + spoken
            return found, segment_correlations(resampled(sent, 24_000, caller.rate), bytes(caller.heard), caller.rate)

    def good(outcome: tuple[dict[str, float], list[float]]) -> bool:
        found, heard = outcome
        # A busy machine may be late with a packet; concealed pauses would be a third of everything.
        return found["concealed_samples"] < 0.05 * found["total_samples_received"] and statistics.median(heard) > 0.95

    (found, heard), _ = asyncio.run(judged(trial, good))
    assert good((found, heard)), (found, heard)
    # 150 of speech; five packets a pause are encoded silence, then one in 400 ms.
    assert found["packets_received"] < 150 + 3 * 5 + 10


def test_chrome_follows_a_change_of_encoder() -> None:
    async def trial() -> tuple[dict[str, float], list[float]]:
        async with call() as (caller, leg):
            voice = leg._sender.voice
            assert voice is not None
            plan = [AudioFrame(frame, 24_000) for frame in frames(speech(24_000, 3.0), 24_000)]
            async with ticking(leg, plan):
                async with asyncio.timeout(30):
                    while leg._sender.packets < 60:
                        caller.played.clear()
                        await caller.played.wait()
                voice.on_loss(0.1, None, leg._clock())
                await caller.heard_seconds(3.3)
            assert voice.profile is Profile.LOSSY
            found = await inbound(caller)
            return found, segment_correlations(speech(caller.rate, 3.0), bytes(caller.heard), caller.rate)

    def good(outcome: tuple[dict[str, float], list[float]]) -> bool:
        found, heard = outcome
        # SILK begins with a high-pass filter, so the waveform of a deep voice does not stay what it was.
        clear = statistics.median(heard) > 0.75 and min(heard) > 0.5
        return clear and found["concealed_samples"] < 0.05 * found["total_samples_received"]

    outcome, _ = asyncio.run(judged(trial, good))
    assert good(outcome), outcome
