"""One port for all calls: who may deliver what, on real sockets of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from aioice import stun
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.legs.webrtc.inbox import MAX_WAITING, Inbox
from gateway.legs.webrtc.udp_mux import (
    MAX_SOURCES,
    Address,
    LocalCandidate,
    Port,
    UdpMux,
    guarded,
    interface_addresses,
    parse_advertised,
    parse_stun,
)

SRTP = b"\x80\x60" + bytes(30)
SRTCP = b"\x80\xc8" + bytes(30)
DTLS = b"\x16\xfe\xfd" + bytes(30)


class FakeMember:
    """Remembers what it is given; can be made to raise."""

    def __init__(self, name: str = "gw1aaaaaaaaaaaaaaaaa") -> None:
        self.local_username = name
        self.local_password = "p" * 24
        self.remote: Address | None = None
        self.inbox = Inbox()
        self.media_in: list[bytes] = []
        self.handshakes: list[bytes] = []
        self.checks: list[Address] = []
        self.failed: list[Exception] = []
        self.bug: Exception | None = None

    def media(self, data: bytes, now: float) -> None:
        assert now > 0
        if self.bug is not None:
            raise self.bug
        self.media_in.append(data)

    def handshake(self, data: bytes, now: float) -> None:
        assert now > 0
        self.handshakes.append(data)

    def checked(self, message: stun.Message, source: Address, port: Port, now: float) -> None:
        assert now > 0
        assert "USERNAME" in message.attributes
        self.checks.append(source)
        port.sendto(b"ack", source)

    def fail(self, exc: Exception) -> None:
        self.failed.append(exc)


class Stranger:
    """A plain socket somewhere."""

    def __init__(self, mux: UdpMux, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.to = (host, mux.port)

    @property
    def address(self) -> Address:
        return self.socket.getsockname()[:2]

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    async def receive(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 2048), 5)

    def heard_nothing(self) -> bool:
        try:
            self.socket.recv(2048)
        except BlockingIOError:
            return True
        return False


def check(member: FakeMember, password: str | None = None, *, priority: bool = True) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{member.local_username}:far"
    if priority:
        message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLING"] = 1
    message.add_message_integrity((member.local_password if password is None else password).encode())
    return bytes(message)


async def settled(mux: UdpMux) -> None:
    """Wait until the mux has read all that was sent before: one socket's datagrams keep their order on the loopback interface."""
    last, member = Stranger(mux), FakeMember("lastlastlastlastlast")
    mux.join(member)
    last.send(check(member))
    assert await last.receive() == b"ack"
    mux.leave(member)


def on_mux(body: Callable[[UdpMux], Awaitable[None]]) -> None:
    async def run() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        try:
            await body(mux)
        finally:
            await mux.close()

    asyncio.run(run())


def test_a_signed_check_opens_the_door_and_only_for_its_source() -> None:
    async def body(mux: UdpMux) -> None:
        member, caller, stranger = FakeMember(), Stranger(mux), Stranger(mux)
        mux.join(member)
        for data in (SRTP, SRTCP, DTLS):
            caller.send(data)
        await settled(mux)
        assert mux.dropped["unknown_source"] == 3
        caller.send(check(member))
        assert await caller.receive() == b"ack"
        assert member.checks == [caller.address]
        for data in (SRTP, SRTCP, DTLS):
            caller.send(data)
            stranger.send(data)
        await settled(mux)
        assert member.media_in == [SRTP, SRTCP]
        assert member.handshakes == [DTLS]
        assert mux.dropped["unknown_source"] == 6

    on_mux(body)


def test_what_has_come_can_be_taken_before_the_loop_says_so() -> None:
    async def body(mux: UdpMux) -> None:
        member, caller = FakeMember(), Stranger(mux)
        mux.join(member)
        caller.send(check(member))
        assert await caller.receive() == b"ack"
        caller.send(SRTP)
        mux.read()
        assert member.media_in == [SRTP]
        mux.read()
        assert member.media_in == [SRTP]

    on_mux(body)


