"""The caller's audio over several sockets: nothing lost that is still there, nothing twice that was not asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.counting import count, read_count
from gateway.model.base import ToolAnswer
from gateway.wire.gemini_reel import MAX_ASKS, Ask, AskKind, Item, Mark, Reel, Strip

CHUNK = 1600
SECOND = 16_000


def fill(reel: Reel, seconds: float) -> None:
    for _ in range(round(seconds * SECOND / CHUNK)):
        reel.push(count(reel.end, CHUNK))


def drain(reel: Reel, now: float = 1.0) -> list[Item]:
    items = []
    while (item := reel.take()) is not None:
        reel.sent_now(item, now)
        items.append(item)
    return items


def sound(items: list[Item]) -> bytes:
    return b"".join(item.pcm for item in items if isinstance(item, Strip))


def test_what_is_pushed_is_taken_once_in_order() -> None:
    reel = Reel()
    fill(reel, 3.0)
    heard = sound(drain(reel))
    fill(reel, 2.0)
    heard += sound(drain(reel))
    assert heard == count(0, 5 * SECOND)
    assert reel.take() is None
    assert reel.sent == reel.end == 5 * SECOND


def test_another_socket_begins_where_it_is_told_to_the_sample() -> None:
    reel = Reel()
    fill(reel, 3.0)
    drain(reel)
    fill(reel, 0.5)
    assert reel.rewind(2 * SECOND + 77) == pytest.approx(1.0 - 77 / SECOND)
    assert sound(drain(reel)) == count(2 * SECOND + 77, round(1.5 * SECOND) - 77)


def test_nothing_is_played_again_when_all_has_arrived() -> None:
    reel = Reel()
    fill(reel, 2.0)
    drain(reel)
    assert reel.rewind(reel.sent) == 0.0
    assert reel.take() is None
    fill(reel, 0.1)
    assert sound(drain(reel)) == count(2 * SECOND, CHUNK)


def test_beyond_its_memory_it_begins_at_the_oldest_there_is() -> None:
    reel = Reel(memory=4.0)
    fill(reel, 10.0)
    drain(reel)
    assert reel.oldest >= 6 * SECOND - CHUNK
    reel.rewind(0)
    assert sound(drain(reel)) == count(reel.oldest, reel.end - reel.oldest)


def test_without_a_socket_the_oldest_gives_way_and_is_counted() -> None:
    reel = Reel(limit=2.0, memory=5.0)
    fill(reel, 1.0)
    drain(reel)
    reel.limited = True
    fill(reel, 5.0)
    assert reel.waiting == pytest.approx(2.0)
    assert reel.dropped == pytest.approx(3.0)
    reel.rewind(reel.sent)
    assert sound(drain(reel)) == count(4 * SECOND, 2 * SECOND)


def test_what_is_on_its_way_may_be_more_than_the_limit() -> None:
    reel = Reel(limit=2.0, memory=8.0)
    fill(reel, 6.0)
    drain(reel)
    reel.rewind(0)
    fill(reel, 0.1)
    assert reel.dropped == 0.0
    assert sound(drain(reel)) == count(0, round(6.1 * SECOND))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(1, 30)),
            st.tuples(st.just("send"), st.integers(1, 40)),
            st.tuples(st.just("swap"), st.integers(0, 30)),
        ),
        max_size=60,
    )
)
def test_every_socket_hears_one_piece_without_a_hole(steps: list[tuple[str, int]]) -> None:
    """However sockets come and go: what one hears is continuous, and begins no later than where the one before it ended."""
    reel = Reel(limit=60.0, memory=60.0)
    heard = bytearray()  # on this socket
    reached = 0

    def send() -> None:
        if (item := reel.take()) is not None:
            assert isinstance(item, Strip)
            heard.extend(item.pcm)
            reel.sent_now(item, 1.0)

    def check() -> int:
        """The socket is over: how far the count has got."""
        report = read_count(bytes(heard))
        if len(heard) < 16:  # too little to find a number in
            return max(reached, reel.sent)
        assert not report.foreign
        assert not report.jumps
        assert report.first is not None
        assert report.last is not None
        assert report.first <= reached
        return max(reached, report.last + 1)

    for what, amount in steps:
        match what:
            case "push":
                for _ in range(amount):
                    reel.push(count(reel.end, CHUNK))
            case "send":
                for _ in range(amount):
                    send()
            case _:
                reached = check()
                heard.clear()
                target = max(0, reel.sent - amount * 531)
                reel.rewind(target)
                assert reel.sent == target
    while reel.take() is not None:
        send()
    assert check() == reel.end


def test_where_the_last_moments_began() -> None:
    reel = Reel()
    for number in range(10):
        fill(reel, 0.1)
        drain(reel, 100.0 + number)
    assert reel.since(108.0) == 8 * CHUNK
    assert reel.since(108.5) == 9 * CHUNK
    assert reel.since(200.0) == reel.end
    fill(reel, 0.1)
    assert reel.since(200.0) == 10 * CHUNK  # not sent yet


def test_a_message_number_says_how_far_it_got() -> None:
    reel = Reel()
    fill(reel, 1.0)
    reel.counted(2)  # two other messages after the setup, which is number 0
    drain(reel)
    assert reel.consumed(2) == 0
    assert reel.consumed(3) == CHUNK
    assert reel.consumed(12) == 10 * CHUNK
    assert reel.consumed(500) == 10 * CHUNK
    reel.rewind(5 * CHUNK)
    assert reel.consumed(500) == 0  # of another socket's messages nothing was counted yet
    drain(reel)
    assert reel.consumed(1) == 6 * CHUNK


def test_marks_keep_their_place() -> None:
    reel = Reel()
    reel.mark(Mark.TURN_BEGINS)
    fill(reel, 0.2)
    reel.mark(Mark.TURN_ENDS)
    reel.mark(Mark.PAUSE)
    assert [item.mark for item in drain(reel) if isinstance(item, Strip)] == [
        Mark.TURN_BEGINS,
        None,
        None,
        Mark.TURN_ENDS,
        Mark.PAUSE,
    ]
    assert not reel.in_turn


@pytest.mark.parametrize(
    ("position", "marks"),
    [
        (0, [Mark.TURN_BEGINS, None, None, Mark.TURN_ENDS, None]),
        (CHUNK, [Mark.TURN_BEGINS, None, Mark.TURN_ENDS, None]),
        (2 * CHUNK, [None]),  # an end without its beginning would be refused
        (3 * CHUNK, []),
    ],
)
def test_a_turn_is_begun_again_before_its_middle(position: int, marks: list[Mark | None]) -> None:
    reel = Reel()
    reel.mark(Mark.TURN_BEGINS)
    fill(reel, 0.2)
    reel.mark(Mark.TURN_ENDS)
    fill(reel, 0.1)
    drain(reel)
    reel.rewind(position)
    assert [item.mark for item in drain(reel) if isinstance(item, Strip)] == marks


def test_a_turn_that_is_still_open_is_begun_again() -> None:
    reel = Reel()
    reel.mark(Mark.TURN_BEGINS)
    fill(reel, 0.2)
    drain(reel)
    reel.rewind(reel.sent)
    fill(reel, 0.1)
    reel.mark(Mark.TURN_ENDS)
    marks = [item.mark for item in drain(reel) if isinstance(item, Strip)]
    assert marks == [Mark.TURN_BEGINS, None, Mark.TURN_ENDS]


def test_what_is_asked_goes_after_the_audio_before_it() -> None:
    reel = Reel()
    fill(reel, 0.1)
    reel.ask(ask := Ask(AskKind.TEXT, "hello"))
    fill(reel, 0.1)
    items = drain(reel)
    assert items[1] is ask
    assert [isinstance(item, Strip) for item in items] == [True, False, True]


def test_what_was_not_answered_is_asked_again_and_only_that() -> None:
    reel = Reel()
    reel.ask(first := Ask(AskKind.TEXT, "one"))
    drain(reel)
    assert reel.answered() == [first]
    reel.ask(second := Ask(AskKind.TOOL, answer=ToolAnswer("1", "f", {})))
    drain(reel)
    reel.ask(third := Ask(AskKind.TEXT, "three"))
    assert reel.answered() == [second]
    drain(reel)
    reel.rewind(reel.sent)
    assert drain(reel) == [third]
    reel.withdraw(third)
    reel.withdraw(third)
    reel.rewind(reel.sent)
    assert drain(reel) == []


def test_questions_are_bounded() -> None:
    reel = Reel()
    for number in range(MAX_ASKS + 5):
        reel.ask(Ask(AskKind.TEXT, str(number)))
    assert [ask.text for ask in reel.asks] == [str(number) for number in range(5, MAX_ASKS + 5)]
