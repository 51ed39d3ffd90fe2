"""Lines, candidates and credentials: what an SDP offer and a trickle fragment (wire/whip) have in common.

Error texts name the line and never quote it: a line may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from gateway.errors import SignalingError, TooLarge

MAX_LINE_BYTES = 1024

_CANDIDATE_TYPES = frozenset({"host", "srflx", "prflx", "relay"})
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]{1,64}")
_ICE_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_ICE_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")


class Candidate(NamedTuple):
    """One UDP address the peer may be reached at: a literal IPv4 or IPv6 address, never a name to be looked up."""

    foundation: str
    priority: int
    ip: str
    port: int
    type: str

    @property
    def sdp(self) -> str:
        """As the value of `a=candidate`."""
        return f"{self.foundation} 1 udp {self.priority} {self.ip} {self.port} typ {self.type}"


def bad_line(number: int, what: str) -> SignalingError:
    """The 400 of an unreadable description. `what` never quotes the line: it may hold a password."""
    return SignalingError(f"line {number}: {what}", code="bad_sdp")


def read_lines(raw: bytes, limit: int) -> list[tuple[int, str]]:
    """`(number, text)` of every non-empty line, CRLF or LF. Raises TooLarge, or SignalingError naming the line."""
    if len(raw) > limit:
        raise TooLarge(f"{len(raw)} bytes of SDP, at most {limit} are read")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_line(raw.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line:
            continue
        if len(line) > MAX_LINE_BYTES or (not line.isascii() and len(line.encode()) > MAX_LINE_BYTES):
            raise TooLarge(f"line {number} is over {MAX_LINE_BYTES} bytes", code="line_too_long")
        if len(line) < 2 or line[1] != "=" or not "a" <= line[0] <= "z":
            raise bad_line(number, "not of the form <letter>=<value>")
        if "\r" in line or "\0" in line:
            raise bad_line(number, "a control character")
        lines.append((number, line))
    return lines


def parse_candidate(number: int, value: str) -> Candidate | None:
    """The value of an `a=candidate` line (RFC 8839 §5.1). None for what we have no use for and RFC 8839 lets us pass over:
    TCP, RTCP's component, host names (mDNS), addresses nobody can be reached at. Raises SignalingError when it does not parse.
    """
    bits = value.split()
    if len(bits) < 8 or bits[6] != "typ" or _FOUNDATION.fullmatch(bits[0]) is None:
        raise bad_line(number, "not a candidate")
    component, priority, port = number_in(bits[1], 256), number_in(bits[3], 2**32 - 1), number_in(bits[5], 65_535)
    if component is None or priority is None or port is None:
        raise bad_line(number, "not a candidate: component, priority or port is no number in range")
    if component != 1 or bits[2].lower() != "udp" or port == 0 or bits[7] not in _CANDIDATE_TYPES:
        return None
    try:
        ip = ipaddress.ip_address(bits[4])
    except ValueError:
        return None
    if ip.is_multicast or ip.is_unspecified or "%" in bits[4] or bits[4] == "255.255.255.255":
        return None
    return Candidate(bits[0], priority, str(ip), port, bits[7])


def ice_credential(number: int, name: str, value: str) -> str:
    """A well-formed `ice-ufrag` or `ice-pwd` (RFC 8839 §5.4). Raises SignalingError."""
    if (_ICE_UFRAG if name == "ice-ufrag" else _ICE_PWD).fullmatch(value) is None:
        raise bad_line(number, f"{name} is not of the length or characters of RFC 8839")
    return value


def is_token(value: str) -> bool:
    """A mid as we accept it: an RFC 8866 token of at most 64 characters."""
    return _TOKEN.fullmatch(value) is not None


def number_in(text: str, most: int) -> int | None:
    """A decimal number of at most `most`, written in ASCII digits; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    value = int(text)
    return value if value <= most else None
