"""Chrome's engine calls the gateway over WHIP, as a user runs it: every codec, twenty one after another, ten at once."""

from __future__ import annotations

import asyncio
import statistics
from functools import partial
from pathlib import Path

import numpy as np

from gateway.emulator import Emulator
from gateway.media.resample import Resampler
from tests.audio import segment_correlations, speech
from tests.chrome import RATE, ChromePeer, Samples
from tests.e2e.running import Gateway, running_gateway
from tests.starved import judged

CODECS = ("opus", "pcmu", "pcma", "g722")
ALONE, TOGETHER = 1.0, 3.0
"""Seconds of speech. Ten engines at once in one process stretch a segment here and there: their median wants more."""
LEAST = 0.8

Result = tuple[int, float, float]
"""The call's number; correlations of what the model heard, and of what the caller heard."""


def words(number: int, seconds: float) -> Samples:
    """A piece of the shipped voices, another one for every call; int16 48 kHz."""
    voices = np.frombuffer(speech(RATE), np.int16)
    begin = (number * 37 % 11) * RATE
    return np.roll(voices, -begin)[: round(seconds * RATE)]


def at_8k(samples: bytes, rate: int) -> bytes:
    """What every codec can carry: a telephone line's band."""
    return Resampler(rate, 8_000).resample(samples)


def correlations(reference: bytes, rate: int, heard: bytes, heard_rate: int) -> list[float]:
    # The far end's own jitter buffer stretches and shrinks what it plays when its machine is busy: by some 100 ms in all, and by
    # up to 20 ms within a segment.
    return segment_correlations(at_8k(reference, rate), at_8k(heard, heard_rate), 8_000, slack=0.3, warp=0.02)


async def one_call(gateway: Gateway, emulator: Emulator, number: int, codec: str, at_once: int = 1) -> Result:
    """Speak, hear the parrot out, hang up."""
    spoken = words(number, ALONE if at_once == 1 else TOGETHER)
    peer = ChromePeer(spoken, codec)
    try:
        location, answer = await gateway.whip(await peer.offer(), "plain" if at_once == 1 else "patient")
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
        return number, up, down
    finally:
        await peer.close()


def bad(results: list[Result]) -> list[tuple[str, float, float]]:
    """Those that are not what was said."""
    return [(CODECS[number % 4], up, down) for number, up, down in results if min(up, down) < LEAST]


def good(results: list[Result]) -> bool:
    """Every call was."""
    return not bad(results)


async def alone(gateway: Gateway, emulator: Emulator, number: int) -> list[Result]:
    """One call."""
    return [await one_call(gateway, emulator, number, CODECS[number % 4])]


async def together(gateway: Gateway, emulator: Emulator) -> list[Result]:
    """Ten calls at once, when those before are over."""
    await gateway.nobody_left()
    calls = (one_call(gateway, emulator, number, CODECS[number % 4], at_once=10) for number in range(10))
    ended = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in ended if not isinstance(outcome, BaseException)]


def test_every_codec_twenty_calls_one_after_another_and_ten_at_once(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    # The callers here speak first. A starved engine pauses: that is not yet the end of what its caller says.
    config.write_text('[profiles.plain]\ngreeting = ""\n[profiles.patient]\ngreeting = ""\nlistening = { silence = 2.0 }\n')

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

                for number in range(20):
                    results, _ = await judged(partial(alone, gateway, emulator, number), good)
                    assert not bad(results), (number, bad(results))
                await gateway.nobody_left()
                results, _ = await judged(partial(together, gateway, emulator), good)
                assert not bad(results), bad(results)
                await gateway.nobody_left()
                assert not await gateway.grown_since(before)
                causes = [line["fields"]["cause"] for line in gateway.said("call ended")]
                assert causes.count("caller_hung_up") >= 31
                assert set(causes) <= {"caller_hung_up", "caller_gone"}  # the latter: calls of a trial that was given up
                assert await gateway.stop() == 0
                assert not [line for line in gateway.log if line.get("level") == "error"]

    asyncio.run(body())
