"""Loudness in dBFS."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.level import FLOOR_DBFS, SOUNDING_RMS, first_audible, peak_dbfs, rms_dbfs, sounding
from tests.audio import silence, tone


def samples(*values: int) -> bytes:
    return np.array(values, "<i2").tobytes()


def test_full_scale_and_silence() -> None:
    assert peak_dbfs(samples(5, -32_768, 7)) == 0.0
    assert peak_dbfs(samples(-1, 16_384)) == pytest.approx(-6.02, abs=0.01)
    assert peak_dbfs(samples(1)) == pytest.approx(-90.3, abs=0.1)
    assert rms_dbfs(tone(1_000, 16_000, 1.0, 32_767)) == pytest.approx(-3.01, abs=0.01)
    for pcm in (b"", silence(16_000, 0.02)):
        assert peak_dbfs(pcm) == rms_dbfs(pcm) == FLOOR_DBFS


@pytest.mark.parametrize("sign", [1, -1])
def test_first_audible(sign: int) -> None:
    assert first_audible(silence(16_000, 0.25) + samples(sign * 104), 16_000) == 0.25
    assert first_audible(samples(sign * 103) * 100, 16_000) is None
    assert first_audible(samples(-32_768), 16_000) == 0.0
    assert first_audible(b"", 16_000) is None


def test_where_it_sounds() -> None:
    rate = 24_000
    pcm = silence(rate, 0.1) + tone(300, rate, 0.2) + silence(rate, 0.05) + tone(300, rate, 0.05)
    assert sounding(pcm, rate) == ((0.1, 0.3), (0.35, 0.4))
    assert sounding(silence(rate, 1.0), rate) == ()
    assert sounding(tone(300, rate, 1.0, amplitude=150.0), rate) == ()
    assert sounding(pcm[:3], rate) == ()
    assert sounding(tone(300, rate, 0.0241), rate) == ((0.0, 0.02),)


@given(st.lists(st.sampled_from([0, 100, 163, 165, -165, 3_000, -32_768]), max_size=40), st.sampled_from([8_000, 16_000, 24_000]))
def test_it_sounds_wherever_ten_milliseconds_are_loud(levels: list[int], rate: int) -> None:
    step = rate // 100
    pcm = b"".join(samples(level) * step for level in levels) + samples(9) * (step - 1)
    found = sounding(pcm, rate)
    assert [any(begin <= at / 100 < end for begin, end in found) for at in range(len(levels))] == [
        abs(level) > SOUNDING_RMS for level in levels
    ]
    edges = [edge for stretch in found for edge in stretch]
    assert all(before < after for before, after in pairwise(edges)), "in order, and neighbours in one"
