"""The jitter buffer in fake time: what goes on at once, what waits, what is filled, and the invariants for any order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.jitter import (
    COPY_WAIT,
    LATE_RUN,
    MAX_FILL,
    MAX_REMEMBERED,
    MAX_STORED,
    MAX_WAIT,
    QUIET_STALL,
    SECOND_LOOK,
    STALL,
    Conceal,
    Copy,
    JitterBuffer,
    Play,
    Quiet,
    Restore,
    Step,
)

CLOCK = 48_000
FRAME = 960
PTIME = 0.02


def name(number: int) -> bytes:
    """A payload that says which frame it is."""
    return b"frame %d" % number


@dataclass
class Line:
    """A jitter buffer and what came out of it: `said` has a word per step, `units` the ticks filled."""

    buffer: JitterBuffer = field(default_factory=lambda: JitterBuffer(CLOCK))
    first_sequence: int = 0
    first_timestamp: int = 0
    duration: int = FRAME
    said: list[str] = field(default_factory=list)
    units: int = 0

    def packet(
        self, number: int, now: float, *, copies: int = 0, timestamp: int | None = None, pauses: bool = False
    ) -> list[str]:
        """Packet `number` of a steady stream comes `now`. What it made the line say."""
        if timestamp is None:
            timestamp = self.first_timestamp + number * self.duration
        older = [
            Copy((timestamp - back * self.duration) & 0xFFFFFFFF, name(number - back), self.duration)
            for back in range(copies, 0, -1)
        ]
        return self.take(
            self.buffer.push(
                self.first_sequence + number, timestamp & 0xFFFFFFFF, name(number), self.duration, now, older, pauses
            )
        )

    def poll(self, now: float) -> list[str]:
        return self.take(self.buffer.poll(now))

    def poll_until(self, now: float) -> list[str]:
        """Poll whenever the buffer asks for it."""
        said: list[str] = []
        while self.buffer.deadline is not None and self.buffer.deadline <= now:
            said += self.poll(self.buffer.deadline)
        return said

    def take(self, steps: list[Step]) -> list[str]:
        words = []
        for step in steps:
            match step:
                case Play(payload, duration, skip, _, restored):
                    words.append(
                        payload.decode().removeprefix("frame ") + ("r" if restored else "") + (f"-{skip}" if skip else "")
                    )
                    self.units += duration - skip
                case Restore(payload, duration):
                    words.append("fec<" + payload.decode().removeprefix("frame "))
                    self.units += duration
                case Conceal(duration):
                    words.append("plc")
                    self.units += duration
                case Quiet(duration):
                    words.append(f"quiet{duration}")
                    self.units += duration
        self.said += words
        return words


def test_in_order_goes_on_at_once_and_nothing_is_counted() -> None:
    line = Line()
    for number in range(100):
        assert line.packet(number, 0.05 + number * PTIME) == [str(number)]
    assert (line.buffer.late, line.buffer.reordered, line.buffer.duplicates, line.buffer.waited) == (0, 0, 0, 0.0)


def test_sequence_and_timestamp_wrap() -> None:
    line = Line(first_sequence=65_534, first_timestamp=0xFFFFFFFF - 2 * FRAME)
    for number in range(10):
        assert line.packet(number, number * PTIME) == [str(number)]


def test_on_a_network_that_keeps_order_a_loss_is_concealed_at_once() -> None:
    line = Line()
    line.packet(0, 0.0)
    assert line.packet(2, 0.04) == ["plc", "2"]
    assert line.packet(3, 0.06) == ["3"]


def test_a_redundant_copy_fills_the_hole_with_the_frame_itself() -> None:
    line = Line()
    line.packet(0, 0.0, copies=2)
    assert line.packet(3, 0.06, copies=2) == ["1r", "2r", "3"]


def test_in_band_fec_restores_the_last_of_a_burst() -> None:
    line = Line(JitterBuffer(CLOCK, lambda payload: payload == name(3)))
    line.packet(0, 0.0)
    assert line.packet(3, 0.06) == ["plc", "fec<3", "3"]


def test_the_fec_inside_a_redundant_copy_is_used_too() -> None:
    line = Line(JitterBuffer(CLOCK, lambda _: True))
    line.packet(0, 0.0)
    assert line.packet(3, 0.06, copies=1) == ["fec<2", "2r", "3"]


def test_a_hole_waits_as_long_as_packets_have_been_seen_to_come_late() -> None:
    line = Line()
    line.packet(0, 0.0)
    assert line.packet(2, 0.04) == ["plc", "2"]
    assert line.packet(1, 0.06) == []  # 20 ms behind a later one: learnt, and too late itself
    assert line.buffer.late == 1
    line.packet(3, 0.06)
    assert line.packet(5, 0.10) == []
    deadline = line.buffer.deadline
    assert deadline is not None
    assert 0.12 <= deadline <= 0.14
    assert line.poll(deadline - 0.001) == []
    assert line.packet(4, 0.12) == ["4", "5"]
    assert line.buffer.waited == pytest.approx(0.02), "of packet 5"
    line.packet(6, 0.12)
    assert line.packet(8, 0.16) == []
    assert line.poll(0.20) == ["plc", "8"]
    assert line.buffer.reordered == 2


def test_it_waits_for_the_packet_that_may_carry_the_copy() -> None:
    line = Line()
    line.packet(0, 0.0, copies=2)
    assert line.packet(1, 0.02, copies=2) == ["1"]
    # 2 is lost. 3 came without copies (its sender had none to give), but 4 may still bring one.
    assert line.packet(3, 0.06) == []
    assert line.packet(4, 0.08, copies=2) == ["2r", "3", "4"]


def test_when_order_is_usual_fec_is_used_at_once_but_not_when_the_missing_usually_come() -> None:
    line = Line(JitterBuffer(CLOCK, lambda _: True))
    line.packet(0, 0.0)
    now, number, waits = 0.0, 1, []
    for _ in range(40):  # every pair swapped, nothing lost
        now += 2 * PTIME
        waits.append(line.packet(number + 1, now) == [])
        line.packet(number, now + 0.005)
        number += 2
    assert not waits[0]
    assert all(waits[-10:])
    # And now every fourth is lost.
    at_once = [bool(line.packet(later, later * PTIME)) for later in range(number, number + 200) if later % 4]
    assert not all(at_once[:10])
    assert all(at_once[-50:]), "they do not come any more"


@pytest.mark.parametrize(
    ("late", "copy", "patience"),
    [
        (0.095, False, 0.0995),
        (0.095, True, COPY_WAIT),
        (0.13, False, 0.135),
        (0.13, True, COPY_WAIT + 0.051),
        (0.2, False, 0.205),
        (0.2, True, 0.205),
    ],
)
def test_a_copy_that_is_here_bounds_the_wait_for_the_packet_itself(late: float, copy: bool, patience: float) -> None:
    """Where packets mostly do come, but late, the in-band copy is good enough after 50 ms; where they come very late, everything
    is late, and it is for those that do not come."""
    line = Line(JitterBuffer(CLOCK, lambda _: copy))
    for at, number in sorted((number * PTIME + (late if number % 4 == 1 else 0.0), number) for number in range(201)):
        line.poll_until(at)
        line.packet(number, at)
    assert line.packet(202, 202 * PTIME) == []
    waits = line.buffer.gives_up_at - 201 * PTIME
    assert waits == pytest.approx(patience)


def test_a_look_is_urgent_only_while_something_is_held_back() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.packet(2, 0.04)
    line.packet(1, 0.07)
    assert line.buffer.deadline is not None, "a stall has one too"
    assert line.buffer.gives_up_at is None
    line.packet(4, 0.08)
    assert line.buffer.gives_up_at == line.buffer.deadline
    line.packet(3, 0.09)
    assert line.buffer.gives_up_at is None


def test_fec_is_used_at_once_when_the_missing_are_mostly_lost_even_if_one_came_late_before() -> None:
    line = Line(JitterBuffer(CLOCK, lambda _: True))
    line.packet(0, 0.0)
    line.packet(2, 0.04)
    line.packet(1, 0.07)  # learnt: packets may come 30 ms behind
    for number in range(3, 40):
        if number % 4:
            assert line.packet(number, number * PTIME), "nothing waits: the copy is here"
    assert line.buffer.waited == 0.0


def test_no_hole_waits_longer_than_the_bound() -> None:
    line = Line()
    line.packet(0, 0.0)
    for number in range(2, 51):
        line.packet(number, number * PTIME)
    line.packet(1, 1.0)  # absurdly late: must not be believed in full
    line.packet(51, 1.02)
    assert line.packet(53, 1.06) == []
    assert line.buffer.deadline == pytest.approx(52 * PTIME + MAX_WAIT)
    assert line.poll_until(1.3) == ["plc", "53"]


def test_duplicates_and_late_packets_are_told_apart() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.packet(0, 0.001)
    line.packet(2, 0.04)
    line.packet(1, 0.05)
    line.packet(1, 0.06)
    assert (line.buffer.duplicates, line.buffer.late, line.buffer.reordered) == (2, 1, 1)
    assert line.said == ["0", "plc", "2"]


def test_a_packet_whose_copy_was_played_is_not_late() -> None:
    line = Line()
    line.packet(0, 0.0, copies=1)
    line.packet(2, 0.04, copies=1)
    line.packet(1, 0.05, copies=1)
    assert line.said == ["0", "1r", "2"]
    assert (line.buffer.late, line.buffer.reordered, line.buffer.duplicates) == (0, 1, 0)


@pytest.mark.parametrize("milliseconds", [10, 20, 30, 40, 60])
def test_every_packet_length(milliseconds: int) -> None:
    duration = 48 * milliseconds
    line = Line(duration=duration)
    for number in (0, 1, 2, 4, 5):
        line.packet(number, number * milliseconds / 1000)
    assert line.said == ["0", "1", "2", "plc", "4", "5"]
    assert line.units == 6 * duration


def test_a_pause_the_sender_made_is_filled_without_waiting() -> None:
    line = Line()
    line.packet(0, 0.0)
    # Next in sequence, 60 ms later in time: nothing can be missing.
    line.buffer.push(1, 4 * FRAME, name(1), FRAME, 0.08)
    assert line.take(line.buffer.push(2, 5 * FRAME, name(2), FRAME, 0.10)) == ["2"]
    line = Line()
    line.packet(0, 0.0)
    assert line.take(line.buffer.push(1, 4 * FRAME, name(1), FRAME, 0.08)) == ["quiet2880", "1"]


def test_when_packets_stop_silence_goes_on_in_real_time_and_the_length_stays_true() -> None:
    line = Line()
    line.packet(0, 0.0)
    assert line.poll(STALL - 0.01) == []
    said = line.poll_until(2.0)
    assert set(said) == {"plc"}
    assert len(said) * PTIME == pytest.approx(2.0 - STALL, abs=0.03)
    # Back after two seconds of loss: only what is still missing is filled, and the delay is gone.
    assert line.packet(100, 2.0)[-1] == "100"
    assert line.units == 101 * FRAME


def test_a_stall_shorter_than_the_patience_loses_nothing() -> None:
    line = Line()
    line.packet(0, 0.0)
    for number in range(1, 12):
        line.poll_until(0.24)
        line.packet(number, 0.24)
    line.packet(12, 0.26)
    assert line.said == [str(number) for number in range(13)]


def test_a_burst_after_a_long_stall_is_late_not_a_standing_delay() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.poll_until(1.0)
    for number in range(1, 51):
        line.packet(number, 1.0)
    assert line.packet(51, 1.02) == ["51"]
    assert line.units == 52 * FRAME
    assert line.buffer.late > 30


def test_a_path_that_becomes_slower_for_good_is_followed() -> None:
    line = Line()
    number, now = 0, 0.0
    while now < 1.0:
        line.packet(number, now)
        number, now = number + 1, now + PTIME
    # From here on everything takes 0.6 s longer.
    line.poll_until(now + 0.6)
    played = []
    for _ in range(100):
        line.poll_until(now + 0.6)
        played.append(str(number) in line.packet(number, now + 0.6))
        number, now = number + 1, now + PTIME
    assert sum(played) >= 94, "deaf for at most the few packets that prove it"
    assert all(played[-90:])


def test_our_own_standstill_is_not_the_networks() -> None:
    line = Line()
    line.packet(0, 0.0)
    # The process slept for 2 s; the timer fires before the socket is read.
    assert line.poll(2.0) == []
    for number in range(1, 101):
        line.packet(number, 2.001)
    assert line.said == [str(number) for number in range(101)]
    line.poll(4.5)
    assert line.poll(4.53), "and if nothing was in the socket, silence does go on"


def test_every_standstill_is_excused_once() -> None:
    line = Line()
    for start in (0, 200, 400):
        now = start * PTIME
        line.packet(start, now)
        assert line.poll(now + 2.0) == []
        assert line.buffer.deadline == pytest.approx(now + 2.0 + SECOND_LOOK)
        for number in range(start + 1, start + 200):
            line.packet(number, now + 3.98)
    assert line.said == [str(number) for number in range(600)]
    line.poll(15.0)
    assert line.poll(16.0), "twice in a row is not excused"


def test_a_hole_is_not_given_up_because_we_stood_still() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.packet(2, 0.04)
    line.packet(1, 0.07)
    line.packet(3, 0.07)
    assert line.packet(5, 0.10) == []
    assert line.poll(0.5) == []
    assert line.packet(4, 0.501) == ["4", "5"]


def test_a_strange_timestamp_is_not_hours_of_silence() -> None:
    """It becomes the origin; the next such packet is held back behind a loss when the stream, gone on as it was, wins again."""
    line, hours = Line(), CLOCK * 3 * 3600
    strange, lost = {8, 14}, 13
    for tick, number in enumerate((0, 1, 3, 2, *range(4, 60))):
        if number != lost:
            line.packet(number, tick * PTIME, timestamp=number * FRAME + (hours if number in strange else 0))
    assert line.units < 2 * CLOCK
    assert line.said[-40:] == [str(number) for number in range(20, 60)]


def test_a_path_that_becomes_a_little_slower_than_the_patience_is_not_overtaken_by_silence() -> None:
    line = Line()
    for number in range(50):
        line.packet(number, number * PTIME)
    played = []
    for number in range(50, 150):
        line.poll_until(number * PTIME + STALL + 0.06)
        played.append(str(number) in line.packet(number, number * PTIME + STALL + 0.06))
    assert all(played[-90:])


def test_a_pause_after_a_loss_is_still_a_pause() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.packet(2, 0.04)
    assert line.take(line.buffer.push(3, 6 * FRAME, name(3), FRAME, 0.12)) == [f"quiet{3 * FRAME}", "3"]


def test_a_packet_half_covered_gives_its_other_half() -> None:
    line = Line(duration=3 * FRAME)
    line.packet(0, 0.0)
    line.poll_until(0.06 + STALL)  # filled in steps of 20 ms
    filled = line.units - 3 * FRAME
    assert 0 < filled < 6 * FRAME
    whole = filled // (3 * FRAME)
    assert filled % (3 * FRAME)
    for number in range(1, 2 + whole):
        line.packet(number, 0.06 + STALL)
    assert line.said[-1] == f"{1 + whole}-{filled % (3 * FRAME)}"


def test_a_pause_filled_too_far_takes_no_word_and_is_paid_back() -> None:
    line = Line()
    line.packet(0, 0.0, pauses=True)
    filled = line.poll_until(0.5)
    assert set(filled) == {f"quiet{FRAME}"}
    assert len(filled) * PTIME == pytest.approx(0.5 - QUIET_STALL, abs=0.021)
    # The word that follows was sent for 0.40 but was 100 ms on its way: filled until 0.46 or so.
    assert line.take(line.buffer.push(1, 20 * FRAME, name(1), FRAME, 0.5, (), True)) == ["1"]
    surplus = line.units - 21 * FRAME
    assert surplus > 0
    assert line.take(line.buffer.push(2, 41 * FRAME, name(2), FRAME, 0.9))[-1] == "2"
    assert line.units == 42 * FRAME
    assert line.take(line.buffer.push(3, 45 * FRAME, name(3), FRAME, 0.98)) == [f"quiet{3 * FRAME}", "3"], "paid back once"


def test_a_key_press_is_no_loss() -> None:
    line = Line()
    line.packet(0, 0.0)
    for number in range(1, 6):
        line.take(line.buffer.skip(number, number * PTIME))
    assert line.take(line.buffer.push(6, 6 * FRAME, name(6), FRAME, 0.12))[-1] == "6"
    assert not any(word == "plc" for word in line.said)
    assert line.units == 7 * FRAME


def test_timestamps_that_leap_ahead_do_not_make_an_hour_of_silence() -> None:
    line = Line()
    line.packet(0, 0.0)
    said = line.packet(1, 0.02, timestamp=3_600 * CLOCK)
    assert said == ["1"]
    assert line.packet(2, 0.04, timestamp=3_600 * CLOCK + FRAME) == ["2"]


def test_timestamps_that_fall_back_are_a_new_origin_after_a_few_packets() -> None:
    line = Line(first_timestamp=50_000_000)
    for number in range(10):
        line.packet(number, number * PTIME)
    played = [line.packet(number, number * PTIME, timestamp=number * FRAME) for number in range(10, 30)]
    assert [[str(number)] for number in range(16, 30)] == played[6:]


@pytest.mark.parametrize("ppm", [-200, -8, 8, 200])
def test_ten_minutes_of_clock_drift_leave_no_gap_and_no_growth(ppm: int) -> None:
    line = Line()
    worst = 0.0
    for number in range(30_000):
        now = number * PTIME * (1 + ppm / 1e6)
        line.poll_until(now)
        said = line.packet(number, now)
        assert said == [str(number)]
        worst = max(worst, line.buffer.waited)
    assert worst == 0.0
    assert line.units == 30_000 * FRAME


def test_a_flood_of_holes_is_bounded() -> None:
    line = Line(duration=120)  # 2.5 ms, so that many packets fit before their timestamps would be a leap
    line.packet(0, 0.0)
    line.packet(2, 0.005)
    line.packet(1, 0.2)  # learn to wait
    for number in range(4, 4 + 2 * MAX_STORED):
        line.packet(number, 0.2)
        assert line.buffer.held <= MAX_STORED
    assert str(3 + MAX_STORED) in line.said


def test_a_path_that_becomes_faster_is_no_new_origin() -> None:
    line = Line()
    line.packet(0, 0.5)
    assert line.packet(2, 0.24 + PTIME) == ["plc", "2"], "0.3 s faster: what is missing is missing"
    assert line.units == 3 * FRAME


def test_between_two_origins_real_time_is_filled_but_not_for_ever() -> None:
    line = Line(JitterBuffer(CLOCK, filled_until=1.0))
    assert line.packet(0, 1.32) == [f"quiet{round(0.3 * CLOCK)}", "0"], "the packet's own 20 ms are not silence"
    line = Line(JitterBuffer(CLOCK, filled_until=1.0))
    assert line.packet(0, 60.0) == [f"quiet{round(MAX_FILL * CLOCK)}", "0"]


def test_only_so_many_missing_packets_are_remembered() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.packet(MAX_REMEMBERED + 100, 0.02, timestamp=FRAME)
    line.packet(50, 0.03, timestamp=0)
    assert (line.buffer.reordered, line.buffer.duplicates) == (0, 1), "forgotten: it counts as a copy"
    line.packet(150, 0.03, timestamp=0)
    assert (line.buffer.reordered, line.buffer.duplicates) == (1, 1)


def test_what_comes_before_the_first_packet_that_came_is_late() -> None:
    line = Line()
    line.packet(5, 0.1)
    line.packet(3, 0.11)
    assert (line.buffer.late, line.said) == (1, ["5"])


def test_a_packet_behind_a_key_press_is_no_duplicate_and_the_press_is_no_loss() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.take(line.buffer.skip(2, 0.04))
    assert line.packet(1, 0.05) == ["1"]
    assert line.buffer.reordered == 1
    assert line.packet(3, 0.06) == [f"quiet{FRAME}", "3"]


def test_what_is_lost_before_a_key_press_is_lost() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.take(line.buffer.skip(2, 0.04))
    assert line.packet(3, 0.06) == ["plc", "plc", "3"]


def test_a_key_press_may_be_late_or_double_too() -> None:
    line = Line()
    assert line.buffer.skip(7, 0.0) == [], "and before anything was said it is nothing"
    line.packet(0, 0.0)
    line.buffer.skip(2, 0.04)
    line.buffer.skip(1, 0.05)
    line.buffer.skip(1, 0.06)
    assert (line.buffer.reordered, line.buffer.duplicates) == (1, 1)


def test_a_sender_that_says_it_pauses_is_followed_sooner() -> None:
    line = Line()
    line.packet(0, 0.0, pauses=True)
    assert line.buffer.deadline == pytest.approx(QUIET_STALL)
    line.packet(1, 0.02)
    assert line.buffer.deadline == pytest.approx(0.02 + STALL)
    line.take(line.buffer.skip(2, 0.04))
    assert line.buffer.deadline == pytest.approx(0.02 + QUIET_STALL)


def test_a_pause_is_taken_back_only_until_a_word_was_said() -> None:
    line = Line()
    line.packet(0, 0.0, pauses=True)
    line.poll_until(QUIET_STALL + 0.041)
    assert line.units == 4 * FRAME
    assert line.packet(1, 0.1, timestamp=4 * FRAME) == ["1"]
    assert line.packet(2, 0.1, timestamp=3 * FRAME) == [], "its time is filled, and not with silence alone"
    assert line.units == 5 * FRAME
    line.packet(3, 0.12, timestamp=5 * FRAME, pauses=True)
    line.poll_until(0.12 + QUIET_STALL + 0.001)
    assert line.packet(4, 0.19, timestamp=8 * FRAME) == [f"quiet{FRAME}", "4"]
    assert line.packet(5, 0.19, timestamp=6 * FRAME) == [], "nor when there was silence before the word"


def test_two_stalls_are_not_a_path_that_became_slower() -> None:
    line = Line()
    last = 0
    for begin in (100, 200):
        for number in range(last, begin):
            line.poll_until(number * PTIME)
            line.packet(number, number * PTIME)
        back = (begin + 30) * PTIME
        line.poll_until(back)
        late = line.buffer.late
        # All at once; what is late of it comes first, and in order.
        for number in range(begin, begin + 30):
            line.packet(number, back)
        assert line.buffer.late - late > 2 * LATE_RUN
        last = begin + 30
    line.packet(last, last * PTIME)
    assert line.units == (last + 1) * FRAME, "nothing was said twice, nothing is behind for good"


def test_flush_gives_what_is_held_back() -> None:
    line = Line()
    line.packet(0, 0.0)
    line.packet(2, 0.04)
    line.packet(1, 0.06)
    line.packet(4, 0.08)
    assert line.take(line.buffer.flush()) == ["4"]


def waiting() -> Line:
    """A line on a path that is known to swap packets, held back by a hole at 4."""
    line = Line()
    for number, now in ((0, 0.0), (2, 0.04), (1, 0.06), (3, 0.06)):
        line.packet(number, now)
    assert line.said == ["0", "plc", "2", "3"]
    line.said.clear()
    return line


def test_what_a_longer_packet_has_said_is_not_said_again() -> None:
    line = waiting()
    line.take(line.buffer.push(5, 5 * FRAME, name(5), 3 * FRAME, 0.1))
    line.take(line.buffer.push(6, 6 * FRAME, name(6), FRAME, 0.1))
    assert line.packet(4, 0.11) == ["4", "5"]
    assert line.units == 8 * FRAME


def test_what_was_held_back_says_how_long_packets_are_and_that_the_sender_pauses() -> None:
    line = waiting()
    line.take(line.buffer.push(5, 5 * FRAME, name(5), 3 * FRAME, 0.1, pauses=True))
    assert line.packet(4, 0.11) == ["4", "5"]
    assert line.buffer.deadline == pytest.approx(0.11 + QUIET_STALL)
    said = line.take(line.buffer.push(7, 11 * FRAME, name(7), 3 * FRAME, 0.16))
    assert said == ["plc", "7"], "one step, as long as the packet that is missing"


def test_packets_that_all_claim_about_the_same_time_are_bounded() -> None:
    line = waiting()
    for number in range(5, 5 + 2 * MAX_STORED):
        line.take(line.buffer.push(number, 5 * FRAME + number - 5, name(number), FRAME, 0.1))
        assert line.buffer.held <= MAX_STORED + 1
    assert line.said[:2] == ["plc", "5"], "the hole gave way"


def test_flush_says_nothing_twice_either() -> None:
    line = waiting()
    line.take(line.buffer.push(5, 5 * FRAME, name(5), 3 * FRAME, 0.1))
    line.take(line.buffer.push(6, 6 * FRAME, name(6), FRAME, 0.1))
    assert line.take(line.buffer.flush()) == ["5"]


EVENT = st.tuples(
    st.integers(0, 45),  # packet: less than a leap of timestamps
    st.integers(0, 60_000).map(lambda microseconds: microseconds / 1e6),  # time since the last event
    st.booleans(),  # poll only
    st.integers(0, 2),  # copies
)


@settings(deadline=None)
@given(st.lists(EVENT, max_size=120), st.booleans())
def test_whatever_comes_the_line_is_continuous_ordered_and_never_far_behind(
    events: list[tuple[int, float, bool, int]], fec: bool
) -> None:
    line = Line(JitterBuffer(CLOCK, lambda _: fec), first_sequence=65_500, first_timestamp=0xFFFFF000)
    now = 1.0
    for number, wait, poll, copies in events:
        now += wait
        if poll:
            line.poll(now)
            continue
        line.poll_until(now)
        line.packet(number, now, copies=min(copies, number))
        assert line.buffer.held <= MAX_STORED + 1
    line.poll_until(now + MAX_WAIT + 0.1)
    assert line.buffer.held == 0, "nothing is held back longer than the bound"
    played = [int(word.split("-")[0].rstrip("r")) for word in line.said if word[0].isdigit()]
    # Only a run of late packets, a path that became slower, moves the origin back.
    if line.buffer.late < LATE_RUN:
        assert played == sorted(set(played))
