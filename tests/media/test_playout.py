"""The playout, in fake time: gap-free, at once, honest about every hole."""

from __future__ import annotations

import functools
import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.audio import AudioFrame
from gateway.media.playout import AHEAD, MAX_NEED, MAX_STRETCH, MAX_WAIT, REMEMBERED, Playout
from tests.bench.uneven import answer, words

RATE = 24_000
FRAME = 480 * 2
TICK = 0.02


@functools.cache
def tone(seconds: float, start: int = 0) -> bytes:
    """Loud samples that count, so that order shows."""
    count = round(seconds * RATE)
    return b"".join((8_000 + (start + n) % 16_000).to_bytes(2, "little") for n in range(count))


def drain(playout: Playout, now: float = 0.0) -> bytes:
    heard = b""
    while (frame := playout.pull(now)) is not None:
        heard += frame.pcm
        now += TICK
    return heard


def test_the_first_words_start_at_once() -> None:
    playout = Playout(RATE)
    assert playout.pull(0.0) is None
    playout.push(tone(0.2), 1.0)
    first = playout.pull(1.0)
    assert first is not None
    assert first.pcm == tone(0.02)
    assert (first.rate, first.at) == (RATE, 1.0)


@pytest.mark.parametrize("size", [1, 7, 959, 960, 961, 4_801, 11_520])
def test_odd_chunks_come_out_as_one_stream(size: int) -> None:
    speech = tone(0.5)
    playout = Playout(RATE)
    for start in range(0, len(speech), size):
        playout.push(speech[start : start + size], 0.0)
    playout.end()
    heard = drain(playout)
    assert heard[: len(speech)] == speech
    assert len(heard) % FRAME == 0
    assert not heard[len(speech) :].strip(b"\0")
    assert playout.underruns == 0


def test_a_frame_carries_the_time_of_its_first_sample() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.03), 1.0)
    playout.push(tone(0.05), 2.0)
    assert [frame.at for _ in range(4) if (frame := playout.pull(2.0)) is not None] == [1.0, 1.0, 2.0, 2.0]


def test_the_end_of_an_answer_is_no_underrun() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.05), 0.0)
    playout.end()
    assert len(drain(playout)) == 3 * FRAME
    assert playout.pull(0.1) is None
    assert (playout.underruns, playout.underrun_seconds) == (0, 0.0)
    assert playout.speaking_seconds == pytest.approx(0.05)


def test_an_end_told_late_is_still_no_underrun() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.04), 0.0)
    drain(playout)
    playout.end()
    playout.push(tone(0.04), 5.0)
    assert playout.pull(5.0) is not None
    assert (playout.underruns, playout.underrun_seconds, playout.wait) == (0, 0.0, 0.0)


def test_a_hole_is_counted_and_the_session_then_waits() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.2), 0.0)
    tick = 0
    for tick in range(13):  # 0.2 s of speech, then dry from 0.20 to 0.26
        playout.pull(tick * TICK)
    playout.push(tone(0.2), 0.26)
    resumed = None
    for tick in range(13, 40):
        if playout.pull(tick * TICK) is not None:
            resumed = tick * TICK
            break
    assert resumed is not None
    # One hole may be only the beginning: the worst is assumed, less what the pauses to come can make up for.
    assert resumed - 0.2 == pytest.approx(MAX_NEED - MAX_STRETCH, abs=TICK)
    assert playout.wait == MAX_WAIT
    assert playout.underruns == 1
    assert playout.underrun_seconds == pytest.approx(resumed - 0.2, abs=1e-6)


def test_a_model_ahead_of_real_time_never_waits_again() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.1), 0.0)
    drain(playout)
    playout.push(tone(0.2), 0.3)
    assert playout.pull(0.3) is None
    for _ in range(3):
        playout.push(tone(0.2), 0.3)
    assert playout.pull(0.32) is not None


