"""The caller's ICE: against aioice's own STUN, and any bytes."""

from __future__ import annotations

from aioice import stun
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.loadtest.ice import CONSENT, IceCaller, build, is_stun, parse, xor_address

SOURCE = ("127.0.0.1", 5000)


def read(datagram: bytes, key: bytes) -> stun.Message:
    """As aioice reads it; it must be authentic."""
    message = stun.parse_message(datagram)
    assert message.check_message_integrity(key)
    return message


def caller() -> IceCaller:
    return IceCaller("theirs", "their-password-22-chars", "ours", "our-password-is-22-chars")


def answer(request: bytes, password: bytes) -> bytes:
    """What an honest far end says to a check."""
    message = read(request, b"their-password-22-chars")
    reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
    reply.attributes["XOR-MAPPED-ADDRESS"] = SOURCE
    reply.add_message_integrity(password)
    return bytes(reply)


def test_our_check_is_one_that_others_accept() -> None:
    message = read(caller().check(0.0), b"their-password-22-chars")
    assert message.message_class is stun.Class.REQUEST
    assert message.attributes["USERNAME"] == "theirs:ours"
    assert {"USE-CANDIDATE", "ICE-CONTROLLING", "PRIORITY", "MESSAGE-INTEGRITY", "FINGERPRINT"} <= set(message.attributes)


def test_an_answered_check_connects_and_then_consent_is_kept() -> None:
    ice = caller()
    request = ice.check(1.0)
    assert ice.next_check < 1.1
    assert ice.receive(answer(request, b"their-password-22-chars"), SOURCE, 1.02) is None
    assert ice.connected_at == 1.02
    assert ice.next_check == 1.02 + CONSENT
    ice.check(7.0)
    assert ice.next_check == 7.0 + CONSENT


def test_an_answer_to_nothing_or_with_a_wrong_password_is_ignored() -> None:
    ice = caller()
    request = ice.check(1.0)
    ice.receive(answer(request, b"wrong"), SOURCE, 1.0)
    ice.receive(answer(caller().check(1.0), b"their-password-22-chars"), SOURCE, 1.0)
    assert ice.connected_at is None


def test_a_check_of_theirs_is_answered_with_where_it_came_from() -> None:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = "ours:theirs"
    request.add_message_integrity(b"our-password-is-22-chars")
    reply = caller().receive(bytes(request), SOURCE, 0.0)
    assert reply is not None
    message = read(reply, b"our-password-is-22-chars")
    assert message.message_class is stun.Class.RESPONSE
    assert message.transaction_id == request.transaction_id
    assert message.attributes["XOR-MAPPED-ADDRESS"] == SOURCE


def test_a_check_with_a_wrong_password_is_not_answered() -> None:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.add_message_integrity(b"wrong")
    assert caller().receive(bytes(request), SOURCE, 0.0) is None


def test_ipv6_addresses() -> None:
    transaction = bytes(range(12))
    assert stun.unpack_xor_address(xor_address("2001:db8::7", 4711, transaction), transaction) == ("2001:db8::7", 4711)


@given(st.binary(min_size=20))
@example(build(1, bytes(12), [], b"k"))
@example(build(1, bytes(12), [(6, b"abc")], b"k")[:-9])
def test_any_bytes_are_a_message_or_none(datagram: bytes) -> None:
    parsed = parse(datagram, b"k")
    assert parsed is None or is_stun(datagram)
    caller().receive(datagram, SOURCE, 0.0)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte_is_noticed(position: int, value: int) -> None:
    datagram = bytearray(build(1, bytes(12), [(6, b"ours:theirs")], b"k"))
    position %= len(datagram) - 8  # what follows MESSAGE-INTEGRITY is not under it
    changed = datagram[position] != value
    datagram[position] = value
    assert (parse(bytes(datagram), b"k") is None) == changed
