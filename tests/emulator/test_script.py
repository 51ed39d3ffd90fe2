"""Reading a scenario, and following it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.emulator import sound
from gateway.emulator.script import ScriptError, load_scenario, parse_scenario
from gateway.emulator.voices import Call, Heard, Typed
from tests.emulator.playing import loud


def no_sounds(name: str) -> bytes:
    raise AssertionError(f"no sound was asked for, not {name}")


def test_turns_are_taken_in_order_and_the_rest_is_otherwise() -> None:
    scenario = parse_scenario(
        b'{"turns": [{"tone": 440, "seconds": 1, "say": "one", "input": "what?", "delay": 0.8}, {"line": "goodbye"},'
        b' {"tools": [{"name": "f", "args": {"a": 1}}], "close": [1011, "over"]}], "otherwise": {"count": 0.5}}',
        no_sounds,
    )
    persona = scenario.persona()
    answers = [persona.answer(Heard(b"", 16_000, 1.0), {}) for _ in range(5)]
    assert all(answers)
    one, two, three, four, five = (answer for answer in answers if answer)
    assert (one.words, one.understood, one.delay, one.source.seconds) == ("one", "what?", 0.8, 1.0)
    assert two.words == "Goodbye!"
    assert (three.calls, three.close) == ((Call("f", {"a": 1}),), (1011, "over"))
    assert four.source.seconds == five.source.seconds == 0.5
    fresh = scenario.persona().answer(Typed("x"), {})
    assert fresh is not None
    assert (fresh.words, fresh.understood) == ("one", None)


def test_an_echo_and_words_without_a_sound() -> None:
    persona = parse_scenario(b'{"turns": [{"echo": true}, {"say": "fifteen chars.."}, {"nothing": true}]}', no_sounds).persona()
    echo = persona.answer(Heard(loud(1.0), 16_000, 1.0), {})
    said, nothing, again = (persona.answer(Typed(""), {}) for _ in range(3))
    assert echo is not None
    assert said is not None
    assert nothing is not None
    assert again is not None
    assert echo.source.seconds == pytest.approx(1.0, abs=0.01)
    assert said.source.seconds == 1.0
    assert nothing.source.seconds == 0
    assert again.source.seconds == 0, "without otherwise the last turn is played again"


def test_a_scenario_file_with_a_sound_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound.wav(loud(0.5), 16_000))
    (tmp_path / "s.json").write_bytes(b'{"faults": "goaway=3,1", "turns": [{"wav": "a.wav"}]}')
    scenario = load_scenario(tmp_path / "s.json")
    answer = scenario.persona().answer(Typed(""), {})
    assert answer is not None
    assert answer.source.seconds == pytest.approx(0.5, abs=0.01)
    assert scenario.faults == "goaway=3,1"


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"{", "unexpected"),
        (b"[]", "script"),
        (b"{}", "neither turns nor otherwise"),
        (b'{"turns": [{"tune": 1}]}', "tune"),
        (b'{"turns": [{"tone": "a"}]}', "script.turns[0].tone"),
        (b'{"turns": [{"tone": 1, "echo": true}]}', "turns[0]: tone and echo exclude one another"),
        (b'{"turns": [{"line": "song"}]}', "turns[0].line: one of greeting"),
        (b'{"turns": [{"close": "now"}]}', "turns[0].close"),
        (b'{"turns": [{"wav": "x"}]}', "turns[0].wav: not a readable sound file"),
        (b'{"faults": "earthquake", "turns": [{}]}', "no such fault: earthquake"),
    ],
)
def test_faulty_scenarios_are_refused_by_name(raw: bytes, complaint: str) -> None:
    with pytest.raises(ScriptError) as refused:
        parse_scenario(raw, lambda name: name.encode())
    assert complaint in str(refused.value)
