"""The SDP answer to real offers: what is taken of them, how it is written, and that WebRTC stacks accept it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription

from gateway.errors import NotAcceptable
from gateway.legs.webrtc.answer import NearEnd, choose, far_end, write_answer
from gateway.legs.webrtc.ice import ice_username
from gateway.legs.webrtc.udp_mux import LocalCandidate
from gateway.media.codec import Codec, CodecName
from gateway.wire.sdp import parse_offer
from tests.legs.chrome import ChromeCaller

OFFERS = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent.parent / "wire" / "offers").glob("*.sdp"))}
NEAR = NearEnd(
    ice_ufrag="gw1abcdefghijklmnop",
    ice_pwd="p" * 24,
    fingerprint=":".join(["AB"] * 32),
    candidates=(LocalCandidate("192.0.2.1", 7882), LocalCandidate("2001:db8::1", 7882), LocalCandidate("127.0.0.1", 7882)),
    ssrc=4_000_000_000,
    cname="name",
    session_id=5,
)
OPUS = Codec(CodecName.OPUS, 111, 48_000, 2, "minptime=10;useinbandfec=1")
RED = Codec(CodecName.RED, 63, 48_000, 2, "111/111")
PCMU, PCMA, G722 = Codec(CodecName.PCMU, 0, 8_000), Codec(CodecName.PCMA, 8, 8_000), Codec(CodecName.G722, 9, 8_000)
CN, KEYS_8, KEYS_48 = (
    Codec(CodecName.CN, 13, 8_000),
    Codec(CodecName.TELEPHONE_EVENT, 126, 8_000),
    Codec(CodecName.TELEPHONE_EVENT, 110, 48_000),
)


def written(raw: bytes) -> str:
    offer = parse_offer(raw)
    return write_answer(offer, far_end(offer), NEAR, choose(offer.codecs))


@pytest.mark.parametrize("name", OFFERS)
def test_every_real_offer_gets_an_answer_of_the_same_shape(name: str) -> None:
    offer = parse_offer(OFFERS[name])
    answer = SessionDescription.parse(written(OFFERS[name]))
    offered = SessionDescription.parse(offer.sdp)
    assert [(m.kind, m.rtp.muxId) for m in answer.media] == [(m.kind, m.rtp.muxId) for m in offered.media]
    assert [m.profile for m in answer.media] == [m.profile for m in offered.media]
    assert [group.items for group in answer.group] == [group.items for group in offered.group]
    for media, theirs in zip(answer.media, offered.media, strict=True):
        assert media.port != 0
        assert (media.ice.usernameFragment, media.ice.password) == (NEAR.ice_ufrag, NEAR.ice_pwd)
        assert media.dtls.role == ("server" if theirs.dtls.role == "client" else "client")
        assert [print_.value for print_ in media.dtls.fingerprints] == [NEAR.fingerprint]
    audio = next(media for media in answer.media if media.kind == "audio")
    assert audio.rtcp_mux
    assert (
        audio.direction
        == {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly"}[
            next(media for media in offered.media if media.kind == "audio").direction
        ]
    )
    leader = next(media for media in answer.media if media.rtp.muxId == answer.group[0].items[0])
    assert [(c.ip, c.port, c.type) for c in leader.ice_candidates] == [(c.host, c.port, "host") for c in NEAR.candidates]
    assert leader.ice_candidates_complete
    priorities = [c.priority for c in leader.ice_candidates]
    assert priorities == sorted(priorities, reverse=True)
    assert len({c.foundation for c in leader.ice_candidates}) == len(NEAR.candidates)


def test_chrome_word_for_word() -> None:
    transport = [
        "a=ice-ufrag:gw1abcdefghijklmnop",
        f"a=ice-pwd:{'p' * 24}",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}",
        "a=setup:active",
    ]
    assert written(OFFERS["chrome-engine"]).split("\r\n") == [
        "v=0",
        "o=- 5 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "a=msid-semantic: WMS *",
        "m=audio 7882 UDP/TLS/RTP/SAVPF 63 111 9 0 8 110 126",
        "c=IN IP4 192.0.2.1",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=ptime:20",
        "a=maxptime:60",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=msid:gateway voice",
        "a=ssrc:4000000000 cname:name",
        "a=rtpmap:63 red/48000/2",
        "a=fmtp:63 111/111",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=rtpmap:126 telephone-event/8000",
        "a=fmtp:126 0-15",
        *transport,
        "a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::1 7882 typ host",
        "a=candidate:3 1 udp 2130705919 127.0.0.1 7882 typ host",
        "a=end-of-candidates",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:1",
        "a=sctp-port:5000",
        "a=max-message-size:16384",
        *transport,
        "",
    ]


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([OPUS, RED, PCMU], [RED, OPUS, PCMU]),
        ([RED, OPUS], [RED, OPUS]),
        ([OPUS, RED._replace(fmtp="")], [OPUS]),  # RED of nobody knows what
        ([OPUS, RED._replace(fmtp="96/96")], [OPUS]),
        ([PCMU, OPUS, RED], [PCMU, OPUS]),  # the caller wants PCMU: redundancy is Opus's
        ([PCMU, CN, KEYS_8, KEYS_48], [PCMU, CN, KEYS_8]),
        ([OPUS, CN, KEYS_8, KEYS_48], [OPUS, KEYS_48]),
        ([OPUS, PCMA, KEYS_8, KEYS_48], [OPUS, PCMA, KEYS_8, KEYS_48]),
        ([G722, G722._replace(payload_type=99), PCMA], [G722, PCMA]),
        ([OPUS, OPUS._replace(payload_type=112)], [OPUS]),
    ],
)
def test_codecs_in_the_callers_order_with_what_goes_with_them(offered: list[Codec], taken: list[Codec]) -> None:
    assert [(c.name, c.payload_type) for c in choose(offered)] == [(c.name, c.payload_type) for c in taken]


def test_our_own_parameters_not_theirs() -> None:
    chosen = choose([OPUS._replace(fmtp="stereo=1;maxaveragebitrate=510000"), KEYS_48._replace(fmtp="0-16")])
    assert [codec.fmtp for codec in chosen] == ["minptime=10;useinbandfec=1", "0-15"]


@pytest.mark.parametrize("offered", [[], [RED], [KEYS_8, CN]])
def test_nothing_that_carries_speech(offered: list[Codec]) -> None:
    with pytest.raises(NotAcceptable):
        choose(offered)


def test_ice_names_are_long_and_begin_with_the_worker() -> None:
    names = {ice_username("gw-1") for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(name) == 20 and name.startswith("gw1") for name in names)
    assert len(ice_username("a-worker-with-a-very-long-name")) == 20
    assert len(ice_username("")) == 20


@pytest.mark.parametrize("direction", ["sendrecv", "sendonly", "recvonly"])
def test_chromes_engine_takes_the_answer(direction: str) -> None:
    async def body() -> None:
        caller = ChromeCaller(direction=direction)
        await caller.answered(written(await caller.offer()))
        mirrored = {"sendrecv": "sendrecv", "sendonly": "sendonly", "recvonly": "recvonly"}
        assert caller.transceiver.current_direction == mirrored[direction]
        await caller.close()

    asyncio.run(body())
