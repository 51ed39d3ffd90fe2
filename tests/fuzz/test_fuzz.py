"""The fuzz doors in short form, and every input that once broke something. `make fuzz` is the long form."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS, Door
from tests.fuzz.engine import FOUND, SLOW, batch, knock, make, replay
from tests.fuzz.mutate import join, mutate_bytes, mutate_document, mutate_lines, mutate_sequence, split

ROUNDS = {"receiver": 60}
EACH = 400


@pytest.mark.parametrize("name", DOORS)
def test_a_few_hundred_inputs_at_each_door(name: str) -> None:
    count, found = batch(DOORS[name], 1, range(ROUNDS.get(name, EACH)))
    assert count > 0
    assert not found, f"input {found[0].number} of seed 1: {found[0].data[:200]!r}\n{found[0].why}"


@pytest.mark.parametrize(
    "path", [path for path in sorted(FOUND.glob("*.bin")) if path.stem.rpartition("-")[0] in DOORS], ids=lambda path: path.stem
)
def test_what_once_broke_something(path: Path) -> None:
    found = replay(path)
    assert found is None, found.why


@pytest.mark.parametrize("name", DOORS)
def test_an_input_can_be_had_again(name: str) -> None:
    door = DOORS[name]
    inputs = [make(door, 7, number) for number in range(20)]
    assert inputs == [make(door, 7, number) for number in range(20)]
    assert inputs != [make(door, 8, number) for number in range(20)]


def test_a_finding_is_kept_and_plays_back(tmp_path: Path) -> None:
    def trip(data: bytes) -> None:
        assert b"!" not in data

    door = Door("trip", lambda draw: b"!" if draw.random() < 0.5 else b".", trip)
    count, found = batch(door, 1, range(50))
    assert count == 50
    (finding,) = found  # one for each place in the code
    assert "AssertionError" in finding.why
    path = finding.save(tmp_path / "found")
    assert path.read_bytes() == b"!"
    DOORS["trip"] = door
    try:
        assert replay(path) is not None
    finally:
        del DOORS["trip"]


def test_an_input_that_costs_too_much_is_a_finding() -> None:
    door = Door("slow", lambda _: b"", lambda _: None)
    clock = iter((0.0, SLOW + 0.1))
    assert knock(door, b"", cpu=lambda: next(clock)) is not None


def test_mutants_differ_and_stay_bounded() -> None:
    draw = random.Random(1)
    packet, text = bytes(range(100)), b"a=b:c d\r\n" * 20
    assert len({mutate_bytes(draw, packet) for _ in range(200)}) > 150
    assert len({mutate_lines(draw, text) for _ in range(200)}) > 150
    assert len({mutate_document(draw, b'{"a":[1,{"b":"c"}]}') for _ in range(200)}) > 100
    assert split(join([b"", b"xy", packet])) == [b"", b"xy", packet]
    assert mutate_sequence(draw, [packet] * 40) != [packet] * 40
