"""The caller has a say: what a model can and can't get past."""

from __future__ import annotations

import itertools

import pytest

from gateway.dialog.consent import GOOD_FOR, MAX_OPEN, Consent
from gateway.toolspec import CONFIRMATION


def consent() -> Consent:
    tokens = (f"t{number}" for number in itertools.count())
    return Consent(lambda: next(tokens))


def asked(house: Consent, key: bytes = b"pay 5", now: float = 0.0) -> str:
    lacking = house.lacking(key, None, now)
    assert lacking is not None
    return lacking[CONFIRMATION]


def agree(house: Consent) -> None:
    house.model_spoke()
    house.caller_spoke()


def test_question_answer_go() -> None:
    house = consent()
    token = asked(house)
    agree(house)
    assert house.lacking(b"pay 5", token, 10.0) is None


def test_a_token_is_good_once() -> None:
    house = consent()
    token = asked(house)
    agree(house)
    assert house.lacking(b"pay 5", token, 1.0) is None
    again = house.lacking(b"pay 5", token, 2.0)
    assert again is not None
    assert again[CONFIRMATION] != token


@pytest.mark.parametrize("steps", [[], ["model"], ["caller"], ["caller", "model"], ["caller", "caller", "model"]])
def test_not_without_a_word_of_the_caller_after_the_question(steps: list[str]) -> None:
    house = consent()
    token = asked(house)
    for step in steps:
        house.model_spoke() if step == "model" else house.caller_spoke()
    refused = house.lacking(b"pay 5", token, 1.0)
    assert refused is not None
    assert refused[CONFIRMATION] == token, "the question stays open"
    agree(house)
    assert house.lacking(b"pay 5", token, 2.0) is None


@pytest.mark.parametrize("given", ["guess", "", None, 7, ["t0"], {"t0": 1}, True])
def test_a_guessed_token_asks_again(given: object) -> None:
    house = consent()
    asked(house)
    agree(house)
    refused = house.lacking(b"pay 5", given, 1.0)
    assert refused is not None
    assert refused[CONFIRMATION] != "t0"


def test_a_token_for_other_arguments_opens_nothing() -> None:
    house = consent()
    token = asked(house, b"pay 5")
    agree(house)
    assert house.lacking(b"pay 5000", token, 1.0) is not None


def test_a_question_is_forgotten() -> None:
    house = consent()
    token = asked(house)
    agree(house)
    assert house.lacking(b"pay 5", token, GOOD_FOR) is not None


def test_open_questions_are_few() -> None:
    house = consent()
    first = asked(house, b"0")
    for number in range(MAX_OPEN):
        asked(house, b"%d" % (number + 1))
    agree(house)
    assert house.lacking(b"0", first, 1.0) is not None
    assert house.lacking(b"%d" % MAX_OPEN, f"t{MAX_OPEN}", 1.0) is None
