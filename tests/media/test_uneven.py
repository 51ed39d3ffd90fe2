"""Whole sessions with an uneven model, in fake time. The short form of `python -m tests.bench.uneven`.

The bar of 0.1 % is kept by every single session in which anybody could keep it, and where nobody could, hardly more is silent
than has to be.
"""

from __future__ import annotations

import itertools
import random
import statistics

import pytest

from gateway.media.playout import MAX_STRETCH, MAX_WAIT, Playout
from tests.bench.uneven import BAR, BY, FRAME, RATE, SEEDS, TALKS, TICK, Answer, Session, answer, forced_silence, hold, session

CASES = list(itertools.product(TALKS, (0.1, 0.2, 0.24)))


@pytest.fixture(scope="module", params=CASES, ids=[f"{talk.name}, {chunk * 1e3:.0f} ms" for talk, chunk in CASES])
def sessions(request: pytest.FixtureRequest) -> list[Session]:
    talk, chunk = request.param
    return [session(talk, chunk, seed) for seed in range(SEEDS)]


def test_no_single_session_is_silent_more_than_it_has_to_be(sessions: list[Session]) -> None:
    # 100 ms: the pauses that make up for the rest come when they come, and nobody here knows the future.
    assert all(one.share <= max(BAR, one.forced + 0.1 / one.speaking) for one in sessions)
    assert statistics.mean(one.share for one in sessions) <= statistics.mean(one.forced for one in sessions) + BAR / 5


def test_sessions_of_long_answers_keep_the_bar_one_by_one() -> None:
    long = next(talk for talk in TALKS if talk.name == "long answers")
    assert max(session(long, chunk, seed).share for chunk in (0.2, 0.24) for seed in range(SEEDS)) <= BAR


def test_every_limit_is_kept(sessions: list[Session]) -> None:
    for one in sessions:
        assert one.wait <= MAX_WAIT
        assert 0.0 < one.stretched <= 60 * MAX_STRETCH


def test_an_even_model_never_waits() -> None:
    rng = random.Random(1)
    even = hold([answer(rng, 5.0, 0.2, by=0.0, speed=1.01) for _ in range(10)], Playout(RATE))
    assert (even.underruns, even.wait, even.stretched, even.share) == (0, 0.0, 0.0, 0.0)


def loud(seconds: float) -> bytes:
    return b"\x40\x1f" * round(seconds * RATE)


@pytest.mark.parametrize(
    ("late", "quiet_at", "forced"),
    [
        (0.0, None, 0.0),
        (0.2, None, 0.0),  # 0.2 s of audio, 0.2 s waited, and the second chunk 0.4 s after the first
        (0.3, None, 0.1),
        (0.3, 0.1, 0.0),  # a pause before the hole could wait for it
        (0.3, 0.24, 0.1),  # one after it could not
    ],
)
def test_what_is_forced_is_what_is_missing_before_the_first_pause(late: float, quiet_at: float | None, forced: float) -> None:
    pcm = bytearray(loud(0.6))
    if quiet_at is not None:
        begin = round(quiet_at * RATE) * 2
        pcm[begin : begin + FRAME] = bytes(FRAME)
    size = round(0.2 * RATE) * 2
    chunks = tuple(bytes(pcm[at : at + size]) for at in range(0, len(pcm), size))
    assert forced_silence(Answer(chunks, (1.0, 1.2 + late, 1.4 + late))) == pytest.approx(forced)


def test_what_is_forced_is_never_more_than_what_happens() -> None:
    """To a playout that waits as long as it may from the start: one that has had its hole."""
    rng = random.Random(4)
    for _ in range(200):
        one = answer(rng, 2.0, 0.1, by=BY)
        playout = Playout(RATE)
        playout.push(loud(TICK), -9.0)
        playout.pull(-9.0)
        playout.pull(-9.0 + TICK)
        playout.push(loud(TICK), -9.0 + 2 * TICK)
        playout.clear()
        before = playout.underrun_seconds
        hold([one], playout)
        assert playout.underrun_seconds - before >= forced_silence(one) - 1e-9
