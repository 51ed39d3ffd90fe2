"""Audio conformance: every codec, both ways, through our own sender and receiver, against tones and speech.

*In* is a caller's packets to the model's 16 kHz; *out* is the model's 24 kHz to what the caller's decoder plays. The far ends
are the codecs themselves, set as a browser sets them. The last test prints the report.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.sender import Sender
from gateway.media.audio import MODEL_INPUT_RATE, MODEL_OUTPUT_RATE, AudioFrame
from gateway.media.codec import NATIVE_RATE, Codec, CodecName
from gateway.media.g711 import alaw_decode, alaw_encode, ulaw_decode, ulaw_encode
from gateway.media.g722 import G722Decoder, G722Encoder
from gateway.media.opus import Application, OpusDecoder, OpusEncoder
from gateway.media.resample import Resampler
from gateway.wire.rtp import SenderReport, pack_rtp_header, parse_rtcp, parse_rtp
from tests.audio import (
    find_chirps,
    floats,
    frames,
    gaps,
    joined,
    numbered,
    read_numbers,
    resampled,
    snr,
    speech,
    tone,
    tone_level,
    tone_sinad,
)

CODECS = {
    CodecName.OPUS: Codec(CodecName.OPUS, 111, 48_000, 2),
    CodecName.G722: Codec(CodecName.G722, 9, 8_000),
    CodecName.PCMU: Codec(CodecName.PCMU, 0, 8_000),
    CodecName.PCMA: Codec(CodecName.PCMA, 8, 8_000),
}
FAR_RATE = NATIVE_RATE | {CodecName.OPUS: 48_000}
"""Hz at which the far end hears and speaks."""

HOUR = 3_600
MINUTE = 60.0
PIECE = 1.0  # seconds of speech between two pauses


@dataclass(frozen=True)
class Limits:
    """What a route must keep to. SINAD and SNR are the codec's own nature; the rest is ours."""

    sinad: float  # dB at 1004 Hz, -10 dBFS
    speech: float  # dB, waveform
    fold: float  # dBFS of what must not be there, for a tone of -6 dBFS
    loud: float  # dB SINAD of a full-scale tone: lower where the codec clips, far lower where anything wraps
    band: tuple[int, ...]  # Hz that must come through within 1 dB
    foreign: tuple[tuple[int, int], ...]  # Hz sent, and Hz that it would fold to


@dataclass(frozen=True)
class Route:
    """One codec, one way."""

    name: CodecName
    way: str
    limits: Limits

    @property
    def rate_in(self) -> int:
        """Hz of what `carry` takes."""
        return FAR_RATE[self.name] if self.way == "in" else MODEL_OUTPUT_RATE

    @property
    def rate_out(self) -> int:
        """Hz of what `carry` gives."""
        return MODEL_INPUT_RATE if self.way == "in" else FAR_RATE[self.name]

    def carry(self, pcm: bytes) -> bytes:
        """`pcm` as it is heard at the other end."""
        return (inbound if self.way == "in" else outbound)(self.name, pcm)


NARROW, WIDE = (300, 1_000, 3_000), (300, 1_000, 3_000, 6_000)
ROUTES = [
    Route(CodecName.OPUS, "in", Limits(30, 11, -50, 25, WIDE, ((10_000, 6_000), (15_000, 1_000)))),
    Route(CodecName.OPUS, "out", Limits(36, 18, -60, 30, (*WIDE, 10_000), ((11_000, 13_000), (3_000, 21_000)))),
    Route(CodecName.G722, "in", Limits(40, 18, -50, 30, WIDE, ((3_000, 5_000), (1_000, 7_000)))),
    Route(CodecName.G722, "out", Limits(40, 18, -60, 30, WIDE, ((9_000, 7_000), (11_000, 5_000)))),
    *[
        Route(name, "in", Limits(35, 30, -60, 30, NARROW, ((3_000, 5_000), (1_000, 7_000))))
        for name in (CodecName.PCMU, CodecName.PCMA)
    ],
    *[
        Route(name, "out", Limits(35, 30, -60, 30, NARROW, ((5_000, 3_000), (7_000, 1_000))))
        for name in (CodecName.PCMU, CodecName.PCMA)
    ],
]
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.name.value}-{route.way}")


def far_encoder(name: CodecName) -> Callable[[bytes], bytes]:
    """How a caller encodes 20 ms: Opus as Chrome does for a microphone."""
    match name:
        case CodecName.OPUS:
            return OpusEncoder(48_000, application=Application.VOIP, bitrate=32_000, complexity=9, fec=True).encode
        case CodecName.G722:
            return G722Encoder().encode
        case CodecName.PCMU:
            return ulaw_encode
        case _:
            return alaw_encode


