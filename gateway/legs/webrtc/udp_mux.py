"""One UDP port for every call of the worker.

Datagrams are told apart in this order: a source address that has proven itself belongs to its call; a STUN request names its
call by our ICE user name; a STUN response names it by the transaction it answers. Everything else is counted and dropped:
nobody who has not read one of our answers gets a byte through, nor a byte back (no reflection, no reply to a wrong password).

The socket is read and written directly, not through an asyncio transport: no object per datagram, and what is sent leaves at
once or is dropped. Late audio is worse than lost audio, so there is no send queue.

STUN: RFC 8489, ICE: RFC 8445, telling the protocols apart by the first byte: RFC 7983.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import ifaddr
from aioice import stun

from gateway.errors import ConfigError
from gateway.legs.webrtc.identity import Identity
from gateway.legs.webrtc.inbox import Inbox, Waiting

log = logging.getLogger(__name__)

Address = tuple[str, int]

SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
"""Half a second of 80 calls' packets, which cost the kernel about 2 KiB each. It caps this at net.core.rmem_max (often 208 KiB, a
twentieth of it) unless we are root."""

# SO_RCVBUFFORCE and SO_SNDBUFFORCE (socket(7)) have no name in Python.
_BUFFERS = ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32))

DATAGRAM_BYTES = 1500
"""What libsrtp's buffer takes. Longer datagrams are cut off here; WebRTC sends none."""

BATCH, BATCH_BY_CLOCK = 64, 512
"""Datagrams read per wake-up, and each time the clock looks: a flood on this port must not starve the rest of the loop."""

MAX_SOURCES = 8
"""Addresses of one call that may deliver: its network changes now and then; the oldest not in use gives way."""

INTERFACES_FOR = 30.0
"""Seconds for which the list of interface addresses is believed."""

_STUN_HEADER = struct.Struct("!HHI")
_ATTRIBUTE = struct.Struct("!HH")
_COOKIE = 0x2112A442
_USERNAME = 0x0006
_REQUEST, _RESPONSE, _ERROR, _INDICATION = 0x0001, 0x0101, 0x0111, 0x0011  # all of method Binding


class LocalCandidate(NamedTuple):
    """An address at which this worker can be reached."""

    host: str
    port: int


class Member(Protocol):
    """One call as the mux sees it."""

    @property
    def local_username(self) -> str:
        """The ICE user name fragment that finds it."""

    @property
    def local_password(self) -> str:
        """The key that a request for it must be signed with."""

    @property
    def remote(self) -> Address | None:
        """The address it sends to; None before there is one."""

    @property
    def inbox(self) -> Inbox:
        """Where its media datagrams wait, if they do. Always the same."""

    def media(self, data: bytes, now: float) -> None:
        """An SRTP or SRTCP datagram (first byte 128-191) from a proven source that the inbox does not keep."""

    def handshake(self, data: bytes, now: float) -> None:
        """A DTLS datagram (first byte 20-63) from a proven source."""

    def checked(self, message: stun.Message, source: Address, port: Port, now: float) -> None:
        """An authenticated Binding request."""

    def fail(self, exc: Exception) -> None:
        """A bug surfaced while something was delivered."""


class Transaction(Protocol):
    """Who waits for the response to a STUN request of ours."""

    def answered(self, message: stun.Message, source: Address) -> None:
        """A response or error response; its integrity is not checked yet."""

    def fail(self, exc: Exception) -> None:
        """A bug surfaced while it was delivered."""


class Port:
    """One of our sockets. Looks like an asyncio datagram transport to aioice."""

    def __init__(self, mux: UdpMux, sock: socket.socket) -> None:
        self.socket = sock
        self.family = sock.family
        self.version = 6 if sock.family == socket.AF_INET6 else 4
        self.confined = ipaddress.ip_address(sock.getsockname()[0]).is_loopback
        """Bound to a loopback address: nothing is sent to, or taken from, any other. The kernel would do both."""
        self._mux = mux
        self._send = sock.sendto

    def sendto(self, data: bytes, address: Address) -> None:
        """Send at once or not at all."""
        if self.confined and not _is_loopback(address):
            self._mux.unsent += 1
            return
        try:
            self._send(data, address)
        except OSError as exc:  # a full buffer, no route, a forbidden address: the same to us as loss on the way
            self._mux.unsent += 1
            log.debug("x to %s: %s", address, exc)


