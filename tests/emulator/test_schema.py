"""Strict protobuf JSON."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.schema import ANY, Scalar, WireError, camel, clip_reason, decode_base64, read, snake

SCHEMA: dict[str, Any] = {
    "name": Scalar.STRING,
    "flag": Scalar.BOOL,
    "size": Scalar.INT,
    "ratio": Scalar.NUMBER,
    "rawData": Scalar.BYTES,
    "kind": frozenset({"A", "B"}),
    "items": [{"innerName": Scalar.STRING}],
    "inner": {"deepName": Scalar.STRING},
    "free": ANY,
}


def test_both_casings_read_the_same() -> None:
    snakes = {"raw_data": "AA==", "inner": {"deep_name": "x"}, "items": [{"inner_name": "y"}], "free": {"left_alone": 1}}
    camels = {"rawData": "AA==", "inner": {"deepName": "x"}, "items": [{"innerName": "y"}], "free": {"left_alone": 1}}
    assert read(snakes, SCHEMA, "m").value == read(camels, SCHEMA, "m").value
    assert read(camels, SCHEMA, "m").value["free"] == {"left_alone": 1}


def test_null_is_absent_but_noted() -> None:
    reading = read({"name": None, "inner": {"deep_name": None}}, SCHEMA, "m")
    assert reading.value == {"inner": {}}
    assert reading.nulls == {"m.name", "m.inner.deep_name"}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"nam": "x"}, "Unknown name \"nam\" at 'm'"),
        ({"items": [{}, {"other": 1}]}, "Unknown name \"other\" at 'm.items[1]'"),
        ({"raw_data": "AA==", "rawData": "AA=="}, 'Duplicate field "rawData"'),
        ({"name": 3}, "Invalid value at 'm.name' (TYPE_STRING)"),
        ({"flag": "true"}, "(TYPE_BOOL)"),
        ({"size": 1.5}, "(TYPE_INT32)"),
        ({"size": True}, "(TYPE_INT32)"),
        ({"ratio": "1"}, "(TYPE_DOUBLE)"),
        ({"kind": "C"}, "(TYPE_ENUM)"),
        ({"rawData": "A!=="}, "Base64 decoding failed"),
        ({"rawData": 3}, "(TYPE_BYTES)"),
        ({"items": {}}, "expected a list"),
        ({"inner": []}, "expected an object"),
        ([], "expected an object"),
    ],
)
def test_what_does_not_fit_is_named(value: object, complaint: str) -> None:
    with pytest.raises(WireError) as refused:
        read(value, SCHEMA, "m")
    assert complaint in refused.value.reason
    assert refused.value.code == 1007


def test_whole_numbers_come_in_three_spellings() -> None:
    assert [read({"size": size}, SCHEMA, "m").value["size"] for size in (3, 3.0, "3", "-3")] == [3, 3, 3, -3]


@given(st.binary(max_size=100))
def test_base64_of_either_alphabet_padded_or_not(data: bytes) -> None:
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        assert decode_base64(text, "x") == data
        assert decode_base64(text.rstrip("="), "x") == data


@given(st.text(max_size=20))
def test_any_text_is_base64_or_refused(text: str) -> None:
    with suppress(WireError):
        assert len(decode_base64(text, "x")) <= len(text)


@given(st.text(max_size=200))
def test_a_reason_fits_a_close_frame(text: str) -> None:
    assert len(clip_reason(text).encode(errors="replace")) <= 123


def test_names() -> None:
    assert camel("prefix_padding_ms") == camel("prefixPaddingMs") == "prefixPaddingMs"
    assert snake("prefixPaddingMs") == "prefix_padding_ms"
