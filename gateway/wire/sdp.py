"""The door for offers: limits and meaning, before any WebRTC library sees a byte.

`parse_offer` turns any bytes into an `Offer` or an error of the SignalingError family. What passes is not forwarded:
`Offer.sdp` is rebuilt from the few facts we use, so no line of a stranger's ever reaches aiortc's parser (which blocks the
loop for 138 s on 20,000 candidates and raises four kinds of exception on malformed lines).

Taken from the offer: one audio section (Opus, PCMU, PCMA, G.722 and what accompanies them), at most one data channel section
in the same BUNDLE group, ICE credentials and UDP candidates, SHA-256 fingerprints, the DTLS role, two header extensions.
Any other section is refused as a whole: RFC 9725 §4.4.3 wants no partially successful answers.

RFC 8866 (SDP), 9429 (JSEP), 9143 (BUNDLE), 8839 (ICE in SDP), 8122 and 8842 (DTLS), 8841 (SCTP), 8285 (extensions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import NotAcceptable, SignalingError, TooLarge, Unprocessable
from gateway.media.codec import SPEECH, Codec, CodecName
from gateway.wire.sdp_lines import Candidate, bad_line, ice_credential, is_token, number_in, parse_candidate, read_lines

MAX_OFFER_BYTES = 32 * 1024
MAX_SECTIONS = 4
MAX_CANDIDATES = 32
"""Usable ones: browsers add a TCP twin to each, which nobody asks us to check."""
MAX_CODECS = 64
"""Payload types in all sections together."""
MAX_FINGERPRINTS = 4

AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"
DATA_FORMAT = "webrtc-datachannel"

# name and clock rate as SDP spells them -> ours, channels. Opus is always declared as 48000/2 (RFC 7587 §7).
_CODECS: Mapping[tuple[str, int], tuple[CodecName, str, int]] = {
    ("OPUS", 48_000): (CodecName.OPUS, "opus", 2),
    ("PCMU", 8_000): (CodecName.PCMU, "PCMU", 1),
    ("PCMA", 8_000): (CodecName.PCMA, "PCMA", 1),
    ("G722", 8_000): (CodecName.G722, "G722", 1),
    ("RED", 48_000): (CodecName.RED, "red", 2),
    ("CN", 8_000): (CodecName.CN, "CN", 1),
    ("TELEPHONE-EVENT", 8_000): (CodecName.TELEPHONE_EVENT, "telephone-event", 1),
    ("TELEPHONE-EVENT", 48_000): (CodecName.TELEPHONE_EVENT, "telephone-event", 1),
}
# RFC 3551 §6: these need no rtpmap, and mean nothing else.
_STATIC: Mapping[int, tuple[str, int]] = {0: ("PCMU", 8_000), 8: ("PCMA", 8_000), 9: ("G722", 8_000), 13: ("CN", 8_000)}

_DIRECTIONS = {"sendrecv": (True, True), "recvonly": (True, False), "sendonly": (False, True), "inactive": (False, False)}
_SETUPS = frozenset({"actpass", "active", "passive"})

_SECTION_LINE = re.compile(r"m=([a-z]+) ([0-9]{1,5})(?:/[0-9]+)? ([A-Z/]+) (.+)")
_SHA_256 = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}")
_RTPMAP = re.compile(r"([0-9]{1,3}) +([^/ ]+)/([0-9]{1,6})(?:/([0-9]{1,2}))?\s*")
_FMTP = re.compile(r"([0-9]{1,3}) +(.+)")
_EXTMAP = re.compile(r"([0-9]{1,5})(?:/[a-z]+)? +(\S+).*")
_OPUS_PARAMETER = re.compile(
    r"(minptime|maxptime|ptime|maxplaybackrate|sprop-maxcapturerate|maxaveragebitrate|stereo|sprop-stereo|cbr|useinbandfec|usedtx)"
    r"=([0-9]{1,6})"
)
_RED_PARAMETERS = re.compile(r"([0-9]{1,3})(?:/\1){1,8}")
_EVENT_RANGES = re.compile(r"[0-9]{1,3}(?:[-,][0-9]{1,3}){0,15}")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a peer proposes, checked and complete."""

    sdp: str = field(repr=False)
    """The offer in our own words: CRLF lines, only what this class also says, plus fingerprints and DTLS role. It never
    says end-of-candidates, or an ICE agent would give up before the peer's own checks make a candidate of it."""
    codecs: tuple[Codec, ...]
    """Of the audio section, in the peer's order of preference; only names we know; at least one carries speech."""
    audio_mid: str
    data_mid: str | None
    ice_ufrag: str
    ice_pwd: str = field(repr=False)
    candidates: tuple[Candidate, ...]
    trickle: bool
    """More candidates may come by PATCH."""
    end_of_candidates: bool
    audio_level_id: int | None
    """RTP header extension id of RFC 6464, 1–14."""
    can_hear: bool
    """The peer receives audio (sendrecv or recvonly)."""
    can_speak: bool
    """The peer sends audio (sendrecv or sendonly)."""


