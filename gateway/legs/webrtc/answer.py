"""The SDP answer: what we take of an offer, and how it is written. Pure: values in, text out.

We write it ourselves rather than have an offer parsed, matched, printed, parsed and printed again: it is the same few lines
for every call. One BUNDLE group on one transport; JSEP is RFC 9429, WHIP's rules for answers RFC 9725 §4.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import NotAcceptable
from gateway.legs.webrtc.udp_mux import LocalCandidate
from gateway.media.codec import SPEECH, Codec, CodecName
from gateway.wire.sdp import AUDIO_LEVEL, Offer

OPUS_FMTP = "minptime=10;useinbandfec=1"
"""We decode FEC, and take frames from 10 ms. `stereo` and bit rates are left at their defaults (mono voice)."""

MAX_MESSAGE_BYTES = 16 * 1024

_SPELLING = {
    CodecName.OPUS: "opus/48000/2",
    CodecName.PCMU: "PCMU/8000",
    CodecName.PCMA: "PCMA/8000",
    CodecName.G722: "G722/8000",
    CodecName.RED: "red/48000/2",
    CodecName.CN: "CN/8000",
}
_HOST_PREFERENCE = 126 << 24
_ATTRIBUTE = re.compile(r"a=(fingerprint|setup|sctp-port|max-message-size|sctpmap):(\S+)(?: (\S+))?")


@dataclass(frozen=True, slots=True)
class FarEnd:
    """What `Offer.sdp` says about the transport, beyond the fields of `Offer`."""

    fingerprints: tuple[str, ...]
    """SHA-256, colon-separated, upper case."""
    setup: str
    ice_lite: bool
    sections: tuple[str, ...]
    """Kinds in order: `audio`, `application`."""
    bundle: str
    """The mids of the group, first the one that carries the transport."""
    sctp_port: int
    max_message_bytes: int
    old_sctp: bool
    """The data section is in the form before RFC 8841 (`DTLS/SCTP 5000`)."""


@dataclass(frozen=True, slots=True)
class NearEnd:
    """What our side puts into the answer."""

    ice_ufrag: str
    ice_pwd: str
    fingerprint: str
    candidates: tuple[LocalCandidate, ...]
    ssrc: int
    cname: str
    session_id: int


def far_end(offer: Offer) -> FarEnd:
    """Read the transport from `offer.sdp`, which `wire.sdp` has written and whose form is therefore known."""
    fingerprints: dict[str, None] = {}
    setup, port, size = "actpass", 5000, 65_536
    sections = []
    bundle, old, lite = offer.audio_mid, False, False
    for line in offer.sdp.split("\r\n"):
        if line.startswith("m="):
            kind, _, profile, *formats = line[2:].split(" ")
            sections.append(kind)
            if profile == "DTLS/SCTP":
                old, port = True, int(formats[0])
        elif line.startswith("a=group:BUNDLE "):
            bundle = line.removeprefix("a=group:BUNDLE ")
        elif line == "a=ice-lite":
            lite = True
        elif match := _ATTRIBUTE.fullmatch(line):
            match match[1]:
                case "fingerprint":
                    fingerprints[match[3] or ""] = None
                case "setup":
                    setup = match[2]
                case "sctp-port":
                    port = int(match[2])
                case "max-message-size":
                    size = int(match[2])
    return FarEnd(tuple(fingerprints), setup, lite, tuple(sections), bundle, port, size, old)


def choose(offered: Sequence[Codec]) -> tuple[Codec, ...]:
    """The codecs of the answer: one of each speech codec, in the caller's order, the first being the one we send; then what
    goes with it.

    RED is taken only for Opus when that comes first, stands before it and names its payload type: Chrome sends redundancy
    in this form and in no other (measured; anything else is accepted and ignored). Raises NotAcceptable.
    """
    speech: dict[CodecName, Codec] = {}
    for codec in offered:
        if codec.name in SPEECH:
            speech.setdefault(codec.name, codec)
    if not speech:
        raise NotAcceptable("no common codec: offer Opus, PCMU, PCMA or G722")
    chosen = [codec._replace(fmtp=OPUS_FMTP if codec.name is CodecName.OPUS else "") for codec in speech.values()]
    first = chosen[0]
    if first.name is CodecName.OPUS:
        doubled = f"{first.payload_type}/{first.payload_type}"
        red = next((c for c in offered if c.name is CodecName.RED and c.fmtp.startswith(doubled)), None)
        if red is not None:
            chosen.insert(0, red._replace(fmtp=doubled, channels=2))
    clocks = {codec.clock_rate for codec in chosen}
    for codec in offered:
        if codec.name is CodecName.TELEPHONE_EVENT and codec.clock_rate in clocks:
            clocks.discard(codec.clock_rate)
            chosen.append(codec._replace(fmtp="0-15"))
        # Comfort noise goes with the 8 kHz codecs only: Opus has its own (RFC 3389 §3, RFC 7587 §3.1.3).
        elif codec.name is CodecName.CN and first.name is not CodecName.OPUS:
            chosen.append(codec._replace(fmtp=""))
    return tuple(chosen)


def write_answer(offer: Offer, far: FarEnd, near: NearEnd, codecs: Sequence[Codec]) -> str:
    """The answer, all candidates in it."""
    transport = [
        f"a=ice-ufrag:{near.ice_ufrag}",
        f"a=ice-pwd:{near.ice_pwd}",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {near.fingerprint}",
        # Active where we may choose: our ClientHello then leaves with the nomination, a round trip earlier.
        f"a=setup:{'passive' if far.setup == 'active' else 'active'}",
    ]
    leader = far.bundle.split(" ", 1)[0]
    default = near.candidates[0] if near.candidates else LocalCandidate("0.0.0.0", 9)
    version = 6 if ":" in default.host else 4
    lines = ["v=0", f"o=- {near.session_id} 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {far.bundle}"]
    lines.append("a=msid-semantic: WMS *")
    for kind in far.sections:
        mid = offer.audio_mid if kind == "audio" else offer.data_mid
        port = default.port if mid == leader else 9
        if kind == "audio":
            lines.append(f"m=audio {port} UDP/TLS/RTP/SAVPF {' '.join(str(codec.payload_type) for codec in codecs)}")
        elif far.old_sctp:
            lines.append(f"m=application {port} DTLS/SCTP 5000")
        else:
            lines.append(f"m=application {port} UDP/DTLS/SCTP webrtc-datachannel")
        lines += [f"c=IN IP{version} {default.host}" if mid == leader else "c=IN IP4 0.0.0.0", f"a=mid:{mid}"]
        if kind == "audio":
            lines += _audio(offer, near, codecs)
        else:
            lines.append("a=sctpmap:5000 webrtc-datachannel 65535" if far.old_sctp else "a=sctp-port:5000")
            lines.append(f"a=max-message-size:{MAX_MESSAGE_BYTES}")
        lines += transport
        if mid == leader:
            lines += [f"a=candidate:{_candidate(rank, each)}" for rank, each in enumerate(near.candidates)]
            lines.append("a=end-of-candidates")
    return "\r\n".join(lines) + "\r\n"


def _audio(offer: Offer, near: NearEnd, codecs: Sequence[Codec]) -> list[str]:
    direction = {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly"}
    lines = [f"a={direction.get((offer.can_hear, offer.can_speak), 'inactive')}", "a=rtcp-mux", "a=ptime:20", "a=maxptime:60"]
    if offer.audio_level_id is not None:
        lines.append(f"a=extmap:{offer.audio_level_id} {AUDIO_LEVEL}")
    if offer.can_hear:
        lines += ["a=msid:gateway voice", f"a=ssrc:{near.ssrc} cname:{near.cname}"]
    for codec in codecs:
        spelling = _SPELLING.get(codec.name, f"telephone-event/{codec.clock_rate}")
        lines.append(f"a=rtpmap:{codec.payload_type} {spelling}")
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    return lines


def _candidate(rank: int, candidate: LocalCandidate) -> str:
    # RFC 8445 §5.1.2.1, host type, component 1; each address is a base of its own, so a foundation of its own.
    priority = _HOST_PREFERENCE + ((65_535 - rank) << 8) + 255
    return f"{rank + 1} 1 udp {priority} {candidate.host} {candidate.port} typ host"