def test_media_waits_in_the_inbox_as_long_as_its_reader_says_and_nothing_else_does() -> None:
    async def body(mux: UdpMux) -> None:
        member, caller = FakeMember(), Stranger(mux)
        mux.join(member)
        caller.send(check(member))
        assert await caller.receive() == b"ack"
        member.inbox.until = mux.clock() + 3_600.0
        for data in (SRTP, SRTCP, DTLS):
            caller.send(data)
        await settled(mux)
        assert member.media_in == []
        assert member.handshakes == [DTLS]
        assert [data for data, _ in member.inbox.waiting] == [SRTP, SRTCP]
        for _ in range(MAX_WAITING):
            caller.send(SRTP)
        await settled(mux)
        assert len(member.inbox.waiting) == MAX_WAITING
        assert member.media_in == [SRTP] * 2, "there is no room for them"
        assert len(member.inbox.take()) == MAX_WAITING
        caller.send(SRTP)
        await settled(mux)
        assert member.media_in == [SRTP] * 3, "nothing waits any more"

    on_mux(body)


class FakeReader:
    """Remembers when it was called; raises the first time."""

    def __init__(self) -> None:
        self.called: list[float] = []
        self.failed: list[Exception] = []

    def overdue(self, due: float) -> None:
        self.called.append(due)
        if len(self.called) == 1:
            raise LookupError("a bug")

    def fail(self, exc: Exception) -> None:
        self.failed.append(exc)


def test_who_waits_is_called_when_it_is_due_and_once_however_others_fare() -> None:
    async def body(mux: UdpMux) -> None:
        one, other, member = FakeReader(), FakeReader(), FakeMember()
        mux.join(member)
        now = mux.clock()
        for due, reader in ((now + 3_600.0, one), (now - 2.0, one), (now - 3.0, other), (now - 1.0, one)):
            mux.waiting.until(due, reader)
        mux.read()
        assert one.called == [now - 2.0, now - 1.0]
        assert other.called == [now - 3.0]
        assert [len(each.failed) for each in (one, other)] == [1, 1]
        mux.read()
        assert len(one.called) == 2
        assert mux.waiting.next_due(now + 7_200.0) == (now + 3_600.0, one)
        mux.waiting.until(now + 3_600.0, one)
        mux.leave(member)
        assert mux.waiting.next_due(now + 7_200.0) is None, "nobody is left who could wait"

    on_mux(body)


def test_near_capacity_datagrams_wait_for_the_clock() -> None:
    async def body(mux: UdpMux) -> None:
        member, caller = FakeMember(), Stranger(mux)
        mux.join(member)
        caller.send(check(member))
        assert await caller.receive() == b"ack"
        mux.listen(by_clock=True)
        mux.listen(by_clock=True)
        for _ in range(200):
            caller.send(SRTP)
        for _ in range(20):  # rounds of the loop
            await asyncio.sleep(0.0)
        assert member.media_in == []
        mux.read()
        assert len(member.media_in) == 200, "more at once than when it is told of them"
        caller.send(SRTP)
        mux.listen()
        mux.listen()
        await settled(mux)
        assert len(member.media_in) == 201
        mux.listen(by_clock=True)

    on_mux(body)


def test_a_wrong_password_gets_neither_in_nor_an_answer() -> None:
    async def body(mux: UdpMux) -> None:
        member, stranger = FakeMember(), Stranger(mux)
        mux.join(member)
        stranger.send(check(member, "w" * 24))
        stranger.send(check(FakeMember("gw1nobodyhasthisname")))
        stranger.send(check(member, priority=False))
        stranger.send(SRTP)
        await settled(mux)
        assert member.checks == []
        assert member.media_in == []
        assert stranger.heard_nothing()
        assert mux.dropped["bad_stun"] == 2
        assert mux.dropped["unknown_source"] == 2

    on_mux(body)


def test_a_signed_request_cannot_take_over_the_address_of_another_call() -> None:
    async def body(mux: UdpMux) -> None:
        victim, thief, caller = FakeMember("victimvictimvictim"), FakeMember("thiefthiefthiefthief"), Stranger(mux)
        mux.join(victim)
        mux.join(thief)
        caller.send(check(victim))
        caller.send(check(thief))  # as if its source were forged
        caller.send(SRTP)
        await settled(mux)
        assert victim.media_in == [SRTP]
        mux.admit(thief, caller.address, returned=True)  # now it has answered a request of ours: it is really there
        caller.send(SRTP)
        await settled(mux)
        assert thief.media_in == [SRTP]

    on_mux(body)


