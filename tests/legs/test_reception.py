"""Receiver reports after RFC 3550's own algorithms (appendices A.1, A.3, A.8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.legs.webrtc.reception import MAX_DROPOUT, MAX_MISORDER, Jump, Reception


def test_sequences_never_wrap_and_old_ones_keep_their_place() -> None:
    reception = Reception(7, 8_000)
    assert [reception.extend(number) for number in (65_534, 65_535, 0, 2, 1, 65_535)] == [
        65_534,
        65_535,
        65_536,
        65_538,
        65_537,
        65_535,
    ]
    assert reception.highest == 65_538
    assert reception.expected == 5
    assert reception.lost == -1, "a duplicate counts as received (A.3)"


@pytest.mark.parametrize(
    ("step", "belongs"),
    [
        (1, True),
        (MAX_DROPOUT - 1, True),
        (MAX_DROPOUT, False),
        (-MAX_MISORDER, True),
        (-MAX_MISORDER - 1, False),
        (32_768, False),
    ],
)
def test_which_numbers_belong_to_the_stream(step: int, belongs: bool) -> None:
    reception = Reception(7, 8_000)
    reception.extend(20_000)
    extended = reception.extend((20_000 + step) & 0xFFFF)
    assert extended == (20_000 + step if belongs else Jump.STRAY)


def test_two_strangers_in_a_row_are_a_restart_and_counting_begins_anew() -> None:
    reception = Reception(7, 8_000)
    for number in range(1_000, 1_010):
        reception.extend(number)
    assert reception.extend(40_000) is Jump.STRAY
    assert reception.extend(50_000) is Jump.STRAY, "not the next one"
    assert reception.extend(50_001) is Jump.RESTARTED
    assert reception.extend(50_003) == 50_003
    block = reception.report(0.0)
    assert (block.packets_lost, block.highest_sequence, block.fraction_lost) == (1, 50_003, 256 // 3)


def test_fractions_are_of_each_interval_and_never_negative() -> None:
    reception = Reception(7, 8_000)
    for number in range(0, 100, 2):
        reception.extend(number)
    assert reception.report(0.0).fraction_lost == 49 * 256 // 99
    for number in range(1, 100, 2):  # they come after all
        reception.extend(number)
    block = reception.report(1.0)
    assert (block.fraction_lost, block.packets_lost) == (0, -1 + 1)
    assert reception.report(2.0).fraction_lost == 0


def test_a_clock_that_leaps_is_no_jitter() -> None:
    reception = Reception(7, 8_000)
    reception.measure(0, 0.0)
    reception.measure(0x7FFFFFFF, 0.02)
    reception.measure(0x7FFFFFFF + 160, 0.04)
    assert reception.jitter < 1e-6
    reception.measure(0x7FFFFFFF + 320, 0.07)
    assert reception.jitter == pytest.approx(0.01 / 16)


def test_another_clock_keeps_the_jitter_in_seconds() -> None:
    reception = Reception(7, 8_000)
    reception.measure(0, 0.0)
    reception.measure(160, 0.04)
    before = reception.jitter
    reception.change_clock(48_000)
    assert reception.jitter == pytest.approx(before)
    reception.measure(123, 0.06)
    assert reception.jitter == pytest.approx(before)


@given(st.lists(st.integers(0, 0xFFFF), max_size=200))
def test_any_numbers_give_a_report_that_fits_its_fields(numbers: list[int]) -> None:
    reception = Reception(7, 48_000)
    for count, number in enumerate(numbers):
        reception.extend(number)
        reception.measure(number * 70_000 & 0xFFFFFFFF, count * 0.01)
        if count % 50 == 49:
            reception.report(count * 0.01)
    block = reception.report(9.0)
    assert 0 <= block.fraction_lost <= 255
    assert 0 <= block.highest_sequence <= 0xFFFFFFFF
    assert 0 <= block.jitter <= 0xFFFFFFFF
