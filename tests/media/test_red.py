"""RFC 2198 payloads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.media.red import RedBlock, parse_red


def pack(primary: tuple[int, bytes], *redundant: tuple[int, int, bytes]) -> bytes:
    """Blocks as (payload type, timestamp offset, data), in the order given."""
    head = b"".join(
        bytes((0x80 | kind, offset >> 6, (offset & 63) << 2 | len(data) >> 8, len(data) & 255))
        for kind, offset, data in redundant
    )
    return head + bytes((primary[0],)) + b"".join(data for _, _, data in redundant) + primary[1]


def test_bytes_by_hand() -> None:
    payload = bytes.fromhex("ef 0f00 03 6f") + b"oldnew!"
    assert parse_red(payload, 5_000) == [RedBlock(111, 5_000 - 960, b"old"), RedBlock(111, 5_000, b"new!")]


def test_oldest_first_in_whatever_order_and_over_the_wrap() -> None:
    payload = pack((111, b"now"), (111, 960, b"one"), (111, 1_920, b"two"), (13, 0, b""))
    assert parse_red(payload, 1_000) == [
        RedBlock(111, (1_000 - 1_920) % 2**32, b"two"),
        RedBlock(111, 40, b"one"),
        RedBlock(111, 1_000, b"now"),
    ]


def test_primary_alone() -> None:
    assert parse_red(b"\x6fdata", 9) == [RedBlock(111, 9, b"data")]
    assert parse_red(b"\x6f", 9) == [RedBlock(111, 9, b"")]


@pytest.mark.parametrize("payload", ["", "ef", "ef0f0003", "ef0f00036f6f6c", "ef0ffFff6f00"])
def test_what_reaches_past_the_end(payload: str) -> None:
    with pytest.raises(PacketError):
        parse_red(bytes.fromhex(payload), 0)


BLOCK = st.tuples(st.integers(0, 127), st.integers(0, 16_383), st.binary(min_size=1, max_size=40))


@given(st.tuples(st.integers(0, 127), st.binary(max_size=40)), st.lists(BLOCK, max_size=5), st.integers(0, 2**32 - 1))
def test_round_trip(primary: tuple[int, bytes], redundant: list[tuple[int, int, bytes]], timestamp: int) -> None:
    redundant.sort(key=lambda block: -block[1])
    blocks = parse_red(pack(primary, *redundant), timestamp)
    assert blocks[-1] == (primary[0], timestamp, primary[1])
    assert blocks[:-1] == [(kind, (timestamp - offset) % 2**32, data) for kind, offset, data in redundant]


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_any_bytes_are_blocks_or_packet_error(payload: bytes, timestamp: int) -> None:
    try:
        blocks = parse_red(payload, timestamp)
    except PacketError:
        return
    assert blocks[-1].timestamp == timestamp
    assert sum(len(block.payload) for block in blocks) < len(payload)
