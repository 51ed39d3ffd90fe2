"""RTP and RTCP packets as values: bytes in, values out, and back. No sockets and no clock.

Sources: RFC 3550 (RTP, RTCP), RFC 8285 §4.2 (one-byte header extensions), RFC 6464 (audio level), RFC 5761 §4 (telling
RTP from RTCP on one port), RFC 4585 §6.1 (feedback), draft-alvestrand-rmcat-remb-03 (REMB).

Every parser gives a value or raises `PacketError`, whatever the bytes. Numbers stay in the units of the wire; `fraction`,
`round_trip` and `ntp_timestamp` turn them into ratios and seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from gateway.errors import PacketError

RTP_HEADER = struct.Struct("!BBHII")
"""V/P/X/CC, M/PT, sequence, timestamp, SSRC (RFC 3550 §5.1)."""

RTP_HEADER_BYTES = RTP_HEADER.size

SR, RR, SDES, BYE, RTPFB, PSFB = 200, 201, 202, 203, 205, 206

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900-01-01 (NTP) to 1970-01-01 (Unix)."""

_ONE_BYTE_PROFILE = 0xBEDE
_EXTENSION = struct.Struct("!HH")
_RTCP_HEADER = struct.Struct("!BBH")
_REPORT = struct.Struct("!IIIIII")
_SENDER_INFO = struct.Struct("!IQIII")
_U32 = struct.Struct("!I")
_REMB = b"REMB"
_REMB_FORMAT = 15
_CNAME = 1


class AudioLevel(NamedTuple):
    """RFC 6464: `level` in dBov, 0 (loudest) down to -127 (silence); `voice` is the sender's own voice activity flag."""

    level: int
    voice: bool


class RtpPacket(NamedTuple):
    """One RTP packet. `extension` is the raw body of its header extension, b"" without one."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    extension_profile: int = 0
    extension: bytes = b""

    def element(self, extension_id: int) -> bytes | None:
        """The one-byte-header extension element with this id (1-14), None when absent or when the extension is malformed.

        Walked on demand: most packets' extensions are never asked for.
        """
        if self.extension_profile != _ONE_BYTE_PROFILE:
            return None
        body = self.extension
        position, end = 0, len(body)
        while position < end:
            head = body[position]
            if head == 0:  # padding between elements
                position += 1
                continue
            if head >> 4 == 15:  # RFC 8285 §4.2: stop at id 15
                return None
            begin = position + 1
            position = begin + (head & 15) + 1
            if head >> 4 == extension_id:
                return body[begin:position] if position <= end else None
        return None

    def audio_level(self, extension_id: int) -> AudioLevel | None:
        """The RFC 6464 audio level, None when the packet does not say."""
        value = self.element(extension_id)
        return AudioLevel(-(value[0] & 127), value[0] >= 128) if value else None


def is_rtcp(data: bytes) -> bool:
    """RTCP rather than RTP, on a port that carries both (RFC 5761 §4: second byte 192-223)."""
    return len(data) >= 2 and 192 <= data[1] <= 223


def parse_rtp(data: bytes) -> RtpPacket:
    """One plain (unprotected) RTP packet.

    Raises `PacketError` when it is too short, not version 2, or its CSRC list, extension or padding reach past its end.
    """
    size = len(data)
    if size < RTP_HEADER_BYTES:
        raise PacketError(f"RTP packet of {size} bytes")
    first, second, sequence, timestamp, ssrc = RTP_HEADER.unpack_from(data)
    if first >> 6 != 2:
        raise PacketError(f"RTP version {first >> 6}")
    begin = RTP_HEADER_BYTES + 4 * (first & 15)
    profile, extension = 0, b""
    if first & 0x10:
        if begin + 4 > size:
            raise PacketError("RTP header extension reaches past the packet")
        profile, words = _EXTENSION.unpack_from(data, begin)
        extension_begin = begin + 4
        begin = extension_begin + 4 * words
        extension = data[extension_begin:begin]
    end = size
    if first & 0x20:
        padding = data[-1]
        if padding == 0:
            raise PacketError("RTP padding of length 0")
        end -= padding
    if begin > end:
        raise PacketError("RTP header reaches past the packet")
    return RtpPacket(second & 127, second >= 128, sequence, timestamp, ssrc, data[begin:end], profile, extension)


def pack_rtp_header(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int) -> bytes:
    """The twelve bytes before a payload; no CSRC, no extension. Raises struct.error when a number does not fit its field."""
    return RTP_HEADER.pack(0x80, payload_type | 0x80 if marker else payload_type, sequence, timestamp, ssrc)


# --- RTCP values ---


class ReportBlock(NamedTuple):
    """What a receiver says of one source (RFC 3550 §6.4.1).

    `fraction_lost` is n/256 since the last report; `packets_lost` signed, since the beginning; `highest_sequence` extended
    (cycles in the upper 16 bits); `jitter` in RTP timestamp units; `last_sr` the middle 32 bits of the last SR's NTP time,
    `delay_since_last_sr` in 1/65536 s; both 0 when no SR has come.
    """

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int = 0
    delay_since_last_sr: int = 0

    @property
    def fraction(self) -> float:
        """Loss since the last report, 0.0 to just below 1.0."""
        return self.fraction_lost / 256


class SenderReport(NamedTuple):
    """An SR. `ntp` is the 64-bit NTP time at which `rtp_timestamp` was sampled."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()


