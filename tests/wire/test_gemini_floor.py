"""Who speaks on a model session: when nobody would notice another socket, and what the service owes."""

from __future__ import annotations

import pytest

from gateway.model.base import (
    AudioOut,
    GenerationComplete,
    InputTranscript,
    ModelInterrupted,
    OutputTranscript,
    ToolCall,
    ToolCancelled,
    TurnComplete,
)
from gateway.wire.gemini_floor import ANSWER_DUE, CHUNK_DUE, LEAD_IN, STALE, TURN_DUE, Cut, Ears, Floor
from tests.audio import noise, silence, speech, tone

RATE = 16_000
CHUNK = 1600


class Scene:
    """A floor and a clock that moves with the caller's audio."""

    def __init__(self, *, marked: bool = False) -> None:
        self.now = 50.0
        self.floor = Floor(self.now, marked=marked)
        self.position = 0
        self.caller(noise(RATE, 1.0, 20.0))

    def caller(self, pcm: bytes) -> None:
        for at in range(0, len(pcm) - 2 * CHUNK + 1, 2 * CHUNK):
            self.now += 0.1
            self.floor.caller(pcm[at : at + 2 * CHUNK], self.position, self.now)
            self.position += CHUNK

    def asks(self, seconds: float = 1.5) -> None:
        self.caller(tone(300, RATE, seconds))
        self.caller(noise(RATE, 1.0, 20.0))

    def model(self, event: object) -> bool:
        self.floor.message(self.now)
        return self.floor.model(event, self.now)  # type: ignore[arg-type]

    def answers(self, seconds: float = 2.0, words: str = "It rains.") -> None:
        self.model(OutputTranscript(words))
        self.model(AudioOut(bytes(round(seconds * 48_000)), self.now))


@pytest.mark.parametrize(("level", "heard"), [(20.0, False), (400.0, False)])
def test_noise_is_no_speech_however_loud(level: float, heard: bool) -> None:
    ears = Ears()
    pcm = noise(RATE, 5.0, level)
    assert any(ears.speech(pcm[at : at + 3200]) for at in range(0, len(pcm), 3200)) is heard


def test_speech_is_heard_over_noise() -> None:
    ears = Ears()
    quiet = noise(RATE, 2.0, 60.0)
    assert not any(ears.speech(quiet[at : at + 3200]) for at in range(0, len(quiet), 3200))
    said = speech(RATE, 3.0)
    loud = [ears.speech(said[at : at + 3200]) for at in range(0, len(said) - 3200, 3200)]
    assert sum(loud) > len(loud) / 2
    assert not ears.speech(silence(RATE, 0.1))


def test_a_question_from_its_first_sound_to_its_answer() -> None:
    scene = Scene()
    assert scene.floor.edge(scene.now)
    began = scene.position
    scene.caller(tone(300, RATE, 1.5))
    assert scene.floor.speaking
    assert not scene.floor.edge(scene.now)
    spoke = scene.now
    scene.caller(noise(RATE, 1.0, 20.0))
    utterance = scene.floor.utterance
    assert utterance is not None
    assert utterance.start == began - LEAD_IN
    assert utterance.speech == pytest.approx(1.5)
    assert utterance.ended_at == pytest.approx(spoke)
    assert scene.floor.due(None) == pytest.approx(spoke + ANSWER_DUE)
    assert not scene.floor.edge(scene.now)  # the answer is awaited
    scene.model(InputTranscript("a question"))
    assert scene.floor.utterance is utterance
    assert scene.model(OutputTranscript("An answer."))
    assert scene.floor.utterance is None


def test_an_answer_to_its_end() -> None:
    scene = Scene()
    scene.asks()
    scene.answers(seconds=4.0)
    assert scene.floor.due(None) == pytest.approx(scene.now + CHUNK_DUE)
    began = scene.now
    scene.caller(noise(RATE, 1.0, 20.0))
    scene.model(GenerationComplete())
    # The service waits with the end of the turn until it thinks that all was played.
    assert scene.floor.due(None) == pytest.approx(began + 4.0 + TURN_DUE)
    assert not scene.floor.edge(scene.now)
    assert not scene.model(TurnComplete())
    assert scene.floor.due(None) is None
    assert scene.floor.edge(scene.now)


