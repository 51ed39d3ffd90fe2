"""Where strangers' bytes come in, one door each: how an input is made, and what must hold of it.

`make` draws an input, `knock` puts it through the door and raises only when something is wrong: an exception that is no
answer, or a promise that was not kept. What is allowed (`SignalingError`, `PacketError`, `ConfigError` …) is caught at each door.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gateway.access import ApiKey, find_key
from gateway.config.load import load
from gateway.dialog import arguments
from gateway.dialog.context import fill, names
from gateway.errors import ConfigError, NotAcceptable, PacketError, SignalingError
from gateway.legs.webrtc.answer import NearEnd, choose, far_end, write_answer
from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.udp_mux import LocalCandidate, _username, parse_stun
from gateway.media.audio import MODEL_INPUT_RATE, AudioFrame
from gateway.media.codec import Codec, CodecName
from gateway.media.dtmf import TelephoneEvents
from gateway.media.red import parse_red
from gateway.wire.gemini import parse as parse_model
from gateway.wire.gemini_moves import Leave
from gateway.wire.rtp import parse_rtcp, parse_rtp
from gateway.wire.rtvi import RtviSession
from gateway.wire.rtvi import parse as parse_rtvi
from gateway.wire.sdp import parse_offer
from gateway.wire.whip import check_if_match, parse_fragment
from tests.fuzz.mutate import (
    WORDS,
    any_json,
    dump,
    join,
    mutate_bytes,
    mutate_document,
    mutate_json,
    mutate_lines,
    mutate_sequence,
    split,
)
from tests.wire.play import Play

HERE = Path(__file__).parent
OFFERS = HERE.parent / "wire" / "offers"


class Door(NamedTuple):
    """One way in. `make` is a pure function of the generator: the same seed gives the same input."""

    name: str
    make: Callable[[random.Random], bytes]
    knock: Callable[[bytes], None]


@cache
def seeds(name: str) -> Sequence[bytes]:
    """What was captured of real traffic (tests/fuzz/capture.py)."""
    return [bytes.fromhex(text) for text in json.loads((HERE / "seeds.json").read_text())[name]]


CODECS = {
    "chrome": "chrome",
    "opus": "opus+telephone-event",
    "pcmu": "PCMU+telephone-event+CN",
    "g722": "G722+telephone-event",
}
"""Of `Receiver` runs: the short name in an input, and the captured call."""


def mutant(of: Callable[[random.Random, bytes], bytes], *names: str) -> Callable[[random.Random], bytes]:
    """Mutants of captured packets; one in ten is noise."""

    def make(draw: random.Random) -> bytes:
        if draw.random() < 0.1:
            return draw.randbytes(draw.randrange(80))
        return of(draw, draw.choice([piece for name in names for piece in seeds(name)]))

    return make


# --- media ---


def rtp(data: bytes) -> None:
    """A packet, or PacketError."""
    try:
        packet = parse_rtp(data)
    except PacketError:
        return
    assert len(packet.payload) <= len(data)
    for extension in range(16):
        packet.element(extension)
        packet.audio_level(extension)


def rtcp(data: bytes) -> None:
    """Packets, or PacketError."""
    try:
        packets = parse_rtcp(data)
    except PacketError:
        return
    assert len(packets) <= len(data) // 4


def red(data: bytes) -> None:
    """Blocks that together are no longer than the payload, or PacketError."""
    try:
        blocks = parse_red(data, 123_456)
    except PacketError:
        return
    assert blocks
    assert sum(len(block.payload) for block in blocks) <= len(data)


def _red_payload(draw: random.Random) -> bytes:
    return mutate_bytes(draw, draw.choice(seeds("chrome"))[12:])


def dtmf(data: bytes) -> None:
    """Keys with a length that a finger could have, or PacketError."""
    events = TelephoneEvents(8_000)
    for number, piece in enumerate(split(data)):
        try:
            digit = events.push(piece[1:], number // 3 * 160, bool(piece[:1] == b"\x80"))
        except PacketError:
            continue
        if digit is not None:
            assert digit.digit in "0123456789*#ABCD"
            assert 0 <= digit.seconds < 60 * 60
    events.finish()


def _keys(draw: random.Random) -> bytes:
    presses = [bytes((draw.choice((0, 0x80)), draw.randrange(17), draw.choice((10, 0x8A)), 1, 64)) for _ in range(9)]
    return join(mutate_sequence(draw, presses))


def _agreed(name: str) -> list[Codec]:
    speech = {
        "chrome": [Codec(CodecName.RED, 63, 48_000, 2, "111/111"), Codec(CodecName.OPUS, 111, 48_000, 2)],
        "opus": [Codec(CodecName.OPUS, 111, 48_000, 2)],
        "pcmu": [Codec(CodecName.PCMU, 0, 8_000), Codec(CodecName.CN, 13, 8_000)],
        "g722": [Codec(CodecName.G722, 9, 8_000)],
    }[name]
    return [*speech, Codec(CodecName.TELEPHONE_EVENT, 110, 48_000), Codec(CodecName.TELEPHONE_EVENT, 126, 8_000)]


def receiver(data: bytes) -> None:
    """A run of packets, 20 ms apart: whatever they hold, whole samples at 16 kHz come out, hardly more than time has passed."""
    name, *packets = split(data)
    heard = Receiver(_agreed(name.decode("ascii", "replace") if name.decode("ascii", "replace") in CODECS else "chrome"))
    now, seconds = 100.0, 0.0
    for packet in packets:
        for value in (*heard.poll(now), *heard.receive(packet, now)):
            if isinstance(value, AudioFrame):
                assert value.rate == MODEL_INPUT_RATE
                assert len(value.pcm) % 2 == 0
                seconds += value.seconds
        now += 0.02
    assert seconds <= 2.0 * (now - 100.0) + 10.0, f"{seconds:.1f} s of audio in {now - 100:.1f} s"
    # A codec change makes a new resampler, which holds back 2 ms.
    assert abs(seconds - heard.expected_seconds) < 0.05, f"{seconds} s came out, {heard.expected_seconds} s are counted"
    assert min(heard.late, heard.reordered, heard.duplicate, heard.malformed, heard.unnegotiated, heard.packets) >= 0


def _run(draw: random.Random) -> bytes:
    name = draw.choice(list(CODECS))
    return join([name.encode(), *mutate_sequence(draw, seeds(CODECS[name]))])


def stun(data: bytes) -> None:
    """A message or None; a user name of printable length."""
    parse_stun(data)
    assert len(_username(data)) <= len(data)


# --- signaling ---


def offer(data: bytes) -> None:
    """SignalingError, or an offer that we can answer."""
    try:
        parsed = parse_offer(data)
        codecs = choose(parsed.codecs)
    except SignalingError:
        return
    near = NearEnd("ufrag", "password" * 3, "AB:CD", (LocalCandidate("127.0.0.1", 7882),), 1, "cname", 1)
    try:
        answer = write_answer(parsed, far_end(parsed), near, codecs)
    except NotAcceptable:
        return
    assert answer.startswith("v=0\r\n")
    assert all("\r" not in line and "\n" not in line for line in answer.split("\r\n"))
    assert len(answer) < 32 * 1024


@cache
def _offers() -> Sequence[bytes]:
    return [*(path.read_bytes() for path in sorted(OFFERS.glob("*.sdp"))), *seeds("offer")]


def _offer(draw: random.Random) -> bytes:
    data = draw.choice(_offers())
    if draw.random() < 0.1:  # the first half of one, the second of another
        other = draw.choice(_offers()).split(b"\r\n")
        lines = data.split(b"\r\n")
        data = b"\r\n".join(lines[: draw.randrange(len(lines))] + other[draw.randrange(len(other)) :])
    return mutate_bytes(draw, data) if draw.random() < 0.2 else mutate_lines(draw, data)


FRAGMENT = (
    b"a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    b"a=candidate:1 1 udp 2122262783 198.51.100.7 50000 typ host\r\n"
    b"a=candidate:2 1 udp 1686052607 2001:db8::7 50000 typ srflx raddr :: rport 9\r\na=end-of-candidates\r\n"
)


def fragment(data: bytes) -> None:
    """Candidates, or SignalingError."""
    try:
        assert len(parse_fragment(data).all) <= 32
    except SignalingError:
        return


def headers(data: bytes) -> None:
    """`If-Match` and `Authorization` as the HTTP server hands them over: bytes that are no UTF-8 come as lone surrogates."""
    text = data.decode("utf-8", "surrogateescape")
    for look in (lambda: check_if_match(text, "ice-1"), lambda: find_key([ApiKey("a", "s3cret")], text)):
        try:
            look()
        except SignalingError:
            continue


def _header(draw: random.Random) -> bytes:
    good = draw.choice((b'"ice-1"', b'W/"x", "ice-1"', b"*", b"Bearer s3cret", b"bearer  s3cret ", b'"a","b" , "c"'))
    return mutate_bytes(draw, good) if draw.random() < 0.8 else good + draw.choice(WORDS).encode("utf-8", "surrogatepass")


def rtvi(data: bytes) -> None:
    """A run of messages of a client: values or PacketError, and replies that are JSON."""
    session = RtviSession(lambda: "2026-01-01T00:00:00.000Z")
    for piece in split(data):
        for raw in (piece, piece.decode("utf-8", "replace")):
            try:
                message = parse_rtvi(raw)
            except PacketError:
                continue
            if message is not None:
                for reply in session.heard(message):
                    json.loads(reply)


RTVI = [
    {"id": "1", "label": "rtvi-ai", "type": "client-ready", "data": {"version": "1.0.0", "about": {"library": "x"}}},
    {"id": "2", "label": "rtvi-ai", "type": "send-text", "data": {"content": "hello", "options": {"run_immediately": True}}},
    {"id": "3", "label": "rtvi-ai", "type": "client-message", "data": {"t": "talk", "d": {"talking": True}}},
    {"id": "4", "label": "rtvi-ai", "type": "talk", "data": {"talking": True}},
    {"id": "5", "label": "rtvi-ai", "type": "disconnect-bot"},
    {
        "id": "6",
        "label": "rtvi-ai",
        "type": "llm-function-call-result",
        "data": {"function_name": "f", "tool_call_id": "c1", "arguments": {}, "result": {"a": [1, 2.5, None]}},
    },
    {"type": "signalling", "message": {"type": "trackStatus"}},
]


def _rtvi(draw: random.Random) -> bytes:
    return join([mutate_document(draw, dump(draw.choice(RTVI))) for _ in range(draw.randrange(1, 6))])


def context(data: bytes) -> None:
    """What a caller says of itself in the query ends on one quoted line of the model's instructions."""
    text = data.decode("utf-8", "surrogateescape")
    template = "Name: {name}"
    assert names(template) == ("name",)
    told = fill(template, {"name": text})
    assert "\n" not in told.split("Name: ", 1)[1]
    told.encode()


