"""Redundant audio: several payloads in one packet, the newest and copies of older ones (RFC 2198)."""

from __future__ import annotations

from typing import NamedTuple

from gateway.errors import PacketError


class RedBlock(NamedTuple):
    """One payload of a RED packet, as if it had come in an RTP packet of its own."""

    payload_type: int
    timestamp: int
    payload: bytes


def parse_red(payload: bytes, timestamp: int) -> list[RedBlock]:
    """The blocks of a RED payload that came with this RTP timestamp: the oldest first, the primary (newest) last.

    A redundant block without data says nothing and is left out. Raises `PacketError` when a header or a block reaches past the
    payload.
    """
    headers: list[tuple[int, int, int]] = []  # payload type, timestamp offset, length
    position, size = 0, len(payload)
    while True:
        if position >= size:
            raise PacketError("RED headers reach past the payload")
        first = payload[position]
        if not first & 0x80:
            position += 1
            break
        if position + 4 > size:
            raise PacketError("RED headers reach past the payload")
        # F(1) payload type(7) timestamp offset(14) block length(10), §3
        offset = payload[position + 1] << 6 | payload[position + 2] >> 2
        length = (payload[position + 2] & 3) << 8 | payload[position + 3]
        headers.append((first & 127, offset, length))
        position += 4
    redundant = []
    for payload_type, offset, length in headers:
        end = position + length
        if end > size:
            raise PacketError("a RED block reaches past the payload")
        if length:
            redundant.append((offset, payload_type, payload[position:end]))
        position = end
    redundant.sort(key=lambda block: -block[0])  # senders put the oldest first; the RFC does not make them
    blocks = [RedBlock(payload_type, (timestamp - offset) & 0xFFFFFFFF, data) for offset, payload_type, data in redundant]
    blocks.append(RedBlock(first & 127, timestamp, payload[position:]))
    return blocks
