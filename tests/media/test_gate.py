"""What passes the gate: whole turns with a little before them, and nothing between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.media.audio import AudioFrame
from gateway.media.gate import PREROLL, Gate


def frame(number: int) -> AudioFrame:
    return AudioFrame(number.to_bytes(2, "little") * 320, 16_000, number * 0.02)


def test_a_turn_has_a_beginning_what_came_before_it_and_an_end() -> None:
    gate, passed = Gate(), []
    for number in range(100):
        passed += gate.hear(frame(number), 50 <= number < 60)
    kept = round(PREROLL / 0.02)
    assert passed == [True, *(frame(number) for number in range(50 - kept, 60)), False]


@given(st.lists(st.booleans(), max_size=200))
def test_turns_never_nest_and_frames_never_double(wanted: list[bool]) -> None:
    gate, open_, last = Gate(), False, -1.0
    for number, want in enumerate(wanted):
        for piece in gate.hear(frame(number), want):
            if isinstance(piece, bool):
                assert piece is not open_
                open_ = piece
            else:
                assert open_
                assert piece.at > last
                last = piece.at
        assert gate.open is want
    assert gate.shut() == ([False] if open_ else [])
    assert gate.shut() == []
