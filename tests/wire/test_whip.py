"""WHIP's small grammars: fragments, entity tags, links, problems."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PreconditionFailed, PreconditionRequired, SignalingError, TooLarge, Unprocessable
from gateway.wire.sdp import MAX_CANDIDATES
from gateway.wire.whip import (
    MAX_FRAGMENT_BYTES,
    Fragment,
    IceServer,
    Problem,
    check_if_match,
    ice_server_links,
    parse_fragment,
)

# RFC 9725 §4.3.2
EXAMPLE = b"""a=group:BUNDLE 0
m=audio 9 RTP/AVP 0
a=mid:0
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1
a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host generation 0 ufrag EsAw network-id 2
a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw network-id 1
a=candidate:2154773085 1 tcp 1518214911 198.51.100.2 9 typ host tcptype active generation 0 ufrag EsAw network-id 2
a=end-of-candidates
""".replace(b"\n", b"\r\n")


def test_the_example_of_the_rfc() -> None:
    fragment = parse_fragment(EXAMPLE)
    assert (fragment.ice_ufrag, fragment.ice_pwd) == ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    assert [(c.ip, c.port) for c in fragment.candidates["0"]] == [("192.0.2.1", 61764), ("198.51.100.2", 61765)]
    assert fragment.end_of_candidates
    assert "P2uYro0" not in repr(fragment)


def test_sections_share_one_transport() -> None:
    line = b"a=candidate:1 1 udp 1 192.0.2.1 5 typ host\n"
    fragment = parse_fragment(b"m=audio 9 X 0\na=mid:a\n" + line + b"m=application 9 X y\na=mid:b\n" + line)
    assert set(fragment.candidates) == {"a", "b"}
    assert len(fragment.all) == 1


def test_end_of_candidates_alone() -> None:
    fragment = parse_fragment(b"a=ice-ufrag:abcd\na=end-of-candidates\n")
    assert fragment == Fragment("abcd", None, {}, True)


def test_candidates_of_no_section_are_taken() -> None:
    assert len(parse_fragment(b"a=candidate:1 1 udp 1 192.0.2.1 5 typ host\n").all) == 1


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"a=x\nhello\n", 2),
        (b"v=0\n", 1),
        (b"a=x\nm=audio\n", 2),
        (b"a=mid:a b\n", 1),
        (b"a=ice-ufrag:x\n", 1),
        (b"a=ice-ufrag:abcd\na=ice-ufrag:abce\n", 2),
        (b"a=candidate:1 1 udp x 192.0.2.1 5 typ host\n", 1),
        (b"a=\xff\n", 1),
    ],
)
def test_what_does_not_parse_is_told_the_line(raw: bytes, line: int) -> None:
    with pytest.raises(SignalingError, match=rf"line {line}\b") as caught:
        parse_fragment(raw)
    assert caught.value.status == 400


def test_limits() -> None:
    lines = [b"a=candidate:1 1 udp 1 10.0.0.%d 5 typ host\n" % n for n in range(1, MAX_CANDIDATES + 2)]
    assert len(parse_fragment(b"".join(lines[:-1]) * 2).all) == MAX_CANDIDATES, "repeats do not count"
    with pytest.raises(TooLarge, match="candidates"):
        parse_fragment(b"".join(lines))
    with pytest.raises(TooLarge, match="sections"):
        parse_fragment(b"m=audio 9 X 0\n" * 5)
    with pytest.raises(TooLarge, match="bytes"):
        parse_fragment(b"a=x\n" * (MAX_FRAGMENT_BYTES // 4 + 1))


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([*EXAMPLE.split(b"\r\n"), b"m=", b"a=mid", b"a=candidate", b"a=ice-pwd:"]), max_size=20).map(
        b"\n".join
    )
)
def test_any_bytes_give_a_fragment_or_our_error(raw: bytes) -> None:
    try:
        fragment = parse_fragment(raw)
    except SignalingError:
        return
    assert len(fragment.all) <= MAX_CANDIDATES


# --- If-Match ---


@pytest.mark.parametrize("header", ['"abc"', ' "abc" ', '"x", "abc"', '"x","abc","y"'])
def test_our_tag_matches(header: str) -> None:
    check_if_match(header, "abc")


@pytest.mark.parametrize("header", ['"abd"', 'W/"abc"', "abc", '"abc', "", ",", '"abc" "x"', "\x00"])
def test_another_tag_does_not(header: str) -> None:
    with pytest.raises(PreconditionFailed):
        check_if_match(header, "abc")


def test_no_tag_at_all() -> None:
    with pytest.raises(PreconditionRequired):
        check_if_match(None, "abc")


@pytest.mark.parametrize("header", ["*", '"*"', " * "])
def test_a_star_asks_for_a_restart(header: str) -> None:
    with pytest.raises(Unprocessable):
        check_if_match(header, "abc")


@given(st.text(max_size=60))
def test_any_header_matches_or_fails(header: str) -> None:
    try:
        check_if_match(header, "abc")
    except (PreconditionFailed, Unprocessable):
        return
    assert '"abc"' in header


# --- Link, problem ---


def test_links() -> None:
    servers = [
        IceServer(("stun:stun.example.net",)),
        IceServer(("turn:turn.example.net?transport=udp", "turns:turn.example.net"), "user", 'pass"word\\'),
    ]
    assert ice_server_links(servers) == [
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; credential="pass\\"word\\\\";'
        ' credential-type="password"',
        '<turns:turn.example.net>; rel="ice-server"; username="user"; credential="pass\\"word\\\\"; credential-type="password"',
    ]
    assert "word" not in repr(servers)


def test_a_problem() -> None:
    problem = json.loads(json.dumps(Problem(406, "no_common_codec", "offer Opus").as_json()))
    assert problem == {
        "type": "about:blank",
        "title": "Not Acceptable",
        "status": 406,
        "detail": "offer Opus",
        "code": "no_common_codec",
    }
