"""The caller's DTLS against itself, over an honest and a lossy wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LegError
from gateway.loadtest.dtls import MTU, DtlsCaller, Identity, split_records
from gateway.wire.rtp import pack_rtp_header

IDENTITY, OTHER = Identity(), Identity()


def pair(*, expected: str = OTHER.fingerprint) -> tuple[DtlsCaller, DtlsCaller]:
    client = DtlsCaller(IDENTITY, client=True, remote_fingerprint=expected)
    server = DtlsCaller(OTHER, client=False, remote_fingerprint=IDENTITY.fingerprint)
    return client, server


def shake(client: DtlsCaller, server: DtlsCaller) -> list[int]:
    """Carry datagrams until both are done; their sizes."""
    sizes: list[int] = []
    assert server.start() == []
    flight, to = client.start(), server
    while flight:
        sizes += map(len, flight)
        replies = [reply for datagram in flight for reply in to.receive(datagram)]
        flight, to = replies, client if to is server else server
    return sizes


def test_both_sides_get_the_same_keys() -> None:
    client, server = pair()
    sizes = shake(client, server)
    assert client.done
    assert server.done
    assert max(sizes) <= MTU
    assert client.keys is not None
    assert server.keys is not None
    packet = pack_rtp_header(111, False, 7, 960, 1) + b"opus"
    assert server.keys.heard.unprotect(client.keys.sent.protect(packet)) == packet
    assert client.keys.heard.unprotect(server.keys.sent.protect(packet)) == packet
    assert client.timer is None


def test_another_certificate_than_promised_ends_it() -> None:
    client, server = pair(expected=IDENTITY.fingerprint)
    with pytest.raises(LegError, match="certificate"):
        shake(client, server)


def test_a_lost_hello_is_said_again() -> None:
    client, server = pair()
    client.start()
    assert client.timer is not None
    assert client.timer > 0
    assert not server.done


def test_garbage_is_survived() -> None:
    client, server = pair()
    first = client.start()
    for junk in (b"\x16", bytes(100), b"\x15\xfe\xfd" + bytes(20)):
        server.receive(junk)
    replies = [reply for datagram in first for reply in server.receive(datagram)]
    assert replies


def record(size: int) -> bytes:
    return b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size)


@given(st.lists(st.integers(0, 1180), max_size=20))
def test_records_are_packed_whole(sizes: list[int]) -> None:
    data = b"".join(map(record, sizes))
    datagrams = split_records(data)
    assert b"".join(datagrams) == data
    assert all(len(datagram) <= MTU for datagram in datagrams)


@given(st.binary())
def test_any_bytes_split_without_loss(data: bytes) -> None:
    assert b"".join(split_records(data)) == data
