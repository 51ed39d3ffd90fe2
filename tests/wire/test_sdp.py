"""Offers: what real ones mean, what is refused and how, and that nothing that passes can hurt aiortc."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import NotAcceptable, SignalingError, TooLarge, Unprocessable
from gateway.media.codec import SPEECH, Codec, CodecName
from gateway.wire.sdp import MAX_CANDIDATES, MAX_OFFER_BYTES, Offer, parse_offer

OFFERS = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent / "offers").glob("*.sdp"))}
CHROME = OFFERS["chrome-engine"]


def without(raw: bytes, *starts: bytes) -> bytes:
    return b"".join(line for line in raw.splitlines(keepends=True) if not line.startswith(starts))


def audio_only(raw: bytes = CHROME) -> bytes:
    return raw.partition(b"m=application")[0].replace(b"BUNDLE 0 1", b"BUNDLE 0")


# --- what real offers mean ---


@pytest.mark.parametrize("name", OFFERS)
def test_a_real_offer_is_understood(name: str) -> None:
    offer = parse_offer(OFFERS[name])
    assert any(codec.name in SPEECH for codec in offer.codecs)
    assert parse_offer(offer.sdp.encode()).sdp == offer.sdp, "our own words mean the same to us"


def test_chrome() -> None:
    offer = parse_offer(CHROME)
    assert [codec.payload_type for codec in offer.codecs] == [111, 63, 9, 0, 8, 13, 110, 126], "in the peer's order"
    assert offer.codecs[0] == Codec(CodecName.OPUS, 111, 48_000, 2, "minptime=10;useinbandfec=1")
    assert offer.codecs[1] == Codec(CodecName.RED, 63, 48_000, 2, "111/111")
    assert (offer.audio_mid, offer.data_mid) == ("0", "1")
    assert (offer.ice_ufrag, offer.ice_pwd) == ("8agw", "sxbCkUyY1AHPwC5RaqkExcF+")
    assert [(c.ip, c.port) for c in offer.candidates] == [("192.0.2.2", 58440), ("fd00::2", 34188)], "UDP, the bundle's transport"
    assert offer.trickle
    assert offer.end_of_candidates
    assert offer.audio_level_id == 1
    assert offer.can_hear
    assert offer.can_speak


def test_nothing_of_the_password_shows_in_repr() -> None:
    assert "sxbCkUyY1AHPwC5RaqkExcF" not in repr(parse_offer(CHROME))


def test_names_are_never_looked_up() -> None:
    offer = parse_offer(OFFERS["chrome-mdns"])
    assert offer.candidates == ()
    assert ".local" not in offer.sdp


def test_firefox_keeps_transport_in_the_session_part() -> None:
    offer = parse_offer(OFFERS["firefox"])
    assert "96:B0:41" in offer.sdp
    assert offer.trickle
    assert [c.type for c in offer.candidates] == ["host", "host", "srflx"]


def test_a_send_only_client() -> None:
    offer = parse_offer(OFFERS["whip-encoder"])
    assert (offer.can_hear, offer.can_speak) == (False, True)
    assert offer.data_mid is None


def test_a_listener() -> None:
    offer = parse_offer(CHROME.replace(b"a=sendrecv", b"a=recvonly"))
    assert (offer.can_hear, offer.can_speak) == (True, False)


def test_static_payload_types_need_no_rtpmap() -> None:
    offer = parse_offer(OFFERS["legacy-sctp"])
    assert [codec.name for codec in offer.codecs] == [CodecName.PCMU, CodecName.PCMA]
    assert "a=rtpmap:0 PCMU/8000" in offer.sdp


def test_a_static_payload_type_means_what_it_means() -> None:
    offer = parse_offer(CHROME.replace(b"a=rtpmap:0 PCMU/8000", b"a=rtpmap:0 opus/48000/2"))
    assert Codec(CodecName.PCMU, 0, 8_000) in offer.codecs


@pytest.mark.parametrize(
    ("fmtp", "kept"),
    [
        (b"useinbandfec=1; stereo=1", "useinbandfec=1;stereo=1"),
        (b"useinbandfec=yes;minptime=ten;stereo", ""),
        (b"apt=0x7;max-fr=;x=1;maxaveragebitrate=24000", "maxaveragebitrate=24000"),
    ],
)
def test_parameters_that_aiortc_would_trip_over_are_left_out(fmtp: bytes, kept: str) -> None:
    assert parse_offer(CHROME.replace(b"minptime=10;useinbandfec=1", fmtp)).codecs[0].fmtp == kept


def test_line_feeds_alone_will_do() -> None:
    assert parse_offer(CHROME.replace(b"\r\n", b"\n")).sdp == parse_offer(CHROME).sdp


# --- what is refused ---


def refusal(raw: bytes) -> tuple[int, str]:
    with pytest.raises(SignalingError) as caught:
        parse_offer(raw)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (CHROME.replace(b"m=audio", b"m=video"), 400, "no_audio"),
        (audio_only().replace(b"m=audio 58440", b"m=audio 0"), 400, "no_audio"),
        (CHROME.replace(b"a=sendrecv", b"a=inactive"), 400, "no_audio"),
        (without(CHROME, b"a=fingerprint"), 400, "no_fingerprint"),
        (CHROME.replace(b"sha-256", b"sha-1"), 400, "no_fingerprint"),
        (without(CHROME, b"a=rtcp-mux"), 400, "no_rtcp_mux"),
        (without(CHROME, b"a=ice-ufrag"), 400, "no_ice_credentials"),
        (without(CHROME, b"a=ice-pwd"), 400, "no_ice_credentials"),
        (without(CHROME, b"a=setup"), 400, "no_setup"),
        (without(CHROME, b"a=group"), 400, "no_bundle"),
        (CHROME.replace(b"BUNDLE 0 1", b"BUNDLE 0"), 400, "no_bundle"),
        (CHROME.replace(b"a=mid:1", b"a=mid:0"), 400, "bad_sdp"),
        (audio_only().replace(b"111 63 9 0 8 13 110 126", b"63 110"), 406, "no_common_codec"),
        (audio_only().replace(b"111 63 9 0 8 13 110 126", b"13"), 406, "no_common_codec"),
        (audio_only().replace(b"111 63 9 0 8 13 110 126", b"63"), 406, "no_common_codec"),
        (
            audio_only().replace(b"opus/48000/2", b"opus/16000").replace(b"111 63 9 0 8 13 110 126", b"111"),
            406,
            "no_common_codec",
        ),
        (CHROME + b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n", 422, "unsupported_section"),
        (CHROME + b"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:2\r\n", 422, "unsupported_section"),
        (CHROME + b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 3, 413, "too_many_sections"),
        (b"v=0\r\n" + b"a=x\r\n" * 7000, 413, "too_large"),
        (CHROME + b"a=" + b"x" * 1023 + b"\r\n", 413, "line_too_long"),
        (CHROME.replace(b"UDP/TLS/RTP/SAVPF", b"RTP/AVP"), 400, "bad_sdp"),
        (b"", 400, "bad_sdp"),
        (b'{"sdp": "v=0"}', 400, "bad_sdp"),
    ],
)
def test_refusals(raw: bytes, status: int, code: str) -> None:
    assert refusal(raw) == (status, code)


def test_the_error_types_say_which_status() -> None:
    assert (TooLarge.status, NotAcceptable.status, Unprocessable.status) == (413, 406, 422)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"s=-\r\n", b"nonsense\r\n"),
        (b"a=mid:0", b"a=mid:\xff\xfe"),
        (b"a=mid:0", b"a=mid:a b"),
        (b"m=audio 58440", b"m=audio port"),
        (b"m=audio 58440", b"m=audio 70000"),
        (b"111 63 9", b"111 111 9"),
        (b"111 63 9", b"111 72 9"),
        (b"a=rtpmap:111 opus/48000/2", b"a=rtpmap:opus"),
        (b"a=fmtp:63 111/111", b"a=fmtp:63"),
        (b"a=candidate:3512255428 1 udp", b"a=candidate:3512255428 1"),
        (b"a=candidate:3512255428 1 udp 2122194687", b"a=candidate:3512255428 1 udp high"),
        (b"a=ice-ufrag:8agw", b"a=ice-ufrag:no"),
        (b"a=ice-pwd:sxbCkUyY1AHPwC5RaqkExcF+", b"a=ice-pwd:short"),
        (b"sha-256 96:B0", b"sha-256 96:B"),
        (b"a=setup:actpass", b"a=setup:holdconn"),
        (b"a=extmap:1 ", b"a=extmap:one "),
        (b"a=sctp-port:5000", b"a=sctp-port:0"),
        (b"a=max-message-size:262144", b"a=max-message-size:-1"),
        (b"a=rtcp-mux\r\n", b"a=rtcp-mux\0\r\n"),
    ],
)
def test_unreadable_offers_are_told_the_line(old: bytes, new: bytes) -> None:
    raw = CHROME.replace(old, new, 1)
    line = CHROME.count(b"\n", 0, CHROME.index(old)) + 1
    with pytest.raises(SignalingError, match=rf"line {line}\b") as caught:
        parse_offer(raw)
    assert caught.value.status == 400


def test_two_that_disagree_are_told_the_second_line() -> None:
    with pytest.raises(SignalingError, match=r"line 22\b"):
        parse_offer(CHROME.replace(b"a=mid:0\r\n", b"a=mid:0\r\na=mid:1\r\n"))


def candidates(count: int) -> bytes:
    lines = b"".join(b"a=candidate:1 1 udp 2122194687 10.0.%d.%d 50000 typ host\r\n" % divmod(n, 250) for n in range(count))
    return without(CHROME, b"a=candidate").replace(b"a=mid:0\r\n", b"a=mid:0\r\n" + lines)


def test_candidates_are_counted() -> None:
    assert len(parse_offer(candidates(MAX_CANDIDATES)).candidates) == MAX_CANDIDATES
    assert refusal(candidates(MAX_CANDIDATES + 1)) == (413, "too_many_candidates")


def test_codecs_are_counted() -> None:
    formats = b" ".join(b"%d" % n for n in [*range(64), 111])
    assert refusal(CHROME.replace(b"111 63 9 0 8 13 110 126", formats)) == (413, "too_many_codecs")


def test_addresses_nobody_can_be_reached_at_are_passed_over() -> None:
    for address in (b"224.0.0.251", b"0.0.0.0", b"::", b"255.255.255.255", b"ff02::1", b"fe80::1%eth0", b"example.com", b"1.2.3"):
        offer = parse_offer(CHROME.replace(b"192.0.2.2 58440", address + b" 58440"))
        assert [c.ip for c in offer.candidates] == ["fd00::2"], address


# --- hostile input ---

LINES = sorted({line for raw in OFFERS.values() for line in raw.split(b"\r\n") if line})
NASTY = [
    *(b"a=candidate:1 1 udp 1 1.2.3.4 5 typ", b"a=ssrc:1", b"a=ssrc:x cname:y", b"a=ssrc-group:FID x", b"a=rtcp:x", b"a=rtcp"),
    *(b"a=fmtp:111 minptime=x", b"a=fmtp:96", b"a=fmtp:999 a=b", b"a=rtcp-fb:1", b"a=rtpmap:111", b"a=rtpmap:111 opus", b"a=mid"),
    *(b"a=extmap:1", b"a=extmap:a b", b"a=extmap:1/x/y z", b"a=setup", b"a=setup:x", b"a=fingerprint:sha-256", b"a=group:BUNDLE"),
    *(
        b"a=sctp-port:x",
        b"a=sctpmap:1",
        b"a=max-message-size:x",
        b"c=IN IP4",
        b"c=",
        b"v=x",
        b"m=audio",
        b"m=audio 9 X 1",
        b"a=ice-lite",
    ),
    *(
        b"m=application 9 DTLS/SCTP  ",
        b"m=audio 9 UDP/TLS/RTP/SAVPF 300",
        b"a=end-of-candidates",
        b"a=bundle-only",
        b"a=\xc2\x85",
        b"a=",
    ),
    *(b"a=ice-ufrag:\xe2\x80\xa8abcd", b"a=rtpmap:\xd9\xa3 opus/48000/2", b"a=msid:\x1c", b"a=inactive", b"a=recvonly"),
]


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    lines = draw(st.sampled_from(list(OFFERS.values()))).split(b"\r\n")
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["delete", "repeat", "insert", "nasty", "change", "swap", "cut"])):
            case "delete":
                lines[at : at + draw(st.integers(1, 3))] = []
            case "repeat":
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case "insert":
                lines.insert(at, draw(st.sampled_from(LINES)))
            case "nasty":
                lines.insert(at, draw(st.sampled_from(NASTY)))
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case "change":
                line = bytearray(lines[at] or b"x")
                line[draw(st.integers(0, len(line) - 1))] = draw(st.integers(0, 255))
                lines[at] = bytes(line)
        lines = lines or [b""]
    return b"\r\n".join(lines)


def check(raw: bytes) -> Offer | None:
    try:
        offer = parse_offer(raw)
    except SignalingError:
        return None
    description = SessionDescription.parse(offer.sdp)
    assert [media.kind for media in description.media].count("audio") == 1
    for media in description.media:
        assert media.dtls is not None
        assert media.dtls.fingerprints
        assert media.ice.usernameFragment
        assert media.ice.password
        assert len(media.ice_candidates) <= MAX_CANDIDATES
    again = parse_offer(offer.sdp.encode())
    assert (again.codecs, again.candidates, again.sdp) == (offer.codecs, offer.candidates, offer.sdp)
    return offer


@settings(max_examples=600, deadline=None)
@given(mutants())
def test_a_mutant_gives_an_offer_aiortc_can_read_or_our_error(raw: bytes) -> None:
    check(raw)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000) | st.text(max_size=500).map(str.encode))
def test_any_bytes_give_an_offer_or_our_error(raw: bytes) -> None:
    check(raw)


def test_the_mutants_reach_both_sides() -> None:
    """The property above would be empty if every mutant were refused, or none."""
    draw = random.Random(7)
    outcomes = set()
    for _ in range(300):
        lines = CHROME.split(b"\r\n")
        lines[draw.randrange(len(lines))] = draw.choice([*LINES, *NASTY])
        outcomes.add(check(b"\r\n".join(lines)) is None)
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", OFFERS)
def test_aiortc_answers_what_we_pass_on(name: str) -> None:
    async def body() -> None:
        offer = parse_offer(OFFERS[name])
        peer = RTCPeerConnection()
        try:
            await peer.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
            answer = await peer.createAnswer()
            assert f"a=mid:{offer.audio_mid}" in answer.sdp
        finally:
            await peer.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    "filler",
    [
        b"a=x\r\n",
        b"a=candidate:1 1 tcp 1 10.0.0.1 9 typ host\r\n",
        b"a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n",
        b"a=fmtp:111 " + b"stereo=1;" * 100 + b"\r\n",
        b"a=rtpmap:111 opus/48000/2\r\n",
        b"a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n",
        b"a=group:BUNDLE 0 1 2 3 4 5 6 7 8\r\n",
        b"a=fingerprint:sha-512 " + b"00:" * 300 + b"\r\n",
        b"a=ice-ufrag:8agw\r\n",
    ],
)
def test_the_worst_offers_parse_quickly(filler: bytes) -> None:
    room = MAX_OFFER_BYTES - len(CHROME)
    raw = CHROME.replace(b"a=mid:0\r\n", b"a=mid:0\r\n" + filler * (room // len(filler)))
    took = []
    for _ in range(5):
        began = time.thread_time()  # CPU time: a busy machine is not the parser's fault
        with contextlib.suppress(TooLarge):
            parse_offer(raw)
        took.append(time.thread_time() - began)
    assert min(took) < 0.02