@dataclass(slots=True)
class _Section:
    """The session part or one m= section: attributes we know by name, each with its line number."""

    number: int = 0
    kind: str = "session"
    port: int = 0
    profile: str = ""
    formats: tuple[str, ...] = ()
    attributes: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def all(self, name: str) -> Sequence[tuple[int, str]]:
        return self.attributes.get(name, ())

    def one(self, name: str) -> tuple[int, str] | None:
        """The attribute that may stand only once. Two that disagree leave nothing to trust."""
        found = self.attributes.get(name)
        if not found:
            return None
        if any(value != found[0][1] for _, value in found):
            raise bad_line(found[-1][0], f"a second, different {name}")
        return found[0]


_KNOWN = frozenset(
    [
        *("bundle-only", "candidate", "end-of-candidates", "extmap", "fingerprint", "fmtp", "group", "ice-lite", "ice-options"),
        *("ice-pwd", "ice-ufrag", "max-message-size", "mid", "rtcp-mux", "rtcp-mux-only", "rtpmap", "sctp-port", "setup"),
    ]
)


def parse_offer(raw: bytes) -> Offer:
    """The offer in `raw`.

    Raises TooLarge (413) over a stated limit, NotAcceptable (406) without a common codec, Unprocessable (422) for sections we
    do not do, SignalingError (400) for everything else: unreadable (the text names the line), no audio, no SHA-256
    fingerprint, no rtcp-mux, no ICE credentials, no BUNDLE, no DTLS role.
    """
    session, sections = _sections(read_lines(raw, MAX_OFFER_BYTES))
    audio, data = _roles(sections)
    if sum(len(s.formats) for s in sections if s.kind != "application") > MAX_CODECS:
        raise TooLarge(f"more than {MAX_CODECS} codecs", code="too_many_codecs")

    mids = {id(section): _mid(section) for section in sections}
    group = _bundle(session, list(mids.values()))
    # The first section of the group gives the transport for all of it (RFC 9143 §7.2); the rest may leave it out.
    by_rank = sorted(sections, key=lambda s: group.index(mids[id(s)]))
    sources = [*by_rank, session]

    if not (audio.all("rtcp-mux") or audio.all("rtcp-mux-only")):
        raise SignalingError("the audio section has no rtcp-mux", code="no_rtcp_mux")
    ufrag, pwd = _credentials(sources)
    fingerprints = _fingerprints(sources)
    setup = _setup(sources)
    can_hear, can_speak = _direction(audio, session)
    codecs = _codecs(audio)
    candidates = _candidates(by_rank)
    extensions = _extensions([*audio.all("extmap"), *session.all("extmap")])
    trickle = any("trickle" in value.split() for s in sources for _, value in s.all("ice-options"))

    transport = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}"]
    if trickle:
        transport.append("a=ice-options:trickle")
    transport += [f"a=fingerprint:sha-256 {value}" for value in fingerprints]
    transport.append(f"a=setup:{setup}")

    lines = ["v=0", "o=- 0 0 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(group)}"]
    if session.all("ice-lite"):
        lines.append("a=ice-lite")
    for section in sections:
        if section is audio:
            lines += _audio_lines(codecs, extensions, can_hear, can_speak)
        else:
            lines += _data_lines(section)
        lines.append(f"a=mid:{mids[id(section)]}")
        lines += transport
        if section is by_rank[0]:
            lines += [f"a=candidate:{candidate.sdp}" for candidate in candidates]
    return Offer(
        sdp="\r\n".join(lines) + "\r\n",
        codecs=codecs,
        audio_mid=mids[id(audio)],
        data_mid=None if data is None else mids[id(data)],
        ice_ufrag=ufrag,
        ice_pwd=pwd,
        candidates=candidates,
        trickle=trickle,
        end_of_candidates=any(s.all("end-of-candidates") for s in sources),
        audio_level_id=extensions.get(AUDIO_LEVEL),
        can_hear=can_hear,
        can_speak=can_speak,
    )


