"""The outbound stream, in fake time: headers, silence, reports, and what the far end hears."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.legs.webrtc.sender import ENOUGH, HANGOVER, KEEP_ALIVE, REST, STALL, Sender
from gateway.media.audio import AudioFrame
from gateway.media.codec import NATIVE_RATE, Codec, CodecName
from gateway.media.g711 import alaw_decode, ulaw_decode
from gateway.media.g722 import G722Decoder
from gateway.media.opus import OpusDecoder, packet_samples
from gateway.media.voice import Profile
from gateway.wire.rtp import (
    Bye,
    ReceiverReport,
    ReportBlock,
    RtpPacket,
    Sdes,
    SenderReport,
    middle,
    ntp_timestamp,
    parse_rtcp,
    parse_rtp,
)
from tests.audio import find_chirps, floats, frames, joined, numbered, read_numbers, speech, tone

OPUS = Codec(CodecName.OPUS, 111, 48_000, 2)
PCMU = Codec(CodecName.PCMU, 0, 8_000)
PCMA = Codec(CodecName.PCMA, 8, 8_000)
G722 = Codec(CodecName.G722, 9, 8_000)
ALL = [pytest.param(codec, id=codec.name.value) for codec in (OPUS, PCMU, PCMA, G722)]
WITHOUT_DTX = [pytest.param(codec, id=codec.name.value) for codec in (PCMU, PCMA, G722)]
NTP_OFFSET = 3_900_000_000.0


def make(codec: Codec = OPUS, comfort_noise: int | None = None) -> Sender:
    return Sender(
        codec,
        ssrc=7,
        cname="call@gateway",
        ntp_offset=NTP_OFFSET,
        comfort_noise=comfort_noise,
        first_sequence=65_530,
        first_timestamp=2**32 - 2_000,
    )


def talk(codec: Codec, seconds: float) -> list[AudioFrame | None]:
    rate = NATIVE_RATE[codec.name]
    return [AudioFrame(pcm, rate) for pcm in frames(speech(rate, seconds), rate)]


def send(sender: Sender, ticks: Iterable[AudioFrame | None], start: float = 0.0) -> list[RtpPacket | None]:
    packets = []
    for index, frame in enumerate(ticks):
        data = sender.packet(frame, start + index * 0.02)
        packets.append(None if data is None else parse_rtp(data))
    return packets


def present(packets: Iterable[RtpPacket | None]) -> list[RtpPacket]:
    return [packet for packet in packets if packet is not None]


@pytest.mark.parametrize("codec", ALL)
def test_one_packet_a_tick_numbered_and_stamped_over_the_wraps(codec: Codec) -> None:
    sender = make(codec)
    packets = present(send(sender, talk(codec, 2.0)))
    assert len(packets) == 100
    step = codec.clock_rate // 50
    assert [packet.sequence for packet in packets] == [(65_530 + k) % 65_536 for k in range(100)]
    assert [packet.timestamp for packet in packets] == [(2**32 - 2_000 + k * step) % 2**32 for k in range(100)]
    assert {(packet.payload_type, packet.ssrc) for packet in packets} == {(codec.payload_type, 7)}
    assert (sender.packets, sender.octets) == (100, sum(len(packet.payload) for packet in packets))


def test_the_first_numbers_are_random() -> None:
    packets = [parse_rtp(Sender(OPUS, ssrc=1, cname="a").packet(None, 0.0) or b"") for _ in range(20)]
    assert len({packet.sequence for packet in packets}) > 10
    assert len({packet.timestamp for packet in packets}) == 20


def test_marker_at_the_first_packet_after_a_gap_only() -> None:
    ticks = talk(OPUS, 1.0) + [None] * HANGOVER + talk(OPUS, 1.0) + [None] * 100 + talk(OPUS, 1.0)
    packets = send(make(), ticks)
    marked = [index for index, packet in enumerate(packets) if packet is not None and packet.marker]
    assert marked == [0, 100 + HANGOVER + 100]


@pytest.mark.parametrize("codec", WITHOUT_DTX)
def test_without_gaps_there_is_no_marker(codec: Codec) -> None:
    packets = present(send(make(codec), talk(codec, 0.2) + [None] * 50 + talk(codec, 0.2)))
    assert [index for index, packet in enumerate(packets) if packet.marker] == [0]


def test_silence_costs_five_encodes_and_then_one_byte_in_400_ms() -> None:
    sender = make()
    packets = send(sender, talk(OPUS, 0.4) + [None] * 1_000)
    silent = packets[20:]
    assert all(packet is not None and len(packet.payload) > 1 for packet in silent[:HANGOVER])
    assert [index for index, packet in enumerate(silent) if packet is not None] == [
        *range(HANGOVER),
        *range(HANGOVER, 1_000, KEEP_ALIVE),
    ]
    assert {len(packet.payload) for packet in present(silent[HANGOVER:])} == {1}
    assert all(packet_samples(packet.payload, 48_000) == 960 for packet in present(silent))
    assert not any(packet.marker for packet in present(silent))


def test_timestamps_go_on_in_silence_and_numbers_do_not() -> None:
    packets = present(send(make(), talk(OPUS, 0.4) + [None] * 333 + talk(OPUS, 0.4)))
    last = packets[-1]
    assert last.timestamp == (2**32 - 2_000 + (20 + 333 + 19) * 960) % 2**32
    assert [packet.sequence for packet in packets] == [(65_530 + k) % 65_536 for k in range(len(packets))]


def test_silence_from_the_beginning_opens_the_stream() -> None:
    packets = send(make(), [None] * 30 + talk(OPUS, 0.2))
    assert all(packet is not None for packet in packets[:HANGOVER])
    assert not any(packet.marker for packet in present(packets[:30]))
    speaking = packets[30]
    assert speaking is not None
    assert speaking.marker


@pytest.mark.parametrize("codec", WITHOUT_DTX)
def test_codecs_without_a_silence_packet_repeat_one(codec: Codec) -> None:
    sender = make(codec)
    packets = present(send(sender, talk(codec, 0.4) + [None] * 500))
    assert len(packets) == 520
    assert len({packet.payload for packet in packets[20 + HANGOVER :]}) == 1
    decoders = {CodecName.PCMU: ulaw_decode, CodecName.PCMA: alaw_decode, CodecName.G722: G722Decoder().decode}
    heard = floats(joined([decoders[codec.name](packet.payload) for packet in packets]))
    assert np.abs(heard[len(heard) // 2 :]).max() <= 20  # -64 dBFS and less


@pytest.mark.parametrize("codec", [PCMU, PCMA])
def test_comfort_noise_where_it_was_negotiated(codec: Codec) -> None:
    packets = send(make(codec, comfort_noise=13), talk(codec, 0.4) + [None] * 100 + talk(codec, 0.1))
    silent = present(packets[20 + HANGOVER : 120])
    assert len(silent) == 5
    assert {(packet.payload_type, packet.payload) for packet in silent} == {(13, b"\x7f")}
    resumed = packets[120]
    assert resumed is not None
    assert (resumed.payload_type, resumed.marker) == (codec.payload_type, True)


def test_comfort_noise_is_not_for_wideband() -> None:
    assert {packet.payload_type for packet in present(send(make(G722, comfort_noise=13), [None] * 100))} == {9}


@pytest.mark.parametrize("codec", ALL)
def test_every_frame_is_legible_at_the_far_end(codec: Codec) -> None:
    rate = NATIVE_RATE[codec.name]
    packets = present(send(make(codec), [AudioFrame(pcm, rate) for pcm in frames(numbered(300, rate), rate)] + [None]))
    decoders = {
        CodecName.OPUS: OpusDecoder(rate).decode if codec is OPUS else None,
        CodecName.PCMU: ulaw_decode,
        CodecName.PCMA: alaw_decode,
        CodecName.G722: G722Decoder().decode,
    }
    decode = decoders[codec.name]
    assert decode is not None
    heard = joined([decode(packet.payload) for packet in packets])
    assert read_numbers(heard, rate, find_chirps(heard, rate, 300))[:300] == [k % 64 for k in range(300)]


def listen(packets: Iterable[RtpPacket | None]) -> np.ndarray:
    """A far end without jitter: a tick without a packet is concealed, as DTX wants it."""
    decoder = OpusDecoder(48_000)
    return floats(joined([decoder.conceal(960) if packet is None else decoder.decode(packet.payload) for packet in packets]))


@pytest.mark.parametrize("profile", list(Profile))
def test_the_far_end_hears_silence_in_silence(profile: Profile) -> None:
    sender = make()
    assert sender.voice is not None
    if profile is Profile.LOSSY:
        sender.voice.on_loss(0.1, None, 0.0)
    packets = send(sender, [*[None] * 10, *talk(OPUS, 3.0), *[None] * 400])
    assert sender.voice.profile is profile
    heard = listen(packets)
    assert np.abs(heard[160 * 960 + HANGOVER * 960 :]).max() <= 8  # -72 dBFS


def bend(samples: np.ndarray) -> float:
    return float(np.abs(np.diff(samples, n=2)).max())


def send_in_rows(sender: Sender, speech: list[AudioFrame], row: int, start: float = 0.0) -> list[RtpPacket]:
    """As `send`, each frame sent taking the next `row` along."""
    packets = []
    for first in range(0, len(speech), 1 + row):
        now = start + first * 0.02
        packet = sender.packet(speech[first], now)
        assert packet is not None
        packets += [packet, *sender.prepare(speech[first + 1 : first + 1 + row], now)]
    return [parse_rtp(packet) for packet in packets]


def spoken(seconds: float) -> list[AudioFrame]:
    return [frame for frame in talk(OPUS, seconds) if frame is not None]


@pytest.mark.parametrize("row", [1, 4, 9])
def test_packets_made_in_rows_are_those_made_one_by_one(row: int) -> None:
    one_by_one, in_rows = make(), make()
    assert send_in_rows(in_rows, spoken(2.0), row) == send(one_by_one, talk(OPUS, 2.0))
    assert send(in_rows, [None] * 40, start=2.0) == send(one_by_one, [None] * 40, start=2.0)
    assert in_rows.report(3.0, None) == one_by_one.report(3.0, None)


@pytest.mark.parametrize("unsent", [1, 4, 9])
def test_what_is_taken_back_was_never_there(unsent: int) -> None:
    """Numbers, timestamps and counts go on as if only the frames had been made that left."""
    speech = spoken(1.0)
    plain, rewound = make(), make()
    send(plain, list(speech[: 50 - unsent]))
    send_in_rows(rewound, speech, 9)
    now = (50 - unsent) * 0.02
    assert rewound.report(now, None, unsent) == plain.report(now, None), "before it is taken back, too"
    assert rewound.left(unsent) == (plain.packets, plain.octets) == plain.left(0)
    assert rewound.rewind(unsent) == speech[50 - unsent :]
    assert rewound.rewind(0) == []
    assert rewound.report(now, None) == plain.report(now, None)
    ahead, expected = (present(send(each, [None] * 60, start=now)) for each in (rewound, plain))
    assert [(p.sequence, p.timestamp, p.marker) for p in ahead] == [(p.sequence, p.timestamp, p.marker) for p in expected]


@pytest.mark.parametrize("unsent", [1, 5, 9])
@pytest.mark.parametrize("cut", range(3))
def test_a_cut_that_takes_prepared_frames_back_does_not_click_either(cut: int, unsent: int) -> None:
    """Neither where the words end, nor where others begin: the encoder has not run ahead of the far end's decoder."""
    pcm = tone(210 + 7 * cut, 24_000, 1.0, 12_000)[2 * 17 * (cut + 1) :]
    whole = [AudioFrame(frame, 24_000) for frame in frames(pcm, 24_000)][:40]
    rewound, plain = make(), make()
    packets: list[RtpPacket | None] = list(send_in_rows(rewound, whole, 9))[: 40 - unsent]
    rewound.rewind(unsent)
    rest: list[AudioFrame | None] = [*[None] * 8, *whole]
    heard = listen(packets + send(rewound, rest, start=(40 - unsent) * 0.02))
    expected = listen(send(plain, [*whole[: 40 - unsent], *rest]))
    limit = max(300.0, 2.5 * bend(heard[20 * 960 : 30 * 960]))
    end, begin = (40 - unsent) * 960, (48 - unsent) * 960
    assert bend(heard[end - 960 : end + 2 * 960]) < limit
    assert bend(heard[begin - 960 : begin + 2 * 960]) < limit
    silent = slice(end + 384 + 120, begin - 960)
    assert np.abs(heard[silent]).max() <= 1.5 * np.abs(expected[silent]).max(), "nothing stale but what rings on in any case"


