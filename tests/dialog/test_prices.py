"""The price table against what the service's pages say a minute costs."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.dialog.prices import AS_OF, PRICES, SOURCE, SOURCES, Price, price_of

MINUTE = 60 * 25
"""Audio tokens of a minute."""


@pytest.mark.parametrize("row", PRICES, ids=lambda row: row.model)
def test_a_minute_costs_what_the_page_says(row: Price) -> None:
    assert row.micro_usd("input", "audio", "plain", MINUTE) == pytest.approx(5_000, rel=0.11)  # $0.005, rounded there
    assert row.micro_usd("output", "audio", "plain", MINUTE) == pytest.approx(18_000)
    assert row.text_in < row.text_out < row.audio_out


def test_the_table_says_when_it_was_right() -> None:
    assert date.fromisoformat(AS_OF) >= date(2026, 11, 1)
    assert SOURCE.startswith("https://")
    assert all(date.fromisoformat(row.as_of) for row in PRICES)
    assert SOURCES.keys() == {row.model for row in PRICES}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("gemini-3.8-live", "gemini-3.8-live"),
        ("gemini-3.8-live-extended-thinking", "gemini-3.8-live"),
        ("models/gemini-3.1-flash-live-preview", "gemini-3.1-flash-live"),
        (
            "projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash-native-audio",
            "gemini-live-2.5-flash-native-audio",
        ),
    ],
)
def test_a_model_finds_its_price(name: str, row: str) -> None:
    price = price_of(name)
    assert price is not None
    assert price.model == row


def test_an_unknown_model_has_no_price() -> None:
    assert price_of("somebody-elses") is None
    assert price_of("") is None


def test_the_operators_rows_come_first() -> None:
    own = [Price("gemini-3.8", 1, 2, 3, 4, 5, as_of="2027-01-01"), Price("gemini", 9, 9, 9, 9, 9)]
    assert price_of("gemini-3.8-live", own) is own[0]
    assert price_of("gemini-3.1-flash-live-preview", own) is own[1]
    assert price_of("other", own) is None


def test_each_kind_of_token_has_its_price() -> None:
    row = Price("m", text_in=1, audio_in=2, image_in=3, text_out=4, audio_out=5)
    costs = {
        ("input", "text", "plain"): 1,
        ("input", "audio", "plain"): 2,
        ("input", "audio", "cached"): 2,
        ("input", "image", "plain"): 3,
        ("input", "unknown", "plain"): 2,
        ("input", "unknown", "tool"): 1,
        ("output", "text", "plain"): 4,
        ("output", "text", "reasoning"): 4,
        ("output", "audio", "plain"): 5,
        ("output", "unknown", "plain"): 5,
    }
    for words, price in costs.items():
        assert row.micro_usd(*words, 1000) == price * 1000, words