# --- the model's side ---

MODEL = [
    {"serverContent": {"interrupted": True}},
    {"serverContent": {"outputTranscription": {"text": "It rains."}}},
    {
        "serverContent": {
            "inputTranscription": {"text": "Weather?"},
            "turnComplete": True,
            "turnCompleteReason": "NEED_MORE_INPUT",
        }
    },
    {"serverContent": {"groundingMetadata": {"webSearchQueries": ["x"]}, "waitingForInput": True}},
    {"toolCall": {"functionCalls": [{"id": "c1", "name": "weather", "args": {"city": "Ulm", "days": 3.0}}]}},
    {"toolCallCancellation": {"ids": ["c1"]}},
    {"goAway": {"timeLeft": "50.5s"}},
    {"sessionResumptionUpdate": {"newHandle": "abc", "resumable": True, "lastConsumedClientMessageIndex": "7"}},
    {
        "usageMetadata": {
            "promptTokenCount": 10,
            "responseTokenCount": 5,
            "totalTokenCount": 15,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
            "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        }
    },
    {"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}},
    {"setupComplete": {"sessionId": "s"}},
    {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}},
]


def model(data: bytes) -> None:
    """A run of messages of the service, through the reader to a session's course: events, or a skipped message."""
    play = Play()
    for piece in split(data):
        play.now += 0.05
        try:
            message = parse_model(piece)
        except PacketError as exc:
            play.course.unreadable(exc, play.now)
            continue
        play.events += play.course.read(message, play.now)
        if isinstance(play.decide(), Leave):
            play.events += play.course.left(play.now, clean=True)
            play.connect()


def _model(draw: random.Random) -> bytes:
    def one() -> bytes:
        data = draw.choice(seeds("model")) if draw.random() < 0.4 else dump(draw.choice(MODEL))
        return data if draw.random() < 0.2 else mutate_document(draw, data)

    return join([one() for _ in range(draw.randrange(1, 6))])


SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 40, "pattern": "^[A-Z].*$"},
        "days": {"type": "integer", "minimum": 1, "maximum": 7, "format": "int32"},
        "when": {"type": "string", "format": "date-time", "nullable": True},
        "kind": {"type": "string", "enum": ["rain", "snow"]},
        "at": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
        "who": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}]},
        "sure": {"type": "boolean"},
    },
    "required": ["city"],
}
ARGS = {"city": "Ulm", "days": 3.0, "when": None, "kind": "rain", "at": [1, 2.5], "who": {"id": 4}, "sure": True}