def test_the_end_of_an_answer_ends_the_wait() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.1), 0.0)
    drain(playout)
    playout.push(tone(0.02), 0.3)
    assert playout.pull(0.3) is None
    playout.end()
    assert playout.pull(0.32) is not None


def test_clear_throws_everything_away_and_says_how_much() -> None:
    playout = Playout(RATE)
    playout.push(tone(1.0) + b"\1", 0.0)
    playout.pull(0.0)
    assert playout.clear() == pytest.approx(0.98)
    assert (playout.seconds, playout.pull(0.02), playout.underruns) == (0.0, None, 0)
    playout.push(tone(0.02, start=5), 1.0)
    frame = playout.pull(1.0)
    assert frame is not None
    assert frame.pcm == tone(0.02, start=5), "a half sample of the answer thrown away must not shift the next one"


def test_silence_before_a_barge_in_is_no_hole_of_the_next_answer() -> None:
    playout = Playout(RATE)
    playout.push(tone(TICK), 0.0)
    drain(playout)
    for tick in range(2, 10):
        playout.pull(tick * TICK)
    playout.clear()
    playout.push(tone(TICK), 1.0)
    drain(playout, 1.0)
    before = playout.underrun_seconds
    playout.push(tone(0.1), 1.04)
    assert playout.underrun_seconds - before == pytest.approx(TICK)


def test_the_newest_gives_way_at_the_limit() -> None:
    playout = Playout(RATE, limit=1.0)
    for n in range(6):
        playout.push(tone(0.25, start=n * 6_000), 0.0)
    assert playout.seconds == 1.0
    assert playout.overflow_seconds == pytest.approx(0.5)
    playout.end()
    assert drain(playout) == tone(1.0)


def talk(playout: Playout, chunks: list[tuple[float, bytes]]) -> list[tuple[float, bytes | None]]:
    """Every tick of an answer: (time, what was heard)."""
    heard: list[tuple[float, bytes | None]] = []
    tick, at = 0, 0
    while True:
        now = tick * TICK
        while at < len(chunks) and chunks[at][0] <= now:
            playout.push(chunks[at][1], chunks[at][0])
            at += 1
        if at == len(chunks):
            playout.end()
            if not playout.seconds:
                return heard
        frame = playout.pull(now)
        heard.append((now, frame.pcm if frame else None))
        tick += 1


@pytest.mark.parametrize("seed", range(8))
def test_an_uneven_model_hardly_underruns_after_its_first_hole(seed: int) -> None:
    playout = Playout(RATE)
    chunk = tone(0.2)
    arrivals = answer(random.Random(seed), 600.0, 0.2).arrivals
    heard = talk(playout, [(at, chunk) for at in arrivals])
    spoken = [index for index, (_, pcm) in enumerate(heard) if pcm is not None]
    holes = [b - a - 1 for a, b in itertools.pairwise(spoken) if b - a > 1]
    assert playout.underruns == len(holes)
    assert playout.underrun_seconds == pytest.approx(sum(holes) * TICK)
    assert sum(holes[1:]) * TICK <= 0.001 * playout.speaking_seconds
    assert b"".join(pcm for _, pcm in heard if pcm) == chunk * len(arrivals)


def test_pauses_grow_only_where_a_delay_is_needed() -> None:
    playout, rng = Playout(RATE), random.Random(5)
    talk(playout, [(0.0, words(rng, 3.0))])
    assert playout.stretched_seconds == 0.0
    playout.push(tone(0.1), 10.0)
    drain(playout, 10.0)
    playout.push(tone(0.3), 10.3)
    playout.clear()
    assert playout.wait > 0.0
    speech = words(rng, 3.0)
    playout.push(speech[: FRAME * 10], 20.0)
    playout.push(speech[FRAME * 10 :], 20.0)
    first = playout.pull(20.0)
    assert first is not None, "a model that is ahead never waits"
    playout.end()
    assert first.pcm + drain(playout, 20.02) == speech
    assert playout.stretched_seconds == 0.0


