"""The caller's audio over several sockets: nothing lost that is still there, nothing twice that was not asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.counting import count, read_count
from gateway.model.base import ToolAnswer
from gateway.wire.gemini_reel import MAX_ASKS, Ask, AskKind, Item, Mark, Reel, Strip
from tests.audio import speech

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


def test_what_was_sent_a_while_ago_lies_in_long_pieces_and_comes_back_to_the_sample() -> None:
    reel = Reel()
    for _ in range(500):
        reel.push(count(reel.end, 320))
        drain(reel)
    assert reel.pieces < 110  # 50 to 75 messages of the last second, and pieces of half a second
    assert reel.oldest == 0
    reel.rewind(12_345)
    items = drain(reel)
    assert sound(items) == count(12_345, 160_000 - 12_345)
    assert max(len(item.pcm) for item in items if isinstance(item, Strip)) <= 16_000


def test_a_message_number_says_how_far_it_got_in_a_piece_too() -> None:
    reel = Reel()
    for _ in range(200):
        reel.push(count(reel.end, 320))
        drain(reel)
    assert [reel.consumed(number) for number in range(1, 201)] == [320 * number for number in range(1, 201)]
    reel.rewind(50 * 320)
    reel.counted(3)
    assert {reel.consumed(number) for number in range(4)} == {0}
    drain(reel)
    for _ in range(200):
        reel.push(count(reel.end, 320))
        drain(reel)
    assert reel.consumed(3) == 0
    assert reel.consumed(500) == reel.end


def test_marks_lie_between_the_pieces() -> None:
    reel = Reel()
    for seconds in (0.4, 0.8, 1.4):
        reel.mark(Mark.TURN_BEGINS)
        fill(reel, seconds)
        reel.mark(Mark.TURN_ENDS)
        fill(reel, 0.3)
    sent = drain(reel)
    fill(reel, 5.0)
    drain(reel)
    reel.rewind(0)
    again = drain(reel)
    assert sound(again) == count(0, reel.end)
    marks = [(item.mark, item.position) for item in again if isinstance(item, Strip) and item.mark]
    assert marks == [(item.mark, item.position) for item in sent if isinstance(item, Strip) and item.mark]
    assert all(item.in_turn for item in again if isinstance(item, Strip) and item.pcm and item.position < 4 * CHUNK)


def test_what_nobody_will_ask_for_again_is_let_go_of_but_for_the_last_moments() -> None:
    reel = Reel()
    fill(reel, 10.0)
    drain(reel)
    reel.forget(6 * SECOND + 5)
    assert 5.5 * SECOND <= reel.oldest <= 6 * SECOND
    reel.rewind(6 * SECOND + 5)
    assert sound(drain(reel)) == count(6 * SECOND + 5, 4 * SECOND - 5)
    reel.forget(reel.end)
    assert reel.end - 2 * SECOND <= reel.oldest <= reel.end - SECOND
    assert reel.dropped == 0.0


def test_what_was_never_sent_is_not_let_go_of() -> None:
    reel = Reel()
    fill(reel, 3.0)
    reel.forget(2 * SECOND)
    assert sound(drain(reel)) == count(0, 3 * SECOND)


class Plain(Reel):
    """Joins nothing."""

    def _join(self, position: int) -> None:
        """Never mind."""


@given(st.lists(st.tuples(st.sampled_from(["push", "send", "rewind", "begin", "end", "pause"]), st.integers(0, 60)), max_size=80))
def test_joined_or_not_every_socket_is_sent_the_same(steps: list[tuple[str, int]]) -> None:
    """Against a reel that keeps every message by itself."""
    joined, plain = Reel(limit=60.0, memory=60.0), Plain(limit=60.0, memory=60.0)
    now, numbers = 1.0, 0

    def said(reel: Reel, most: int) -> list[tuple[Mark | None, bytes]]:
        """Marks, and the sound between them."""
        found: list[tuple[Mark | None, bytes]] = []
        left = most * 320
        while left > 0 and isinstance(item := reel.take(), Strip):
            left -= max(1, len(item.pcm) // 2)
            reel.sent_now(item, now)
            if item.mark is None and found and found[-1][0] is None:
                found[-1] = (None, found[-1][1] + item.pcm)
            else:
                found.append((item.mark, item.pcm))
        return found

    for what, amount in steps:
        now += 0.01
        match what:
            case "push":
                for _ in range(amount):
                    for reel in (joined, plain):
                        reel.push(count(reel.end, 320))
            case "send":
                numbers += amount
                assert said(joined, 10**6) == said(plain, 10**6)
            case "rewind":
                target = max(0, joined.sent - amount * 777)
                assert joined.sent == plain.sent
                assert joined.rewind(target) == plain.rewind(target)
                numbers = 0
            case "pause":
                for reel in (joined, plain):
                    reel.mark(Mark.PAUSE)
            case _:
                if joined.in_turn is (what == "end"):
                    for reel in (joined, plain):
                        reel.mark(Mark.TURN_BEGINS if what == "begin" else Mark.TURN_ENDS)
        assert joined.oldest == plain.oldest
        if not any(step == "rewind" for step, _ in steps):
            assert [joined.consumed(n) for n in range(numbers)] == [plain.consumed(n) for n in range(numbers)]


@given(
    st.lists(
        st.tuples(st.sampled_from(["push", "push", "push", "mark", "ask", "forget", "thin", "rewind"]), st.integers(1, 4000)),
        max_size=80,
    )
)
def test_what_is_passed_on_at_once_lies_as_if_it_had_waited(steps: list[tuple[str, int]]) -> None:
    at_once, waited = Reel(memory=3.0), Reel(memory=3.0)
    for number, (step, size) in enumerate(steps):
        now = 1.0 + number
        if step == "push":
            pcm = count(waited.end, size)
            if waited.all_sent:
                assert waited.take() is None
                at_once.pass_on(pcm, now)
            else:
                assert waited.take() is not None
                at_once.push(pcm)
                drain(at_once, now)
            waited.push(pcm)
            drain(waited, now)
        for reel in (at_once, waited):
            if step == "mark":
                reel.mark(Mark.TURN_ENDS if reel.in_turn else Mark.TURN_BEGINS)
            elif step == "ask":
                reel.ask(Ask(AskKind.TEXT, "now"))
            elif step == "forget":
                reel.forget(reel.sent - size)
            elif step == "thin":
                reel.thin(reel.sent - size)
            elif step == "rewind":
                reel.rewind(max(reel.oldest, reel.sent - size))
        asks = [[(ask.position, ask.sent_at) for ask in reel.asks] for reel in (at_once, waited)]
        assert asks[0] == asks[1]
        for ask in (*at_once.asks, *waited.asks):
            ask.answer = None
        kept = [{**vars(reel), "_asks": None} for reel in (at_once, waited)]
        assert kept[0] == kept[1]


def test_what_has_been_read_lies_at_half_the_size_and_comes_back_as_the_same_speech() -> None:
    reel, spoken = Reel(), speech(SECOND, 8.0)
    for at in range(0, len(spoken), 640):
        reel.push(spoken[at : at + 640])
        drain(reel)
    reel.thin(6 * SECOND)
    assert [strip.thin for strip in reel._past] == [strip.end <= 6 * SECOND for strip in reel._past]
    assert sum(len(strip.pcm) for strip in reel._past) < 2 * 1.5 * SECOND + 6 * SECOND
    assert (reel.oldest, reel.sent) == (0, reel.end)
    assert reel.rewind(0) == reel.end / SECOND
    again = sound(drain(reel))
    assert again[2 * 6 * SECOND :] == spoken[2 * 6 * SECOND :]
    assert snr(spoken, again) > 35.0
    # Once more costs nothing more.
    reel.thin(6 * SECOND)
    reel.rewind(0)
    assert sound(drain(reel)) == again


def snr(clean: bytes, noisy: bytes) -> float:
    """dB."""
    signal, other = (np.frombuffer(pcm, np.int16).astype(float) for pcm in (clean, noisy))
    return float(10 * np.log10(np.mean(signal**2) / np.mean((signal - other) ** 2)))
