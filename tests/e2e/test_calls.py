"""Chrome's engine calls the gateway over WHIP, as a user runs it: every codec, twenty one after another, ten at once."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

import numpy as np

from gateway.emulator import Emulator
from gateway.media.resample import Resampler
from tests.audio import segment_correlations, speech
from tests.chrome import RATE, ChromePeer, Samples
from tests.e2e.running import Gateway, grown, running_gateway

CODECS = ("opus", "pcmu", "pcma", "g722")
ALONE, TOGETHER = 1.0, 3.0
"""Seconds of speech. Ten engines at once in one process stretch a segment here and there: their median wants more."""
LEAST = 0.8


def words(number: int, seconds: float) -> Samples:
    """A piece of the shipped voices, another one for every call; int16 48 kHz."""
    voices = np.frombuffer(speech(RATE), np.int16)
    begin = (number * 37 % 11) * RATE
    return np.roll(voices, -begin)[: round(seconds * RATE)]


def at_8k(samples: bytes, rate: int) -> bytes:
    """What every codec can carry: a telephone line's band."""
    return Resampler(rate, 8_000).resample(samples)


def correlations(reference: bytes, rate: int, heard: bytes, heard_rate: int) -> list[float]:
    # The far end's own jitter buffer stretches and shrinks what it plays by some 100 ms when its machine is busy.
    return segment_correlations(at_8k(reference, rate), at_8k(heard, heard_rate), 8_000, slack=0.3)


async def one_call(gateway: Gateway, emulator: Emulator, number: int, codec: str, at_once: int = 1) -> tuple[float, float]:
    """Speak, hear the parrot out, hang up: correlations of what the model heard, and of what the caller heard."""
    spoken = words(number, ALONE if at_once == 1 else TOGETHER)
    peer = ChromePeer(spoken, codec)
    try:
        location, answer = await gateway.whip(await peer.offer(), "plain")
        await peer.accept(answer)
        await peer.introduce()
        await peer.told("bot-stopped-speaking")
        # Calls at once are told apart by what they said. Their pieces overlap, so every segment must fit, not most of them.
        heard, record = max(
            ((correlations(spoken.tobytes(), RATE, each.received, 16_000), each) for each in list(emulator.sessions)[-at_once:]),
            key=lambda pair: sum(pair[0]),
        )
        up = statistics.median(heard)
        down = statistics.median(correlations(record.sent, 24_000, peer.heard.tobytes(), RATE))
        await gateway.hang_up(location)
        return up, down
    finally:
        await peer.close()


def test_every_codec_twenty_calls_one_after_another_and_ten_at_once(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[profiles.plain]\ngreeting = ""\n')  # the callers here speak first

    async def body() -> None:
        async with Emulator(port=0, first_chunk=0.05, silence_duration=0.7, await_playback=False) as emulator:
            service = {
                "GEMINI_API_KEY": "key",
                "GATEWAY_GEMINI_BASE_URL": emulator.base_url,
                "GATEWAY_GEMINI_CA_FILE": str(emulator.ca_file),
            }
            async with running_gateway("--config", str(config), **service) as gateway:
                await one_call(gateway, emulator, 0, "opus")  # warms what is loaded lazily
                await gateway.nobody_left()
                before = await gateway.baseline()

                results = [await one_call(gateway, emulator, number, CODECS[number % 4]) for number in range(20)]
                await gateway.nobody_left()
                together = await asyncio.gather(
                    *(one_call(gateway, emulator, number, CODECS[number % 4], at_once=10) for number in range(10))
                )
                await gateway.nobody_left()
                bad = [
                    (number, CODECS[number % 4], up, down)
                    for number, (up, down) in enumerate([*results, *together])
                    if min(up, down) < LEAST
                ]
                assert not bad, bad
                assert not grown(before, await gateway.baseline())
                ended = gateway.said("call ended")
                assert [line["fields"]["cause"] for line in ended] == ["caller_hung_up"] * 31
                assert await gateway.stop() == 0
                assert not [line for line in gateway.log if line.get("level") == "error"]

    asyncio.run(body())