def test_a_starving_model_pauses_between_words_and_every_pause_is_counted() -> None:
    playout = Playout(RATE)
    rng = random.Random(3)
    speech = b"".join(tone(rng.uniform(0.2, 0.45)) + bytes(round(rng.uniform(0.08, 0.2) * RATE) * 2) for _ in range(80))
    size = FRAME * 10
    chunks = [(n * 0.2 / 0.9, speech[n * size : (n + 1) * size]) for n in range(len(speech) // size)]
    heard = talk(playout, chunks)
    spoken = [index for index, (_, pcm) in enumerate(heard) if pcm is not None]
    pauses = [(a, b) for a, b in itertools.pairwise(spoken) if b - a > 1]
    # Every one is counted: as an underrun, or as a pause made longer while the model was taken to be only uneven.
    assert 5 < playout.underruns <= len(pauses) <= playout.underruns + round(playout.stretched_seconds / TICK)
    silence = playout.underrun_seconds + playout.stretched_seconds
    assert silence == pytest.approx(sum(b - a - 1 for a, b in pauses) * TICK)
    # Once it knows that the model is slow, it breaks off where the next word has not begun.
    between_words = [not (heard[b][1] or b"").strip(b"\0") for _, b in pauses[3:]]
    assert sum(between_words) >= 0.8 * len(between_words)
    assert b"".join(pcm for _, pcm in heard if pcm) == speech[: len(chunks) * size]


def hole(playout: Playout, at: float = 0.0) -> None:
    """The first of a session: 60 ms in an answer that is then broken off."""
    playout.push(tone(0.1), at)
    drain(playout, at)
    playout.push(tone(0.1), at + 0.16)
    assert playout.wait > 0.0
    playout.clear()


def paced(at: float, lateness: list[float], chunk: float = 0.1) -> list[tuple[float, bytes]]:
    """An answer whose chunks are so much later than an even pace."""
    return [(at + number * chunk + late, tone(chunk)) for number, late in enumerate(lateness)]


def give(playout: Playout, chunks: list[tuple[float, bytes]]) -> None:
    """An answer of which nothing is heard."""
    for at, pcm in chunks:
        playout.push(pcm, at)
    playout.clear()


def test_what_was_seen_before_the_first_hole_counts_after_it() -> None:
    playout = Playout(RATE)
    give(playout, paced(0.0, [0.0, -0.05, 0.1, 0.0, 0.05]))
    assert playout.wait == 0.0, "nothing waits in a session that never ran dry"
    hole(playout, 5.0)
    for turn in range(REMEMBERED - 2):
        give(playout, paced(10.0 + turn, [0.0, 0.0]))
    assert playout.wait == pytest.approx(0.15 + TICK), "the latest came 150 ms behind the earliest, and a tick of the clock"
    give(playout, paced(90.0, [0.0]))
    give(playout, paced(91.0, [0.0]))
    assert playout.wait == pytest.approx(0.06 + TICK), "then only the hole's answer is remembered"


def test_what_comes_before_an_answers_first_chunk_is_another_answers() -> None:
    playout = Playout(RATE)
    hole(playout)
    for turn in range(2 * REMEMBERED):
        give(playout, paced(10.0 + turn * (turn % 3), [0.0, 0.0]))
    assert playout.wait == 0.0


def test_after_a_hole_the_worst_is_assumed_until_more_is_known() -> None:
    playout = Playout(RATE)
    hole(playout)
    waits = []
    for turn in range(REMEMBERED - 1):
        give(playout, paced(10.0 + turn, [0.0, 0.0]))
        waits.append(playout.wait)
    assert waits[0] == MAX_WAIT
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == pytest.approx(0.06 + TICK), "what was seen is enough in the end"


def test_a_model_that_was_far_ahead_has_not_become_late() -> None:
    playout = Playout(RATE)
    hole(playout)
    for turn in range(REMEMBERED + 1):
        # Ten seconds at once, and the rest 9.7 s later: 300 ms before it would be missed.
        give(playout, [(20.0 * turn, tone(1.0))] * 10 + [(20.0 * turn + 9.6, tone(0.2))])
    assert playout.wait == 0.0


def test_a_hole_inside_an_answer_is_learnt_from_at_once() -> None:
    playout = Playout(RATE)
    hole(playout)
    for turn in range(REMEMBERED - 1):
        give(playout, paced(10.0 + turn, [0.0, 0.0]))
    assert playout.wait < 0.1
    playout.push(tone(0.1), 90.0)
    playout.push(tone(0.1), 90.22)
    assert playout.wait == pytest.approx(0.12 + TICK)


def test_the_wait_fades_when_the_model_is_good_again() -> None:
    playout = Playout(RATE)
    hole(playout)
    waits = []
    for _ in range(17):
        talk(playout, [(0.2, tone(0.2))] * 10)
        waits.append(playout.wait)
    assert waits == sorted(waits, reverse=True)
    assert waits[-2] > 0.0
    assert waits[-1] == 0.0


def test_a_wait_ends_when_so_much_has_come_that_waiting_gains_nothing() -> None:
    playout = Playout(RATE)
    hole(playout)
    playout.push(tone(0.1), 10.0)
    playout.push(tone(AHEAD - TICK), 10.0)
    assert playout.pull(10.0) is None
    playout.push(tone(TICK), 10.0)
    assert playout.pull(10.02) is not None


@pytest.mark.parametrize(("rise", "stretched"), [(0.1, 0.0), (0.23, 0.06), (0.5, MAX_STRETCH)])
def test_a_pause_is_made_longer_by_what_waiting_left_missing(rise: float, stretched: float) -> None:
    playout = Playout(RATE)
    give(playout, paced(0.0, [0.0, rise]))
    hole(playout, 5.0)
    for turn in range(REMEMBERED - 2):
        give(playout, paced(10.0 + turn, [0.0, 0.0]))
    playout.push(tone(0.1) + bytes(10 * FRAME), 100.0)
    for tick in range(30):
        playout.pull(100.0 + tick * TICK)
    assert playout.stretched_seconds == pytest.approx(stretched)


def test_no_start_waits_longer_than_the_limit_and_no_answer_is_stretched_further() -> None:
    playout, rng = Playout(RATE), random.Random(9)
    hole(playout)
    for turn in range(1, 30):
        one = answer(rng, 3.0, 0.1)
        before, heard = playout.stretched_seconds, []
        chunks = [(at + 20.0 * turn, pcm) for at, pcm in zip(one.arrivals, one.chunks, strict=True)]
        first_tick = math.ceil(chunks[0][0] / TICK - 1e-9)
        ticks = itertools.count(first_tick)
        while chunks or playout.seconds:
            now = next(ticks) * TICK
            while chunks and chunks[0][0] <= now:
                playout.push(chunks[0][1], chunks[0][0])
                del chunks[0]
            if not chunks:
                playout.end()
            heard.append(playout.pull(now) is not None)
        assert heard.index(True) * TICK <= MAX_WAIT + TICK
        assert playout.stretched_seconds - before <= MAX_STRETCH + 1e-9


def starve(playout: Playout, at: float = 0.0) -> float:
    """A hole of 400 ms, more than any unevenness explains: when the next chunk came."""
    playout.push(tone(TICK), at)
    for tick in range(21):
        playout.pull(at + tick * TICK)
    return at + 21 * TICK


def test_a_starving_model_is_waited_for_as_long_as_may_be() -> None:
    playout = Playout(RATE)
    at = starve(playout)
    playout.push(tone(0.1), at)
    heard = [playout.pull(at + tick * TICK) is not None for tick in range(12)]
    assert heard.index(True) * TICK == pytest.approx(MAX_WAIT, abs=TICK)


def test_a_starving_model_is_paused_only_when_little_is_left_and_once_a_pause() -> None:
    playout = Playout(RATE)
    at = starve(playout)
    playout.push(tone(0.06) + bytes(FRAME) + tone(0.1) + bytes(2 * FRAME) + tone(TICK), at)
    heard = [playout.pull(at + tick * TICK) is not None for tick in range(40)]
    first = heard.index(True)
    assert heard[first : first + 9] == [True] * 9, "0.2 s are left at the first pause"
    rest = heard[first + 9 :]
    resumed = rest.index(True)
    assert resumed * TICK == pytest.approx(MAX_WAIT, abs=TICK), "0.06 s at the second"
    assert rest[resumed : resumed + 3] == [True] * 3, "and what is there is then said, whether or not more came"
    assert playout.underruns == 2


def test_the_end_of_a_starving_answer_is_not_paused() -> None:
    playout = Playout(RATE)
    at = starve(playout)
    playout.push(tone(TICK) + bytes(FRAME) + tone(TICK), at)
    playout.end()
    assert len(drain(playout, at)) == 3 * FRAME
    assert playout.underruns == 1


def test_an_answer_without_a_hole_and_it_is_not_starving_any_more() -> None:
    playout = Playout(RATE)
    at = starve(playout)
    playout.push(tone(0.1), at)
    playout.end()
    drain(playout, at)
    pauses = []
    for start in (10.0, 20.0):
        before = playout.underruns
        playout.push(tone(0.1), start)
        playout.push(tone(0.5) + bytes(FRAME) + tone(TICK), start)
        for tick in range(31):
            playout.pull(start + tick * TICK)
        pauses.append(playout.underruns - before)
        playout.end()
        drain(playout, start + 1.0)
    assert pauses == [1, 0], "the first answer was still paused between words"


def test_an_answer_cut_inside_a_sample_does_not_shift_the_next_one() -> None:
    playout = Playout(RATE)
    playout.push(tone(TICK) + b"\1", 0.0)
    playout.end()
    drain(playout)
    playout.push(tone(TICK, start=7), 5.0)
    frame = playout.pull(5.0)
    assert frame is not None
    assert frame.pcm == tone(TICK, start=7)


def test_a_tail_that_waited_for_the_rest_of_its_frame_was_a_hole_and_is_the_end() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.03), 0.0)
    heard = [playout.pull(tick * TICK) is not None for tick in range(3)]
    assert heard == [True, False, False]
    playout.end()
    assert (playout.underruns, playout.underrun_seconds) == (1, pytest.approx(2 * TICK))
    assert playout.pull(0.06) is not None
    playout.push(tone(0.1), 0.07)
    assert playout.pull(0.08) is not None
    assert playout.underruns == 1, "the next answer begins where this one ended"


