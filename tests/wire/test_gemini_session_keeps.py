"""What a session keeps of the caller's audio: all that another socket can want of it, and little more while pongs come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.emulator.counting import count
from gateway.wire.gemini_faults import SILENT, STALLED
from gateway.wire.gemini_moves import Break, Connect, GiveUp, Leave, Phase, Wait
from gateway.wire.gemini_pulse import PING_EVERY, Ping
from gateway.wire.gemini_reel import MEMORY, PIECE, RECENT, Reel, Strip
from gateway.wire.gemini_setup import capabilities
from tests.audio import noise, tone
from tests.wire.play import BROKEN, INTERNAL, RATE, SPEECH, STALE, Play

QUIET, LOUD = noise(RATE, 0.1, 20.0)[:3200], tone(300, RATE, 0.1)[:3200]

MOST = RECENT + PIECE + PING_EVERY + 0.2
"""Seconds of a caller's audio that are kept between two pongs."""


def kept(play: Play) -> float:
    """Seconds."""
    return (play.course.reel.end - play.course.reel.oldest) / RATE


def test_a_silent_caller_costs_a_few_seconds() -> None:
    play = Play()
    play.answers()
    play.pass_time(3.0)
    for _ in range(300):
        play.pass_time(0.1)
        assert kept(play) <= MOST


def test_a_caller_who_was_answered_costs_no_more() -> None:
    play = Play()
    play.asks(5.0)
    assert kept(play) >= 6.0
    play.answers()
    play.pass_time(3.0)
    assert kept(play) <= MOST


def test_without_pongs_nothing_is_let_go_of() -> None:
    play = Play()
    play.answers()
    play.pongs = False
    play.pass_time(14.0)
    assert kept(play) >= 14.0
    play.pass_time(14.0)
    assert MEMORY <= kept(play) <= MEMORY + PIECE


@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.0])
def test_a_question_is_kept_until_it_is_answered(seconds: float) -> None:
    play = Play()
    play.answers()
    play.pass_time(20.0)
    begin = play.asks(seconds)
    play.pass_time(3.0)
    play.lose()
    play.connect()
    strips = [item for item in play.sent if isinstance(item, Strip)]
    assert begin - RATE <= strips[0].position <= begin
    assert sum(len(strip.pcm) for strip in strips) // 2 == play.course.reel.end - strips[0].position


def test_of_a_caller_who_never_stops_no_more_than_of_a_silent_one_once_it_is_too_long_to_be_repeated() -> None:
    play = Play()
    play.hears(noise(RATE, 1.0, 20.0))
    play.hears(tone(300, RATE, MEMORY - 2.0))
    assert kept(play) >= MEMORY - 2.0
    play.hears(tone(300, RATE, 6.0))
    assert kept(play) <= MOST


def test_half_open_nothing_that_may_not_have_been_read_is_thinned() -> None:
    caller, read = unread(6.0)
    assert not any(strip.thin for strip in caller.course.reel._past if strip.end > read)
    caller.course.lost(STALLED, caller.now)
    caller.go_on()
    pieces = [QUIET] * 60
    assert caller.heard[-1][0][1] == b"".join(pieces)


def test_a_question_without_an_answer_costs_half() -> None:
    play = Play()
    play.answers()
    play.hears(noise(RATE, 1.0, 20.0))
    play.hears(tone(300, RATE, 3.0))
    play.hears(noise(RATE, 4.0, 20.0))
    kept_bytes = sum(len(strip.pcm) for strip in (*play.course.reel._past, *play.course.reel._strips))
    assert kept(play) >= 7.0
    assert kept_bytes <= 32_000 * (MOST + (kept(play) - MOST) / 2)


class Everything(Reel):
    """Keeps what it may let go of."""

    def forget(self, position: int) -> None:
        """Never mind."""