@pytest.mark.parametrize("codec", [OPUS, PCMU])
@pytest.mark.parametrize("cut", range(5))
def test_a_cut_in_mid_word_does_not_click(codec: Codec, cut: int) -> None:
    """Barge-in stops a loud tone anywhere in its period, and later another begins anywhere.

    Without the slope the sharpest bend is 700 to 4,000 in Opus and 2,000 to 12,000 in G.711.
    """
    rate = NATIVE_RATE[codec.name]
    pcm = tone(210 + 7 * cut, rate, 1.0, 12_000)[: 2 * (rate // 50 * 40)]
    words: list[AudioFrame | None] = [AudioFrame(frame, rate) for frame in frames(pcm[2 * 17 * (cut + 1) :], rate)]
    packets = send(make(codec), words + [None] * 8 + words)
    heard = listen(packets) if codec is OPUS else floats(joined([ulaw_decode(packet.payload) for packet in present(packets)]))
    frame = len(heard) // len(packets)
    limit = max(300.0, 2.5 * bend(heard[20 * frame : 30 * frame]))
    end, begin = len(words) * frame, (len(words) + 8) * frame
    assert bend(heard[end - frame : end + 2 * frame]) < limit
    assert bend(heard[begin - frame : begin + 2 * frame]) < limit


def test_nothing_stale_after_a_barge_in() -> None:
    """Speech, then silence: from 8 ms after the tick on (decoder overlap and the 5 ms slope) nothing above -54
    dBFS.
    """
    sender = make()
    packets = send(sender, talk(OPUS, 2.0))
    packets += send(sender, [None] * 4, start=2.0)
    heard = listen(packets)
    assert np.abs(heard[100 * 960 + 384 + 120 :]).max() <= 60


def test_a_stall_is_skipped_in_the_timestamps() -> None:
    sender = make()
    send(sender, talk(OPUS, 1.0))
    late = send(sender, talk(OPUS, 0.2), start=1.0 + 0.5)
    assert present(late)[0].timestamp == (2**32 - 2_000 + 75 * 960) % 2**32
    assert present(late)[0].sequence == (65_530 + 50) % 65_536
    assert present(late)[-1].timestamp == (2**32 - 2_000 + 84 * 960) % 2**32


def test_a_catch_up_is_not_a_stall() -> None:
    sender = make()
    send(sender, talk(OPUS, 1.0))
    burst = [parse_rtp(sender.packet(frame, 1.0 + STALL - 0.001) or b"") for frame in talk(OPUS, 0.14)]
    assert [packet.timestamp for packet in burst] == [(2**32 - 2_000 + (50 + k) * 960) % 2**32 for k in range(7)]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.02, 0.05, 0.3, 7.0])), min_size=1, max_size=120))