@pytest.mark.parametrize("in_use", [False, True])
def test_a_call_has_few_addresses_and_the_oldest_not_in_use_gives_way(in_use: bool) -> None:
    async def body(mux: UdpMux) -> None:
        member = FakeMember()
        mux.join(member)
        callers = [Stranger(mux) for _ in range(MAX_SOURCES + 5)]
        member.remote = callers[0].address if in_use else None
        for caller in callers:
            caller.send(check(member))
            assert await caller.receive() == b"ack"
        callers[0].send(SRTP)
        callers[-1].send(SRTP)
        await settled(mux)
        assert len(member.media_in) == 1 + in_use
        assert mux.dropped["unknown_source"] == 1 - in_use

    on_mux(body)


def test_who_has_left_gets_nothing_and_leaves_nothing() -> None:
    async def body(mux: UdpMux) -> None:
        member, caller = FakeMember(), Stranger(mux)
        mux.join(member)
        caller.send(check(member))
        await caller.receive()
        mux.leave(member)
        mux.leave(member)
        caller.send(SRTP)
        caller.send(check(member))
        await settled(mux)
        assert member.media_in == []
        assert len(member.checks) == 1
        assert len(mux) == 0
        mux.admit(member, caller.address, returned=True)
        assert mux._sources == {}, "an answer that comes after the end opens nothing"

    on_mux(body)


def test_a_bug_in_one_call_is_reported_to_it_and_to_nobody_else() -> None:
    async def body(mux: UdpMux) -> None:
        members = [FakeMember(f"gw1member{index:011d}") for index in range(10)]
        callers = [Stranger(mux) for _ in members]
        for member, caller in zip(members, callers, strict=True):
            mux.join(member)
            caller.send(check(member))
            await caller.receive()
        members[3].bug = ZeroDivisionError("a bug")
        for caller in callers:
            caller.send(SRTP)
        await settled(mux)
        assert [len(member.media_in) for member in members] == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
        assert [len(member.failed) for member in members] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]

    on_mux(body)


def test_a_response_finds_its_transaction_by_id() -> None:
    class Waiting:
        def __init__(self) -> None:
            self.answers: list[tuple[stun.Message, Address]] = []

        def answered(self, message: stun.Message, source: Address) -> None:
            self.answers.append((message, source))

        def fail(self, exc: Exception) -> None:
            raise AssertionError(exc)

    async def body(mux: UdpMux) -> None:
        caller, waiting = Stranger(mux), Waiting()
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        mux.transactions[request.transaction_id] = waiting
        for transaction_id in (request.transaction_id, b"x" * 12):
            caller.send(bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id)))
        caller.send(bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)) + b"tail")
        await settled(mux)
        assert [(m.transaction_id, source) for m, source in waiting.answers] == [(request.transaction_id, caller.address)]
        assert mux.dropped["unknown_source"] == 1
        assert mux.dropped["bad_stun"] == 1

    on_mux(body)


