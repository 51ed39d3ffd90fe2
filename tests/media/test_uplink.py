"""The uplink: chunks by load, nothing waits after the caller fell silent, the oldest gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.media.audio import AudioFrame
from gateway.media.uplink import MAX_MESSAGE, Uplink


def frame(number: int, seconds: float = 0.02) -> AudioFrame:
    samples = round(16_000 * seconds)
    return AudioFrame(number.to_bytes(2, "little") * samples, 16_000, number * 0.02)


def test_a_chunk_is_ready_when_it_is_full_and_not_before() -> None:
    uplink = Uplink(chunk=0.1)
    assert [uplink.push(frame(n)) for n in range(5)] == [False, False, False, False, True]
    chunk = uplink.take()
    assert chunk is not None
    assert chunk.pcm == b"".join(frame(n).pcm for n in range(5))
    assert (chunk.oldest_at, chunk.newest_at) == (0.0, 0.08)
    assert uplink.take() is None
    assert uplink.backlog == 0.0


def test_the_chunk_follows_the_load_at_run_time() -> None:
    uplink = Uplink(chunk=0.1)
    assert not uplink.push(frame(0))
    uplink.chunk = 0.02
    assert uplink.ready
    uplink.chunk = 0.04
    assert not uplink.ready
    assert uplink.push(frame(1))


def test_chunk_size_is_kept_in_its_bounds() -> None:
    uplink = Uplink(chunk=5.0)
    assert uplink.chunk == 0.1
    uplink.chunk = 0.0
    assert uplink.chunk == 0.02


def test_hurry_gives_what_is_there_and_only_that() -> None:
    uplink = Uplink(chunk=0.1)
    assert not uplink.hurry()
    assert not uplink.push(frame(0)), "hurrying an empty uplink must not make the next frame go alone"
    assert uplink.hurry()
    chunk = uplink.take()
    assert chunk is not None
    assert chunk.pcm == frame(0).pcm
    assert not uplink.push(frame(1))


def test_a_silence_that_lasts_hurries_in_pairs_near_capacity() -> None:
    for chunk, sizes in ((0.02, [1] * 6), (0.04, [1] * 6), (0.06, [1, 0, 2, 0, 2, 0]), (0.1, [1, 0, 2, 0, 2, 0])):
        uplink, found = Uplink(chunk=chunk), []
        for number in range(6):
            uplink.push(frame(number))
            ready = uplink.hurry(again=number > 0)
            assert ready is uplink.ready
            taken = uplink.take()
            found.append(0 if taken is None else len(taken.pcm) // 640)
        assert found == sizes, chunk


def test_what_hurries_is_not_held_back_by_the_silence_after_it() -> None:
    uplink = Uplink(chunk=0.1)
    uplink.push(frame(0))
    assert uplink.hurry()
    assert uplink.hurry(again=True) is False  # alone, it would wait
    assert uplink.ready, "nobody has taken what hurried before"


def test_a_feeder_that_fell_behind_gets_everything_in_few_messages() -> None:
    uplink = Uplink(chunk=0.02)
    for number in range(60):  # 1.2 s
        uplink.push(frame(number))
    sizes = []
    while (chunk := uplink.take()) is not None:
        sizes.append(len(chunk.pcm) / 32_000)
    assert sizes == [MAX_MESSAGE, MAX_MESSAGE, 0.2]


def test_no_more_is_taken_than_is_asked_for() -> None:
    uplink = Uplink(chunk=0.02)
    for number in range(10):
        uplink.push(frame(number))
    sizes = []
    for most in (0.06, 0.05, 0.001, 0.2):
        chunk = uplink.take(round(most * 32_000))
        assert chunk is not None
        sizes.append(len(chunk.pcm) // 640)
    assert sizes == [3, 2, 1, 4]


def test_the_oldest_frames_give_way_whole() -> None:
    uplink = Uplink(chunk=0.1, limit=1.0)
    for number in range(60):
        uplink.push(frame(number))
    assert uplink.backlog == 1.0
    assert round(uplink.dropped, 9) == 0.2
    chunk = uplink.take()
    assert chunk is not None
    assert chunk.pcm[:640] == frame(10).pcm
    assert chunk.oldest_at == 0.2


def test_clear_forgets_without_counting_a_drop() -> None:
    uplink = Uplink(chunk=0.1)
    uplink.push(frame(0))
    assert uplink.clear() == 0.02
    assert (uplink.backlog, uplink.dropped, uplink.take()) == (0.0, 0.0, None)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.01, 0.02, 0.03, 0.06]), st.sampled_from(["", "take", "some", "hurry", "again"])),
        max_size=120,
    ),
    st.integers(1, 7),
)
def test_order_is_kept_and_every_byte_is_taken_waiting_or_dropped(steps: list[tuple[float, str]], row: int) -> None:
    uplink = Uplink(chunk=0.06, limit=0.3)
    pushed = taken = b""
    for number, (seconds, then) in enumerate(steps):
        together = [frame(number * row + each, seconds) for each in range(row)]
        pushed += b"".join(one.pcm for one in together)
        assert uplink.push_row(together) == uplink.ready
        assert uplink.backlog <= 0.3
        if then in {"hurry", "again"}:
            uplink.hurry(again=then == "again")
        if then and (chunk := uplink.take(3_000 if then == "some" else None)) is not None:
            taken += chunk.pcm
            assert then != "some" or len(chunk.pcm) <= 3_000
            assert chunk.oldest_at <= chunk.newest_at
    assert len(pushed) == len(taken) + round((uplink.backlog + uplink.dropped) * 32_000)
    if uplink.dropped == 0.0:
        assert pushed.startswith(taken)
