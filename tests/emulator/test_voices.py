"""What each persona says to what."""

from __future__ import annotations

import orjson
import pytest

from gateway.emulator import sound
from gateway.emulator.counting import read_count
from gateway.emulator.models import Backend
from gateway.emulator.sound import OUTPUT_RATE
from gateway.emulator.voices import (
    Answer,
    Call,
    Heard,
    LoopSource,
    Parrot,
    PersonaError,
    ToolsAnswered,
    Typed,
    make_persona,
    prepared_loop,
    seconds_in_words,
    understood,
)
from tests.emulator.playing import loud


def asked(prompt: Heard | Typed | ToolsAnswered, **functions: bool) -> Answer:
    answer = Parrot().answer(prompt, functions)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "text",
    [
        "Greet the caller in one short, friendly sentence and ask how you can help.",
        "Say hello.",
        "The call has just been answered. Introduce yourself.",
        "Please welcome the customer",
    ],
)
def test_the_parrot_knows_a_request_for_a_greeting(text: str) -> None:
    assert asked(Typed(text, opens=True)).words == sound.LINES["greeting"]
    assert asked(Typed(text, opens=False)).words == f"You typed: {text}"


def test_what_comes_at_once_was_not_typed_by_a_person() -> None:
    assert asked(Typed("Ask for the order number.", opens=True, at_once=True)).words == sound.LINES["greeting"]
    assert asked(Typed("Ask for the order number.", opens=True)).words.startswith("You typed")


def test_the_parrot_says_goodbye() -> None:
    assert asked(Typed("Say goodbye, the call must end.")).words == "Goodbye!"


def test_the_parrot_calls_declared_tools_only() -> None:
    assert asked(Typed('/call add {"a": [1]}'), add=True).calls == (Call("add", {"a": [1]}),)
    assert asked(Typed("/call add {broken}"), add=True).calls == (Call("add", {"text": "{broken}"}),)
    assert asked(Typed("/call add"), other=True).calls == ()


def test_the_parrot_tells_a_tools_answer() -> None:
    words = asked(ToolsAnswered((("add", {"output": 3}), ("none", None)))).words
    assert 'add: {"output":3}; none: null' in words


def test_understanding_is_honest() -> None:
    assert understood(Heard(b"", 16_000, 2.44)) == "(you spoke for 2.4 seconds)"
    assert understood(Typed("hi")) is None
    assert seconds_in_words(1.02) == "1 second"


def test_a_silent_turn_of_the_caller_is_answered_with_silence() -> None:
    assert asked(Heard(b"", 16_000, 0.0)).source.seconds == 0


def test_the_counter_does_not_skip_what_was_never_sent() -> None:
    persona = make_persona("counter:1", Backend.DEVELOPER)
    first = persona.answer(Typed(""), {})
    assert first is not None
    heard = first.source.read(9600)
    second = persona.answer(Typed(""), {})
    assert second is not None
    heard += second.source.read(10**6)
    report = read_count(heard)
    assert report.whole
    assert report.last == 4800 + 24_000 - 1


@pytest.mark.parametrize("backend", Backend)
def test_the_talkers_messages_are_ready_and_true(backend: Backend) -> None:
    loop = prepared_loop(backend)
    assert loop is prepared_loop(backend)
    assert len(loop.chunks) > 20
    for pcm, message in loop.chunks:
        assert len(pcm) == 11_520
        turn = orjson.loads(message)["serverContent"]["modelTurn"]
        assert ("role" in turn) is (backend is Backend.VERTEX)
    source = LoopSource(loop, 0.24)
    assert (source.read(100), source.read(100)) == (loop.chunks[0][0][:100], b"")
    source = LoopSource(loop, 0.48)
    assert [source.read_prepared(), source.read_prepared(), source.read_prepared()] == [loop.chunks[0], loop.chunks[1], None]


def test_personas_by_name() -> None:
    assert make_persona("tone:330,0.5", Backend.DEVELOPER).listens
    assert not make_persona("talker:3,2", Backend.DEVELOPER).listens
    for wrong in ("", "nobody", "tone:x", "tone:1,2,3", "counter:-1", "talker:1", "parrot:1", "script"):
        with pytest.raises(PersonaError):
            make_persona(wrong, Backend.DEVELOPER)
    with pytest.raises(PersonaError, match="scenario"):
        make_persona("script", Backend.DEVELOPER)
    assert make_persona("script", Backend.DEVELOPER, Parrot).listens


def test_the_parrots_voice_is_the_callers_levelled() -> None:
    source = asked(Heard(loud(1.0), 16_000, 1.0)).source
    assert source.seconds == pytest.approx(1.0, abs=0.01)


GO_ON = Typed("(The line was interrupted. Go on exactly where you stopped.)")


def test_a_parrot_goes_on_where_it_stopped() -> None:
    parrot = Parrot()
    whole = parrot.answer(Typed("hello", opens=True, at_once=True), {})
    assert whole is not None
    size = 2 * OUTPUT_RATE
    begun = whole.source.read(size)
    rest = parrot.answer(GO_ON, {})
    assert rest is not None
    assert rest.words
    assert whole.words.endswith(rest.words)
    assert len(rest.words) < len(whole.words)
    more = rest.source.read(size // 2)
    again = parrot.answer(GO_ON, {})  # and once more, should that socket die too
    assert again is not None
    assert begun + more + again.source.read(1 << 30) == sound.line("greeting").pcm
    assert parrot.answer(GO_ON, {}) is None, "everything was said"
    assert Parrot().answer(GO_ON, {}) is None, "nothing was begun"
