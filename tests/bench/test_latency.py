"""The arithmetic of the latency probe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.gemini import audio_frame
from tests.bench.latency import PERIOD, carrier, clicks, follow, onsets
from tests.bench.model import Entry, pcm_sizes


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_pcm_sizes_follow_from_message_sizes(frames: list[int]) -> None:
    pcm = [640 * frame for frame in frames]
    assert pcm_sizes([len(audio_frame(bytes(size))) for size in pcm], sum(pcm)) == pcm


def test_sizes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="2 messages"):
        pcm_sizes([len(audio_frame(bytes(640))), 1000], 1280)


def test_a_click_is_found_where_it_begins() -> None:
    pcm = np.zeros(32_000, np.int16)
    for start in (5_000, 20_000):
        pcm[start : start + 160] = 20_000
        pcm[start + 80] = 0
    assert onsets(pcm) == [5_000, 20_000]
    assert onsets(np.zeros(100, np.int16)) == []


def test_the_loop_has_one_click_and_its_carrier_is_near_it() -> None:
    packets = clicks()
    assert len(packets) == PERIOD
    assert carrier(packets) in (PERIOD // 2, PERIOD // 2 + 1)


def test_arrivals_are_read_off_the_messages() -> None:
    pcm = np.zeros(960, np.int16)
    entry = Entry(came=[1.0, 2.0, 3.0], sizes=[640, 640, 640], went=[5.0, 5.1, 6.0, 6.2, 6.3, 9.0], pcm=pcm)
    assert entry.clicks(lambda _: [0, 319, 320, 959]) == [1.0, 1.0, 2.0, 3.0]
    assert entry.bursts() == [5.0, 6.0, 9.0]


def test_each_moment_is_followed_by_the_next() -> None:
    assert follow([1.0, 2.0, 3.0], [0.5, 1.25, 2.125, 9.0]) == [0.25, 0.125]
