"""Words as values: what the command line and the environment share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.values import seconds


@given(st.integers(1, 86_399), st.integers(1, 10_000))
def test_every_duration_that_a_program_prints_is_one(dividend: int, divisor: int) -> None:
    value = dividend / divisor
    if 0.001 <= value <= 86_400:
        assert seconds(0, 86_400)(str(value)) == value


@pytest.mark.parametrize("word", ["", "-1", "1e3", "nan", "inf", "86401", "0.5s", "1,5", "1." + "0" * 26, "1" * 10])
def test_what_is_no_duration_is_refused_with_its_limits(word: str) -> None:
    with pytest.raises(ValueError, match="must be seconds, 0 to 86400"):
        seconds(0, 86_400)(word)