class ReceiverReport(NamedTuple):
    """An RR."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


class Sdes(NamedTuple):
    """Source descriptions: for each SSRC its CNAME (b"" where it has none)."""

    cnames: tuple[tuple[int, bytes], ...]


class Bye(NamedTuple):
    """These sources leave."""

    ssrcs: tuple[int, ...]
    reason: bytes = b""


class Remb(NamedTuple):
    """The far end's estimate of what it can receive, in bits per second, for these media sources together."""

    ssrc: int
    bitrate: int
    media_ssrcs: tuple[int, ...]


class OtherRtcp(NamedTuple):
    """A packet type we have no use for (APP, XR, NACK, transport-cc …): well-framed, not looked into."""

    packet_type: int
    format: int


RtcpPacket = SenderReport | ReceiverReport | Sdes | Bye | Remb | OtherRtcp


# --- RTCP in ---


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """All packets of a compound (or reduced-size, RFC 5506) RTCP datagram, in order.

    Raises `PacketError` when any of them is cut short or not version 2: half a compound is not trusted.
    """
    packets: list[RtcpPacket] = []
    position, size = 0, len(data)
    if size == 0:
        raise PacketError("RTCP datagram of 0 bytes")
    while position < size:
        if position + 4 > size:
            raise PacketError("RTCP header reaches past the datagram")
        first, packet_type, words = _RTCP_HEADER.unpack_from(data, position)
        if first >> 6 != 2:
            raise PacketError(f"RTCP version {first >> 6}")
        end = position + 4 + 4 * words
        if end > size:
            raise PacketError(f"RTCP packet of type {packet_type} reaches past the datagram")
        body = data[position + 4 : end]
        if first & 0x20:
            if end != size or not body or not 0 < body[-1] <= len(body):
                raise PacketError("RTCP padding of an impossible length, or not in the last packet")
            body = body[: len(body) - body[-1]]
        packets.append(_parse_body(packet_type, first & 31, body))
        position = end
    return packets


def _parse_body(packet_type: int, count: int, body: bytes) -> RtcpPacket:
    try:
        if packet_type == SR:
            ssrc, ntp, rtp_timestamp, sent, octets = _SENDER_INFO.unpack_from(body)
            return SenderReport(ssrc, ntp, rtp_timestamp, sent, octets, _parse_blocks(body, _SENDER_INFO.size, count))
        if packet_type == RR:
            return ReceiverReport(_U32.unpack_from(body)[0], _parse_blocks(body, 4, count))
        if packet_type == SDES:
            return _parse_sdes(body, count)
        if packet_type == BYE:
            return _parse_bye(body, count)
        if packet_type == PSFB and count == _REMB_FORMAT and body[8:12] == _REMB:
            return _parse_remb(body)
    except (struct.error, IndexError):
        raise PacketError(f"RTCP packet of type {packet_type} is cut short") from None
    return OtherRtcp(packet_type, count)


