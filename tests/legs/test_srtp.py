"""SRTP without the wrapper: the same bytes and the same errors as pylibsrtp's own, whatever comes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pylibsrtp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib

from gateway.legs.webrtc.srtp import BUFFER_BYTES, TRAILER_BYTES, Srtp
from gateway.wire.rtp import pack_rtp_header

KEY = bytes(range(30))


def session(direction: int = Policy.SSRC_ANY_INBOUND) -> Session:
    return Session(Policy(key=KEY, ssrc_type=direction))


def outcome(do: Callable[[bytes], bytes], packet: bytes) -> bytes | tuple[type, str]:
    try:
        return do(packet)
    except pylibsrtp.Error as exc:
        return type(exc), str(exc)


def rtp(number: int, payload: bytes) -> bytes:
    return pack_rtp_header(111, False, number & 0xFFFF, number * 960 & 0xFFFFFFFF, 7) + payload


def test_pylibsrtp_is_still_built_as_we_use_it() -> None:
    """The private names. One that moves must fail here, not in a call."""
    inside = session()
    assert ffi.typeof(inside._srtp) is ffi.typeof("srtp_t *")
    assert ffi.sizeof(inside._cdata) == BUFFER_BYTES
    assert pylibsrtp.SRTP_MAX_TRAILER_LEN == TRAILER_BYTES
    assert pylibsrtp.ERRORS[lib.srtp_err_status_ok] == pylibsrtp.ERRORS[0]
    assert "replay" in pylibsrtp.ERRORS[9]
    for function in (lib.srtp_protect, lib.srtp_unprotect):
        assert ffi.typeof(function).cname == "srtp_err_status_t(*)(struct srtp_ctx_t_ *, void *, int *)"
    process = inspect.getsource(Session._Session__process)  # type: ignore[attr-defined]
    assert "func(self._srtp[0], self._cdata, len_p)" in process


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=200)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 250), st.integers(0, 255))),
)
def test_both_give_the_same_and_refuse_the_same(packets: list[tuple[int, bytes]], attacks: list[tuple[int, int, int]]) -> None:
    """Plain packets, with numbers that repeat and fall back; then protected ones as they are, damaged, cut and again."""
    ours, theirs = Srtp(session(Policy.SSRC_ANY_OUTBOUND)), session(Policy.SSRC_ANY_OUTBOUND)
    protected = []
    for number, payload in packets:
        out = outcome(ours.protect, rtp(number, payload))
        assert out == outcome(theirs.protect, rtp(number, payload))
        if isinstance(out, bytes):
            protected.append(out)
    rx, wrapped = Srtp(session()), session()
    for which, at, mask in attacks:
        packet = bytearray(protected[which % len(protected)])
        packet[at % len(packet)] ^= mask if mask < 200 else 0
        damaged = bytes(packet[: len(packet) - at if mask > 250 else None])
        assert outcome(rx.unprotect, damaged) == outcome(wrapped.unprotect, damaged)
    for packet in protected * 2:
        assert outcome(rx.unprotect, packet) == outcome(wrapped.unprotect, packet)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=100))
def test_any_bytes_give_a_packet_or_an_error(data: bytes) -> None:
    for way in ("protect", "unprotect", "protect_rtcp", "unprotect_rtcp"):
        direction = Policy.SSRC_ANY_INBOUND if way.startswith("un") else Policy.SSRC_ANY_OUTBOUND
        assert outcome(getattr(Srtp(session(direction)), way), data) == outcome(getattr(session(direction), way), data)


def test_sessions_that_share_the_buffer_do_not_share_packets() -> None:
    tx = [Srtp(Session(Policy(key=KEY[:-1] + bytes((at,)), ssrc_type=Policy.SSRC_ANY_OUTBOUND))) for at in range(3)]
    rx = [Srtp(Session(Policy(key=KEY[:-1] + bytes((at,)), ssrc_type=Policy.SSRC_ANY_INBOUND))) for at in range(3)]
    plain = [[rtp(number, bytes((at, number)) * (30 - at - number)) for number in range(5)] for at in range(3)]
    sent = [[tx[at].protect(plain[at][number]) for at in range(3)] for number in range(5)]
    assert [[rx[at].unprotect(row[at]) for row in sent] for at in range(3)] == plain
    with pytest.raises(pylibsrtp.Error, match="authentication"):
        rx[0].unprotect(tx[1].protect(rtp(9, b"x")))


def test_what_does_not_fit_is_refused_before_the_library_sees_it() -> None:
    tx, rx = Srtp(session(Policy.SSRC_ANY_OUTBOUND)), Srtp(session())
    with pytest.raises(ValueError, match="too long"):
        tx.protect(bytes(BUFFER_BYTES - TRAILER_BYTES + 1))
    with pytest.raises(ValueError, match="too long"):
        rx.unprotect(bytes(BUFFER_BYTES + 1))
    longest = rtp(1, bytes(BUFFER_BYTES - TRAILER_BYTES - 12))
    assert rx.unprotect(tx.protect(longest)) == longest


@pytest.mark.parametrize("wrong", [None, 7, "text", [1, 2], object()])
def test_wrong_types_raise_and_the_process_lives(wrong: Any) -> None:
    tx = Srtp(session(Policy.SSRC_ANY_OUTBOUND))
    for way in (tx.protect, Srtp(session()).unprotect):
        with pytest.raises((TypeError, ValueError)):
            way(wrong)
    assert tx.protect(rtp(1, b"x"))
