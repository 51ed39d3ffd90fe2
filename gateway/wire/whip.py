"""WHIP as values: trickle fragments (RFC 8840), entity tags, `Link: rel="ice-server"` (RFC 9725 §4.6), problems (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from gateway.errors import PreconditionFailed, PreconditionRequired, TooLarge, Unprocessable
from gateway.wire.sdp import MAX_CANDIDATES, MAX_SECTIONS
from gateway.wire.sdp_lines import Candidate, bad_line, ice_credential, is_token, parse_candidate, read_lines

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
PROBLEM_TYPE = "application/problem+json"

MAX_FRAGMENT_BYTES = 16 * 1024

_ENTITY_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*(?:,|$)')
_SECTION_LINE = re.compile(r"m=[a-z]+ [0-9]{1,5} \S+( \S+)+ *")


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a `PATCH` brings: candidates that were not known when the offer was made."""

    ice_ufrag: str | None
    ice_pwd: str | None = field(repr=False)
    candidates: Mapping[str, tuple[Candidate, ...]]
    """By mid; the mid is empty where the fragment does not name one."""
    end_of_candidates: bool

    @property
    def all(self) -> tuple[Candidate, ...]:
        """Every different candidate: with BUNDLE all sections share one transport."""
        return tuple(dict.fromkeys(candidate for group in self.candidates.values() for candidate in group))


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server for the client to use."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem. `code` is our own stable short name, an extension member; the rest is for people."""

    status: int
    code: str
    detail: str

    def as_json(self) -> dict[str, str | int]:
        """The members of the problem object. `about:blank`: the status code says what kind it is (RFC 9457 §4.2.1)."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }


def parse_fragment(raw: bytes) -> Fragment:
    """The fragment in `raw`.

    Attributes we do not know are passed over (RFC 8840 §9.1), and so are candidates we cannot use (RFC 9725 §4.3.2). Raises
    TooLarge (413) over a limit, SignalingError (400) naming the line for what does not parse.
    """
    credentials: dict[str, str] = {}
    found: dict[str, list[Candidate]] = {}
    usable: set[Candidate] = set()
    mid, sections, end = "", 0, False
    for number, line in read_lines(raw, MAX_FRAGMENT_BYTES):
        if line.startswith("m="):
            if _SECTION_LINE.fullmatch(line) is None:
                raise bad_line(number, "not a media section")
            sections += 1
            if sections > MAX_SECTIONS:
                raise TooLarge(f"line {number}: more than {MAX_SECTIONS} media sections", code="too_many_sections")
            mid = ""
            continue
        if not line.startswith("a="):
            raise bad_line(number, "a fragment has only a= and m= lines (RFC 8840 §9.2)")
        name, _, value = line[2:].partition(":")
        value = value.strip()
        match name:
            case "mid":
                if not is_token(value):
                    raise bad_line(number, "mid is no token of at most 64 characters")
                mid = value
            case "ice-ufrag" | "ice-pwd":
                if credentials.setdefault(name, ice_credential(number, name, value)) != value:
                    raise bad_line(number, f"a second, different {name}")
            case "candidate":
                candidate = parse_candidate(number, value)
                if candidate is not None:
                    usable.add(candidate)
                    if len(usable) > MAX_CANDIDATES:
                        raise TooLarge(f"line {number}: more than {MAX_CANDIDATES} candidates", code="too_many_candidates")
                    found.setdefault(mid, []).append(candidate)
            case "end-of-candidates":
                end = True
    return Fragment(
        ice_ufrag=credentials.get("ice-ufrag"),
        ice_pwd=credentials.get("ice-pwd"),
        candidates={mid: tuple(group) for mid, group in found.items()},
        end_of_candidates=end,
    )


def check_if_match(if_match: str | None, etag: str) -> None:
    """Whether a trickle `PATCH` means the ICE session that `etag` (unquoted) names.

    Raises PreconditionRequired (428) without `If-Match`, PreconditionFailed (412) when no strong tag in it is ours, and
    Unprocessable (422) for `*`, which asks for an ICE restart (RFC 9725 §4.3.3).
    """
    if if_match is None:
        raise PreconditionRequired("If-Match with the call's ETag is required")
    if if_match.strip() in ("*", '"*"'):  # RFC 9725's own example quotes the star
        raise Unprocessable("ICE restart is not supported: make a new call", code="ice_restart_unsupported")
    position, matched = 0, False
    while position < len(if_match):
        tag = _ENTITY_TAG.match(if_match, position)
        if tag is None:
            raise PreconditionFailed("If-Match is no list of entity tags")
        matched = matched or (tag[1] is None and tag[2] == etag)
        position = tag.end()
    if not matched:
        raise PreconditionFailed("If-Match names another ICE session than this call's")


def ice_server_links(servers: Sequence[IceServer]) -> list[str]:
    """One `Link` header value per server URL. URLs and credentials are printable ASCII: the configuration saw to it."""
    links = []
    for server in servers:
        for url in server.urls:
            link = f'<{url}>; rel="ice-server"'
            if server.username or server.credential:
                link += f"; username={_quoted(server.username)}; credential={_quoted(server.credential)}"
                link += '; credential-type="password"'
            links.append(link)
    return links


def _quoted(text: str) -> str:
    """A quoted-string of RFC 9110 §5.6.4."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