@given(data=st.binary(max_size=200) | st.binary(max_size=120).map(lambda tail: b"\0\1\0\x44\x21\x12\xa4\x42" + bytes(12) + tail))
@settings(max_examples=400, deadline=None)
def test_any_bytes_from_anybody_are_counted_or_delivered(data: bytes) -> None:
    async def body() -> None:
        mux = UdpMux(asyncio.get_running_loop(), (), lambda: 1.0)
        member = FakeMember()
        mux.join(member)
        mux.admit(member, ("127.0.0.1", 5), returned=True)
        port = Port(mux, socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            for source in (("127.0.0.1", 5), ("127.0.0.1", 6)):
                before = sum(mux.dropped.values()) + len(member.media_in) + len(member.handshakes)
                mux._deliver(data, source, port, 1.0)
                after = sum(mux.dropped.values()) + len(member.media_in) + len(member.handshakes)
                indication = data[:2] == b"\0\x11"
                assert after == before + 1 or indication
        finally:
            port.socket.close()
        assert member.failed == []

    asyncio.run(body())


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_stun_is_a_message_or_none(tail: bytes) -> None:
    length = len(tail).to_bytes(2, "big")
    message = parse_stun(b"\0\1" + length + b"\x21\x12\xa4\x42" + bytes(12) + tail)
    assert message is None or message.message_method == stun.Method.BINDING


def test_the_guard_takes_bugs_and_lets_cancellation_through() -> None:
    async def body() -> None:
        member = FakeMember()
        guarded(member, lambda: 1 / 0)
        assert isinstance(member.failed[0], ZeroDivisionError)

        def cancelled() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            guarded(member, cancelled)

    asyncio.run(body())


# --- addresses ---


def test_a_wildcard_tells_every_interface_and_loopback_last() -> None:
    async def body() -> None:
        mux = await UdpMux.open("0.0.0.0", 0)
        told = mux.candidates()
        await mux.close()
        assert told == [LocalCandidate(host, mux.port) for host in interface_addresses() if ":" not in host]
        assert told[-1].host == "127.0.0.1"

    asyncio.run(body())


def test_both_families_share_the_port_number() -> None:
    async def body() -> None:
        mux = await UdpMux.open("::", 0)
        try:
            assert [port.version for port in mux.ports] == [6, 4]
            assert {port.socket.getsockname()[1] for port in mux.ports} == {mux.port}
            member = FakeMember()
            mux.join(member)
            for host in ("::1", "127.0.0.1"):
                caller = Stranger(mux, host)
                caller.send(check(member))
                assert await caller.receive() == b"ack"
                assert member.checks[-1] == caller.address
            assert {"127.0.0.1", "::1"} <= {each.host for each in mux.candidates()}
        finally:
            await mux.close()

    asyncio.run(body())


def test_what_is_advertised_replaces_what_is_bound() -> None:
    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0, ["203.0.113.7", "203.0.113.8:9000", "[2001:db8::1]:9001"])
        told = mux.candidates()
        await mux.close()
        # No IPv6 address without an IPv6 socket.
        assert told == [LocalCandidate("203.0.113.7", mux.port), LocalCandidate("203.0.113.8", 9000)], (
            "no IPv6 without its socket"
        )

    asyncio.run(body())


@pytest.mark.parametrize("text", ["localhost", "1.2.3.4:x", "1.2.3.4:99999", "0.0.0.0", "224.0.0.1", "", "[::1", "1.2.3"])
def test_an_address_that_is_none_is_a_configuration_fault(text: str) -> None:
    async def body() -> None:
        with pytest.raises(ConfigError):
            await UdpMux.open("127.0.0.1", 0, [text])

    asyncio.run(body())


def test_advertised_forms() -> None:
    assert parse_advertised("2001:db8::1", 7) == LocalCandidate("2001:db8::1", 7)
    assert parse_advertised("[2001:db8::1]", 7) == LocalCandidate("2001:db8::1", 7)
    assert parse_advertised("[2001:db8::1]:8", 7) == LocalCandidate("2001:db8::1", 8)


def test_a_port_in_use_is_said_and_leaves_no_socket() -> None:
    async def body() -> None:
        first = await UdpMux.open("127.0.0.1", 0)
        with pytest.raises(OSError, match="in use"):
            await UdpMux.open("127.0.0.1", first.port)
        await first.close()
        await first.close()

    asyncio.run(body())


def test_what_cannot_be_sent_is_counted() -> None:
    async def body(mux: UdpMux) -> None:
        mux.ports[0].sendto(bytes(70_000), ("127.0.0.1", 9))
        assert mux.unsent == 1

    on_mux(body)


def test_a_socket_on_loopback_stays_there() -> None:
    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        try:
            (port,) = mux.ports
            elsewhere = ("192.0.2.1", 9)  # TEST-NET-1: nothing may leave for it
            port.sendto(b"x", elsewhere)
            assert mux.unsent == 1
            member = FakeMember()
            mux.join(member)
            mux.admit(member, elsewhere, returned=True)
            mux._deliver(SRTP, elsewhere, port, 1.0)
            assert member.media_in == []
            assert mux.dropped["unknown_source"] == 1
        finally:
            await mux.close()

    asyncio.run(body())
