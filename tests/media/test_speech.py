"""Every speech codec behind one face: lengths, concealment that ends in comfort noise, faults as PacketError."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.media.codec import Codec, CodecName
from gateway.media.g711 import alaw_encode, ulaw_encode
from gateway.media.g722 import G722Encoder
from gateway.media.opus import Application, OpusDecoder, OpusEncoder
from gateway.media.speech import FADE_TO, HUSH_PEAK, OPUS_PAUSE_BYTES, STILL, TRUST, Hushed, speech
from tests import audio

CODECS = (
    Codec(CodecName.OPUS, 111, 48_000, 2),
    Codec(CodecName.PCMU, 0, 8_000),
    Codec(CodecName.PCMA, 8, 8_000),
    Codec(CodecName.G722, 9, 8_000),
)
every_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


def level(pcm: bytes) -> float:
    return float(np.sqrt(np.mean(audio.floats(pcm) ** 2)))


@every_codec
def test_a_hole_has_the_length_it_was_asked_for_and_ends_in_comfort_noise(codec: Codec) -> None:
    decoder = speech(codec)
    assert len(decoder.conceal(320)) == 640, "even before anything was heard"
    for payload in payloads(codec):
        decoder.decode(payload)
    lengths = [320, 160, 960, 37, 320, 320, 320]
    made = [decoder.conceal(samples) for samples in lengths]
    assert [len(pcm) // 2 for pcm in made] == lengths
    assert sum(lengths[:-3]) / 16_000 < FADE_TO
    tail = decoder.conceal(16_000)
    assert 0 < level(tail) <= 130


@pytest.mark.parametrize("codec", CODECS[1:], ids=lambda codec: codec.name)
def test_the_first_good_frame_is_blended_with_the_hole_before_it(codec: Codec) -> None:
    whole, holed = speech(codec), speech(codec)
    sent = payloads(codec)
    for payload in sent[:20]:
        whole.decode(payload)
        holed.decode(payload)
    holed.conceal(320)
    plain, blended = audio.floats(whole.decode(sent[20])), audio.floats(holed.decode(sent[20]))
    assert np.abs(blended[:32] - plain[:32]).max() > 100
    assert np.array_equal(blended[160:], plain[160:]), "10 ms at most"


@every_codec
def test_a_pause_is_comfort_noise_at_once(codec: Codec) -> None:
    decoder = speech(codec)
    for payload in payloads(codec):
        decoder.decode(payload)
    assert 0 < level(decoder.quiet(320)) <= 130


@every_codec
def test_the_length_of_a_payload_is_known_before_it_is_decoded(codec: Codec) -> None:
    decoder = speech(codec)
    for payload in payloads(codec)[:20]:
        samples = decoder.ticks(payload) * 16_000 // decoder.clock_rate
        assert len(decoder.decode(payload)) // 2 == pytest.approx(samples, abs=40)  # the resampler's first frame
    with pytest.raises(PacketError):
        decoder.ticks(b"")


@given(st.sampled_from(CODECS), st.binary(max_size=200))
def test_any_payload_is_audio_or_a_packet_error(codec: Codec, payload: bytes) -> None:
    decoder = speech(codec)
    try:
        decoder.ticks(payload)
        decoder.carries_previous(payload)
        decoder.pauses(payload)
        decoder.restore(payload, 320)
        decoder.decode(payload)
    except PacketError:
        pass
    assert len(decoder.conceal(320)) == 640


def test_dtx_is_a_pause() -> None:
    encoder = OpusEncoder(16_000, application=Application.VOIP, bitrate=24_000, complexity=5, dtx=True)
    decoder = speech(CODECS[0])
    words = [encoder.encode(frame) for frame in audio.frames(audio.speech(16_000, 1.0), 16_000)]
    still = [encoder.encode(frame) for frame in audio.frames(audio.silence(16_000, 2.0), 16_000)]
    assert not any(decoder.pauses(payload) for payload in words)
    assert decoder.pauses(still[-1])
    assert min(map(len, still)) <= OPUS_PAUSE_BYTES


def test_a_muted_microphone_is_not_decoded_and_the_word_after_it_is_none_the_worse() -> None:
    rate = 16_000
    encoder = OpusEncoder(rate, application=Application.VOIP, bitrate=32_000, complexity=5, fec=True, loss=10)
    pcm = audio.speech(rate, 1.0) + audio.silence(rate, 2.0) + audio.speech(rate, 2.0)
    sent = [encoder.encode(piece) for piece in audio.frames(pcm, rate)]
    every, saving = OpusDecoder(rate), speech(CODECS[0])
    decoded = [every.decode(payload) for payload in sent]
    heard = [saving.decode(payload) for payload in sent]
    # The same object again: it was not decoded.
    assert sum(a is b for a, b in itertools.pairwise(heard)) >= 70
    assert all(len(a) == len(b) for a, b in zip(decoded, heard, strict=True))
    assert np.abs(audio.floats(b"".join(heard[60:150]))).max() <= 1
    difference = audio.floats(b"".join(heard)) - audio.floats(b"".join(decoded))
    assert np.abs(difference).max() <= 2


def quiet_room(seconds: float) -> tuple[list[bytes], int, int]:
    """A word, a room of -80 dBFS, a word: its packets, and where the room begins and ends."""
    rate = 48_000
    encoder = OpusEncoder(rate, application=Application.VOIP, bitrate=32_000, complexity=5)
    word = audio.speech(rate, 1.0)
    room = audio.pcm16(np.random.default_rng(2).standard_normal(round(rate * seconds)) * 3.2)
    return [encoder.encode(piece) for piece in audio.frames(word + room + word, rate)], 50, 50 + round(seconds * 50)


def test_a_quiet_room_is_mostly_not_decoded_when_the_sender_says_so() -> None:
    sent, begin, end = quiet_room(2.0)
    assert len(set(sent)) == len(sent), "no packet repeats another"
    saving = speech(CODECS[0])
    heard = [saving.decode(Hushed(payload) if begin <= at < end else payload) for at, payload in enumerate(sent)]
    assert sum(a is b for a, b in itertools.pairwise(heard)) >= (end - begin - STILL - 5) * TRUST // (TRUST + 1)
    assert np.abs(audio.floats(b"".join(heard[begin + 5 : end]))).max() <= HUSH_PEAK


def test_words_after_silences_that_were_not_decoded_are_none_the_worse() -> None:
    rate = 48_000
    encoder = OpusEncoder(rate, application=Application.VOIP, bitrate=32_000, complexity=9)
    room = np.random.default_rng(1)
    words = audio.floats(audio.speech(rate, 12.0)).reshape(6, -1)
    every, saving = OpusDecoder(16_000), speech(CODECS[0])
    for word in words:
        for piece in audio.frames(audio.pcm16(room.standard_normal(rate) * 3.2), rate):
            payload = encoder.encode(piece)
            every.decode(payload)
            saving.decode(Hushed(payload))
        sent = [encoder.encode(piece) for piece in audio.frames(audio.pcm16(word + room.standard_normal(word.size) * 3.2), rate)]
        whole = audio.floats(b"".join([every.decode(payload) for payload in sent])[:6400])
        heard = audio.floats(b"".join([saving.decode(payload) for payload in sent])[:6400])
        assert 10 * np.log10((whole**2).sum() / (((heard - whole) ** 2).sum() + 1.0)) > 25, "without catching up: 12 dB"


def test_a_sender_whose_level_is_stuck_at_silence_is_found_out() -> None:
    sent, begin, end = quiet_room(1.0)
    every, saving = OpusDecoder(16_000), speech(CODECS[0])
    decoded = [every.decode(payload) for payload in sent]
    heard = [saving.decode(Hushed(payload)) for payload in sent]
    assert heard[:begin] == decoded[:begin], "what it calls silence is not"
    assert len({id(pcm) for pcm in heard[end + TRUST :]}) == len(sent) - end - TRUST, "after 80 ms at most all is decoded again"


def test_silence_of_another_length_is_decoded() -> None:
    saving = speech(CODECS[0])
    encoder = OpusEncoder(16_000, application=Application.VOIP, bitrate=32_000, complexity=5)
    for _ in range(STILL + 20):
        payload = encoder.encode(bytes(640))
        assert len(saving.decode(Hushed(payload))) == 640
    double = bytes((payload[0] | 1,)) + payload[1:] * 2  # RFC 6716 §3.2.3: two frames of equal length
    for _ in range(20):
        assert len(saving.decode(Hushed(double))) == 1280


def test_a_loss_after_a_silence_that_was_not_decoded_is_concealed_as_ever() -> None:
    sent, begin, _ = quiet_room(1.0)
    saving = speech(CODECS[0])
    for payload in sent[:begin]:
        saving.decode(payload)
    for payload in sent[begin : begin + STILL + 8]:
        saving.decode(Hushed(payload))
    assert len(saving.conceal(320)) == 640
    assert np.abs(audio.floats(saving.conceal(320))).max() <= 2 * HUSH_PEAK


def test_a_repeated_payload_that_is_not_silence_is_decoded_every_time() -> None:
    encoder = OpusEncoder(16_000, application=Application.VOIP, bitrate=32_000, complexity=5)
    decoder = speech(CODECS[0])
    payload = [encoder.encode(piece) for piece in audio.frames(audio.tone(300, 16_000, 0.4), 16_000)][-1]
    heard = [decoder.decode(payload) for _ in range(40)]
    assert len({id(pcm) for pcm in heard}) == 40


def test_what_carries_no_speech_has_no_decoder() -> None:
    with pytest.raises(ValueError, match="TELEPHONE-EVENT"):
        speech(Codec(CodecName.TELEPHONE_EVENT, 101, 8_000))


def payloads(codec: Codec) -> list[bytes]:
    """A second of speech over a little noise, in 20 ms."""

    rate = 8_000 if codec.name in (CodecName.PCMU, CodecName.PCMA) else 16_000
    pcm = audio.pcm16(audio.floats(audio.speech(rate, 1.0)) + audio.floats(audio.noise(rate, 1.0, 20)))
    pieces = audio.frames(pcm, rate)
    match codec.name:
        case CodecName.OPUS:
            opus = OpusEncoder(rate, application=Application.VOIP, bitrate=32_000, complexity=5)
            return [opus.encode(piece) for piece in pieces]
        case CodecName.G722:
            g722 = G722Encoder()
            return [g722.encode(piece) for piece in pieces]
        case CodecName.PCMU:
            return [ulaw_encode(piece) for piece in pieces]
        case _:
            return [alaw_encode(piece) for piece in pieces]
