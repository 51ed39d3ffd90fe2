"""The caller's side of ICE with a single candidate pair, sans-IO (RFC 8445, RFC 8489): controlling, nominating its first check.

Only what a caller on the same network needs: it answers authenticated checks, checks its one remote candidate, and keeps
consent fresh (RFC 7675). Datagrams in, datagrams out, `now` in seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import zlib
from ipaddress import ip_address

COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")

REQUEST = 0x0001
SUCCESS = 0x0101

USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
XOR_MAPPED_ADDRESS = 0x0020
PRIORITY = 0x0024
USE_CANDIDATE = 0x0025
FINGERPRINT = 0x8028
ICE_CONTROLLING = 0x802A

PEER_REFLEXIVE_PRIORITY = 110 << 24 | 65535 << 8 | 255
FIRST_CHECKS = 0.05
"""Seconds between checks until the first is answered (RFC 8445 §14.2: Ta)."""
CONSENT = 5.0
"""Seconds between checks afterwards."""


def is_stun(datagram: bytes) -> bool:
    """First byte 0–3 (RFC 7983) and the magic cookie in its place."""
    return len(datagram) >= 20 and datagram[0] < 4 and datagram[4:8] == b"\x21\x12\xa4\x42"


def build(kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], key: bytes) -> bytes:
    """A STUN message with MESSAGE-INTEGRITY under `key` and FINGERPRINT."""
    body = b"".join(struct.pack("!HH", attribute, len(value)) + value + bytes(-len(value) % 4) for attribute, value in attributes)
    head = _HEADER.pack(kind, len(body) + 24, COOKIE, transaction)
    digest = hmac.new(key, head + body, hashlib.sha1).digest()
    body += struct.pack("!HH", MESSAGE_INTEGRITY, 20) + digest
    head = _HEADER.pack(kind, len(body) + 8, COOKIE, transaction)
    crc = zlib.crc32(head + body) ^ 0x5354554E
    return head + body + struct.pack("!HHI", FINGERPRINT, 4, crc)


def parse(datagram: bytes, key: bytes) -> tuple[int, bytes, dict[int, bytes]] | None:
    """(kind, transaction, attributes) of an authentic message; None for any other bytes."""
    if not is_stun(datagram):
        return None
    kind, length, _, transaction = _HEADER.unpack_from(datagram)
    if length != len(datagram) - 20 or length % 4:
        return None
    attributes: dict[int, bytes] = {}
    at = 20
    while at + 4 <= len(datagram):
        attribute, size = struct.unpack_from("!HH", datagram, at)
        value = datagram[at + 4 : at + 4 + size]
        if len(value) != size:
            return None
        if attribute == MESSAGE_INTEGRITY:
            head = _HEADER.pack(kind, at - 20 + 24, COOKIE, transaction)
            expected = hmac.new(key, head + datagram[20:at], hashlib.sha1).digest()
            return (kind, transaction, attributes) if hmac.compare_digest(expected, value) else None
        attributes.setdefault(attribute, value)
        at += 4 + size + (-size % 4)
    return None


def xor_address(host: str, port: int, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS."""
    address = ip_address(host)
    mask = struct.pack("!I", COOKIE) + transaction
    packed = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    return struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port ^ (COOKIE >> 16)) + packed


class IceCaller:
    """One pair's checks. `connected_at` is set by the first authentic answer to a check of ours."""

    def __init__(self, remote_ufrag: str, remote_password: str, ufrag: str, password: str) -> None:
        self._name = f"{remote_ufrag}:{ufrag}".encode()
        self._their_key = remote_password.encode()
        self._our_key = password.encode()
        self._tie_breaker = secrets.token_bytes(8)
        self._transactions: dict[bytes, float] = {}
        self.connected_at: float | None = None
        self.next_check: float = 0.0
        """When `check` wants to be called."""

    def check(self, now: float) -> bytes:
        """The next check, to be sent to the remote candidate."""
        self.next_check = now + (FIRST_CHECKS if self.connected_at is None else CONSENT)
        transaction = secrets.token_bytes(12)
        # Bounded: an answer later than this many checks is of no use.
        while len(self._transactions) >= 64:
            del self._transactions[next(iter(self._transactions))]
        self._transactions[transaction] = now
        attributes = [
            (USERNAME, self._name),
            (PRIORITY, struct.pack("!I", PEER_REFLEXIVE_PRIORITY)),
            (ICE_CONTROLLING, self._tie_breaker),
            (USE_CANDIDATE, b""),
        ]
        return build(REQUEST, transaction, attributes, self._their_key)

    def receive(self, datagram: bytes, source: tuple[str, int], now: float) -> bytes | None:
        """Take a STUN datagram; the answer to send back, if it was a check. Anything not authentic is ignored."""
        kind = datagram[0] << 8 | datagram[1]
        if kind == REQUEST:
            message = parse(datagram, self._our_key)
            if message is None:
                return None
            _, transaction, _ = message
            attributes = [(XOR_MAPPED_ADDRESS, xor_address(*source, transaction))]
            return build(SUCCESS, transaction, attributes, self._our_key)
        if kind != SUCCESS or (message := parse(datagram, self._their_key)) is None:
            return None
        if self._transactions.pop(message[1], None) is not None and self.connected_at is None:
            self.connected_at = now
            self.next_check = now + CONSENT
        return None
