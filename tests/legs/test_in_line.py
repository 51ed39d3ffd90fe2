"""The receiver's short way for the usual packet and its long way for any give and count the same, whatever comes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.legs.webrtc.receiver import Heard, Receiver
from gateway.media.audio import AudioFrame
from gateway.media.codec import Codec, CodecName
from gateway.media.opus import SINGLE_TICKS, Application, OpusEncoder, packet_samples
from tests.audio import speech

OPUS, PCMU, RED = Codec(CodecName.OPUS, 111, 48_000, 2), Codec(CodecName.PCMU, 0, 8_000), Codec(CodecName.RED, 63, 48_000, 2)
OTHER_OPUS = Codec(CodecName.OPUS, 96, 48_000, 2)
NOISE, KEYS = Codec(CodecName.CN, 13, 8_000), Codec(CodecName.TELEPHONE_EVENT, 110, 48_000)
ALL = (OPUS, PCMU, RED, OTHER_OPUS, NOISE, KEYS)
LEVEL_ID = 3
TICKS = 960


class LongWay(Receiver):
    """Takes every packet for an unusual one."""

    def in_line(self, packet: bytes, now: float) -> AudioFrame | None:
        del packet, now


class Counting(Receiver):
    """Knows how often the short way was gone."""

    short = 0

    def in_line(self, packet: bytes, now: float) -> AudioFrame | None:
        frame = super().in_line(packet, now)
        self.short += frame is not None
        return frame


@cache
def payloads() -> list[bytes]:
    pcm = speech(48_000, 2.0)
    encoder = OpusEncoder(48_000, application=Application.VOIP, bitrate=32_000, complexity=0, fec=True, loss=10)
    return [encoder.encode(pcm[at : at + 1_920]) for at in range(0, len(pcm) - 1_919, 1_920)]


@cache
def room() -> list[bytes]:
    """A room of -80 dBFS, in which the sender's word saves decoding."""
    pcm = np.random.default_rng(2).normal(0.0, 3.0, 40 * 960).astype(np.int16).tobytes()
    encoder = OpusEncoder(48_000, application=Application.VOIP, bitrate=32_000, complexity=0)
    return [encoder.encode(pcm[at : at + 1_920]) for at in range(0, len(pcm), 1_920)]