@settings(max_examples=50, deadline=None)
def test_time_never_runs_backwards_and_never_far_from_the_clock(ticks: list[tuple[bool, float]]) -> None:
    sender = make(PCMU)
    frame = AudioFrame(tone(440, 8_000, 0.02), 8_000)
    now, last = 0.0, None
    for speaking, wait in ticks:
        data = sender.packet(frame if speaking else None, now)
        assert data is not None
        packet = parse_rtp(data)
        if last is not None:
            assert packet.sequence == (last.sequence + 1) % 65_536
            step = (packet.timestamp - last.timestamp) % 2**32
            assert 160 <= step < 2**31
            assert step % 160 == 0
        assert now - (packet.timestamp - 2**32 + 2_000) % 2**32 / 8_000 <= STALL + 1e-9
        last, now = packet, now + wait


def test_a_frame_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="960 bytes"):
        make().packet(AudioFrame(bytes(640), 16_000), 0.0)
    with pytest.raises(ValueError, match="carries no speech"):
        make(Codec(CodecName.CN, 13, 8_000))


# --- RTCP ---


def block(lost: int = 0, highest: int = 65_530 + 100, **more: int) -> ReportBlock:
    return ReportBlock(7, lost, 0, highest, more.pop("jitter", 0), **more)


def test_sender_report_tells_the_grid_and_the_counts() -> None:
    sender = make()
    send(sender, talk(OPUS, 1.0))
    received = ReportBlock(99, 3, 4, 5, 6)
    report, sdes = parse_rtcp(sender.report(1.005, received))
    assert sdes == Sdes(((7, b"call@gateway"),))
    assert isinstance(report, SenderReport)
    assert report.ntp == ntp_timestamp(NTP_OFFSET + 1.005)
    assert report.rtp_timestamp == (2**32 - 2_000 + 50 * 960 + 240) % 2**32  # 5 ms into the tick that is due at 1.0
    assert (report.ssrc, report.packets, report.octets) == (7, sender.packets, sender.octets)
    assert report.reports == (received,)