def _parse_blocks(body: bytes, position: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for _ in range(count):
        ssrc, lost, highest, jitter, last_sr, delay = _REPORT.unpack_from(body, position)
        total = lost & 0xFFFFFF
        if total >= 0x800000:
            total -= 0x1000000
        blocks.append(ReportBlock(ssrc, lost >> 24, total, highest, jitter, last_sr, delay))
        position += _REPORT.size
    return tuple(blocks)


def _parse_sdes(body: bytes, count: int) -> Sdes:
    cnames = []
    position = 0
    for _ in range(count):
        (ssrc,) = _U32.unpack_from(body, position)
        position += 4
        cname = b""
        while body[position] != 0:
            kind, size = body[position], body[position + 1]
            value = body[position + 2 : position + 2 + size]
            if len(value) != size:
                raise IndexError
            if kind == _CNAME:
                cname = value
            position += 2 + size
        position = (position // 4 + 1) * 4  # the list ends with one to four zero bytes, up to the next word (§6.5)
        cnames.append((ssrc, cname))
    return Sdes(tuple(cnames))


def _parse_bye(body: bytes, count: int) -> Bye:
    ssrcs = struct.unpack_from(f"!{count}I", body)
    reason = b""
    if len(body) > 4 * count:
        size = body[4 * count]
        reason = body[4 * count + 1 : 4 * count + 1 + size]
        if len(reason) != size:
            raise IndexError
    return Bye(ssrcs, reason)


def _parse_remb(body: bytes) -> Remb:
    ssrc, _, _, word = struct.unpack_from("!IIII", body)
    count, exponent, mantissa = word >> 24, (word >> 18) & 63, word & 0x3FFFF
    return Remb(ssrc, mantissa << exponent, struct.unpack_from(f"!{count}I", body, 16))


# --- RTCP out ---


def build_sr(report: SenderReport) -> bytes:
    """An SR packet; at most 31 report blocks."""
    return _packet(
        SR,
        len(report.reports),
        _SENDER_INFO.pack(report.ssrc, report.ntp, report.rtp_timestamp, report.packets & 0xFFFFFFFF, report.octets & 0xFFFFFFFF)
        + _build_blocks(report.reports),
    )


def build_rr(report: ReceiverReport) -> bytes:
    """An RR packet; at most 31 report blocks. Empty, it opens a compound that has nothing to report."""
    return _packet(RR, len(report.reports), _U32.pack(report.ssrc) + _build_blocks(report.reports))


def build_sdes(ssrc: int, cname: str) -> bytes:
    """An SDES packet with one CNAME (at most 255 bytes of UTF-8), as every compound must carry (RFC 3550 §6.1)."""
    name = cname.encode()
    if len(name) > 255:
        raise ValueError(f"CNAME of {len(name)} bytes, limit 255")
    chunk = _U32.pack(ssrc) + bytes((_CNAME, len(name))) + name
    return _packet(SDES, 1, chunk + bytes(4 - len(chunk) % 4))


def build_bye(ssrcs: Sequence[int], reason: str = "") -> bytes:
    """A BYE packet for these sources, with a reason of at most 255 bytes."""
    text = reason.encode()[:255]
    tail = bytes((len(text),)) + text if text else b""
    return _packet(BYE, len(ssrcs), b"".join(map(_U32.pack, ssrcs)) + tail + bytes(-len(tail) % 4))


def build_remb(remb: Remb) -> bytes:
    """A REMB packet; the 18-bit mantissa rounds the bitrate down."""
    exponent = max(0, remb.bitrate.bit_length() - 18)
    word = len(remb.media_ssrcs) << 24 | exponent << 18 | remb.bitrate >> exponent
    sources = b"".join(map(_U32.pack, remb.media_ssrcs))
    return _packet(PSFB, _REMB_FORMAT, struct.pack("!II4sI", remb.ssrc, 0, _REMB, word) + sources)


def _build_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    packed = []
    for block in blocks:
        # RFC 3550 §6.4.1: the total is a signed 24-bit number that sticks at its limits.
        total = max(-0x800000, min(0x7FFFFF, block.packets_lost)) & 0xFFFFFF
        lost = block.fraction_lost << 24 | total
        packed.append(
            _REPORT.pack(block.ssrc, lost, block.highest_sequence, block.jitter, block.last_sr, block.delay_since_last_sr)
        )
    return b"".join(packed)


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    return _RTCP_HEADER.pack(0x80 | count, packet_type, len(body) // 4) + body


# --- time ---


def ntp_timestamp(seconds: float) -> int:
    """Seconds since 1900 as the 64-bit fixed-point number of an SR.

    The caller adds its own offset to its monotonic clock: `ntp_timestamp(now + ntp_offset)`.
    """
    return int(seconds * 4_294_967_296) & 0xFFFFFFFFFFFFFFFF


def middle(ntp: int) -> int:
    """The middle 32 bits of an NTP time, as LSR carries it: 1/65536 s."""
    return ntp >> 16 & 0xFFFFFFFF


def round_trip(block: ReportBlock, ntp_now: int) -> float | None:
    """Seconds to the far end and back, from a block about our own stream that came at `ntp_now` (RFC 3550 §6.4.1, figure 2).

    None when the far end has had no SR of ours, or when the numbers cannot be true (they came from outside: a negative time, or
    more than a minute).
    """
    if block.last_sr == 0:
        return None
    ticks = (middle(ntp_now) - block.last_sr - block.delay_since_last_sr) & 0xFFFFFFFF
    return ticks / 65536 if ticks < 60 * 65536 else None