# --- the parts of an offer ---


def _sections(lines: Sequence[tuple[int, str]]) -> tuple[_Section, list[_Section]]:
    if not lines or lines[0][1] != "v=0":
        raise bad_line(lines[0][0] if lines else 1, "an offer begins with v=0")
    session = current = _Section()
    sections: list[_Section] = []
    for number, line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name in _KNOWN:
                current.attributes.setdefault(name, []).append((number, value.strip()))
            elif name in _DIRECTIONS:
                current.attributes.setdefault("direction", []).append((number, name))
        elif line.startswith("m="):
            if len(sections) == MAX_SECTIONS:
                raise TooLarge(f"line {number}: more than {MAX_SECTIONS} media sections", code="too_many_sections")
            match = _SECTION_LINE.fullmatch(line)
            port = None if match is None else number_in(match[2], 65_535)
            formats = () if match is None else tuple(match[4].split())
            if match is None or port is None or not formats:
                raise bad_line(number, "not a media section: m=<media> <port> <protocol> <format> …")
            current = _Section(number, match[1], port, match[3], formats)
            sections.append(current)
    return session, sections


def _roles(sections: Sequence[_Section]) -> tuple[_Section, _Section | None]:
    # Port 0 is a section the peer itself has given up, unless it only waits for its bundle (RFC 9143 §6).
    if not any(s.kind == "audio" and (s.port or s.all("bundle-only")) for s in sections):
        raise SignalingError("the offer has no audio", code="no_audio")
    audio = data = None
    for section in sections:
        live = section.port or section.all("bundle-only")
        if section.kind == "audio" and live and audio is None:
            audio = section
        elif section.kind == "application" and live and data is None and section.profile.endswith("DTLS/SCTP"):
            data = section
        else:
            raise Unprocessable(
                f"line {section.number}: one audio section and one data channel is all this server takes",
                code="unsupported_section",
            )
    assert audio is not None, "any() above found it"
    if not audio.profile.endswith(("RTP/SAVPF", "RTP/SAVP")):
        raise bad_line(audio.number, "audio is not offered over DTLS-SRTP")
    return audio, data


def _mid(section: _Section) -> str:
    found = section.one("mid")
    if found is None:
        raise bad_line(section.number, "a section without mid")
    if not is_token(found[1]):
        raise bad_line(found[0], "mid is no token of at most 64 characters")
    return found[1]


def _bundle(session: _Section, mids: list[str]) -> list[str]:
    if len(set(mids)) != len(mids):
        raise SignalingError("two sections have the same mid", code="bad_sdp")
    groups = [value.split()[1:] for _, value in session.all("group") if value.split()[:1] == ["BUNDLE"]]
    if not groups and len(mids) == 1:
        return mids
    if not groups or sorted(groups[0]) != sorted(mids):
        raise SignalingError("the sections are not in one BUNDLE group (RFC 9725 §4.4.1)", code="no_bundle")
    return groups[0]