def test_before_the_first_packet_it_only_reports_what_it_heard() -> None:
    report, _ = parse_rtcp(make().report(0.0, None))
    assert report == ReceiverReport(7)


def test_goodbye() -> None:
    assert parse_rtcp(make().goodbye()) == [ReceiverReport(7), Sdes(((7, b"call@gateway"),)), Bye((7,))]


def test_reports_of_the_far_end_become_numbers() -> None:
    sender = make()
    send(sender, talk(OPUS, 2.0))
    assert (sender.loss, sender.rtt, sender.jitter) == (None, None, None)
    sent = middle(ntp_timestamp(NTP_OFFSET + 1.0))
    sender.on_report(ReportBlock(7, 64, 25, 65_629, 480, sent, 32_768), 1.62)
    assert sender.loss == 0.25
    assert sender.lost == 25
    assert sender.jitter == 0.01
    assert sender.rtt == pytest.approx(0.12, abs=1e-3)


def test_a_report_about_somebody_else_is_ignored() -> None:
    sender = make()
    send(sender, talk(OPUS, 2.0))
    sender.on_report(ReportBlock(8, 255, 25, 65_629, 480), 1.0)
    assert (sender.loss, sender.lost) == (None, 0)


def test_loss_switches_fec_on_and_ten_clean_seconds_off() -> None:
    sender = make()
    assert sender.voice is not None
    send(sender, talk(OPUS, 2.0))
    sender.on_report(block(lost=20, highest=65_630), 2.0)
    send(sender, talk(OPUS, 2.0), start=2.0)
    assert sender.voice.profile is Profile.LOSSY
    for step in range(1, 4):
        sender.on_report(block(highest=65_630 + 250 * step), 2.0 + 4.0 * step)
    send(sender, [*talk(OPUS, 1.0), None, None], start=14.0)
    assert sender.voice.profile is Profile.CLEAR


