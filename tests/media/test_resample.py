"""The resampler: one continuous stream, whatever the cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.resample import Resampler
from tests.audio import floats, frames, joined, native_threads, pcm16, tone, tone_level, tone_sinad

PAIRS = [(8_000, 16_000), (16_000, 8_000), (24_000, 8_000), (24_000, 16_000), (16_000, 24_000), (8_000, 24_000)]


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_tone_stays_a_tone(rate_in: int, rate_out: int) -> None:
    resampler = Resampler(rate_in, rate_out)
    heard = joined([resampler.resample(frame) for frame in frames(tone(1_000, rate_in, 2.0), rate_in)])
    assert tone_sinad(heard, rate_out, 1_000) > 80
    assert tone_level(heard, rate_out, 1_000) == pytest.approx(tone_level(tone(1_000, rate_in, 2.0), rate_in, 1_000), abs=0.05)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_the_first_frame_is_short_by_the_delay_and_no_other(rate_in: int, rate_out: int) -> None:
    resampler = Resampler(rate_in, rate_out)
    sizes = [len(resampler.resample(frame)) // 2 for frame in frames(tone(440, rate_in, 1.0), rate_in)]
    full = rate_out // 50
    assert full - rate_out * 0.0021 <= sizes[0] < full
    assert set(sizes[1:]) == {full}


@pytest.mark.parametrize(("frequency", "limit"), [(4_400, -40), (5_000, -70), (6_500, -80), (7_900, -80)])
def test_what_the_lower_rate_cannot_carry_does_not_fold_back(frequency: float, limit: float) -> None:
    resampler = Resampler(16_000, 8_000)
    heard = joined([resampler.resample(frame) for frame in frames(tone(frequency, 16_000, 1.0, 32_000), 16_000)])
    assert tone_level(heard, 8_000, 8_000 - frequency) < limit


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_the_cut_makes_no_difference(cuts: list[int]) -> None:
    pcm = tone(700, 24_000, sum(cuts) / 24_000)
    resampler, whole = Resampler(24_000, 16_000), Resampler(24_000, 16_000)
    parts, begin = [], 0
    for cut in cuts:
        parts.append(resampler.resample(pcm[begin : begin + 2 * cut]))
        begin += 2 * cut
    expected = whole.resample(pcm)
    heard = joined(parts)
    common = min(len(heard), len(expected))
    assert heard[:common] == expected[:common]
    assert abs(len(heard) - len(expected)) <= 4


def test_full_scale_is_clipped_not_wrapped() -> None:
    square = pcm16(floats(tone(300, 8_000, 0.5, 1e9)))  # clipped to ±32767: overshoots between the samples
    resampler = Resampler(8_000, 24_000)
    heard = floats(joined([resampler.resample(frame) for frame in frames(square, 8_000)]))
    period = 24_000 / 300
    middle = heard[2_000:6_000]
    crossings = (abs(middle[1:] - middle[:-1]) > 40_000).sum()
    assert crossings <= 2 * len(middle) / period


def test_no_thread_is_started() -> None:
    before = native_threads()
    resamplers = [Resampler(24_000, 8_000) for _ in range(20)]
    for resampler in resamplers:
        resampler.resample(bytes(960))
    assert native_threads() == before


def test_equal_rates_pass_through() -> None:
    pcm = tone(440, 16_000, 0.02)
    assert Resampler(16_000, 16_000).resample(pcm) is pcm
    assert Resampler(16_000, 8_000).resample(b"") == b""


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="cannot resample"):
        Resampler(0, 8_000)
    with pytest.raises(ValueError, match="16-bit"):
        Resampler(8_000, 16_000).resample(b"\0")
