"""What the model hears of the caller: whole turns, each within its own edges, and nothing late."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from gateway.call.ear import HELD, OWN_SILENCE, Ear
from gateway.media.audio import PTIME, AudioFrame
from gateway.media.gate import POSTROLL, PREROLL
from gateway.media.vad import Voice
from gateway.profile import Endpointing, Listening
from tests.audio import floats as samples
from tests.audio import frames, noise, pcm16, silence, speech

RATE = 16_000
BUTTON = Listening(endpointing=Endpointing.PUSH_TO_TALK)


FIRST = 10
"""Number of the first frame: none is taken for an edge, which are equal to 0 and 1."""


class Talker:
    """Speaks into an ear, a frame every 20 ms; frames are numbered in their samples."""

    def __init__(self, ear: Ear) -> None:
        self.ear = ear
        self.said = FIRST - 1

    @property
    def now(self) -> float:
        return self.said * PTIME

    def say(self, seconds: float) -> bool:
        """Numbered frames. True: the feeder was woken."""
        return any([self._hear() for _ in range(round(seconds / PTIME))])

    def sound(self, pcm: bytes) -> list[Voice]:
        """This sound."""
        return [voice for each in frames(pcm, RATE) for voice in self.ear.hear(AudioFrame(each, RATE, self.tick())).voices]

    def press(self, seconds: float) -> range:
        """Hold the button for so long; the numbers of the frames."""
        begin = self.said + 1
        self.ear.button(True, self.now)
        self.say(seconds)
        self.ear.button(False, self.now)
        return range(begin, self.said + 1)

    def _hear(self) -> bool:
        at = self.tick()
        return self.ear.hear(AudioFrame(self.said.to_bytes(2, "little") * round(RATE * PTIME), RATE, at)).ready

    def tick(self) -> float:
        self.said += 1
        return self.now


def taken(ear: Ear) -> list[bool | int]:
    """All that there is to take: edges, and the numbers of frames."""
    found: list[bool | int] = []
    while (piece := ear.take()) is not None:
        if isinstance(piece, bool):
            found.append(piece)
        else:
            found += [
                int.from_bytes(piece.pcm[at : at + 2], "little") for at in range(0, len(piece.pcm), round(2 * RATE * PTIME))
            ]
    return found


def turns(found: Iterable[bool | int]) -> list[list[int]]:
    """Frames by turn. Nothing may lie between turns, and they do not nest."""
    result: list[list[int]] = []
    open_ = False
    for each in found:
        if isinstance(each, bool):
            assert each is not open_
            open_ = each
            if each:
                result.append([])
        else:
            assert open_, "heard between turns"
            result[-1].append(each)
    return result


def test_without_turns_of_our_own_everything_is_heard_once_and_in_order() -> None:
    talker = Talker(Ear(Listening()))
    assert talker.say(1.0)
    assert taken(talker.ear) == list(range(FIRST, FIRST + 50))


@pytest.mark.parametrize(("chunk", "together"), [(0.02, 1), (0.04, 1), (0.06, 2), (0.1, 2)])
def test_a_chunk_that_is_not_full_waits_until_the_caller_falls_silent(chunk: float, together: int) -> None:
    """The service counts the silence that it has been sent: every frame of it goes at once, near capacity every other."""
    talker = Talker(Ear(Listening()))
    talker.ear.uplink.chunk = chunk
    talker.sound(pcm16(samples(noise(RATE, 1.0, 10.0))))
    assert talker.sound(speech(RATE, 1.0)) == [Voice.STARTED]
    assert talker.ear.speaking
    assert 1.1 < talker.ear.speech_began_at < 1.6
    while talker.ear.take() is not None:
        pass
    messages, fell_silent = [], False
    for _ in range(20):
        spoke_at = talker.ear.last_speech_at
        ready = bool(talker.ear.hear(AudioFrame(silence(RATE, PTIME), RATE, talker.tick())).ready)
        if not fell_silent and talker.ear.last_speech_at == spoke_at:
            fell_silent = True
            assert ready, "what was said leaves with the first frame of silence"
        size = 0
        while (piece := talker.ear.take()) is not None:
            assert not isinstance(piece, bool)
            size += round(len(piece.pcm) / (2 * RATE * PTIME))
        if fell_silent:
            messages.append(size)
        assert talker.ear.uplink.backlog < together * PTIME or not fell_silent
    assert not talker.ear.speaking
    assert 1.6 < talker.ear.last_speech_at < 2.3
    assert messages[1:11] == ([1] * 10 if together == 1 else [0, 2] * 5)
    assert talker.ear.patience == (0.04 if together == 2 else 0.0)


def test_whoever_falls_silent_while_an_answer_is_spoken_waits_for_none_until_it_is_over() -> None:
    talker = Talker(Ear(Listening()))
    talker.ear.uplink.chunk = 0.1
    talker.sound(pcm16(samples(noise(RATE, 1.0, 10.0))))
    talker.sound(speech(RATE, 1.0))
    while talker.ear.take() is not None:
        pass
    ready = []
    for number in range(25):
        quiet = AudioFrame(silence(RATE, PTIME), RATE, talker.tick())
        ready.append(talker.ear.hear(quiet, answering=number < 18).ready)
        assert talker.ear.patience == pytest.approx(0.1 if number < 18 else 0.04)
        while talker.ear.take() is not None:
            pass
    assert sum(ready[:18]) in (3, 4), "full chunks"
    assert ready[18], "what is there leaves at once"
    assert sum(ready[19:]) == 3, "and the rest in pairs"


def test_a_pause_between_words_sends_what_was_said_at_once_near_capacity_too() -> None:
    """Every time the caller falls silent, not the first time only."""
    talker = Talker(Ear(Listening()))
    talker.sound(pcm16(samples(noise(RATE, 1.0, 10.0))))
    ends, speaking = 0, False
    for each in frames(speech(RATE, 4.0), RATE):
        spoke_at = talker.ear.last_speech_at
        ready = talker.ear.hear(AudioFrame(each, RATE, talker.tick())).ready
        spoke = talker.ear.last_speech_at != spoke_at
        if speaking and not spoke:
            ends += 1
            assert ready
        while talker.ear.take() is not None:
            pass
        if speaking and not spoke:
            assert talker.ear.uplink.backlog == 0.0
        speaking = spoke
    assert ends > 3


# --- the button ---


def test_the_button_makes_a_turn_with_a_little_before_and_after() -> None:
    talker = Talker(Ear(BUTTON))
    assert not talker.say(2.0), "nobody need look"
    pressed = talker.press(1.0)
    assert talker.say(1.0)
    (turn,) = turns(taken(talker.ear))
    assert turn[0] == pressed.start - round(PREROLL / PTIME)
    assert turn[-1] * PTIME == pytest.approx((pressed.stop - 1) * PTIME + POSTROLL, abs=PTIME + 1e-6)
    assert turn == list(range(turn[0], turn[-1] + 1))


def test_what_is_said_in_the_next_turn_is_not_heard_in_this_one() -> None:
    """Nobody takes while the session opens: two turns wait."""
    talker = Talker(Ear(BUTTON))
    talker.say(0.5)
    first = talker.press(0.2)
    talker.say(0.2)
    second = talker.press(0.2)
    talker.say(0.2)
    one, two = turns(taken(talker.ear))
    assert set(first) < set(one)
    assert one[-1] < two[0]
    assert set(second) < set(two)


def test_a_turn_is_sent_while_it_lasts() -> None:
    talker = Talker(Ear(BUTTON))
    talker.ear.button(True, 0.0)
    assert talker.say(PTIME), "it has begun"
    assert taken(talker.ear) == [True]
    assert not talker.say(3 * PTIME)
    assert talker.say(PTIME), "a chunk is full"
    assert len(taken(talker.ear)) == 5


@pytest.mark.parametrize("shut", [True, False])
def test_a_caller_who_leaves_with_the_button_down_has_finished(shut: bool) -> None:
    talker = Talker(Ear(BUTTON))
    talker.ear.button(True, 0.0)
    talker.say(0.25)
    found = taken(talker.ear)
    if shut:
        talker.ear.shut()
        talker.say(0.25)  # who comes back has not pressed it yet
    found += taken(talker.ear)
    assert any(each is False for each in found) is shut
    assert [len(turn) for turn in turns(found)] == [12], "nothing of what came after"


def test_leaving_sends_off_what_makes_no_chunk() -> None:
    talker = Talker(Ear(Listening()))
    talker.say(0.04)
    assert taken(talker.ear) == []
    talker.ear.shut()
    assert taken(talker.ear) == [FIRST, FIRST + 1]


# --- our own ears ---


@pytest.mark.parametrize("wanted", [None, 1.2])
def test_our_own_ears_end_a_turn_after_the_silence_that_the_profile_wants(wanted: float | None) -> None:
    talker = Talker(Ear(Listening(endpointing=Endpointing.GATEWAY, silence=wanted)))
    talker.sound(noise(RATE, 1.0, 10.0))
    assert talker.ear.take() is None
    talker.sound(speech(RATE, 1.0))
    last = talker.ear.last_speech_at
    while (piece := talker.ear.take()) is not None:
        assert piece is not False
    ended = None
    while ended is None and talker.now < 10.0:
        talker.sound(noise(RATE, PTIME, 10.0))
        last = max(last, talker.ear.last_speech_at)
        while (piece := talker.ear.take()) is not None:
            ended = talker.now if piece is False else ended
    assert ended is not None
    assert ended - last == pytest.approx(wanted or OWN_SILENCE, abs=PTIME + 1e-6)


@pytest.mark.parametrize("endpointing", Endpointing)
def test_frames_in_a_row_are_heard_as_one_by_one(endpointing: Endpointing) -> None:
    """The same edges at the same places; the feeder is woken no later than with the row."""
    one, row = Ear(Listening(endpointing=endpointing)), Ear(Listening(endpointing=endpointing))
    said = frames(silence(RATE, 1.0) + speech(RATE, 2.1) + silence(RATE, 2.0) + speech(RATE, 1.0) + silence(RATE, 1.3), RATE)
    numbered = [AudioFrame(pcm, RATE, number * PTIME) for number, pcm in enumerate(said)]
    found: list[list[bool | bytes]] = [[], []]
    voices: list[list[Voice]] = [[], []]
    for begin in range(0, len(numbered), 5):
        five = numbered[begin : begin + 5]
        for ear in (one, row):
            ear.button(bool(begin % 200 > 150), five[0].at)
        singly = [one.hear(frame) for frame in five]
        together = row.hear_row(five)
        assert together.ready == (any(heard.ready for heard in singly) or row.uplink.ready)
        voices[0] += [voice for heard in singly for voice in heard.voices]
        voices[1] += together.voices
        for ear, kept in zip((one, row), found, strict=True):
            while (piece := ear.take()) is not None:
                kept.append(piece if isinstance(piece, bool) else piece.pcm)
    assert voices[0] == voices[1] == [Voice.STARTED, Voice.STOPPED] * (len(voices[0]) // 2)
    assert len(voices[0]) >= 4
    flat = [b"".join(b"<" if piece is True else b">" if piece is False else piece for piece in kept) for kept in found]
    assert flat[0] == flat[1]
    assert len(flat[0]) > 32_000


# --- held back ---


def held(ear: Ear) -> Callable[[], bool]:
    """Keep the model from hearing; letting go says whether the feeder should look."""
    assert not ear.hold(True)
    return lambda: ear.hold(False)


def test_while_it_is_not_to_hear_the_newest_is_kept() -> None:
    talker = Talker(Ear(Listening()))
    let_go = held(talker.ear)
    talker.say(5.0)
    assert taken(talker.ear) == []
    assert let_go()
    assert taken(talker.ear) == list(range(talker.said + 1 - round(HELD / PTIME), talker.said + 1))
    assert not let_go(), "nothing was held any more"
    assert talker.ear.uplink.dropped == pytest.approx(5.0 - HELD)


def test_of_turns_that_gave_way_as_a_whole_not_even_the_edges_are_left() -> None:
    """A bare beginning would cut off the answer that is running."""
    talker = Talker(Ear(BUTTON))
    let_go = held(talker.ear)
    for _ in range(6):
        last = talker.press(1.0)
        talker.say(1.0)
    assert let_go()
    found = turns(taken(talker.ear))
    assert len(found) == 2, "the last one, and the end of the one before"
    assert all(found)
    assert set(last) < set(found[-1])
    assert taken(talker.ear) == []


def test_a_turn_that_has_begun_ends_although_the_rest_gave_way() -> None:
    talker = Talker(Ear(BUTTON))
    talker.ear.button(True, 0.0)
    talker.say(0.5)
    assert taken(talker.ear)[0] is True
    let_go = held(talker.ear)
    talker.say(0.5)
    talker.ear.button(False, talker.now)
    talker.say(0.5)
    last = talker.press(2.5)
    assert let_go()
    found = taken(talker.ear)
    assert found[0] is False
    assert found[1] is True
    assert found[2:] == list(range(last.stop - round(HELD / PTIME), last.stop))


@pytest.mark.parametrize("endpointing", [each for each in Endpointing if each is not Endpointing.MODEL])
def test_the_end_of_a_turn_of_our_own_waits_for_no_chunk(endpointing: Endpointing) -> None:
    ear = Ear(Listening(endpointing=endpointing))
    ear.uplink.chunk = 0.1
    assert ear.patience == 0.0
