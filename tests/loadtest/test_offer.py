"""The caller's offer is one the gateway takes; any answer parses or says what it lacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SignalingError
from gateway.loadtest.offer import OPUS, build_offer, parse_answer
from gateway.media.codec import CodecName
from gateway.wire.sdp import parse_offer

FINGERPRINT = ":".join(["AB"] * 32)


def offer() -> str:
    return build_offer(ufrag="abcd", password="p" * 24, fingerprint=FINGERPRINT, host="127.0.0.1", port=5004, ssrc=7)


def test_the_gateway_reads_our_offer() -> None:
    parsed = parse_offer(offer().encode())
    assert parsed.codecs[0].name is CodecName.OPUS
    assert parsed.can_hear
    assert parsed.can_speak
    assert parsed.ice_ufrag == "abcd"


def test_an_answer_is_read() -> None:
    text = offer().replace("a=setup:actpass", "a=setup:passive").replace("typ host", "typ host generation 0")
    text += "a=candidate:2 1 UDP 9999999999 192.0.2.1 7882 typ host\r\na=candidate:3 1 tcp 9 192.0.2.1 9 typ host\r\n"
    answer = parse_answer(text)
    assert answer.client
    assert answer.opus == OPUS
    assert answer.audio_level
    assert answer.fingerprint == FINGERPRINT
    assert answer.candidates == (("192.0.2.1", 7882), ("127.0.0.1", 5004))


@pytest.mark.parametrize("word", ["ice-ufrag", "ice-pwd", "setup", "fingerprint", "candidate", "opus"])
def test_what_is_missing_is_named(word: str) -> None:
    text = "\r\n".join(line for line in offer().splitlines() if word not in line)
    with pytest.raises(SignalingError, match=word if word != "opus" else "Opus"):
        parse_answer(text)


@given(st.text(alphabet="a=:candidtesupfrgw 1udp\n\r.0123456789opus/48000/2ext"))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with pytest.raises(SignalingError):
        parse_answer(text)