def args(data: bytes) -> None:
    """`[schema, arguments]`: a schema that passes its check never makes the check of arguments stumble."""
    try:
        schema, values = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return
    if not isinstance(values, dict):
        return
    try:
        simple = arguments.simplify(schema)
    except ValueError:
        simple = {}
    for each in (schema, simple):
        if isinstance(each, dict) and not arguments.check(each):
            _, faults = arguments.conform(values, each)
            assert len(faults) <= arguments.MAX_FAULTS


def _args(draw: random.Random) -> bytes:
    schema = mutate_json(draw, SCHEMA) if draw.random() < 0.5 else SCHEMA
    values = mutate_json(draw, ARGS) if draw.random() < 0.9 else any_json(draw)
    return dump([schema, values])


# --- the operator's file ---

TOML = (HERE / "gateway.toml").read_bytes()


def toml(data: bytes) -> None:
    """A configuration, or every fault at once."""

    def read(path: str) -> str:
        if path != "gateway.toml":
            raise FileNotFoundError(2, "No such file or directory")
        return data.decode()

    try:
        load({"config": "gateway.toml"}, {"GEMINI_API_KEY": "k"}, read=read)
    except ConfigError as error:
        faults = error.faults
    else:
        return
    assert faults
    assert all(isinstance(fault, str) and fault for fault in faults)


