"""A caller's SDP offer, as Chrome writes it for one audio line, and what matters of the answer (RFC 8829, RFC 9429)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import SignalingError

OPUS = 111
AUDIO_LEVEL = 1
"""Id of the RFC 6464 header extension in our offers."""


def build_offer(*, ufrag: str, password: str, fingerprint: str, host: str, port: int, ssrc: int) -> str:
    """An offer with one host candidate and the end of candidates, actpass, Opus first and the static codecs after it."""
    version = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0",
        f"o=- {ssrc} 2 IN {version} {host}",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS load",
        f"m=audio {port} UDP/TLS/RTP/SAVPF {OPUS} 9 0 8",
        f"c=IN {version} {host}",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=candidate:1 1 udp 2122260223 {host} {port} typ host generation 0",
        "a=end-of-candidates",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{password}",
        f"a=fingerprint:sha-256 {fingerprint}",
        "a=setup:actpass",
        "a=mid:0",
        f"a=extmap:{AUDIO_LEVEL} urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=sendrecv",
        "a=msid:load audio",
        "a=rtcp-mux",
        f"a=rtpmap:{OPUS} opus/48000/2",
        f"a=fmtp:{OPUS} minptime=10;useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        f"a=ssrc:{ssrc} cname:load",
        f"a=ssrc:{ssrc} msid:load audio",
    ]
    return "\r\n".join(lines) + "\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller needs of an answer."""

    ufrag: str
    password: str
    fingerprint: str
    client: bool
    """We are the DTLS client: the answer says passive."""
    candidates: tuple[tuple[str, int], ...]
    """UDP candidates of component 1, best first."""
    opus: int
    """Payload type."""
    audio_level: bool


def parse_answer(text: str) -> Answer:
    """Raises SignalingError when the answer lacks what a call needs."""
    values: dict[str, str] = {}
    candidates: list[tuple[int, str, int]] = []
    opus: int | None = None
    audio_level = False
    for line in text.splitlines():
        if not line.startswith("a="):
            continue
        name, _, value = line[2:].partition(":")
        if name == "candidate":
            candidates += _candidate(value.split())
        elif name == "rtpmap" and value.lower().endswith(" opus/48000/2"):
            opus = int(value.split()[0]) if value.split()[0].isdigit() else None
        elif name == "extmap" and value.split()[1:2] == ["urn:ietf:params:rtp-hdrext:ssrc-audio-level"]:
            audio_level = True
        else:
            values.setdefault(name, value)
    kind, _, digest = values.get("fingerprint", "").partition(" ")
    missing = [name for name in ("ice-ufrag", "ice-pwd", "setup") if name not in values]
    if kind.lower() != "sha-256":
        missing.append("sha-256 fingerprint")
    if not candidates:
        missing.append("UDP candidate")
    if opus is None or missing:
        raise SignalingError(f"the answer has no {', '.join(missing) or 'Opus'}")
    ordered = tuple((host, port) for _, host, port in sorted(candidates, key=lambda c: -c[0]))
    setup = values["setup"].strip()
    return Answer(values["ice-ufrag"], values["ice-pwd"], digest.strip(), setup == "passive", ordered, opus, audio_level)


def _candidate(words: list[str]) -> list[tuple[int, str, int]]:
    # foundation component transport priority address port "typ" type …
    if len(words) < 8 or words[1] != "1" or words[2].lower() != "udp" or not (words[3].isdigit() and words[5].isdigit()):
        return []
    return [(int(words[3]), words[4], int(words[5]))]
