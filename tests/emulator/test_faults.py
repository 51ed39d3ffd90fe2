"""How faults are asked for."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.faults import FAULTS, Basis, Fault, Moment, OptionError, Takes, merge_options, parse_options
from gateway.emulator.settings import EmulatorSettings
from gateway.emulator.world import World


def test_numbers_moments_and_defaults() -> None:
    options = parse_options("goaway=3.5,1&pong_delay=8&setup_slow&abrupt_1006=audio:1.2&persona=tone:1,2&times=2&no_pong")
    assert options.faults["goaway"] == Fault("goaway", 1.0, Moment(Basis.READY, 3.5))
    assert options.faults["abrupt_1006"] == Fault("abrupt_1006", 0.0, Moment(Basis.AUDIO, 1.2))
    assert options.number("pong_delay") == 8
    assert options.number("setup_slow") == FAULTS["setup_slow"].default
    assert options.number("starve") is None
    assert "no_pong" in options
    assert (options.persona, options.times) == ("tone:1,2", 2)


@pytest.mark.parametrize(
    "words",
    [
        "nonsense",
        "goaway=soon",
        "goaway=1,2,3",
        "goaway=week:1",
        "starve=-1",
        "gap=inf",
        "gap=nan",
        "times=x",
        "half_open=audio:",
    ],
)
def test_nonsense_is_refused(words: str) -> None:
    with pytest.raises(OptionError):
        parse_options(words)


def test_foreign_words_of_a_query_are_passed_over() -> None:
    assert parse_options("key=KEY&alt=sse&starve", strict=False).number("starve") == 0.7
    with pytest.raises(OptionError):
        parse_options("shoes=2")


def test_later_parts_win() -> None:
    merged = merge_options((parse_options("starve=0.5&persona=tone"), parse_options("starve=0.9&gap"), parse_options("")))
    assert merge_options((parse_options("times=2&gap"), parse_options("odd_bytes"))).times == 2
    assert (
        merge_options((parse_options("gap"), parse_options("persona=tone"), parse_options("odd_bytes"))).words == "gap&odd_bytes"
    )
    assert (merged.number("starve"), merged.number("gap"), merged.persona) == (0.9, 500, "tone")


def test_every_fault_can_be_asked_for_by_its_name_alone() -> None:
    for name, kind in FAULTS.items():
        fault = parse_options(name).faults[name]
        assert (fault.moment is not None) is (kind.takes in (Takes.MOMENT, Takes.MOMENT_AND_NUMBER))
        assert kind.does


@given(st.text(max_size=60))
def test_any_words_are_options_or_an_option_error(words: str) -> None:
    for strict in (True, False):
        with suppress(OptionError):
            assert set(parse_options(words, strict=strict).faults) <= set(FAULTS)


def test_times_are_counted_per_wording() -> None:
    world = World(EmulatorSettings())
    wanted = ["gap" in world.options("gap=1&times=2") for _ in range(4)]
    assert wanted == [True, True, False, False]
    assert "gap" in world.options("gap=2&times=1")
    with pytest.raises(OptionError):
        World(EmulatorSettings(faults="nonsense"))
