"""RTP and RTCP: known bytes, round trips, and any bytes at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.wire.rtp import (
    AudioLevel,
    Bye,
    OtherRtcp,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtpPacket,
    Sdes,
    SenderReport,
    build_bye,
    build_remb,
    build_rr,
    build_sdes,
    build_sr,
    is_rtcp,
    middle,
    ntp_timestamp,
    pack_rtp_header,
    parse_rtcp,
    parse_rtp,
    round_trip,
)

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
BLOCKS = st.builds(
    ReportBlock,
    ssrc=U32,
    fraction_lost=st.integers(0, 255),
    packets_lost=st.integers(-0x800000, 0x7FFFFF),
    highest_sequence=U32,
    jitter=U32,
    last_sr=U32,
    delay_since_last_sr=U32,
)


def test_header_bytes_by_hand() -> None:
    packed = pack_rtp_header(111, True, 0x1234, 0xDEADBEEF, 0x01020304)
    assert packed == bytes.fromhex("80 ef 1234 deadbeef 01020304")
    assert parse_rtp(packed + b"opus") == RtpPacket(111, True, 0x1234, 0xDEADBEEF, 0x01020304, b"opus")


@given(st.integers(0, 127), st.booleans(), U16, U32, U32, st.binary(max_size=50))
def test_header_round_trip(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> None:
    packet = parse_rtp(pack_rtp_header(payload_type, marker, sequence, timestamp, ssrc) + payload)
    assert packet == (payload_type, marker, sequence, timestamp, ssrc, payload, 0, b"")


def test_csrcs_extension_and_padding_are_stripped() -> None:
    head = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 2, 0, 1, 2, 3)
    data = head + bytes(8) + struct.pack("!HH", 0xBEDE, 1) + bytes((0x10, 0x85, 0, 0)) + b"sound" + b"\0\0\3"
    packet = parse_rtp(data)
    assert packet.payload == b"sound"
    assert packet.audio_level(1) == AudioLevel(-5, True)
    assert packet.audio_level(2) is None


@pytest.mark.parametrize(
    ("body", "identity", "value"),
    [
        ("30aa 5101 0203 0000 0000", 3, "aa"),
        ("30aa 0000 5101 02 00", 5, "0102"),  # padding between elements
        ("f000 30aa", 3, None),  # id 15 stops the walk
        ("3faa 0000", 3, None),  # an element longer than the extension
        ("5101 0230", 3, None),  # no room for its one byte
    ],
)
def test_one_byte_elements(body: str, identity: int, value: str | None) -> None:
    packet = RtpPacket(0, False, 0, 0, 0, b"", 0xBEDE, bytes.fromhex(body))
    assert packet.element(identity) == (None if value is None else bytes.fromhex(value))


def test_two_byte_extensions_are_left_alone() -> None:
    assert RtpPacket(0, False, 0, 0, 0, b"", 0x1000, bytes.fromhex("0101aa00")).audio_level(1) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes(12),  # version 0
        bytes.fromhex("8f00 0001 00000002 00000003"),  # fifteen CSRCs that are not there
        bytes.fromhex("9000 0001 00000002 00000003 bede"),
        bytes.fromhex("9000 0001 00000002 00000003 bede 0002 00000000"),
        bytes.fromhex("a000 0001 00000002 00000000"),  # padding of 0
        bytes.fromhex("a000 0001 00000002 00000003 ff"),
    ],
)
def test_malformed_rtp(data: bytes) -> None:
    with pytest.raises(PacketError):
        parse_rtp(data)


@given(st.binary(max_size=80), st.integers(0, 15))
@example(b"\x90" + bytes(11) + b"\xbe\xde\0\1\x1f\0\0\0", 1)
def test_any_bytes_are_rtp_or_packet_error(data: bytes, identity: int) -> None:
    for candidate in (data, b"\x80" + data, b"\xb1" + data):
        try:
            packet = parse_rtp(candidate)
        except PacketError:
            continue
        assert len(packet.payload) <= len(candidate) - 12
        level = packet.audio_level(identity)
        assert level is None or -127 <= level.level <= 0


def test_rtcp_is_told_from_rtp() -> None:
    assert is_rtcp(build_rr(ReceiverReport(1)))
    assert not is_rtcp(pack_rtp_header(111, True, 1, 2, 3))
    assert not is_rtcp(b"\x80")


def test_sender_report_bytes_by_hand() -> None:
    block = ReportBlock(0x0A0B0C0D, 64, -1, 0x10002, 5, 6, 7)
    packed = build_sr(SenderReport(1, 0x1122334455667788, 2, 3, 4, (block,)))
    assert packed == bytes.fromhex(
        "81c8000c 00000001 1122334455667788 00000002 00000003 00000004 0a0b0c0d 40ffffff 00010002 00000005 00000006 00000007"
    )
    assert block.fraction == 0.25


@given(U32, st.integers(0, 2**64 - 1), U32, U32, U32, st.lists(BLOCKS, max_size=3), st.text(max_size=20))
def test_compound_round_trip(
    ssrc: int, ntp: int, timestamp: int, packets: int, octets: int, blocks: list[ReportBlock], cname: str
) -> None:
    report = SenderReport(ssrc, ntp, timestamp, packets, octets, tuple(blocks))
    receiver = ReceiverReport(ssrc, tuple(blocks))
    data = build_sr(report) + build_sdes(ssrc, cname) + build_rr(receiver) + build_bye((ssrc,), "ende")
    assert len(data) % 4 == 0
    assert parse_rtcp(data) == [report, Sdes(((ssrc, cname.encode()),)), receiver, Bye((ssrc,), b"ende")]


@given(U32, st.integers(0, 2**40), st.lists(U32, max_size=4))
def test_remb_round_trip_keeps_eighteen_bits(ssrc: int, bitrate: int, sources: list[int]) -> None:
    (remb,) = parse_rtcp(build_remb(Remb(ssrc, bitrate, tuple(sources))))
    assert isinstance(remb, Remb)
    assert (remb.ssrc, remb.media_ssrcs) == (ssrc, tuple(sources))
    assert bitrate * (1 - 2**-17) <= remb.bitrate <= bitrate


def test_remb_bytes_by_hand() -> None:
    data = bytes.fromhex("8fce0005 00000001 00000000 52454d42 01 03fb93 00000002")
    assert parse_rtcp(data) == [Remb(1, 0x3FB93, (2,))]


def test_totals_stick_at_their_limits() -> None:
    packed = build_rr(ReceiverReport(1, (ReportBlock(2, 255, 10**9, 0, 0), ReportBlock(2, 0, -(10**9), 0, 0))))
    (report,) = parse_rtcp(packed)
    assert isinstance(report, ReceiverReport)
    assert [block.packets_lost for block in report.reports] == [0x7FFFFF, -0x800000]


def test_types_without_use_are_named_and_passed() -> None:
    nack = bytes.fromhex("81cd0003 00000001 00000002 00010000")
    assert parse_rtcp(nack + build_bye((9,))) == [OtherRtcp(205, 1), Bye((9,))]


def test_padding_only_in_the_last_packet() -> None:
    bye = bytes.fromhex("a1cb0002 00000009 00000004")
    assert parse_rtcp(build_rr(ReceiverReport(1)) + bye) == [ReceiverReport(1), Bye((9,))]
    with pytest.raises(PacketError):
        parse_rtcp(bye + build_rr(ReceiverReport(1)))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "80c8",
        "80c80001 00000001",  # an SR without its sender info
        "82c90001 00000001",  # two blocks promised
        "00c90001 00000001",
        "80c90002 00000001",
        "81ca0002 00000001 01ff4142",  # a CNAME of 255 bytes in two
        "82cb0001 00000001",
        "81cb0002 00000001 ff414243",
        "8fce0004 00000001 00000000 52454d42 ff000000",  # 255 sources promised
        "a0c90001 000000ff",
    ],
)
def test_malformed_rtcp(data: str) -> None:
    with pytest.raises(PacketError):
        parse_rtcp(bytes.fromhex(data))


@given(st.integers(0x80, 0xBF), st.integers(192, 223), st.binary(max_size=60))
def test_any_bytes_are_rtcp_or_packet_error(first: int, kind: int, body: bytes) -> None:
    body = body[: len(body) // 4 * 4]
    for data in (bytes((first, kind)) + struct.pack("!H", len(body) // 4) + body, body, bytes((first, kind)) + body):
        try:
            packets = parse_rtcp(data)
        except PacketError:
            continue
        assert packets


def test_cname_limit() -> None:
    with pytest.raises(ValueError, match="255"):
        build_sdes(1, "x" * 256)


def test_round_trip_time() -> None:
    sent = ntp_timestamp(3_900_000_000.25)
    assert middle(sent) == (3_900_000_000 & 0xFFFF) << 16 | 0x4000
    block = ReportBlock(1, 0, 0, 0, 0, last_sr=middle(sent), delay_since_last_sr=32_768)
    assert round_trip(block, ntp_timestamp(3_900_000_000.25 + 0.5 + 0.125)) == pytest.approx(0.125, abs=1e-4)
    assert round_trip(block, ntp_timestamp(3_900_000_000.25 + 0.4)) is None  # before it can have been sent
    assert round_trip(block._replace(last_sr=0), sent) is None


@given(U32, U32, st.integers(0, 2**64 - 1))
def test_round_trip_is_sane_whatever_they_say(last_sr: int, delay: int, ntp: int) -> None:
    rtt = round_trip(ReportBlock(1, 0, 0, 0, 0, last_sr, delay), ntp)
    assert rtt is None or 0 <= rtt < 60