def test_two_samples_of_an_answer_are_not_lost_at_its_end() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.02) + b"\1\2\3\4", 0.0)
    playout.end()
    assert drain(playout)[: FRAME + 4] == tone(0.02) + b"\1\2\3\4"


@given(
    st.lists(
        st.one_of(st.integers(0, 4_000), st.sampled_from(["pull", "pull", "pull", "end", "clear"])),
        max_size=150,
    )
)
def test_whatever_the_order_nothing_is_lost_doubled_or_reordered(steps: list[int | str]) -> None:
    playout = Playout(RATE, limit=0.5)
    source, sent, heard = tone(1.0), 0, b""
    expected = b""
    now = 0.0
    for step in steps:
        if isinstance(step, int):
            room = round((0.5 - playout.seconds) * RATE) * 2
            pcm = source[sent : sent + min(step * 2, room)]
            sent += len(pcm)
            playout.push(pcm, now)
            expected += pcm
        elif step == "pull":
            now += TICK
            if (frame := playout.pull(now)) is not None:
                assert len(frame.pcm) == FRAME
                heard += frame.pcm
        elif step == "end":
            playout.end()
            now += MAX_WAIT
            while (frame := playout.pull(now)) is not None:
                heard += frame.pcm
            assert heard[: len(expected)] == expected
            heard = expected = b""
        else:
            playout.clear()
            assert expected.startswith(heard[: len(expected)])
            heard = expected = b""
    assert (expected + bytes(FRAME)).startswith(heard)
    assert playout.overflow_seconds == 0.0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 6_000), st.sampled_from([0.5, 0.01])), st.sampled_from(["tick"] * 9 + ["end", "clear"])
        ),
        max_size=120,
    ),
    st.integers(1, 9),
)
@settings(max_examples=300)
def test_frames_taken_ahead_are_those_that_would_have_been_pulled(steps: list[tuple[int, float] | str], row: int) -> None:
    """Whatever comes meanwhile, but for a barge-in: the same frames on the same ticks, and the same account of them."""
    one_by_one, in_rows = Playout(RATE), Playout(RATE)
    ahead: list[AudioFrame] = []
    now = 0.0
    for step in steps:
        if isinstance(step, tuple):
            size, level = step
            pcm = (np.frombuffer(tone(1.0)[:size], np.int16, size // 2) * level).astype(np.int16).tobytes()
            for each in (one_by_one, in_rows):
                each.push(pcm, now)
        elif step == "tick":
            now += TICK
            expected = one_by_one.pull(now)
            if ahead:
                assert ahead.pop(0) == expected
            else:
                frame = in_rows.pull(now)
                assert frame == expected
                if frame is not None:
                    ahead = in_rows.ahead(row)
                    assert len(ahead) <= row
        elif step == "end":
            for each in (one_by_one, in_rows):
                each.end()
        else:
            unsaid = len(ahead) * TICK
            assert in_rows.clear() + unsaid == pytest.approx(one_by_one.clear())
            in_rows.speaking_seconds -= unsaid
            ahead = []
        assert in_rows.seconds + len(ahead) * TICK == pytest.approx(one_by_one.seconds)
        assert in_rows.speaking_seconds - len(ahead) * TICK == pytest.approx(one_by_one.speaking_seconds)
        for name in ("underruns", "underrun_seconds", "stretched_seconds", "overflow_seconds"):
            assert getattr(in_rows, name) == pytest.approx(getattr(one_by_one, name)), name


def test_of_what_is_there_all_but_the_last_frame_is_taken_ahead() -> None:
    playout = Playout(RATE)
    playout.push(tone(0.2), 0.0)
    assert playout.ahead(9) == [], "nothing has left yet"
    assert playout.pull(0.0) is not None
    assert len(playout.ahead(3)) == 3
    assert len(playout.ahead(9)) == 5
    assert playout.ahead(9) == []
    assert playout.seconds == pytest.approx(TICK)


@given(st.lists(st.integers(1, 6_000), min_size=1, max_size=12))
def test_frames_are_cut_the_same_wherever_the_chunks_end(sizes: list[int]) -> None:
    """Whether a frame lies in one chunk, ends with it or spans several: its samples, and the time of its first."""
    playout = Playout(RATE)
    said, came, spent = b"", [], 0.0
    for number, size in enumerate(sizes):
        chunk = tone(1.0)[2 * number : 2 * number + size // 2 * 2]
        playout.push(chunk, float(number))
        said += chunk
        came += [float(number)] * len(chunk)
    playout.end()
    for start in range(0, len(said), FRAME):
        assert playout.seconds == pytest.approx((len(said) - start) / (2 * RATE))
        frame = playout.pull(1_000.0)
        assert frame is not None
        assert frame == (said[start : start + FRAME].ljust(FRAME, b"\0"), RATE, came[start])
        spent += min(FRAME, len(said) - start) / (2 * RATE)
        assert playout.speaking_seconds == pytest.approx(spent)
    assert playout.pull(1_000.0) is None
