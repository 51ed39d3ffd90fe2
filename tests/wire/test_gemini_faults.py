"""The classifier against every close and status that has been seen of the service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ModelRefused, ModelUnavailable
from gateway.wire.gemini_faults import CODES, MAX_REASON, closed, rejected, scrub, timed_out

# What has been seen in the wild, as the service words it (and cuts it off at 123 bytes).
SEEN = [
    (1007, "API key not valid. Please pass a valid API key.", "refused", "API key"),
    (1007, "API key expired. Please renew the API key.", "refused", "API key"),
    (1007, "Request contains an invalid argument.", "refused", "settings"),
    (1007, "gemini-x is not supported in the live api.", "refused", "model"),
    (1007, "Invalid JSON payload received. Unknown name \"x\" at 'setup': Cannot find field.", "refused", "settings"),
    (1007, "User location is not supported for the API use.", "refused", "region"),
    (1007, "", "refused", "settings"),
    (1008, "models/X is not found for API version v1beta, or is not supported for bidiGenerateContent. Call", "refused", "model"),
    (1008, "Method doesn't allow unregistered callers (callers without established identity).", "refused", "API key"),
    (1008, "Requested entity was not found.", "refused", "model"),
    (1008, "BidiGenerateContent session not found", "drop", "gone"),
    (1008, "BidiGenerateContent session expired", "drop", "gone"),
    (1008, "Connection aborted because the client failed to close the connection after receiving a GoAway", "again", "lifetime"),
    (1008, "The operation was aborted.", "again", "aborted"),
    (1008, "Operation is not implemented, or supported, or enabled.", "again", "asked for"),
    (1008, "", "again", "policy"),
    (1011, "Internal error encountered.", "again", "internal error"),
    (1011, "The service is currently unavailable.", "again", "internal error"),
    (1011, "Thread was cancelled when writing StartStep status to channel", "again", "internal error"),
    (1011, "Deadline expired before operation could complete.", "again", "lifetime"),
    (1011, "You exceeded your current quota, please check your plan and billing details.", "refused", "quota"),
    (1011, "Your prepayment credits are depleted. Please go to AI Studio", "refused", "quota"),
    (1011, "[ORIGINAL ERROR] generic::resource_exhausted: RESOURCE_EXHAUSTED: Maximum concurrent se", "slow", "limit"),
    (1011, "OVERLOADED_TOO_MANY_RETRIES_PER_REQUEST", "slow", "overloaded"),
    (1000, "", "again", "ended"),
    (1001, "", "again", "ended"),
    (1006, "", "again", "broke"),
    (1012, "", "again", "restarts"),
    (1013, "", "slow", "overloaded"),
    (4321, "", "again", "unexpectedly"),
]


@pytest.mark.parametrize(("code", "reason", "kind", "says"), SEEN)
def test_closes(code: int, reason: str, kind: str, says: str) -> None:
    failure = closed(code, reason)
    assert failure.code == (str(code) if code != 4321 else "other")
    assert says in failure.text
    assert failure.refused == (kind == "refused")
    assert failure.drop_handle == (kind == "drop")
    if kind == "slow":
        assert failure.slow
    assert isinstance(failure.error(), ModelRefused if kind == "refused" else ModelUnavailable)
    assert str(failure.error()) == failure.text


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [
        (400, "other", True),
        (401, "http401", True),
        (403, "http403", True),
        (404, "http404", True),
        (429, "http429", False),
        (500, "http5xx", False),
        (503, "http5xx", False),
        (200, "other", False),
        (302, "other", False),
        (418, "other", False),
    ],
)
def test_statuses(status: int, code: str, refused: bool) -> None:
    failure = rejected(status)
    assert (failure.code, failure.refused) == (code, refused)


def test_time_out_says_how_long() -> None:
    assert "10 s" in timed_out(10.0).text
    assert timed_out(10.0).code == "timeout"


@given(st.integers(min_value=0, max_value=70_000), st.text(max_size=130))
def test_any_close_has_a_label_of_the_list_and_a_text_of_ours(code: int, reason: str) -> None:
    failure = closed(code, reason)
    assert failure.code in CODES
    assert failure.text
    assert rejected(code).code in CODES
    if len(reason) > 8:
        assert reason not in failure.text


@pytest.mark.parametrize(
    "reason",
    [
        "see https://user:pw@host/path?key=AIzaSyA1234567890 now",
        "wss://host/ws?key=secret",
        "AIzaSyD-0000000000000000000000000000000 is bad",
        "auth_tokens/0123abc expired",
        "access_token=abc",
        "handle Cihhbc0123456789Cihhbc0123456789Cihhbc0123456789",
    ],
)
def test_scrub_hides_what_looks_secret(reason: str) -> None:
    said = scrub(reason)
    assert "…" in said
    for secret in ("AIza", "pw", "secret", "0123", "abc"):
        assert secret not in said


@given(st.text())
def test_scrub_is_short_and_printable(reason: str) -> None:
    said = scrub(reason)
    assert len(said) <= MAX_REASON
    assert not any(ord(character) < 32 for character in said)


def test_scrub_keeps_what_helps() -> None:
    said = scrub("models/gemini-2.5-flash-native-audio-preview-12-2025 is not found for API version v1beta\n")
    assert said == "models/gemini-2.5-flash-native-audio-preview-12-2025 is not found for API version v1beta "