def far_decoder(name: CodecName) -> Callable[[bytes], bytes]:
    """How a caller decodes."""
    match name:
        case CodecName.OPUS:
            return OpusDecoder(48_000).decode
        case CodecName.G722:
            return G722Decoder().decode
        case CodecName.PCMU:
            return ulaw_decode
        case _:
            return alaw_decode


def heard_by_model(codec: Codec, payloads: Iterator[bytes], ptime: float = 0.02, drift: float = 0.0) -> Iterator[bytes]:
    """What the receiver makes of packets that come on time, from a clock that runs fast by `drift`."""
    receiver = Receiver([codec])
    ticks = round(codec.clock_rate * ptime)
    for index, payload in enumerate(payloads):
        header = pack_rtp_header(codec.payload_type, index == 0, index % 65_536, index * ticks % 2**32, 1)
        for piece in receiver.receive(header + payload, index * ptime / (1 + drift)):
            assert isinstance(piece, AudioFrame)
            yield piece.pcm
    assert receiver.plc_seconds == receiver.silence_seconds == receiver.fec_seconds == 0
    assert receiver.malformed == receiver.late == 0


def inbound(name: CodecName, pcm: bytes) -> bytes:
    encode = far_encoder(name)
    return joined(list(heard_by_model(CODECS[name], (encode(frame) for frame in frames(pcm, FAR_RATE[name])))))


def outbound(name: CodecName, pcm: bytes) -> bytes:
    sender = Sender(CODECS[name], ssrc=1, cname="conformance")
    decode = far_decoder(name)
    resampler = Resampler(MODEL_OUTPUT_RATE, sender.rate)
    # The resampler's first frame is 2 ms short: the playout that stands between the two cuts its stream into whole frames, as
    # here.
    stream = joined([resampler.resample(frame) for frame in frames(pcm, MODEL_OUTPUT_RATE)])
    heard = []
    for index, frame in enumerate(frames(stream, sender.rate)):
        packet = sender.packet(AudioFrame(frame, sender.rate), index * 0.02)
        assert packet is not None
        heard.append(decode(parse_rtp(packet).payload))
    return joined(heard)