def _toml(draw: random.Random) -> bytes:
    text = TOML.replace(b"\n", b"\r\n")
    text = mutate_bytes(draw, text) if draw.random() < 0.2 else mutate_lines(draw, text)
    if draw.random() < 0.3:  # a value of another kind
        value = draw.choice(
            (b"[]", b"{}", b"1", b"-1.5", b"true", b"nan", b"1979-05-27T07:32:00Z", b'""', b"[[1],[2]]", b"{a=1}")
        )
        lines = text.split(b"\r\n")
        places = [n for n, line in enumerate(lines) if b"=" in line]
        if places:
            place = draw.choice(places)
            lines[place] = lines[place].partition(b"=")[0] + b"= " + value
        text = b"\r\n".join(lines)
    return text.replace(b"\r\n", b"\n")


DOORS = {
    door.name: door
    for door in (
        Door("rtp", mutant(mutate_bytes, *CODECS.values()), rtp),
        Door("rtcp", mutant(mutate_bytes, "rtcp"), rtcp),
        Door("red", _red_payload, red),
        Door("dtmf", _keys, dtmf),
        Door("receiver", _run, receiver),
        Door("stun", mutant(mutate_bytes, "stun"), stun),
        Door("offer", _offer, offer),
        Door("fragment", lambda draw: mutate_lines(draw, FRAGMENT), fragment),
        Door("headers", _header, headers),
        Door("rtvi", _rtvi, rtvi),
        Door("context", _header, context),
        Door("model", _model, model),
        Door("args", _args, args),
        Door("toml", _toml, toml),
    )
}
