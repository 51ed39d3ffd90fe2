"""Ephemeral tokens: what they allow, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.emulator.schema import WireError
from gateway.emulator.tokens import EphemeralTokens

AT = datetime(2026, 11, 22, tzinfo=UTC)
MODEL = {"model": "models/gemini-3.8-live"}
RESUMING = {"sessionResumption": {"handle": "H"}}


def made(at: datetime = AT, **body: Any) -> EphemeralTokens:
    tokens = EphemeralTokens()
    answer = tokens.create("auth_tokens/a", body or None, at)
    assert answer["name"] == "auth_tokens/a"
    return tokens


def redeem(tokens: EphemeralTokens, setup: dict[str, Any] = MODEL, *, after: float = 0.0) -> dict[str, Any]:
    return tokens.redeem("auth_tokens/a", setup, AT + timedelta(seconds=after))


def test_by_default_one_session_within_a_minute() -> None:
    tokens = made()
    with pytest.raises(WireError):
        redeem(tokens, after=61)
    assert redeem(tokens, after=59) == MODEL
    with pytest.raises(WireError) as used_up:
        redeem(tokens)
    assert used_up.value.code == 1008


def test_resuming_costs_no_use_and_may_come_later() -> None:
    tokens = made()
    redeem(tokens)
    assert redeem(tokens, {**MODEL, **RESUMING}, after=600)
    with pytest.raises(WireError):
        redeem(tokens, {**MODEL, **RESUMING}, after=1801)


def test_uses() -> None:
    tokens = made(uses=3)
    for _ in range(3):
        redeem(tokens)
    with pytest.raises(WireError):
        redeem(tokens)
    unlimited = made(uses=0)
    for _ in range(20):
        redeem(unlimited)


def test_an_unknown_token() -> None:
    with pytest.raises(WireError) as unknown:
        EphemeralTokens().redeem("auth_tokens/b", MODEL, AT)
    assert unknown.value.code == 1008


SETUP = {"model": "models/gemini-3.8-live", "generationConfig": {"temperature": 0.7}, "outputAudioTranscription": {}}


def test_without_a_mask_the_whole_setup_is_locked() -> None:
    tokens = made(bidiGenerateContentSetup=SETUP, uses=0)
    assert redeem(tokens, {"model": "models/other", "generationConfig": {"seed": 1}}) == SETUP
    assert redeem(tokens, {"model": "models/other", **RESUMING}) == {**SETUP, **RESUMING}


def test_with_a_mask_only_its_fields_are_locked() -> None:
    tokens = made(
        bidiGenerateContentSetup=SETUP, fieldMask="model,generationConfig.temperature,generationConfig.top_k,tools", uses=0
    )
    asked = {"model": "models/other", "generationConfig": {"seed": 1, "topK": 5.0}, "tools": [{"googleSearch": {}}]}
    assert redeem(tokens, asked) == {"model": "models/gemini-3.8-live", "generationConfig": {"seed": 1, "temperature": 0.7}}


@pytest.mark.parametrize(
    "body",
    [
        {"expireTime": "2026-11-22T21:00:00+00:00"},
        {"expireTime": "2026-11-21T23:00:00+00:00"},
        {"newSessionExpireTime": "2026-11-22T10:00:00+00:00"},
        {"expireTime": "tomorrow"},
        {"uses": -1},
        {"usageLimit": 3},
        {"bidiGenerateContentSetup": {"modell": "x"}},
    ],
)
def test_impossible_tokens_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        made(**body)


def test_a_time_without_a_zone_is_utc() -> None:
    tokens = made(newSessionExpireTime="2026-11-22T00:00:30")
    with pytest.raises(WireError):
        redeem(tokens, after=31)
    assert redeem(tokens, after=29)