@functools.cache
def measure(route: Route) -> dict[str, float]:
    """Every figure of one route."""
    a, b = route.rate_in, route.rate_out
    reference = tone(1_004, a, 3.0, 32_767 * 10 ** (-10 / 20))
    full = route.carry(tone(1_004, a, 3.0, 32_767))
    half = 32_767 / 2
    levels = [
        tone_level(route.carry(tone(band, a, 1.0, half)), b, band) - tone_level(tone(band, a, 1.0, half), a, band)
        for band in route.limits.band
    ]
    folded = [tone_level(route.carry(tone(sent, a, 1.0, half)), b, fold) for sent, fold in route.limits.foreign]
    heard = route.carry(reference)
    voice = route.carry(speech(a))
    same_band = speech(b) if a >= b else resampled(speech(a), a, b)
    slope = np.abs(np.diff(floats(full))).max() / (2 * np.pi * 1_004 / b * 32_767)
    return {
        "sinad": tone_sinad(heard, b, 1_004),
        "speech": snr(same_band, voice, b),
        "band": max(map(abs, levels)),
        "fold": max(-120.0, *folded),
        "loud": tone_sinad(full, b, 1_004),
        "slope": float(slope),
        "rail": float((np.abs(floats(voice)) >= 32_767).sum()),
        "gaps": float(len(gaps(heard[2 * b // 5 : -2 * b // 5], b))),
        "seconds": len(heard) / 2 / b - 3.0,
    }


@EVERY_ROUTE
def test_a_reference_tone_comes_through_clean(route: Route) -> None:
    assert measure(route)["sinad"] > route.limits.sinad


@EVERY_ROUTE
def test_speech_comes_through(route: Route) -> None:
    assert measure(route)["speech"] > route.limits.speech


@EVERY_ROUTE
def test_the_band_is_level(route: Route) -> None:
    assert measure(route)["band"] < 1.0


@EVERY_ROUTE
def test_nothing_folds_into_the_band(route: Route) -> None:
    assert measure(route)["fold"] < route.limits.fold


@EVERY_ROUTE
def test_full_scale_is_clipped_at_most_and_never_wraps(route: Route) -> None:
    assert measure(route)["loud"] > route.limits.loud
    assert measure(route)["slope"] < 2  # a wrapped sample jumps by 65,535: eight times the steepest slope of this tone and more
    assert measure(route)["rail"] == 0  # speech of -3 dBFS meets no rail


@EVERY_ROUTE
def test_a_tone_has_no_gap_and_keeps_its_length(route: Route) -> None:
    assert measure(route)["gaps"] == 0
    assert -0.021 < measure(route)["seconds"] <= 0  # the resampler holds back 2 ms, so the last whole frame may be missing


@functools.cache
def count_frames(route: Route) -> tuple[int, int]:
    """Of a minute of numbered frames, how many arrive in their place; and how many there were."""
    count = round(MINUTE / 0.02)
    heard = route.carry(numbered(count, route.rate_in)) + bytes(route.rate_out // 25 * 2)
    read = read_numbers(heard, route.rate_out, find_chirps(heard, route.rate_out, count))
    # The resampler keeps the last 2 ms, and with them the last frame.
    return sum(number == k % 64 for k, number in enumerate(read[: count - 1])), count - 1


@EVERY_ROUTE
def test_a_minute_of_numbered_frames_arrives_whole(route: Route) -> None:
    whole, sent = count_frames(route)
    assert whole >= 0.999 * sent  # Opus at 32 kb/s with FEC blurs one in some thousands; a lost frame would shift all that follow


@functools.cache
def hour_in(name: CodecName, drift: float) -> float:
    """Samples by which the model hears more or less than the caller sent in an hour of the caller's clock."""
    codec = CODECS[name]
    ptime = 0.06 if name is CodecName.OPUS else 0.1
    payload = {
        CodecName.OPUS: bytes.fromhex("18 00"),  # SILK, 60 ms of near silence
        CodecName.G722: bytes(800),
        CodecName.PCMU: b"\xff" * 800,
        CodecName.PCMA: b"\xd5" * 800,
    }[name]
    count = round(HOUR / ptime)
    return sum(map(len, heard_by_model(codec, (payload for _ in range(count)), ptime, drift))) / 2 - HOUR * MODEL_INPUT_RATE


@pytest.mark.parametrize("name", CODECS)
def test_an_hour_in_is_an_hour(name: CodecName) -> None:
    allowed = -0.0021 * MODEL_INPUT_RATE if NATIVE_RATE[name] == 8_000 else 0  # what the resampler holds back, once
    assert allowed <= hour_in(name, 200e-6) <= 0


@functools.cache
def hour_out(name: CodecName) -> tuple[float, float]:
    """After an hour of ticks that come up to 15 ms late: seconds between RTP time and the clock, and the worst error of an SR."""
    codec = CODECS[name]
    sender = Sender(codec, ssrc=1, cname="conformance", first_timestamp=0)
    chance = random.Random(1)
    talk = [AudioFrame(frame, sender.rate) for frame in frames(speech(sender.rate, PIECE), sender.rate)]
    worst = 0.0
    for tick in range(HOUR * 50 + 1):
        now = tick * 0.02 + chance.random() * 0.015
        place = tick % 3_000  # a second of speech, a minute of silence
        packet = sender.packet(talk[place] if place < len(talk) else None, now)
        if tick % 250 == 249:
            report, _ = parse_rtcp(sender.report(now, None))
            assert isinstance(report, SenderReport)
            stated = report.ntp / 2**32 - report.rtp_timestamp / codec.clock_rate
            worst = max(worst, abs((stated + 2**31 / codec.clock_rate) % (2**32 / codec.clock_rate) - 2**31 / codec.clock_rate))
    assert packet is not None  # an hour is a whole number of periods: speech begins
    return abs(parse_rtp(packet).timestamp / codec.clock_rate - HOUR), worst


@pytest.mark.parametrize("name", CODECS)
def test_an_hour_out_is_an_hour(name: CodecName) -> None:
    drift, report = hour_out(name)
    assert drift == 0
    assert report < 0.0005 + 0.015  # the first tick, late itself, is the grid's beginning


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_an_hour_of_resampling_is_an_hour(rate: int) -> None:
    resampler = Resampler(MODEL_OUTPUT_RATE, rate)
    second = tone(440, MODEL_OUTPUT_RATE, 1.0)
    heard = sum(len(resampler.resample(second)) for _ in range(HOUR)) / 2
    assert -0.0021 * rate <= heard - HOUR * rate <= 0


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "",
        "Audio conformance          tone  speech   level   folded  full scale  numbered frames   one hour",
        "                       SINAD dB  SNR dB      dB     dBFS    SINAD dB            whole     off by",
    ]
    for route in ROUTES:
        found = measure(route)
        whole, sent = count_frames(route)
        off = hour_in(route.name, 200e-6) / MODEL_INPUT_RATE if route.way == "in" else hour_out(route.name)[0]
        name = f"{route.name.value:6} {route.way:3} {route.rate_in:5}>{route.rate_out:5} Hz"
        lines.append(
            f"{name} {found['sinad']:6.1f} {found['speech']:7.1f}"
            f" {found['band']:7.2f} {found['fold']:8.1f} {found['loud']:11.1f} {whole:8}/{sent} {1_000 * off:10.1f} ms"
        )
    with capsys.disabled():
        print("\n".join(lines))
    assert len(lines) == 3 + 2 * len(CODECS)
