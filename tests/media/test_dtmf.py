"""Telephone events: one digit a press, whatever the network does to its packets."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.media.dtmf import DIGITS, Digit, TelephoneEvents

Event = tuple[bytes, int, bool]


def event(code: int, duration: int, end: bool = False) -> bytes:
    return struct.pack("!BBH", code, 0x80 * end | 10, duration)


def press(code: int, start: int, clock: int, seconds: float) -> list[Event]:
    """The packets of one press as a sender makes them: one every 50 ms, the last three times."""
    step, total = clock // 20, round(seconds * clock)
    packets: list[Event] = []
    segment, done = start, 0
    for duration in range(step, total, step):
        if duration - done > 0xFFFF:
            packets.append((event(code, 0xFFFF), segment, False))
            segment, done = segment + 0xFFFF & 0xFFFFFFFF, done + 0xFFFF
        packets.append((event(code, duration - done), segment, duration == step))
    return packets + [(event(code, total - done, end=True), segment, False)] * 3


def heard(packets: list[Event], clock: int) -> list[Digit]:
    events = TelephoneEvents(clock)
    digits = [events.push(*packet) for packet in packets]
    return [digit for digit in [*digits, events.finish()] if digit is not None]


@pytest.mark.parametrize("clock", [8_000, 48_000])
@pytest.mark.parametrize("code", range(16))
def test_each_key_once_at_its_end(clock: int, code: int) -> None:
    events = TelephoneEvents(clock)
    packets = press(code, 77, clock, 0.2)
    for packet in packets[:-3]:
        assert events.push(*packet) is None
    assert events.pressed == "0123456789*#ABCD"[code]
    assert events.push(*packets[-3]) == Digit(DIGITS[code], 0.2)
    assert events.pressed is None
    assert events.push(*packets[-2]) is events.push(*packets[-1]) is events.finish() is None


@pytest.mark.parametrize("clock", [8_000, 48_000])
def test_a_long_press_is_one_press(clock: int) -> None:
    (digit,) = heard(press(5, 2**32 - 70_000, clock, 12.5), clock)
    assert digit == Digit("5", pytest.approx(12.5))


def test_the_same_key_twice_is_two_presses() -> None:
    packets = press(1, 1_000, 8_000, 0.1) + press(1, 3_000, 8_000, 0.1)
    assert heard(packets, 8_000) == [Digit("1", 0.1), Digit("1", 0.1)]


def test_only_the_end_came() -> None:
    assert heard(press(9, 5, 8_000, 0.3)[-1:], 8_000) == [Digit("9", 0.3)]


def test_the_end_never_came() -> None:
    first, second = press(2, 1_000, 8_000, 0.3)[:-3], press(3, 9_000, 8_000, 0.3)
    assert heard(first, 8_000) == [Digit("2", 0.25)]
    assert heard(first + second, 8_000) == [Digit("2", 0.25), Digit("3", 0.3)]
    assert heard(first + second[-2:], 8_000) == [Digit("2", 0.25), Digit("3", 0.3)]
    assert heard(first + second[-1:], 8_000) == [Digit("2", 0.25), Digit("3", 0.3)]


def test_an_older_press_out_of_order_is_not_a_new_one() -> None:
    first, second = press(4, 1_000, 8_000, 0.1), press(6, 3_000, 8_000, 0.1)
    assert heard(first[:-1] + second[:1] + first[-1:] + second[1:], 8_000) == [Digit("4", 0.1), Digit("6", 0.1)]


def test_events_that_are_no_keys() -> None:
    assert heard([(event(16, 800, end=True), 1, True), (event(66, 800, end=True), 9, True)], 8_000) == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.sampled_from([8_000, 48_000]))
def test_any_loss_and_duplication_gives_each_press_at_most_once(start: int, seed: int, clock: int) -> None:
    chance = random.Random(seed)
    packets, expected = [], []
    for n in range(6):
        code = chance.randrange(16)
        cut = [packet for packet in press(code, (start + n * clock) & 0xFFFFFFFF, clock, 0.25) if chance.random() > 0.4]
        if cut:
            expected.append(DIGITS[code])
        packets += [packet for packet in cut for _ in range(chance.randint(1, 2))]
    assert [digit.digit for digit in heard(packets, clock)] == expected


@given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 2**32 - 1), st.booleans()), max_size=30))
def test_any_bytes_are_a_digit_or_packet_error(packets: list[Event]) -> None:
    events = TelephoneEvents(8_000)
    for payload, timestamp, marker in packets:
        try:
            digit = events.push(payload, timestamp, marker)
        except PacketError:
            assert len(payload) < 4
            continue
        assert digit is None or (digit.digit in DIGITS and digit.seconds >= 0)


def test_clock_rate_is_checked() -> None:
    with pytest.raises(ValueError, match="clock rate"):
        TelephoneEvents(0)
