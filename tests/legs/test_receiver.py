"""The receiver: RTP in, continuous 16 kHz audio and key presses out; nothing a packet may contain can raise."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.legs.webrtc.receiver import RETURN_AFTER, Heard, Receiver
from gateway.media.audio import AudioFrame
from gateway.media.codec import Codec, CodecName
from gateway.media.dtmf import Digit
from gateway.media.g711 import alaw_encode, ulaw_encode
from gateway.media.g722 import G722Encoder
from gateway.media.opus import Application, OpusEncoder
from gateway.wire.rtp import SenderReport, ntp_timestamp, pack_rtp_header
from tests.audio import segment_correlations, speech, tone, tone_sinad

OPUS = Codec(CodecName.OPUS, 111, 48_000, 2, "useinbandfec=1")
PCMU = Codec(CodecName.PCMU, 0, 8_000)
PCMA = Codec(CodecName.PCMA, 8, 8_000)
G722 = Codec(CodecName.G722, 9, 8_000)
RED = Codec(CodecName.RED, 63, 48_000, 2, "111/111")
NOISE = Codec(CodecName.CN, 13, 8_000)
KEYS_8K = Codec(CodecName.TELEPHONE_EVENT, 126, 8_000)
KEYS_48K = Codec(CodecName.TELEPHONE_EVENT, 110, 48_000)
ALL = (OPUS, PCMU, PCMA, G722, RED, NOISE, KEYS_8K, KEYS_48K)
PTIME = 0.02


def rtp(codec: Codec, sequence: int, timestamp: int, payload: bytes, *, ssrc: int = 7, marker: bool = False) -> bytes:
    return pack_rtp_header(codec.payload_type, marker, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def encode(codec: Codec, pcm: bytes, rate: int, seconds: float = PTIME) -> list[bytes]:
    """Payloads of `seconds` each. `rate` of the PCM: 16000 for Opus and G.722, 8000 for G.711."""
    size = round(rate * seconds) * 2
    pieces = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    match codec.name:
        case CodecName.OPUS:
            encoder = OpusEncoder(rate, application=Application.VOIP, bitrate=32_000, complexity=5, fec=True, loss=20)
            return [encoder.encode(piece) for piece in pieces]
        case CodecName.G722:
            wide = G722Encoder()
            coded = b"".join(wide.encode(pcm[at : at + 640]) for at in range(0, len(pcm) - 639, 640))
            return [coded[at : at + size // 4] for at in range(0, len(coded) - size // 4 + 1, size // 4)]
        case CodecName.PCMU:
            return [ulaw_encode(piece) for piece in pieces]
        case _:
            return [alaw_encode(piece) for piece in pieces]


def rate_of(codec: Codec) -> int:
    return 8_000 if codec.name in (CodecName.PCMU, CodecName.PCMA) else 16_000


def audio(heard: Sequence[Heard]) -> bytes:
    return b"".join(value.pcm for value in heard if isinstance(value, AudioFrame))


def digits(heard: Sequence[Heard]) -> list[Digit]:
    return [value for value in heard if isinstance(value, Digit)]


class Caller:
    """Sends 20 ms packets of one codec on time, with one receiver at the other end."""

    def __init__(
        self, receiver: Receiver, codec: Codec, *, sequence: int = 0, timestamp: int = 0, ssrc: int = 7, at: float = 0.0
    ):
        self.receiver, self.codec, self.ssrc = receiver, codec, ssrc
        self.sequence, self.timestamp, self.now = sequence, timestamp, at
        self.heard: list[Heard] = []

    def say(self, payload: bytes | None) -> list[Heard]:
        """One frame; None: it is lost on the way."""
        heard: list[Heard] = []
        while self.receiver.deadline is not None and self.receiver.deadline <= self.now:
            heard += self.receiver.poll(self.receiver.deadline)
        if payload is not None:
            packet = rtp(self.codec, self.sequence, self.timestamp, payload, ssrc=self.ssrc)
            heard += self.receiver.receive(packet, self.now)
        self.sequence += 1
        self.timestamp += round(self.codec.clock_rate * PTIME)
        self.now += PTIME
        self.heard += heard
        return heard


@pytest.mark.parametrize("codec", [OPUS, PCMU, PCMA, G722], ids=lambda codec: codec.name)
def test_every_codec_is_heard_as_16_khz(codec: Codec) -> None:
    receiver = Receiver(ALL)
    caller = Caller(receiver, codec)
    for payload in encode(codec, speech(rate_of(codec), 4.0), rate_of(codec)):
        caller.say(payload)
    frames = [value for value in caller.heard if isinstance(value, AudioFrame)]
    assert {frame.rate for frame in frames} == {16_000}
    assert [frame.at for frame in frames] == pytest.approx([number * PTIME for number in range(200)])
    assert len(audio(frames)) == pytest.approx(4.0 * 32_000, abs=200)  # the resampler keeps 2 ms
    correlations = segment_correlations(speech(16_000, 4.0), audio(frames), 16_000)
    assert np.median(correlations) > 0.9
    assert (receiver.packets, receiver.lost, receiver.malformed, receiver.unnegotiated) == (200, 0, 0, 0)
    assert receiver.plc_seconds + receiver.fec_seconds + receiver.silence_seconds == 0.0


@pytest.mark.parametrize("codec", [OPUS, PCMU, PCMA, G722], ids=lambda codec: codec.name)
@pytest.mark.parametrize("seconds", [0.01, 0.03, 0.04, 0.06])
def test_other_packet_lengths(codec: Codec, seconds: float) -> None:
    receiver = Receiver(ALL)
    heard: list[Heard] = []
    # libopus encodes 20 ms here: longer packets join frames (RFC 6716 code 3), 10 ms is left to the other codecs.
    if codec is OPUS:
        frames = encode(codec, tone(440, 16_000, 3.0), 16_000)
        count = max(1, round(seconds / PTIME))
        toc, total = frames[0][0], len(frames) // count
        payloads = [
            bytes((toc | 3, 0x80 | count))
            + b"".join(_length(frame) for frame in [f[1:] for f in frames[n * count : n * count + count]][:-1])
            + b"".join(f[1:] for f in frames[n * count : n * count + count])
            for n in range(total)
        ]
        payloads = payloads if len({frame[0] for frame in frames}) == 1 else frames
        seconds = count * PTIME if payloads is not frames else PTIME
    else:
        payloads = encode(codec, tone(440, rate_of(codec), 3.0), rate_of(codec), seconds)
    for number, payload in enumerate(payloads):
        packet = rtp(codec, number, round(number * seconds * codec.clock_rate), payload)
        heard += receiver.receive(packet, number * seconds)
    assert len(audio(heard)) / 32_000 == pytest.approx(len(payloads) * seconds, abs=0.005)
    assert receiver.plc_seconds + receiver.silence_seconds == 0.0
    assert tone_sinad(audio(heard), 16_000, 440) > 15


@pytest.mark.parametrize("milliseconds", [10, 20, 40, 60])
def test_opus_frames_of_every_length_and_a_loss_among_them(milliseconds: int) -> None:
    """Frames of these lengths as libopus itself makes them, not frames of 20 ms put together."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.bit_rate, encoder.options = 48_000, {"frame_duration": str(milliseconds), "application": "voip"}
    size = 48 * milliseconds
    pcm = np.frombuffer(tone(440, 48_000, 3.0), np.int16)
    payloads = []
    for number in range(len(pcm) // size):
        frame = av.AudioFrame.from_ndarray(pcm[number * size : (number + 1) * size][None], "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, number * size
        payloads += [bytes(packet) for packet in encoder.encode(frame)]
    receiver, heard = Receiver(ALL), []
    for number, payload in enumerate(payloads):
        if number != 1_500 // milliseconds:
            heard += receiver.receive(rtp(OPUS, number, number * size, payload), number * milliseconds / 1000)
    assert len(audio(heard)) == len(payloads) * milliseconds * 32
    assert receiver.plc_seconds + receiver.fec_seconds == pytest.approx(milliseconds / 1000)
    samples = audio(heard)
    assert tone_sinad(samples[: 32 * 1_400], 16_000, 440) > 15
    assert tone_sinad(samples[32 * 1_800 :], 16_000, 440) > 15


def test_a_sender_that_pauses_loses_no_time_and_no_word() -> None:
    """Opus DTX as browsers send it: in silence a packet of a byte or two, then nothing for up to 400 ms."""
    encoder = OpusEncoder(16_000, application=Application.VOIP, bitrate=32_000, complexity=5, dtx=True)
    word = speech(16_000, 2.0)
    pcm = word + bytes(16_000 * 2 * 3) + word
    payloads = [encoder.encode(pcm[at : at + 640]) for at in range(0, len(pcm), 640)]
    receiver = Receiver(ALL)
    heard: list[Heard] = []
    sequence, quiet, withheld = 0, 0, 0
    for number, payload in enumerate(payloads):
        now = number * PTIME
        while receiver.deadline is not None and receiver.deadline <= now:
            heard += receiver.poll(receiver.deadline)
        quiet = quiet + 1 if len(payload) <= 2 else 0
        if quiet > 1 and quiet % 20:
            withheld += 1
            continue
        heard += receiver.receive(rtp(OPUS, sequence, number * 960, payload), now)
        sequence += 1
    assert withheld > 100
    assert receiver.lost == 0
    assert receiver.silence_seconds == pytest.approx(withheld * PTIME, abs=0.1)
    assert receiver.plc_seconds == 0.0, "nothing is missing, so nothing is made up"
    samples = audio(heard)
    assert len(samples) / 32_000 == pytest.approx(len(payloads) * PTIME, abs=0.03)
    assert np.median(segment_correlations(word, samples[-len(word) :], 16_000)) > 0.9, "the word after it is whole"


def _length(frame: bytes) -> bytes:
    size = len(frame)
    return bytes((size,)) if size < 252 else bytes((252 + (size & 3), (size - 252 - (size & 3)) // 4))


@pytest.mark.parametrize("codec", [OPUS, PCMU, G722], ids=lambda codec: codec.name)
def test_a_lost_packet_is_filled_and_what_follows_is_in_its_place(codec: Codec) -> None:
    whole, holed = Caller(Receiver(ALL), codec), Caller(Receiver(ALL), codec)
    for number, payload in enumerate(encode(codec, speech(rate_of(codec), 3.0), rate_of(codec))):
        whole.say(payload)
        holed.say(None if number % 10 == 5 else payload)
    assert abs(len(audio(whole.heard)) - len(audio(holed.heard))) <= 640
    assert holed.receiver.lost == 15
    filled = holed.receiver.plc_seconds + holed.receiver.fec_seconds
    assert filled == pytest.approx(0.3)
    if codec is OPUS:
        assert holed.receiver.fec_seconds > 0.15
    correlations = segment_correlations(audio(whole.heard), audio(holed.heard), 16_000, segment=0.3, slack=0.0)
    assert np.median(correlations) > (0.9 if codec is OPUS else 0.85)


def test_redundancy_restores_what_was_lost_bit_by_bit() -> None:
    payloads = encode(OPUS, speech(16_000, 2.0), 16_000)
    whole, holed = Caller(Receiver(ALL), OPUS), Caller(Receiver(ALL), RED)
    for number, payload in enumerate(payloads):
        whole.say(payload)
        before = payloads[number - 1] if number else b""
        red = struct.pack("!BHB", 0x80 | 111, 960 << 2 | len(before) >> 8, len(before) & 255) if before else b""
        holed.say(None if number % 3 == 2 else red + bytes((111,)) + before + payload)
    assert audio(holed.heard) == audio(whole.heard)
    assert holed.receiver.fec_seconds == pytest.approx(0.02 * 33)


def test_a_packet_that_is_half_late_gives_the_rest() -> None:
    """60 ms packets, silence filled in steps of 20 ms: the line must not become longer than its timestamps."""
    receiver = Receiver((PCMU,))
    payloads = encode(PCMU, tone(440, 8_000, 3.0), 8_000, 0.06)
    heard = list(receiver.receive(rtp(PCMU, 0, 0, payloads[0]), 0.0))
    for now in np.arange(0.0, 0.33, 0.01):
        heard += receiver.poll(now)
    for number in range(1, 10):
        heard += receiver.receive(rtp(PCMU, number, number * 480, payloads[number]), max(0.33, number * 0.06))
    assert len(audio(heard)) / 32_000 == pytest.approx(0.6, abs=0.003)


def test_packets_that_stop_and_come_back() -> None:
    receiver = Receiver(ALL)
    caller = Caller(receiver, OPUS)
    payloads = encode(OPUS, speech(16_000, 6.0), 16_000)
    for number, payload in enumerate(payloads):
        caller.say(None if 100 <= number < 200 else payload)
    seconds = len(audio(caller.heard)) / 32_000
    assert seconds == pytest.approx(6.0, abs=0.03)
    gone = audio(caller.heard)[round(2.3 * 32_000) : round(3.9 * 32_000)]
    assert 0 < np.abs(np.frombuffer(gone, np.int16)).max() < 1_500, "comfort noise: neither words nor digital silence"


def test_a_key_press_is_an_event_and_no_audio() -> None:
    for keys in (KEYS_8K, KEYS_48K):
        receiver = Receiver(ALL)
        caller = Caller(receiver, OPUS)
        payloads = encode(OPUS, speech(16_000, 2.0), 16_000)
        for payload in payloads[:20]:
            caller.say(payload)
        begin = round(caller.timestamp * keys.clock_rate / 48_000)
        heard: list[Heard] = []
        for step in range(1, 11):  # 200 ms of `5`
            duration = round(step * PTIME * keys.clock_rate)
            event = struct.pack("!BBH", 5, 10, duration)
            heard += receiver.receive(rtp(keys, caller.sequence, begin, event, marker=step == 1), caller.now)
            caller.say(None)
        for repeat in range(3):
            event = struct.pack("!BBH", 5, 0x8A, round(0.2 * keys.clock_rate))
            heard += receiver.receive(rtp(keys, caller.sequence + repeat, begin, event), caller.now)
        caller.sequence += 3
        assert digits(heard) == [Digit("5", pytest.approx(0.2))]
        for payload in payloads[30:]:
            caller.say(payload)
        heard += caller.heard
        assert len(audio(heard)) / 32_000 == pytest.approx(2.0, abs=0.03)
        assert receiver.plc_seconds == 0.0, "nothing was lost"
        assert receiver.silence_seconds == pytest.approx(0.2, abs=0.03)


def test_a_key_whose_end_is_lost_is_released() -> None:
    receiver = Receiver(ALL)
    heard = list(receiver.receive(rtp(KEYS_8K, 0, 0, struct.pack("!BBH", 11, 10, 800), marker=True), 1.0))
    assert heard == []
    assert receiver.deadline is not None
    heard += receiver.poll(receiver.deadline)
    assert digits(heard) == [Digit("#", pytest.approx(0.1))]
    assert receiver.poll(9.0) == []


def test_comfort_noise_packets_fill_the_pause_at_their_level() -> None:
    receiver = Receiver(ALL)
    caller = Caller(receiver, PCMU)
    for payload in encode(PCMU, tone(300, 8_000, 1.0), 8_000):
        caller.say(payload)
    noise = rtp(NOISE, caller.sequence, caller.timestamp, bytes((60,)))
    heard = list(receiver.receive(noise, caller.now))
    caller.sequence += 1
    for _ in range(25):  # 0.5 s of nothing
        caller.timestamp += 160
        caller.now += PTIME
        while receiver.deadline is not None and receiver.deadline <= caller.now:
            heard += receiver.poll(receiver.deadline)
    quiet = np.frombuffer(audio(heard), np.int16).astype(float)
    assert 20 * np.log10(np.sqrt((quiet**2).mean()) / 32_768) == pytest.approx(-60, abs=1.5)
    heard += caller.say(encode(PCMU, tone(300, 8_000, 0.02), 8_000)[0])
    assert receiver.silence_seconds == pytest.approx(0.5, abs=0.03)
    assert receiver.plc_seconds == 0.0
    assert len(audio(heard)) / 32_000 == pytest.approx(0.52, abs=0.01)


def test_a_new_source_goes_on_where_the_old_one_stopped() -> None:
    receiver = Receiver(ALL)
    payloads = encode(OPUS, speech(16_000, 3.0), 16_000)
    old = Caller(receiver, OPUS, ssrc=1, sequence=60_000, timestamp=123_456)
    for payload in payloads[:50]:
        old.say(payload)
    new = Caller(receiver, OPUS, ssrc=2, sequence=5, timestamp=0xFFFFFF00, at=old.now + 0.1)
    old.say(payloads[50])
    for payload in payloads[56:]:
        new.say(payload)
        # A straggler of the old source is not a change back.
        if new.sequence == 8:
            receiver.receive(rtp(OPUS, 60_051, 0, payloads[0], ssrc=1), new.now)
    assert receiver.unnegotiated == 1
    assert receiver.ssrc == 2
    heard = len(audio(old.heard) + audio(new.heard)) / 32_000
    assert heard == pytest.approx(new.now, abs=0.03)
    assert receiver.lost == 0


def test_the_old_source_may_come_back_after_a_silence() -> None:
    receiver = Receiver((PCMU,))
    receiver.receive(rtp(PCMU, 0, 0, bytes(160), ssrc=1), 0.0)
    receiver.receive(rtp(PCMU, 0, 0, bytes(160), ssrc=2), 0.02)
    assert receiver.receive(rtp(PCMU, 1, 160, bytes(160), ssrc=1), 0.02 + RETURN_AFTER + 0.01)
    assert receiver.ssrc == 1


def test_a_caller_may_change_between_agreed_codecs() -> None:
    receiver = Receiver(ALL)
    first = Caller(receiver, OPUS)
    for payload in encode(OPUS, tone(440, 16_000, 1.0), 16_000):
        first.say(payload)
    second = Caller(receiver, PCMA, sequence=first.sequence, timestamp=first.timestamp, at=first.now)
    for payload in encode(PCMA, tone(440, 8_000, 1.0), 8_000):
        second.say(payload)
    assert len(audio(first.heard + second.heard)) / 32_000 == pytest.approx(2.0, abs=0.01)
    assert tone_sinad(audio(second.heard), 16_000, 440) > 30
    assert receiver.jitter is not None
    assert receiver.jitter < 0.001, "timestamps of two clocks were not compared"


def test_a_codec_that_was_not_agreed_is_ignored_and_counted() -> None:
    receiver = Receiver((OPUS,))
    caller = Caller(receiver, OPUS)
    payloads = encode(OPUS, speech(16_000, 1.0), 16_000)
    caller.say(payloads[0])
    assert receiver.receive(rtp(PCMU, 1, 0, bytes(160), ssrc=99), 0.02) == ()
    assert (receiver.unnegotiated, receiver.ssrc, receiver.packets) == (1, 7, 1)
    assert caller.say(payloads[1])


def test_malformed_packets_are_counted_and_their_time_is_filled() -> None:
    receiver = Receiver(ALL)
    assert receiver.receive(b"", 0.0) == ()
    assert receiver.receive(b"\x00" * 20, 0.0) == ()
    caller = Caller(receiver, OPUS)
    payloads = encode(OPUS, speech(16_000, 1.0), 16_000)
    for number, payload in enumerate(payloads):
        caller.say(b"\xff" if number == 10 else payload)  # a code 3 packet without its frame count
    assert receiver.malformed == 3
    assert len(audio(caller.heard)) == len(payloads) * 640


def test_a_numbering_that_starts_anew_is_believed_the_second_time() -> None:
    receiver = Receiver((PCMU,))
    for number in range(10):
        receiver.receive(rtp(PCMU, number, number * 160, bytes(160)), number * PTIME)
    assert receiver.receive(rtp(PCMU, 30_000, 1_600, bytes(160)), 0.2) == []
    assert receiver.receive(rtp(PCMU, 10, 1_600, bytes(160)), 0.2), "a stray changes nothing"
    assert receiver.receive(rtp(PCMU, 40_000, 99_000, bytes(160)), 0.22) == []
    assert receiver.receive(rtp(PCMU, 40_001, 99_160, bytes(160)), 0.24)
    assert receiver.receive(rtp(PCMU, 40_002, 99_320, bytes(160)), 0.26)
    assert receiver.unnegotiated == 2


# --- RTCP ---


def test_the_report_says_what_was_lost_since_the_last_one_and_in_all() -> None:
    receiver = Receiver((PCMU,))
    assert receiver.report_block(0.0) is None
    for number in range(65_500, 65_600):
        if number % 4:
            receiver.receive(rtp(PCMU, number, number * 160, bytes(160)), number * PTIME)
    block = receiver.report_block(2.0)
    assert block is not None
    # 65500 was lost before the first packet came, so it is not known of.
    assert (block.ssrc, block.packets_lost, block.fraction_lost) == (7, 24, 24 * 256 // 99)
    assert block.highest_sequence == 65_599
    assert (block.last_sr, block.delay_since_last_sr) == (0, 0)
    for number in range(65_600, 65_610):
        receiver.receive(rtp(PCMU, number, number * 160, bytes(160)), number * PTIME)
    block = receiver.report_block(4.0)
    assert block is not None
    assert (block.packets_lost, block.fraction_lost, block.highest_sequence) == (24, 0, 65_609)


def test_audio_restored_from_redundancy_is_reported_as_lost() -> None:
    """The far end raises its protection with what we report: it must go on seeing the network, not our repair."""
    payloads = encode(OPUS, speech(16_000, 1.0), 16_000)
    caller = Caller(Receiver(ALL), OPUS)
    for number, payload in enumerate(payloads):
        caller.say(None if number % 5 == 3 else payload)
    block = caller.receiver.report_block(caller.now)
    assert block is not None
    assert block.packets_lost == 10
    assert caller.receiver.fec_seconds > 0.1


def test_the_report_answers_the_last_sender_report() -> None:
    receiver = Receiver((PCMU,))
    receiver.receive(rtp(PCMU, 0, 0, bytes(160)), 1.0)
    ntp = ntp_timestamp(3_900_000_000.5)
    receiver.on_sender_report(SenderReport(8, ntp + 5, 0, 1, 160), 1.1)  # of somebody else
    receiver.on_sender_report(SenderReport(7, ntp, 0, 1, 160), 1.5)
    block = receiver.report_block(2.0)
    assert block is not None
    assert block.last_sr == ntp >> 16 & 0xFFFFFFFF
    assert block.delay_since_last_sr == 32_768


def test_jitter_is_the_estimate_of_the_rfc() -> None:
    receiver = Receiver((PCMU,))
    estimate, last = 0.0, 0.0
    for number in range(200):
        late = 0.01 if number % 2 else 0.0
        receiver.receive(rtp(PCMU, number, number * 160, bytes(160)), number * PTIME + late)
        if number:
            estimate += (abs(late - last) - estimate) / 16
        last = late
    assert receiver.jitter == pytest.approx(estimate, rel=1e-6)
    block = receiver.report_block(5.0)
    assert block is not None
    assert block.jitter == int(estimate * 8_000)


# --- any bytes ---


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.tuples(
                st.sampled_from([codec.payload_type for codec in ALL] + [77]),
                st.integers(0, 0xFFFF),
                st.integers(0, 0xFFFFFFFF),
                st.sampled_from([1, 2]),
                st.binary(max_size=80),
            ),
            st.tuples(st.integers(0, 20), st.binary(min_size=1, max_size=80)),
        ),
        max_size=40,
    ),
    st.lists(st.sampled_from([0.0, 0.005, 0.02, 0.3]), min_size=40, max_size=40),
)
def test_any_bytes_give_frames_or_are_counted(
    packets: list[bytes | tuple[int, int, int, int, bytes] | tuple[int, bytes]], waits: list[float]
) -> None:
    receiver = Receiver(ALL)
    now = 0.0
    started = samples = 0
    for packet, wait in zip(packets, waits, strict=False):
        now += wait
        if isinstance(packet, tuple):
            if len(packet) == 2:  # nearly a proper stream
                number, payload = packet
                packet = rtp(OPUS, number, number * 960, payload)
            else:
                payload_type, sequence, timestamp, ssrc, payload = packet
                packet = pack_rtp_header(payload_type, False, sequence, timestamp, ssrc) + payload
        for value in (*receiver.poll(now), *receiver.receive(packet, now)):
            if isinstance(value, AudioFrame):
                samples += value.samples
                assert value.rate == 16_000
                assert len(value.pcm) % 2 == 0
        started = started or receiver.packets
    # Silence never runs ahead of the clock: what packets carry, what real time asks for, and half a second for each new origin.
    assert samples / 16_000 <= now + 0.7 * (receiver.packets + 1)


@pytest.mark.parametrize(
    ("agreed", "level", "saved"), [(3, 127, True), (3, 80, True), (3, 79, False), (4, 127, False), (None, 127, False)]
)
def test_the_audio_level_saves_decodes_where_it_was_agreed_and_says_silence(agreed: int | None, level: int, saved: bool) -> None:
    receiver = Receiver(ALL, agreed)
    encoder = OpusEncoder(48_000, application=Application.VOIP, bitrate=32_000, complexity=5)
    room = np.random.default_rng(2).normal(0.0, 3.0, 48_000).astype(np.int16).tobytes()
    heard: list[AudioFrame] = []
    for number in range(50):
        payload = encoder.encode(room[number * 1920 : (number + 1) * 1920])
        plain = rtp(OPUS, number, number * 960, payload)
        # RFC 8285 one-byte header, element 3 of one byte.
        packet = bytes((plain[0] | 0x10,)) + plain[1:12] + bytes((0xBE, 0xDE, 0, 1, 0x30, level, 0, 0)) + plain[12:]
        heard += [value for value in receiver.receive(packet, number * PTIME) if isinstance(value, AudioFrame)]
    assert len(audio(heard)) == 32_000
    assert (len({id(frame.pcm) for frame in heard}) < 30) is saved


def test_a_microphone_that_is_off_is_silence_and_not_concealed() -> None:
    receiver = Receiver(ALL)
    caller = Caller(receiver, PCMU)
    for payload in encode(PCMU, tone(300, 8_000, 1.0), 8_000):
        caller.say(payload)
    for _ in range(round(60.0 / PTIME)):
        caller.say(None)
    assert receiver.expected_seconds == pytest.approx(61.0, abs=0.5), "the model hears that time goes on"
    assert 0.5 < receiver.plc_seconds < 1.1, "at first it may have been the network"
    assert receiver.silence_seconds == pytest.approx(59.0, abs=0.5)
