"""Token counts: both spellings, the split by modality, and reports that repeat themselves within a turn."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PacketError
from gateway.events import ContextRead, TokensUsed
from gateway.wire.gemini import Downlink
from gateway.wire.gemini_usage import TurnUsage, count

REFERENCE: dict[str, Any] = {
    "promptTokenCount": 310,
    "responseTokenCount": 92,
    "totalTokenCount": 402,
    "thoughtsTokenCount": 0,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 250}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 92}],
    "serviceTier": "standard",
}


def test_the_reference() -> None:
    assert TurnUsage().report(REFERENCE) == [
        TokensUsed("input", "audio", "plain", 250),
        TokensUsed("input", "text", "plain", 60),
        TokensUsed("output", "audio", "plain", 92),
        ContextRead(310),
    ]


def test_vertex_spells_the_output_otherwise() -> None:
    renamed = {key.replace("response", "candidates"): value for key, value in REFERENCE.items()}
    assert "candidatesTokenCount" in renamed
    assert count(renamed) == count(REFERENCE)


def test_cached_thoughts_and_tools_are_kinds_of_their_own() -> None:
    usage = REFERENCE | {
        "cachedContentTokenCount": 200,
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 200}],
        "thoughtsTokenCount": 11,
        "toolUsePromptTokenCount": 5,
    }
    assert count(usage) == {
        ("input", "audio", "plain"): 50,
        ("input", "text", "plain"): 60,
        ("input", "audio", "cached"): 200,
        ("input", "unknown", "tool"): 5,
        ("output", "audio", "plain"): 92,
        ("output", "text", "reasoning"): 11,
    }


def test_what_the_details_leave_out_is_unknown() -> None:
    assert count({"promptTokenCount": 9, "promptTokensDetails": [{"modality": "VIDEO", "tokenCount": 4}]}) == {
        ("input", "image", "plain"): 4,
        ("input", "unknown", "plain"): 5,
    }
    assert count({"promptTokensDetails": [{"modality": "SMELL", "tokenCount": 4}, {"tokenCount": 1}]}) == {
        ("input", "unknown", "plain"): 5
    }


def test_within_a_turn_only_the_growth_counts_and_turns_add_up() -> None:
    usage = TurnUsage()
    usage.report({"promptTokenCount": 100, "responseTokenCount": 10})
    assert usage.report({"promptTokenCount": 100, "responseTokenCount": 25}) == [TokensUsed("output", "unknown", "plain", 15)]
    assert usage.report({"promptTokenCount": 100, "responseTokenCount": 25}) == []
    usage.new_turn()
    assert usage.report({"promptTokenCount": 130}) == [TokensUsed("input", "unknown", "plain", 130), ContextRead(130)]


def test_the_context_is_what_the_prompt_counts_cached_or_not() -> None:
    usage = TurnUsage()
    first = usage.report({"promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 7})
    assert first[-1] == ContextRead(100)
    assert ContextRead(100) not in usage.report({"promptTokenCount": 100, "responseTokenCount": 9})
    assert usage.report({"promptTokenCount": 150})[-1] == ContextRead(150)


def test_turns_are_told_apart_by_the_downlink() -> None:
    """Audio after the end of a turn opens the next; a report that trails the end still belongs to the old one."""
    downlink = Downlink()
    audio = {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}]}}}
    end: dict[str, Any] = {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 100}}
    trailing = {"usageMetadata": {"promptTokenCount": 100, "responseTokenCount": 30}}
    total = 0
    for message in (audio, end, trailing, audio, end, end, trailing):
        total += sum(event.tokens for event in downlink.receive(message, 0.0) if isinstance(event, TokensUsed))
    assert total == 130 + 100 + 130


def test_a_report_in_the_middle_of_an_answer_belongs_to_it() -> None:
    downlink = Downlink()
    audio: dict[str, Any] = {
        "serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}]}}
    }
    middle = audio | {"usageMetadata": {"promptTokenCount": 50}}
    end = {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 100}}
    events = [event for message in (audio, middle, audio, end) for event in downlink.receive(message, 0.0)]
    assert sum(event.tokens for event in events if isinstance(event, TokensUsed)) == 100


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": "5"},
        {"promptTokenCount": True},
        {"promptTokenCount": 1.5},
        {"promptTokenCount": 1 << 40},
        {"promptTokensDetails": {}},
        {"promptTokensDetails": [3]},
        {"thoughtsTokenCount": -2},
    ],
)
def test_bad_counts(usage: dict[str, Any]) -> None:
    with pytest.raises(PacketError):
        count(usage)


_COUNTS = st.integers(min_value=0, max_value=100_000)
_DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT"]), "tokenCount": _COUNTS}),
    max_size=4,
)


@given(st.lists(st.fixed_dictionaries({"promptTokenCount": _COUNTS, "promptTokensDetails": _DETAILS}), max_size=6))
def test_a_turn_never_counts_more_than_its_largest_report(reports: list[dict[str, Any]]) -> None:
    usage = TurnUsage()
    told: dict[tuple[str, str], int] = {}
    for report in reports:
        for event in usage.report(report):
            if isinstance(event, TokensUsed):
                told[event.direction, event.modality] = told.get((event.direction, event.modality), 0) + event.tokens
    for (_, modality), tokens in told.items():
        assert tokens == max(count(report)["input", modality, "plain"] for report in reports)