def _credentials(sources: Iterable[_Section]) -> tuple[str, str]:
    for source in sources:
        ufrag, pwd = source.one("ice-ufrag"), source.one("ice-pwd")
        if ufrag is not None and pwd is not None:
            return ice_credential(ufrag[0], "ice-ufrag", ufrag[1]), ice_credential(pwd[0], "ice-pwd", pwd[1])
    raise SignalingError("no ice-ufrag and ice-pwd", code="no_ice_credentials")


def _fingerprints(sources: Iterable[_Section]) -> list[str]:
    for source in sources:
        found: list[str] = []
        for number, value in source.all("fingerprint"):
            algorithm, _, digest = value.partition(" ")
            if algorithm.lower() != "sha-256":
                continue
            if _SHA_256.fullmatch(digest.strip()) is None:
                raise bad_line(number, "not a SHA-256 fingerprint")
            if digest.strip().upper() not in found:
                found.append(digest.strip().upper())
        if len(found) > MAX_FINGERPRINTS:
            raise TooLarge(f"more than {MAX_FINGERPRINTS} fingerprints", code="too_many_fingerprints")
        if found:
            return found
    raise SignalingError("no SHA-256 fingerprint", code="no_fingerprint")


def _setup(sources: Iterable[_Section]) -> str:
    for source in sources:
        found = source.one("setup")
        if found is not None:
            if found[1] not in _SETUPS:
                raise bad_line(found[0], "setup is none of actpass, active, passive")
            return found[1]
    raise SignalingError("no DTLS setup attribute", code="no_setup")


def _direction(audio: _Section, session: _Section) -> tuple[bool, bool]:
    found = audio.one("direction") or session.one("direction")
    hears_speaks = _DIRECTIONS["sendrecv" if found is None else found[1]]
    if not any(hears_speaks):
        raise SignalingError("the audio is inactive (RFC 9725 §4.2)", code="no_audio")
    return hears_speaks


def _codecs(audio: _Section) -> tuple[Codec, ...]:
    offered: dict[int, tuple[str, int]] = {}
    for text in audio.formats:
        payload_type = number_in(text, 127)
        # 64–95 would be taken for RTCP on a shared port (RFC 5761 §4).
        if payload_type is None or payload_type in offered or 64 <= payload_type <= 95:
            raise bad_line(audio.number, "payload types must be different numbers, 0–63 or 96–127")
        offered[payload_type] = _STATIC.get(payload_type, ("", 0))
    for number, value in audio.all("rtpmap"):
        match = _RTPMAP.fullmatch(value)
        if match is None:
            raise bad_line(number, "not an rtpmap: <payload type> <name>/<clock rate>")
        payload_type, name = int(match[1]), match[2].upper()
        channels = int(match[4] or 1)
        known = _CODECS.get((name, int(match[3])))
        fits = known is not None and (channels == known[2] or name == "RED")
        # Below 35 the number itself names the codec (RFC 3551): a map that says otherwise is not believed.
        if payload_type in offered and payload_type >= 35:
            offered[payload_type] = (name, int(match[3])) if fits else ("", 0)
    parameters = {}
    for number, value in audio.all("fmtp"):
        match = _FMTP.fullmatch(value)
        if match is None:
            raise bad_line(number, "not an fmtp: <payload type> <parameters>")
        parameters[int(match[1])] = match[2]
    codecs = []
    for payload_type, key in offered.items():
        if key in _CODECS:
            name, _, channels = _CODECS[key]
            codecs.append(Codec(name, payload_type, key[1], channels, _fmtp(name, parameters.get(payload_type, ""))))
    if not any(codec.name in SPEECH for codec in codecs):
        raise NotAcceptable("no common codec: offer Opus, PCMU, PCMA or G722")
    return tuple(codecs)