class UdpMux:
    """The worker's media socket (two of them when it serves IPv4 and IPv6)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, advertise: Sequence[str], clock: Callable[[], float]) -> None:
        self._loop = loop
        self.clock = clock
        self.identity = Identity()
        """What every call of this socket shows as its DTLS certificate."""
        self._advertise = tuple(advertise)
        self._interfaces: tuple[str, ...] = ()
        self._interfaces_until = float("-inf")
        self._members: dict[str, Member] = {}
        self._sources: dict[Address, tuple[Inbox, Member]] = {}
        self._proven: dict[str, list[Address]] = {}
        self.transactions: dict[bytes, Transaction] = {}
        self.waiting = Waiting()
        """Whose datagrams wait in their inboxes."""
        self.ports: list[Port] = []
        self.port = 0
        self._confined = False
        self._by_clock = False
        self.receive_buffer = 0
        """Bytes the system grants, overhead included: what a stall of the loop may cost before packets are lost."""
        self.received = 0
        self.unsent = 0
        self.dropped = {"unknown_source": 0, "bad_stun": 0, "queue_full": 0, "pair_cap": 0, "rate": 0, "other": 0}
        """Datagrams thrown away, by the reasons of the metric."""

    @classmethod
    async def open(
        cls, host: str, port: int, advertise: Sequence[str] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> UdpMux:
        """Bind `host:port` (port 0: any) and start reading. `::` binds IPv4 too.

        `advertise` replaces the addresses that callers are told: `ip` or `ip:port` (`[ip]:port`), for a gateway behind NAT.
        Raises ConfigError for an address that is none, OSError when the port can't be bound.
        `clock` is the loop's monotonic clock, read anew for each batch: uvloop's own `time()` is only exact to 1 ms.
        """
        try:
            hosts = ["::", "0.0.0.0"] if host == "::" else [str(ipaddress.ip_address(host or "0.0.0.0"))]
            for text in advertise:
                parse_advertised(text, port)
        except ValueError as exc:
            raise ConfigError([f"media address: {exc}"]) from None
        mux = cls(asyncio.get_running_loop(), advertise, clock)
        try:
            for each in hosts:
                mux._bind(each, port)
                port = port or mux.port
        except OSError:
            await mux.close()
            raise
        return mux

    def _bind(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option, forced in _BUFFERS:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
                except PermissionError:  # only root may go over net.core.rmem_max
                    sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.receive_buffer = min(self.receive_buffer or granted, granted)
        if granted < SOCKET_BUFFER_BYTES:
            log.info("- media socket: receive buffer of %d bytes; net.core.rmem_max allows no more", granted)
        entry = Port(self, sock)
        self.ports.append(entry)
        self.port = sock.getsockname()[1]
        self._confined = self._confined or entry.confined
        self._loop.add_reader(sock.fileno(), self._readable, entry)

    async def close(self) -> None:
        """Let go of the sockets. Idempotent."""
        for port in self.ports:
            self._loop.remove_reader(port.socket.fileno())
            port.socket.close()
        self.ports.clear()
        self._members.clear()
        self._sources.clear()
        self._proven.clear()
        self.waiting.clear()

    # --- what callers are told ---

    def candidates(self) -> list[LocalCandidate]:
        """Every address at which this worker can be reached, best first, loopback last."""
        versions = {port.version for port in self.ports}
        if self._advertise:
            told = [parse_advertised(text, self.port) for text in self._advertise]
        else:
            told = [LocalCandidate(host, self.port) for port in self.ports for host in self._addresses(port)]
        return [each for each in dict.fromkeys(told) if ipaddress.ip_address(each.host).version in versions]

    def _addresses(self, port: Port) -> Iterable[str]:
        bound = ipaddress.ip_address(port.socket.getsockname()[0])
        if not bound.is_unspecified:
            return [str(bound)]
        now = self.clock()
        if now >= self._interfaces_until:
            self._interfaces = tuple(interface_addresses())
            self._interfaces_until = now + INTERFACES_FOR
        return [host for host in self._interfaces if (":" in host) == (port.version == 6)]

    # --- members ---

    def join(self, member: Member) -> None:
        """Deliver to `member` what is meant for its user name."""
        self._members[member.local_username] = member
        self._proven[member.local_username] = []

    def leave(self, member: Member) -> None:
        """Deliver no more. Harmless when it has left."""
        self._members.pop(member.local_username, None)
        for source in self._proven.pop(member.local_username, ()):
            self._forget(source, member)
        if not self._members:
            self.waiting.clear()  # without calls the clock does not look any more

    def _forget(self, source: Address, member: Member) -> None:
        known = self._sources.get(source)
        if known is not None and known[1] is member:
            del self._sources[source]

    def admit(self, member: Member, source: Address, *, returned: bool) -> None:
        """`source` may deliver to `member` from now on.

        `returned`: it answered a request of ours, so it is really there. A signed request alone proves the key but not
        the address, and must not take over an address that is another call's.
        """
        known = self._sources.get(source)
        if known is not None and (known[1] is member or not returned):
            return
        if self._confined and not _is_loopback(source):
            return
        proven = self._proven.get(member.local_username)
        if proven is None:  # it has left
            return
        proven.append(source)
        self._sources[source] = member.inbox, member
        if len(proven) > MAX_SOURCES:
            self._forget(proven.pop(1 if proven[0] == member.remote else 0), member)

    def __len__(self) -> int:
        return len(self._members)

    # --- datagrams ---

    def read(self) -> None:
        """Take what has come, without waiting for the loop to say so, and call whoever waits for what does not come.

        Every few milliseconds while there are calls and the loop keeps up: nothing else ends such a wait.
        """
        for port in tuple(self.ports):
            self._readable(port, BATCH_BY_CLOCK)
        now = self.clock()
        while (overdue := self.waiting.next_due(now)) is not None:
            due, reader = overdue
            guarded(reader, reader.overdue, due)

    def listen(self, *, by_clock: bool = False) -> None:
        """Take what comes as soon as it comes. `by_clock`: only when `read` is called, which somebody must see to.

        For a worker near capacity: to be told of every few datagrams costs a twentieth of its calls, and most of them wait for
        each other in their inboxes anyway.
        """
        if by_clock == self._by_clock:
            return
        self._by_clock = by_clock
        for port in self.ports:
            if by_clock:
                self._loop.remove_reader(port.socket.fileno())
            else:
                self._loop.add_reader(port.socket.fileno(), self._readable, port)

    def _readable(self, port: Port, most: int = BATCH) -> None:
        receive = port.socket.recvfrom
        now = self.clock()
        for _ in range(most):
            try:
                data, source = receive(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as exc:  # an ICMP error of an earlier send: nothing to read
                log.debug("x receive: %s", exc)
                return
            self.received += 1
            self._deliver(data, source[:2], port, now)

    def _deliver(self, data: bytes, source: Address, port: Port, now: float) -> None:
        known = self._sources.get(source)
        if known is not None and data and 127 < data[0] < 192:  # nearly all; that it may was seen when it was admitted
            inbox, member = known
            if not inbox.keeps(data, now):
                guarded(member, member.media, data, now)
            return
        if not data:
            self.dropped["other"] += 1
            return
        if port.confined and not _is_loopback(source):
            self.dropped["unknown_source"] += 1
            return
        first = data[0]
        if first < 4:
            self._stun(data, source, port, now)
            return
        if known is None:
            self.dropped["unknown_source"] += 1
        elif 19 < first < 64:
            member = known[1]
            guarded(member, member.handshake, data, now)
        else:
            self.dropped["other"] += 1

    def _stun(self, data: bytes, source: Address, port: Port, now: float) -> None:
        if len(data) < 20:
            self.dropped["bad_stun"] += 1
            return
        kind, _, cookie = _STUN_HEADER.unpack_from(data)
        if cookie != _COOKIE:
            self.dropped["bad_stun"] += 1
        elif kind == _REQUEST:
            member = self._members.get(_username(data))
            if member is None:
                self.dropped["unknown_source"] += 1
            else:
                guarded(member, self._request, member, data, source, port, now)
        elif kind in (_RESPONSE, _ERROR):
            waiting = self.transactions.get(data[8:20])
            if waiting is None:
                self.dropped["unknown_source"] += 1
            else:
                guarded(waiting, self._response, waiting, data, source)
        elif kind != _INDICATION:  # an indication only keeps a NAT open
            self.dropped["bad_stun"] += 1

    def _request(self, member: Member, data: bytes, source: Address, port: Port, now: float) -> None:
        message = parse_stun(data)
        # Without PRIORITY aioice could not pair it; a check of ICE always carries it (RFC 8445 §7.1.1).
        if (
            message is None
            or "PRIORITY" not in message.attributes
            or not message.check_message_integrity(member.local_password.encode())
        ):
            self.dropped["bad_stun"] += 1
            return
        self.admit(member, source, returned=False)
        member.checked(message, source, port, now)

    def _response(self, waiting: Transaction, data: bytes, source: Address) -> None:
        message = parse_stun(data)
        if message is None:
            self.dropped["bad_stun"] += 1
        else:
            waiting.answered(message, source)


def _is_loopback(address: Address) -> bool:
    return address[0].startswith("127.") or address[0] == "::1"


class _Fails(Protocol):
    def fail(self, exc: Exception) -> None: ...


def guarded(owner: _Fails, deliver: Callable[..., None], *values: object) -> None:
    """Deliver something to one call. Whatever goes wrong in it is a bug of ours that ends this call, never its neighbours."""
    try:
        deliver(*values)
    except Exception as exc:  # guarded dispatch, one of the program's three
        owner.fail(exc)


def parse_stun(data: bytes) -> stun.Message | None:
    """A STUN message, None when it is none. aioice raises several kinds of error on malformed attributes."""
    try:
        return stun.parse_message(data)
    except (ValueError, IndexError, struct.error):
        return None


def _username(data: bytes) -> str:
    """Our half of a request's USERNAME (`ours:theirs`, RFC 8445 §7.2.2), without parsing the rest; "" when there is none."""
    position, end = 20, len(data)
    while position + 4 <= end:
        kind, size = _ATTRIBUTE.unpack_from(data, position)
        position += 4
        if kind == _USERNAME:
            ours, colon, _ = data[position : position + size].partition(b":")
            return ours.decode("ascii", "replace") if colon else ""
        position += (size + 3) & ~3
    return ""


def parse_advertised(text: str, port: int) -> LocalCandidate:
    """`ip`, `ip:port` or `[ip]:port`; `port` where it says none. Raises ValueError."""
    host, number = text, str(port)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is no [address]:port")
        number = rest[1:] or number
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
    if not number.isascii() or not number.isdigit() or int(number) > 65_535:
        raise ValueError(f"{text!r} has no port number")
    address = ipaddress.ip_address(host)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text!r} can't be reached by anybody")
    return LocalCandidate(str(address), int(number))


def interface_addresses() -> list[str]:
    """This machine's addresses, loopback last. Link-local ones are left out: without their scope they lead nowhere."""
    found = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if not (address.is_link_local or address.is_multicast or address.is_unspecified):
                found.append(address)
    found.sort(key=lambda address: (address.is_loopback, address.version == 6))
    return [str(address) for address in dict.fromkeys(found)]
