"""The libopus binding: what it gives, and that nothing passed to it brings the process down."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import LibraryMissing, PacketError
from gateway.media import opus
from gateway.media.opus import Application, OpusDecoder, OpusEncoder, has_fec, packet_samples
from tests.audio import find_chirps, frames, joined, numbered, read_numbers, rms, snr, speech, tone


def lowdelay(rate: int = 24_000, bitrate: int = 64_000) -> OpusEncoder:
    return OpusEncoder(rate, application=Application.RESTRICTED_LOWDELAY, bitrate=bitrate, complexity=0)


def voip(loss: int = 10) -> OpusEncoder:
    return OpusEncoder(application=Application.VOIP, bitrate=64_000, complexity=1, fec=True, loss=loss)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_every_frame_arrives_once_and_in_order(rate: int) -> None:
    encoder, decoder = lowdelay(), OpusDecoder(rate)
    heard = joined([decoder.decode(encoder.encode(frame)) for frame in frames(numbered(200, 24_000), 24_000)])
    assert len(heard) == 200 * rate // 50 * 2
    heard += bytes(rate // 25)
    delay = find_chirps(heard, rate, 200)
    assert delay < 0.004
    assert read_numbers(heard, rate, delay)[:200] == [k % 64 for k in range(200)]


def test_sixteen_kilohertz_straight_from_the_library_sounds_right() -> None:
    encoder, decoder = lowdelay(), OpusDecoder(16_000)
    heard = joined([decoder.decode(encoder.encode(frame)) for frame in frames(speech(24_000, 6.0), 24_000)])
    assert snr(speech(16_000, 6.0), heard, 16_000) > 12


def test_fec_gives_the_packet_before() -> None:
    encoder, decoder = voip(), OpusDecoder(16_000)
    packets = [encoder.encode(frame) for frame in frames(numbered(150, 24_000), 24_000)]
    lost = [k for k in range(3, 149, 5) if has_fec(packets[k + 1])]
    assert len(lost) > 20
    heard = joined(
        [decoder.decode_fec(packets[k + 1], 320) if k in lost else decoder.decode(packet) for k, packet in enumerate(packets)]
    )
    heard += bytes(640)
    read = read_numbers(heard, 16_000, find_chirps(heard, 16_000, 150))
    assert [read[k] for k in lost] == [k % 64 for k in lost]


def test_concealment_continues_and_fades() -> None:
    encoder, decoder = lowdelay(), OpusDecoder(16_000)
    for frame in frames(tone(440, 24_000, 1.0), 24_000):
        last = decoder.decode(encoder.encode(frame))
    first = decoder.conceal(320)
    later = [decoder.conceal(320) for _ in range(25)][-1]
    assert rms(first) > 0.5 * rms(last)
    assert rms(later) < 0.3 * rms(last)


def test_fec_flag_is_read_from_the_packet() -> None:
    without = OpusEncoder(application=Application.VOIP, bitrate=32_000, complexity=1)
    with_fec = voip()
    cut = frames(speech(24_000, 3.0), 24_000)
    assert not any(has_fec(without.encode(frame)) for frame in cut)
    flags = [has_fec(with_fec.encode(frame)) for frame in cut]
    assert sum(flags) > len(cut) / 2
    assert not flags[0]  # nothing before it


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("78", 0.02),  # hybrid FB 20 ms, one empty frame
        ("e3 06 00", 0.015),  # CELT FB 2.5 ms, six of them
        ("08 00", 0.02),  # SILK NB 20 ms
        ("18 00", 0.06),
        ("19 00", 0.12),
        ("60 00", 0.01),  # hybrid SWB 10 ms
        ("f9 0000", 0.04),
        ("fb 06", 0.12),
    ],
)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_duration_from_the_first_bytes(payload: str, expected: float, rate: int) -> None:
    assert packet_samples(bytes.fromhex(payload), rate) == round(expected * rate)


@pytest.mark.parametrize("payload", ["", "03", "fb00", "fb07", "1b03"])
def test_impossible_framing(payload: str) -> None:
    with pytest.raises(PacketError):
        packet_samples(bytes.fromhex(payload), 16_000)


@given(st.binary(min_size=0, max_size=200))
@settings(max_examples=400, deadline=None)
def test_any_bytes_decode_or_raise_packet_error(payload: bytes) -> None:
    decoder = OpusDecoder(16_000)
    has_fec(payload)
    calls: list[Callable[[], bytes]] = [
        lambda: decoder.decode(payload),
        lambda: decoder.decode_fec(payload, 320),
        lambda: decoder.conceal(320),
    ]
    try:
        samples = packet_samples(payload, 16_000)
    except PacketError:
        samples = None
    for call in calls:
        try:
            pcm = call()
        except PacketError:
            continue
        assert 0 < len(pcm) <= 2 * 1_920
        if call is calls[0] and samples is not None:
            assert len(pcm) == 2 * samples


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=400, deadline=None)
def test_our_reading_of_fec_is_the_library_s(payload: bytes) -> None:
    library = opus._lib()
    if not hasattr(library, "opus_packet_has_lbrr"):  # only from libopus 1.5: there, we must agree
        return
    theirs = library.opus_packet_has_lbrr(payload, len(payload))
    if theirs >= 0:
        assert has_fec(payload) == bool(theirs)


def test_an_empty_packet_is_not_a_lost_one() -> None:
    with pytest.raises(PacketError):
        OpusDecoder().decode(b"")
    with pytest.raises(PacketError):
        OpusDecoder().decode_fec(b"", 320)


@pytest.mark.parametrize("samples", [0, -1, -320, 1, 39, 321, 1_921, 2**31, 10**12])
def test_wrong_lengths_are_refused_before_the_library_sees_them(samples: int) -> None:
    decoder = OpusDecoder(16_000)
    with pytest.raises(ValueError, match=r"2\.5 ms"):
        decoder.conceal(samples)
    with pytest.raises(ValueError, match=r"2\.5 ms"):
        decoder.decode_fec(b"\xf8\xff", samples)
    assert len(decoder.conceal(320)) == 640


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(958), bytes(961), bytes(1_920)])
def test_a_frame_of_another_length_is_refused(pcm: bytes) -> None:
    encoder = lowdelay()
    with pytest.raises(ValueError, match="960 bytes"):
        encoder.encode(pcm)
    assert encoder.encode(bytes(960))


@pytest.mark.parametrize("wrong", [None, 7, 1.5, "text", [1, 2], object()])
def test_wrong_types_raise_and_the_process_lives(wrong: Any) -> None:
    encoder, decoder = lowdelay(), OpusDecoder()
    for call in (decoder.decode, encoder.encode):
        with pytest.raises((TypeError, ValueError, ctypes.ArgumentError)):
            call(wrong)
    with pytest.raises((TypeError, ValueError, ctypes.ArgumentError)):
        decoder.decode_fec(wrong, 320)
    assert decoder.decode(encoder.encode(bytes(960)))


@pytest.mark.parametrize("buffer", [bytearray(960), memoryview(bytes(960))])
def test_buffers_that_are_not_bytes_are_refused(buffer: Any) -> None:
    with pytest.raises(ctypes.ArgumentError):
        lowdelay().encode(buffer)
    with pytest.raises(ctypes.ArgumentError):
        OpusDecoder().decode(buffer)


@pytest.mark.parametrize("rate", [0, -8_000, 44_100, 2**40])
def test_rates_it_does_not_know(rate: int) -> None:
    with pytest.raises(ValueError, match="libopus cannot"):
        OpusDecoder(rate)
    with pytest.raises(ValueError, match="libopus cannot"):
        lowdelay(rate)


def test_settings_out_of_range() -> None:
    encoder = lowdelay()
    with pytest.raises(ValueError, match="bitrate"):
        encoder.bitrate = 1
    with pytest.raises(ValueError, match="refused"):
        encoder.loss = 101
    with pytest.raises(ValueError, match="refused"):
        OpusEncoder(application=Application.VOIP, bitrate=24_000, complexity=11)


def test_bitrate_is_followed() -> None:
    encoder = lowdelay(bitrate=64_000)
    cut = frames(speech(24_000, 4.0), 24_000)
    rich = sum(len(encoder.encode(frame)) for frame in cut)
    encoder.bitrate = 24_000
    thin = sum(len(encoder.encode(frame)) for frame in cut)
    assert rich * 8 / 4.0 == pytest.approx(64_000, rel=0.05)
    assert thin * 8 / 4.0 == pytest.approx(24_000, rel=0.05)


def test_reset_forgets_the_past() -> None:
    cut = frames(speech(24_000, 1.0), 24_000)
    encoder = lowdelay()
    first = [encoder.encode(frame) for frame in cut]
    again = [encoder.encode(frame) for frame in cut]
    encoder.reset()
    assert [encoder.encode(frame) for frame in cut] == first != again


def test_decoders_share_a_buffer_but_no_audio() -> None:
    encoders, decoders, alone = (lowdelay(), lowdelay()), (OpusDecoder(), OpusDecoder()), (OpusDecoder(), OpusDecoder())
    cut = frames(speech(24_000, 0.4), 24_000), frames(tone(300, 24_000, 0.4), 24_000)
    packets = [[encoder.encode(frame) for frame in said] for encoder, said in zip(encoders, cut, strict=True)]
    by_turns = [[decoders[at].decode(packets[at][number]) for at in range(2)] for number in range(20)]
    assert [turn[0] for turn in by_turns] == [alone[0].decode(packet) for packet in packets[0]]
    assert [turn[1] for turn in by_turns] == [alone[1].decode(packet) for packet in packets[1]]
    assert by_turns[-1][0] != by_turns[-1][1]


def test_memory_goes_with_the_object() -> None:
    encoder, decoder = lowdelay(), OpusDecoder()
    states = [weakref.ref(encoder._state), weakref.ref(decoder._state)]
    gc.disable()
    try:
        del encoder, decoder
        assert [state() for state in states] == [None, None]  # by reference count, no collector needed
    finally:
        gc.enable()


def test_nothing_grows_in_a_thousand_codecs() -> None:
    lowdelay().encode(bytes(960))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1_000):
            OpusDecoder().decode(lowdelay().encode(bytes(960)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # one decoder is 22 KiB


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    return f"{done.returncode} {done.stdout}{done.stderr}"


def test_a_missing_library_is_one_clear_line() -> None:
    said = run(
        "from gateway.media import opus\nfrom gateway.errors import LibraryMissing\n"
        "try: opus.load('/nowhere/libopus.so')\nexcept LibraryMissing as exc: print(exc)"
    )
    assert said.startswith("0 libopus can't be loaded: install it (Debian: apt-get install libopus0) or name its file in GATEWAY")
    assert said.count("\n") == 1
    assert "/nowhere/libopus.so" in said


def test_a_library_that_is_another_one(tmp_path: Path) -> None:
    import _ctypes  # a shared library that surely is there and surely is not libopus

    with pytest.raises(LibraryMissing, match="opus_"):
        opus._bind(_ctypes.__file__)
    broken = tmp_path / "libopus.so"
    broken.write_bytes(b"not ELF")
    with pytest.raises(LibraryMissing, match="libopus"):
        opus._bind(str(broken))


def test_the_wheel_s_library_serves_where_the_system_has_none() -> None:
    said = run(
        "import ctypes.util\nctypes.util.find_library = lambda name: '/nowhere/libopus.so'\n"
        "from gateway.media import opus\nprint(opus.load())\n"
        "e = opus.OpusEncoder(application=opus.Application.VOIP, bitrate=24000, complexity=1)\n"
        "print(len(opus.OpusDecoder().decode(e.encode(bytes(960)))))"
    )
    assert said.startswith("0 libopus 1.")
    assert said.endswith("\n640\n")


def test_loading_twice_is_loading_once() -> None:
    assert opus.load() == opus.load("/nowhere/else.so")


def test_encoders_that_take_turns_do_not_disturb_each_other() -> None:
    """They write into one buffer."""
    spoken = frames(speech(24_000, 1.0), 24_000)
    makers = (lowdelay, voip, lambda: lowdelay(bitrate=16_000))
    alone = [[encoder.encode(frame) for frame in spoken] for encoder in (make() for make in makers)]
    encoders = [make() for make in makers]
    in_turns = [[encoder.encode(frame) for encoder in encoders] for frame in spoken]
    assert [list(payloads) for payloads in zip(*in_turns, strict=True)] == alone