def header(payload_type: int, number: int, timestamp: int, ssrc: int, extension: bytes = b"") -> bytes:
    first = 0x90 if extension else 0x80
    numbers = (number & 0xFFFF).to_bytes(2, "big") + (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    return bytes((first, payload_type)) + numbers + extension


def level(value: int) -> bytes:
    return bytes((0xBE, 0xDE, 0, 1, LEVEL_ID << 4, value, 0, 0))


def red(primary: bytes, *copies: tuple[int, bytes], inner: int = 111) -> bytes:
    """Copies as (ticks ago, payload)."""
    heads = b"".join(bytes((0x80 | inner,)) + (ago << 10 | len(copy)).to_bytes(3, "big") for ago, copy in copies)
    return heads + bytes((inner,)) + b"".join(copy for _, copy in copies) + primary


def built(kind: str, number: int, timestamp: int, ssrc: int) -> bytes:
    """The packet of this number, in one of many shapes."""
    payload, before = payloads()[number % 90], payloads()[(number - 1) % 90]

    def of(payload_type: int, body: bytes, extension: bytes = b"") -> bytes:
        return header(payload_type, number, timestamp, ssrc, extension) + body

    match kind:
        case "red":
            return of(63, red(payload, (TICKS, before)))
        case "red of two":
            return of(63, red(payload, (2 * TICKS, payloads()[(number - 2) % 90]), (TICKS, before)))
        case "red of two, oddly spaced":
            return of(63, red(payload, (2_048, payloads()[(number - 2) % 90]), (1_024, before)))
        case "red of none":
            return of(63, red(payload))
        case "red, empty copy":
            return of(63, red(payload, (TICKS, b"")))
        case "red, copy of now":
            return of(63, red(payload, (0, before)))
        case "red, impossible copy":
            return of(63, red(payload, (TICKS, b"\xff\x00")))
        case "red, copy of two frames":
            return of(63, red(payload, (TICKS, b"\x01" + before)))
        case "red of another":
            return of(63, red(payload, (TICKS, before), inner=96))
        case "red, hushed":
            return of(63, red(payload, (TICKS, before)), level(127))
        case "red, cut":
            return of(63, red(payload, (TICKS, before))[: 5 + number % 9])
        case "loud" | "hushed":
            return of(111, payload, level(40 if kind == "loud" else 127))
        case "long extension":
            return of(111, payload, bytes((0xBE, 0xDE, 0, 3)) + bytes(12))
        case "empty extension":
            return of(111, payload, bytes((0xBE, 0xDE, 0, 0)))
        case "extension past the end":
            return of(111, payload, bytes((0xBE, 0xDE, number & 1, 0 if number & 1 else 255)))
        case "room":
            return of(111, room()[number % 40], level(127))
        case "marked":
            return of(0x80 | 111, payload)
        case "padded":
            return bytes((0xA0,)) + of(111, payload + bytes((0, 0, 3)))[1:]
        case "source listed":
            return bytes((0x81,)) + of(111, bytes(4) + payload)[1:]
        case "other opus":
            return of(96, payload)
        case "not agreed":
            return of(77, payload)
        case "g711":
            return of(0, bytes(range(160)))
        case "noise":
            return of(13, b"\x40")
        case "key":
            return of(110, bytes((5, 0, 0, 200)))
        case "dtx":
            return of(111, payload[:1])
        case "two frames":
            return of(111, b"\x01" + payload)
        case "undecodable":  # one frame of more bytes than any may have
            return of(111, payload[:1] + bytes(1_300))
        case "empty":
            return of(111, b"")
        case "cut":
            return of(111, payload)[: number % 13]
        case _:
            return of(111, payload)


SHAPES = ["red, empty copy", "red, copy of now", "red, impossible copy", "red, copy of two frames", "red of another"]
SHAPES += ["red, hushed", "red, cut", "loud", "hushed", "long extension", "empty extension", "extension past the end"]
SHAPES += ["marked", "padded", "source listed", "other opus", "not agreed", "g711", "noise", "key", "dtx", "two frames"]
SHAPES += ["undecodable", "empty", "cut", "red of two", "red of none", "red of two, oddly spaced", "room"]
EVENTS = ["lost", "again", "late", "other source", "leap of numbers", "leap of time", "back in time", "pause", "standstill"]
EVENTS += ["outage", "silence after dtx", "flood", "nothing in no time", "back four"]


def plain(value: Any) -> Any:
    """State that can be compared: objects of our own by their fields."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    fields = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots if hasattr(value, name)}}
    own = type(value).__module__.startswith(("gateway.", "tests.")) and fields and not isinstance(value, tuple)
    if own:
        skipped = ("_decoder", "_resampler", "_repetition", "_carries_previous", "carries_previous", "_to_pcm16", "short")
        return {name: plain(field) for name, field in fields.items() if name not in skipped}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return list(value) if hasattr(value, "popleft") else value


def played(receiver: Receiver, moves: Sequence[tuple[str, float]], first: int) -> list[tuple[list[Heard], Any]]:
    """What each move gave, and all that the receiver then knows."""
    number, timestamp, ssrc, now = first, first * TICKS, 7, 100.0
    held: list[bytes] = []
    given: list[tuple[list[Heard], Any]] = []
    for kind, jitter in moves:
        packets = [built(kind, number, timestamp, ssrc)]
        match kind:
            case "lost":
                packets = []
            case "again":
                packets *= 2
            case "late":
                held, packets = held + packets, []
            case "other source":
                ssrc ^= 3
            case "leap of numbers":
                number += 4_000
            case "leap of time":
                timestamp += 100_000
            case "back four":
                timestamp -= 4 * TICKS
            case "back in time":
                timestamp -= 50_000
            case "pause":
                now, timestamp = now + 0.2, timestamp + 10 * TICKS
            case "flood":  # more than a second of audio at once
                packets = [built("plain", number + ahead, timestamp + ahead * TICKS, ssrc) for ahead in range(70)]
                number, timestamp = number + 69, timestamp + 69 * TICKS
            case "nothing in no time":
                packets, timestamp = [built("empty", number, timestamp, ssrc)], timestamp - TICKS
            case "standstill":
                now += 0.4
        if packets and held and kind == "plain":
            packets += held
            held = []
        heard = list(receiver.poll(now))
        if kind in ("outage", "silence after dtx"):
            if kind != "outage":
                heard += receiver.receive(built("dtx", number, timestamp, ssrc), now)
                timestamp += 18 * TICKS  # as much as is filled: the next packet follows at once
            packets = []
            for _ in range(20):
                now += 0.02
                heard += receiver.poll(now)
        for packet in packets:
            heard += receiver.receive(packet, now + jitter)
        given.append((heard, plain(receiver)))
        number, timestamp, now = number + 1, timestamp + TICKS, now + 0.02
    return given


usual = st.sampled_from(["plain", "red", "room"])
MOVES = st.lists(
    st.one_of(
        st.tuples(usual, st.integers(1, 6)),
        st.tuples(st.sampled_from(EVENTS), st.just(1)),
        st.tuples(st.sampled_from(SHAPES), st.just(1)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(MOVES, st.lists(st.sampled_from([0.0, 0.0, 0.003, 0.015]), min_size=1, max_size=7), st.sampled_from([0, 100, 65_530]))
def test_both_ways_give_and_count_the_same(runs: list[tuple[str, int]], jitters: list[float], first: int) -> None:
    kinds = [kind for kind, times in runs for _ in range(times)]
    moves = [(kind, jitters[at % len(jitters)]) for at, kind in enumerate(kinds)]
    for short, long in zip(
        played(Receiver(ALL, LEVEL_ID), moves, first), played(LongWay(ALL, LEVEL_ID), moves, first), strict=True
    ):
        assert short == long


@pytest.mark.parametrize("kind", ["red, hushed", *SHAPES, *EVENTS])
def test_each_shape_and_event_between_usual_packets(kind: str) -> None:
    """Whatever hypothesis finds, each is seen once on its own, and the packets around it go the short way."""
    moves = [("plain", 0.0)] * 12 + [(kind, 0.0)] + [("plain", 0.0)] * 12 + [(kind, 0.004)] * 6 + [("red", 0.0)] * 12
    receiver = Counting(ALL, LEVEL_ID)
    assert played(receiver, moves, 65_520) == played(LongWay(ALL, LEVEL_ID), moves, 65_520)
    assert receiver.short >= 15


def test_the_short_way_learns_the_network_too() -> None:
    """Longer than what is learnt of it is remembered."""
    moves = [("plain", 0.001 * (at * at % 13)) for at in range(1_200)]
    assert played(Receiver(ALL), moves, 0)[-1] == played(LongWay(ALL), moves, 0)[-1]


def test_a_packet_that_claims_the_place_of_a_lost_one_is_not_the_usual_one() -> None:
    """What a hole holds back goes on behind it."""
    moves = [("plain", 0.0)] * 12 + [("late", 0.0), ("red", 0.0), ("red", 0.0), ("plain", 0.0)] * 3 + [("plain", 0.0)] * 2
    moves += [("lost", 0.0), ("lost", 0.0), ("back four", 0.0)] + [("plain", 0.0)] * 3
    assert played(Receiver(ALL), moves, 0) == played(LongWay(ALL), moves, 0)


def test_what_need_not_be_decoded_is_not() -> None:
    moves = [("room", 0.0)] * 60 + [("plain", 0.0)] * 3
    assert played(Receiver(ALL, LEVEL_ID), moves, 0) == played(LongWay(ALL, LEVEL_ID), moves, 0)


@pytest.mark.parametrize("kind", ["plain", "red", "loud", "long extension", "empty extension", "red, hushed", "undecodable"])
def test_the_usual_packet_goes_the_short_way(kind: str) -> None:
    receiver = Counting(ALL, LEVEL_ID)
    played(receiver, [(kind, 0.0)] * 50, 65_520)
    assert receiver.short == 49, "all but the first"


def test_the_first_byte_says_the_length_of_a_single_frame() -> None:
    for toc in range(256):
        assert SINGLE_TICKS[toc] == (0 if toc & 3 else packet_samples(bytes((toc, 1)), 48_000))
