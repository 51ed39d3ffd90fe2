"""Words against played time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.transcript import Answer


def test_words_are_given_out_whole_and_in_time() -> None:
    answer = Answer()
    answer.said("One two three four five")
    answer.audio(2.3)
    answer.generated()
    given_out = [answer.heard(0.1 * n) for n in range(1, 24)]
    assert "".join(given_out) == "One two three four five"
    assert given_out[4] == ""  # half a word is not heard
    halfway = "".join(given_out[:12])
    assert halfway == "One two"


def test_without_a_known_end_it_goes_by_the_usual_rate() -> None:
    answer = Answer()
    answer.said("a" * 14 + " " + "b" * 30)
    answer.audio(0.2)
    assert answer.heard(1.0) == "a" * 14
    assert answer.unheard == " " + "b" * 30


@given(
    fragments=st.lists(st.text(max_size=20), max_size=8),
    seconds=st.lists(st.floats(0, 10), max_size=20),
    total=st.floats(0, 10),
)
def test_nothing_is_lost_doubled_or_taken_back(fragments: list[str], seconds: list[float], total: float) -> None:
    answer = Answer()
    out = ""
    for n, fragment in enumerate(fragments):
        answer.said(fragment)
        answer.audio(total / 8)
        out += answer.heard(n)
    answer.generated()
    for at in seconds:
        out += answer.heard(at)
        assert out + answer.unheard == "".join(fragments)
    assert out + answer.rest() == "".join(fragments)
    assert answer.unheard == ""
