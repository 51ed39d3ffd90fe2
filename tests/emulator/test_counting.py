"""Numbered sound must find every kind of damage, and none where there is none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.counting import count, read_count


def test_a_count_is_whole() -> None:
    report = read_count(count(0, 100_000))
    assert report.whole
    assert (report.first, report.last, report.counted) == (0, 99_999, 100_000)


@given(first=st.integers(0, 2**30), samples=st.integers(8, 4000), cut=st.integers(1, 3))
def test_a_count_is_whole_wherever_it_is_cut(first: int, samples: int, cut: int) -> None:
    report = read_count(count(first, samples)[2 * cut :])
    assert report.whole
    assert (report.first, report.last) == (first + cut, first + samples - 1)


def test_pieces_continue_one_another() -> None:
    assert count(0, 7) + count(7, 500) == count(0, 507)


@pytest.mark.parametrize("lost", [1, 2, 3, 320, 65_536, 131_072])
def test_a_loss_is_found(lost: int) -> None:
    report = read_count(count(0, 1001) + count(1001 + lost, 1000))
    (jump,) = report.jumps
    # Neighbouring pairs share a half, so the place may be off by a sample; the amount never is.
    assert abs(jump.at - 1001) <= 1
    assert jump.lost == lost
    assert (report.lost, report.doubled, report.whole) == (lost, 0, False)


def test_a_repetition_is_found() -> None:
    report = read_count(count(0, 1000) + count(680, 1000))
    assert report.doubled == 320
    assert report.lost == 0


def test_a_swap_is_found() -> None:
    report = read_count(count(0, 320) + count(640, 320) + count(320, 320) + count(960, 320))
    assert not report.whole
    assert report.lost == 640
    assert report.doubled == 640


def test_silence_is_foreign_wherever_it_stands() -> None:
    report = read_count(bytes(200) + count(0, 500) + bytes(640) + count(500, 500) + bytes(100))
    assert report.jumps == ()
    assert report.foreign == pytest.approx(100 + 320 + 50, abs=2)
    assert not report.whole


def test_noise_holds_no_count() -> None:
    noise = random.Random(3).randbytes(40_000)
    report = read_count(noise)
    assert report.counted < 20
    assert read_count(b"").counted == 0
    assert read_count(b"\x00").counted == 0


@given(st.binary(max_size=300))
def test_any_bytes_give_a_report(pcm: bytes) -> None:
    report = read_count(pcm)
    assert report.counted + report.foreign == report.samples == len(pcm) // 2
