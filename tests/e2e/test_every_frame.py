"""Sixty seconds both ways: nothing lost, doubled or reordered, at the PCM edges and through every codec.

At the edges the samples are numbers, through the real SDK and the emulator, four times faster than life. Through the codecs every
20 ms frame is a chirp that carries its number, in computed time: model's PCM ▶ playout ▶ sender ▶ RTP ▶ decoder, and
encoder ▶ RTP ▶ receiver ▶ 16 kHz.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.clock import Clock
from gateway.emulator import Emulator
from gateway.emulator.counting import count, read_count
from gateway.events import CallEnded, EndReason
from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.sender import Sender
from gateway.media.audio import MODEL_INPUT_RATE, MODEL_OUTPUT_RATE, PTIME, AudioFrame
from gateway.media.codec import NATIVE_RATE, Codec, CodecName
from gateway.media.g711 import alaw_decode, ulaw_decode
from gateway.media.g722 import G722Decoder
from gateway.media.opus import OpusDecoder
from gateway.media.playout import Playout
from gateway.media.resample import Resampler
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.wire.rtp import parse_rtp
from tests.audio import NUMBERS, find_chirps, numbered, read_numbers
from tests.fakes import Diary, FakeLeg

SECONDS = 60
FRAMES = round(SECONDS / PTIME)
HASTE = 4

CODECS = [
    Codec(CodecName.OPUS, 111, 48_000, 2),
    Codec(CodecName.PCMU, 0, 8_000),
    Codec(CodecName.PCMA, 8, 8_000),
    Codec(CodecName.G722, 9, 8_000),
]


@pytest.mark.parametrize("fast", [True, False], ids=["fast frames", "plain SDK"])
def test_a_minute_of_numbered_samples_at_the_edges(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.clock.SLOT", 0.005 / HASTE)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with Emulator(port=0, persona=f"counter:{SECONDS}", speed=2.0 * HASTE, first_chunk=0.01) as emulator:
            settings = GeminiSettings(
                api_key="key",
                base_url=emulator.base_url,
                ca_file=str(emulator.ca_file),
                model="gemini-3.8-live",
                api_version="v1beta",
                fast_frames=fast,
            )
            model, clock, diary, leg = GeminiModel(settings), Clock(loop), Diary(), FakeLeg()
            calls = Registry(worker="w", max_calls=1, model=model, model_alias="m", clock=clock, observe=diary, loop=loop)
            call = calls.start(calls.admit(leg.kind), leg, Profile(greeting="Count for me."))
            await asyncio.wait_for(_event(lambda: leg.sink is not None), 5)
            call.connected()
            said = count(0, SECONDS * MODEL_INPUT_RATE)
            step = 2 * round(PTIME * MODEL_INPUT_RATE)
            start = loop.time()
            for number, offset in enumerate(range(0, len(said), step)):
                call.hear(AudioFrame(said[offset : offset + step], MODEL_INPUT_RATE, loop.time()))
                await asyncio.sleep(max(0.0, start + number * PTIME / HASTE - loop.time()))
            wanted = 2 * SECONDS * MODEL_OUTPUT_RATE
            await asyncio.wait_for(_event(lambda: len(leg.heard()) >= wanted, every=0.2), 30)
            record = emulator.sessions[0]
            call.uplink.hurry()
            call.hear(AudioFrame(b"", MODEL_INPUT_RATE, loop.time()))
            await asyncio.wait_for(_event(lambda: len(record.received) >= len(said)), 5)
            assert record.received == said
            answer = read_count(leg.heard())
            assert answer.whole, answer
            assert answer.counted == SECONDS * MODEL_OUTPUT_RATE
            call.hang_up(EndReason.CALLER_HUNG_UP)
            await asyncio.wait_for(_event(lambda: bool(diary.of(CallEnded))), 5)
            clock.stop()
            await model.close()

    asyncio.run(body())


async def _event(condition: object, every: float = 0.02) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(every)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name.value)
def test_a_minute_of_numbered_frames_towards_the_caller(codec: Codec) -> None:
    rate = NATIVE_RATE[codec.name]
    model = numbered(FRAMES, MODEL_OUTPUT_RATE)
    resampler = Resampler(MODEL_OUTPUT_RATE, rate) if rate != MODEL_OUTPUT_RATE else None
    playout, sender = Playout(rate), Sender(codec, ssrc=1, cname="test", ntp_offset=0.0)
    opus, g722 = OpusDecoder(24_000), G722Decoder()
    decode = {
        CodecName.OPUS: opus.decode,
        CodecName.PCMU: ulaw_decode,
        CodecName.PCMA: alaw_decode,
        CodecName.G722: g722.decode,
    }[codec.name]
    heard, now, offset, sequences = b"", 0.0, 0, []
    pieces = []
    while offset < len(model) or playout.seconds:
        if offset < len(model) and playout.seconds < 1.0:  # the model sends ahead, in its own odd chunks
            piece = model[offset : offset + 11_520]
            playout.push(resampler.resample(piece) if resampler else piece, now)
            offset += 11_520
            if offset >= len(model):
                playout.end()
        frame = playout.pull(now)
        packet = sender.packet(frame, now)
        if packet is not None and frame is not None:
            parsed = parse_rtp(packet)
            sequences.append((parsed.sequence, parsed.timestamp))
            pieces.append(decode(parsed.payload))
        now += PTIME
    heard = b"".join(pieces)
    steps = {((b[0] - a[0]) % 65_536, (b[1] - a[1]) % 2**32) for a, b in itertools.pairwise(sequences)}
    assert steps == {(1, round(PTIME * codec.clock_rate))}
    _assert_every_number(heard, rate)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name.value)
def test_a_minute_of_numbered_frames_from_the_caller(codec: Codec) -> None:
    rate = NATIVE_RATE[codec.name]
    caller = Sender(codec, ssrc=7, cname="caller", ntp_offset=0.0)
    receiver = Receiver([codec])
    said = numbered(FRAMES, rate)
    step = 2 * round(PTIME * rate)
    pieces = []
    for number, offset in enumerate(range(0, len(said), step)):
        now = 10.0 + number * PTIME
        packet = caller.packet(AudioFrame(said[offset : offset + step], rate, now), now)
        assert packet is not None
        pieces += [frame.pcm for frame in receiver.receive(packet, now) if isinstance(frame, AudioFrame)]
    heard = b"".join(pieces)
    assert abs(len(heard) / (2 * MODEL_INPUT_RATE) - SECONDS) <= PTIME
    _assert_every_number(heard, MODEL_INPUT_RATE)


def _assert_every_number(heard: bytes, rate: int) -> None:
    delay = find_chirps(heard, rate, 50)
    numbers = read_numbers(heard, rate, delay)
    # The codec's delay may push the very last frame over the end of the recording.
    assert len(numbers) >= FRAMES - 2
    assert numbers == [number % NUMBERS for number in range(len(numbers))]