def test_a_cough_is_no_question() -> None:
    scene = Scene()
    scene.caller(tone(300, RATE, 0.2))
    scene.caller(noise(RATE, 1.0, 20.0))
    assert scene.floor.due(None) is None
    assert not scene.floor.ignored(scene.now + 100, 6.0)


def test_what_was_asked_in_writing_is_owed_too() -> None:
    scene = Scene()
    assert scene.floor.due(scene.now - 1.0) == pytest.approx(scene.now - 1.0 + ANSWER_DUE)


def test_while_a_function_is_at_work_nothing_is_owed() -> None:
    scene = Scene()
    scene.asks()
    scene.model(ToolCall("1", "f", {}))
    assert scene.floor.due(scene.now) is None
    assert not scene.floor.edge(scene.now + 100)
    scene.model(ToolCancelled(("1",)))
    assert scene.floor.due(None) is not None


def test_speaking_over_an_answer() -> None:
    scene = Scene()
    scene.asks()
    scene.answers()
    scene.caller(tone(300, RATE, 0.5))
    scene.model(AudioOut(bytes(960), scene.now))  # still of the old answer
    assert scene.floor.utterance is not None
    scene.model(ModelInterrupted(scene.now))
    assert not scene.model(TurnComplete())
    scene.caller(noise(RATE, 1.0, 20.0))
    assert scene.floor.suspect
    assert scene.floor.ignored(scene.now + 10, 6.0)
    scene.answers()
    assert not scene.floor.suspect
    assert scene.floor.utterance is None


def test_a_turn_without_a_sound_passes_a_question_over() -> None:
    scene = Scene()
    for missed in (1, 2):
        scene.asks()
        assert scene.model(TurnComplete())
        assert scene.floor.ignored(scene.now, 6.0)
        assert scene.floor.missed == missed
        assert scene.floor.edge(scene.now)
    scene.asks()
    assert not scene.floor.ignored(scene.now, 6.0)  # the next question is another one
    scene.answers()
    assert scene.floor.missed == 0


def test_a_question_nobody_reacts_to() -> None:
    scene = Scene()
    scene.asks()
    assert not scene.floor.ignored(scene.now + 3.0, 6.0)
    assert scene.floor.ignored(scene.now + 6.0, 6.0)
    assert scene.floor.missed == 1
    assert scene.floor.ignored(scene.now + 7.0, 6.0)
    assert scene.floor.missed == 1
    assert not scene.floor.wanted(scene.now + 7.0, insisting=False)
    assert scene.floor.wanted(scene.now + 7.0, insisting=True)


def test_an_answer_that_never_ends_is_over_some_time() -> None:
    scene = Scene()
    scene.answers()
    assert not scene.floor.edge(scene.now + STALE - 0.1)
    assert scene.floor.edge(scene.now + STALE)


def test_what_a_socket_takes_with_it() -> None:
    scene = Scene()
    assert scene.floor.cut(scene.now) is None
    scene.answers(seconds=1.5, words="It rains")
    assert scene.floor.cut(scene.now) == Cut("It rains", 1.5)
    scene.answers(words="And then")
    scene.model(GenerationComplete())
    assert scene.floor.cut(scene.now) is None  # it was all there
    assert not scene.floor.answering


@pytest.mark.parametrize("repeated", [True, False])
def test_on_another_socket_the_question_is_new_if_it_is_heard_again(repeated: bool) -> None:
    scene = Scene()
    scene.asks()
    scene.floor.cut(scene.now)
    scene.floor.again(scene.now, repeated=repeated)
    assert scene.floor.due(None) == (pytest.approx(scene.now + ANSWER_DUE) if repeated else None)


def test_a_caller_who_is_still_speaking_is_not_forgotten() -> None:
    scene = Scene()
    scene.caller(tone(300, RATE, 1.0))
    scene.floor.cut(scene.now)
    scene.floor.again(scene.now, repeated=False)
    assert scene.floor.speaking


def test_marked_turns_are_believed_and_nothing_else_is() -> None:
    scene = Scene(marked=True)
    scene.caller(tone(300, RATE, 1.0))
    assert scene.floor.utterance is None
    at = scene.position
    scene.floor.marked(True, at, scene.now)
    scene.caller(silence(RATE, 0.5))
    assert scene.floor.speaking
    scene.floor.marked(False, scene.position, scene.now)
    assert scene.floor.utterance is not None
    assert scene.floor.utterance.start == at
    assert scene.floor.due(None) == pytest.approx(scene.now + ANSWER_DUE)
