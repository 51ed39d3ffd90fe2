"""G.722: level, delay, order, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.media.g722 import G722Decoder, G722Encoder
from tests.audio import (
    find_chirps,
    frames,
    joined,
    native_threads,
    numbered,
    read_numbers,
    snr,
    speech,
    tone,
    tone_level,
    tone_sinad,
)


def through(pcm: bytes, cut: int = 160) -> bytes:
    """Encoded in frames of 20 ms, decoded in packets of `cut` bytes."""
    encoder, decoder = G722Encoder(), G722Decoder()
    packets = [encoder.encode(frame) for frame in frames(pcm, 16_000)]
    assert {len(packet) for packet in packets} == {160}
    stream = joined(packets)
    return joined([decoder.decode(stream[begin : begin + cut]) for begin in range(0, len(stream), cut)])


@pytest.mark.parametrize("cut", [80, 160, 480])
def test_every_frame_arrives_once_and_in_order(cut: int) -> None:
    heard = through(numbered(150, 16_000), cut)
    assert len(heard) == 150 * 640
    heard += bytes(640)
    delay = find_chirps(heard, 16_000, 150)
    assert delay == pytest.approx(22 / 16_000, abs=1e-4)
    assert read_numbers(heard, 16_000, delay)[:149] == [k % 64 for k in range(149)]


def test_level_and_quality() -> None:
    heard = through(tone(1_000, 16_000, 2.0))
    assert tone_level(heard, 16_000, 1_000) == pytest.approx(tone_level(tone(1_000, 16_000, 2.0), 16_000, 1_000), abs=0.1)
    assert tone_sinad(heard, 16_000, 1_000) > 40
    assert snr(speech(16_000, 4.0), through(speech(16_000, 4.0)), 16_000) > 18


def test_no_thread_is_started() -> None:
    before = native_threads()
    pairs = [(G722Encoder(), G722Decoder()) for _ in range(20)]
    for encoder, decoder in pairs:
        decoder.decode(encoder.encode(bytes(640)))
    assert native_threads() == before


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes_give_two_samples_each_or_packet_error(payload: bytes) -> None:
    decoder = G722Decoder()
    if payload:
        assert len(decoder.decode(payload)) == 4 * len(payload)
    else:
        with pytest.raises(PacketError):
            decoder.decode(payload)


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(320), bytes(641), bytes(1_280)])
def test_a_frame_of_another_length_is_refused(pcm: bytes) -> None:
    with pytest.raises(ValueError, match="640 bytes"):
        G722Encoder().encode(pcm)