def test_one_packet_lost_in_silence_is_no_loss_yet() -> None:
    sender = make()
    send(sender, talk(OPUS, 2.0))
    sender.on_report(block(), 2.0)
    assert sender.loss == 0.0
    sender.on_report(block(lost=28, highest=65_630 + 9), 7.0)  # one of nine: 11 %
    assert sender.loss == 0.0
    sender.on_report(block(highest=65_630 + 9 + ENOUGH), 12.0)  # and none of twenty
    assert sender.loss == pytest.approx(9 * 28 / 256 / (9 + ENOUGH))


def test_reports_and_remb_are_harmless_without_opus() -> None:
    sender = make(PCMU)
    send(sender, talk(PCMU, 1.0))
    sender.on_remb(1)
    sender.on_report(block(lost=200), 1.0)
    assert sender.loss == pytest.approx(200 / 256)
    assert len(present(send(sender, talk(PCMU, 0.1), start=1.0))) == 5


def test_remb_reaches_the_encoder() -> None:
    sender = make()
    assert sender.voice is not None
    sender.on_remb(50_000)
    packets = present(send(sender, talk(OPUS, 4.0)))
    assert sum(len(packet.payload) for packet in packets) * 8 / 4.0 == pytest.approx(30_000, rel=0.1)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), *[st.integers(0, 2**32 - 1)] * 4), min_size=1, max_size=5
    )
)
@settings(max_examples=50, deadline=None)
def test_any_report_leaves_a_working_sender(reports: list[tuple[int, int, int, int, int, int]]) -> None:
    sender = make()
    for step, fields in enumerate(reports):
        send(sender, talk(OPUS, 0.1), start=step * 1.0)
        sender.on_report(ReportBlock(7, *fields), step * 1.0 + 0.2)
        assert sender.loss is None or 0 <= sender.loss <= 1
        assert sender.rtt is None or 0 <= sender.rtt < 60
        assert len(parse_rtcp(sender.report(step * 1.0 + 0.3, None))) == 2


def test_a_long_silence_costs_no_encoder_and_speech_after_it_is_whole() -> None:
    sender = make()
    send(sender, talk(OPUS, 1.0))
    assert sender.voice is not None
    send(sender, [None] * (REST - 1), start=1.0)
    assert sender.voice._encoder is not None
    send(sender, [None] * 100, start=1.0 + REST / 50)
    assert sender.voice._encoder is None
    packets = present(send(sender, talk(OPUS, 1.0), start=4.0 + REST / 50))
    assert len(packets) == 50
    assert sender.voice._encoder is not None