def _fmtp(name: CodecName, text: str) -> str:
    """The parameters we understand, spelt our way; what we don't is left out."""
    text = text.replace(" ", "")
    match name:
        case CodecName.OPUS:
            found: dict[str, str] = {}
            for part in text.split(";"):
                parameter = _OPUS_PARAMETER.fullmatch(part)
                if parameter is not None:
                    found.setdefault(parameter[1], parameter[2])
            return ";".join(f"{key}={value}" for key, value in found.items())
        case CodecName.RED:
            return text if _RED_PARAMETERS.fullmatch(text) else ""
        case CodecName.TELEPHONE_EVENT:
            return text if _EVENT_RANGES.fullmatch(text) else ""
    return ""


def _candidates(sections: Sequence[_Section]) -> tuple[Candidate, ...]:
    """Of the first section that has any: the others' belong to sockets that the bundle leaves unused."""
    for section in sections:
        usable: dict[tuple[str, int], Candidate] = {}
        for number, value in section.all("candidate"):
            candidate = parse_candidate(number, value)
            if candidate is not None:
                usable.setdefault((candidate.ip, candidate.port), candidate)
                if len(usable) > MAX_CANDIDATES:
                    raise TooLarge(f"line {number}: more than {MAX_CANDIDATES} candidates", code="too_many_candidates")
        if usable:
            return tuple(usable.values())
    return ()


def _extensions(maps: Iterable[tuple[int, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, value in maps:
        match = _EXTMAP.fullmatch(value)
        if match is None:
            raise bad_line(number, "not an extmap: <id> <URI>")
        # 15 ends a one-byte header and higher ids need the two-byte form (RFC 8285 §4.2), which we do not offer.
        if match[2] in (AUDIO_LEVEL, MID_EXTENSION) and 1 <= int(match[1]) <= 14 and int(match[1]) not in found.values():
            found.setdefault(match[2], int(match[1]))
    return found


def _audio_lines(codecs: Sequence[Codec], extensions: Mapping[str, int], can_hear: bool, can_speak: bool) -> list[str]:
    direction = next(name for name, ways in _DIRECTIONS.items() if ways == (can_hear, can_speak))
    payload_types = " ".join(str(codec.payload_type) for codec in codecs)
    lines = [f"m=audio 9 UDP/TLS/RTP/SAVPF {payload_types}", "c=IN IP4 0.0.0.0", f"a={direction}", "a=rtcp-mux"]
    lines += [f"a=extmap:{number} {uri}" for uri, number in extensions.items()]
    for codec in codecs:
        spelling = _CODECS[codec.name, codec.clock_rate][1]
        channels = "/2" if codec.channels == 2 else ""
        lines.append(f"a=rtpmap:{codec.payload_type} {spelling}/{codec.clock_rate}{channels}")
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    return lines


def _data_lines(section: _Section) -> list[str]:
    limit = section.one("max-message-size")
    size = 65_536 if limit is None else number_in(limit[1], 2**32 - 1)  # RFC 8841 §6.1: the default
    if size is None:
        raise bad_line(limit[0] if limit else section.number, "max-message-size is no number in range")
    if section.profile == "DTLS/SCTP":  # the form before RFC 8841, still spoken by older stacks
        port = number_in(section.formats[0], 65_535)
        if not port:
            raise bad_line(section.number, "no SCTP port")
        head = [f"m=application 9 DTLS/SCTP {port}", "c=IN IP4 0.0.0.0", f"a=sctpmap:{port} {DATA_FORMAT} 65535"]
    else:
        if section.formats != (DATA_FORMAT,):
            raise bad_line(section.number, f"the only data format is {DATA_FORMAT}")
        found = section.one("sctp-port")
        port = 5000 if found is None else number_in(found[1], 65_535)
        if not port:
            raise bad_line(found[0] if found else section.number, "sctp-port is no port")
        head = [f"m=application 9 UDP/DTLS/SCTP {DATA_FORMAT}", "c=IN IP4 0.0.0.0", f"a=sctp-port:{port}"]
    return [*head, f"a=max-message-size:{size}"]
