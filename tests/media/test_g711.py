"""G.711 against the facts of the standard and against FFmpeg's tables."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.g711 import ALAW_SILENCE, ULAW_SILENCE, alaw_decode, alaw_encode, ulaw_decode, ulaw_encode
from tests.audio import floats, snr, speech, tone, tone_sinad

Law = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
LAWS = [pytest.param((ulaw_encode, ulaw_decode), id="ulaw"), pytest.param((alaw_encode, alaw_decode), id="alaw")]
EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32_768, 32_768).astype("<i2")


def samples(*values: int) -> bytes:
    return np.array(values, "<i2").tobytes()


def test_known_codes() -> None:
    assert ulaw_encode(samples(0, 32_767, -32_768, 4, -1)) == bytes((0xFF, 0x80, 0x00, 0xFE, 0x7F))
    assert alaw_encode(samples(0, 32_767, -32_768, -1)) == bytes((0xD5, 0xAA, 0x2A, 0x55))
    assert np.frombuffer(ulaw_decode(bytes((0xFF, 0x80, 0x00))), "<i2").tolist() == [0, 32_124, -32_124]
    assert np.frombuffer(alaw_decode(bytes((0xD5, 0xAA, 0x2A))), "<i2").tolist() == [8, 32_256, -32_256]
    assert (ulaw_encode(samples(0))[0], alaw_encode(samples(0))[0]) == (ULAW_SILENCE, ALAW_SILENCE)


@pytest.mark.parametrize(("codec", "decode"), [("pcm_mulaw", ulaw_decode), ("pcm_alaw", alaw_decode)])
def test_decodes_as_ffmpeg_does(codec: str, decode: Callable[[bytes], bytes]) -> None:
    context = av.CodecContext.create(codec, "r")
    context.sample_rate, context.layout = 8_000, "mono"
    theirs = b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in context.decode(av.Packet(EVERY_CODE)))
    assert decode(EVERY_CODE) == theirs


@pytest.mark.parametrize("law", LAWS)
def test_every_code_survives_a_round_trip(law: Law) -> None:
    encode, decode = law
    pcm = decode(EVERY_CODE)
    assert decode(encode(pcm)) == pcm


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_comes_back_within_half_a_step(law: Law) -> None:
    encode, decode = law
    heard = floats(decode(encode(EVERY_SAMPLE.tobytes())))
    error, size = np.abs(heard - EVERY_SAMPLE), np.abs(EVERY_SAMPLE.astype(float))
    assert (error <= np.maximum(16, (size + 132) / 32))[size < 32_130].all()
    assert error.max() <= 644  # the clipped end of mu-law
    assert (np.diff(heard) >= 0).all()


@pytest.mark.parametrize("law", LAWS)
def test_quality(law: Law) -> None:
    encode, decode = law
    assert tone_sinad(decode(encode(tone(1_004, 8_000, 2.0))), 8_000, 1_004) > 37
    assert snr(speech(8_000, 3.0), decode(encode(speech(8_000, 3.0))), 8_000) > 34


@given(st.binary(max_size=400))
def test_any_bytes_decode_to_as_many_samples(payload: bytes) -> None:
    assert len(ulaw_decode(payload)) == len(alaw_decode(payload)) == 2 * len(payload)


@pytest.mark.parametrize("law", LAWS)
def test_half_a_sample_is_refused(law: Law) -> None:
    with pytest.raises(ValueError, match="buffer size"):
        law[0](b"\0\0\0")