class Caller(Play):
    """Pongs when told to, and audio that says where it is from."""

    def __init__(self, *, vertex: bool, marked: bool, keeps: bool) -> None:
        can = replace(capabilities("gemini-3.8-live"), transparent=vertex)
        super().__init__(can, marked=marked, opened=False)
        if keeps:
            self.course.reel = Everything()
        self.out: list[Ping] = []
        self.heard: list[list[tuple[object, bytes]]] = []
        """What each socket was sent: marks and words, and the sound between them."""
        self.connect()

    def pump(self) -> None:
        """Send; pings wait for their pongs."""
        while self.course.phase is Phase.OPEN and (item := self.course.reel.take()) is not None:
            pcm = item.pcm if isinstance(item, Strip) else b""
            what = None if pcm else item.mark if isinstance(item, Strip) else item.text
            said = self.heard[-1]
            if what is None and said and said[-1][0] is None:
                said[-1] = (None, said[-1][1] + pcm)
            else:
                said.append((what, pcm))
            self.course.sent(item, self.now)
            if (ping := self.course.ping(self.now)) is not None:
                self.out.append(ping)

    def pong(self) -> None:
        """The oldest one comes."""
        if self.out:
            self.course.pong(self.out.pop(0), self.now)

    def go_on(self) -> None:
        """Do what is to be done, if anything."""
        while self.course.phase is not Phase.OVER:
            match self.decide():
                case Connect():
                    self.now += 0.1
                    self.heard.append([])
                    self.events += self.course.ready(self.now, 0.1)
                    self.pump()
                case Leave():
                    self.now += 0.05
                    self.events += self.course.left(self.now, clean=len(self.out) % 2 == 0)
                case Break(failure):
                    self.events += self.course.lost(failure, self.now)
                case Wait(until) if until is not None:
                    self.now = max(self.now, until)
                case _:
                    return

    def connect(self, seconds: float = 0.1) -> Connect:
        """The first."""
        self.heard = [[]]
        return super().connect(seconds)

    def step(self, what: str, amount: int) -> None:
        """One thing that happens."""
        course = self.course
        if course.phase is not Phase.OPEN:
            return
        match what:
            case "quiet" | "loud":
                for _ in range(amount):
                    self.now += 0.1
                    course.heard((LOUD if what == "loud" else QUIET)[:-16] + count(course.reel.end, 8), self.now)
                    self.pump()
                    if amount % 3:
                        self.pong()
            case "pong":
                self.pong()
            case "lose":
                self.now += amount / 100
                course.lost((BROKEN, INTERNAL, SILENT, STALLED)[amount % 4], self.now)
                if amount % 5 == 0:
                    self.pong()  # it was on its way to us
                if amount % 7 == 0 and isinstance(self.decide(), Connect):
                    course.failed(STALE, self.now)
            case "rotate":
                course.rotate(self.now)
            case "speak":
                self.content(outputTranscription={"text": "So"}, **SPEECH)
            case "end":
                self.content(generationComplete=True, turnComplete=True)
            case "handle":
                more = {"lastConsumedClientMessageIndex": str(amount * 4)} if self.course._can.transparent else {}
                self.handle(f"H{self.now}", **more)
            case "turn" if self.course._marked:
                course.turn(not course.reel.in_turn, self.now)
                self.pump()
            case "say":
                course.say("Hello?")
                self.pump()
            case _:
                pass
        self.go_on()


def unread(seconds: float) -> tuple[Caller, int]:
    """A caller whose service has read nothing for so long; where the silence began for it."""
    caller = Caller(vertex=False, marked=False, keeps=False)
    caller.step("handle", 1)
    caller.step("quiet", 1)
    caller.pong()
    read = caller.course._watch.pulse.read
    for _ in range(round(seconds * 10)):
        caller.now += 0.1
        caller.course.heard(QUIET, caller.now)
        caller.pump()
    return caller, read


def test_a_pong_that_comes_after_the_loss_takes_nothing_away() -> None:
    caller, read = unread(6.0)
    caller.course.lost(STALLED, caller.now)
    while caller.out:
        caller.pong()
    caller.go_on()
    assert len(caller.heard[-1][0][1]) // 2 == caller.course.reel.end - read


def test_a_pong_of_a_stillborn_socket_takes_nothing_away() -> None:
    caller, read = unread(6.0)
    caller.course.lost(STALLED, caller.now)
    caller.out.clear()
    caller.go_on()
    caller.now += 0.2
    caller.course.pong(caller.course._watch.pulse._out[0], caller.now)
    caller.course.lost(INTERNAL, caller.now)
    caller.go_on()
    assert len(caller.heard[-1][0][1]) // 2 == caller.course.reel.end - read


THINGS = ["quiet", "loud", "loud", "pong", "lose", "lose", "rotate", "speak", "end", "handle", "turn", "say"]


@settings(deadline=None)
@given(st.booleans(), st.booleans(), st.lists(st.tuples(st.sampled_from(THINGS), st.integers(0, 60)), min_size=5, max_size=40))
def test_whatever_happens_every_socket_is_sent_what_it_would_be_if_all_were_kept(
    vertex: bool, marked: bool, steps: list[tuple[str, int]]
) -> None:
    lean, full = Caller(vertex=vertex, marked=marked, keeps=False), Caller(vertex=vertex, marked=marked, keeps=True)
    for step in steps:
        for caller in (lean, full):
            caller.step(*step)
        assert lean.course.phase is full.course.phase
        assert lean.heard == full.heard
        assert lean.events == full.events
        assert lean.course.reel.dropped == full.course.reel.dropped
        assert kept(lean) <= kept(full)
    assert isinstance(lean.decide(), GiveUp) if lean.course.phase is Phase.WAITING else True
