"""Which rows of the NetEq table count, and which are behind."""

from __future__ import annotations

import dataclasses

import pytest

from tests.bench.beside import LATE, OTHERS, Row, others_share, verdict

EVEN = Row("random 10 % fec", stoi=0.9, stoi_neteq=0.9, pesq=3.0, pesq_neteq=3.0, late=0.001, others=0.02)


def row(**fields: object) -> Row:
    return dataclasses.replace(EVEN, **fields)  # type: ignore[arg-type]


def test_a_row_as_good_as_neteq_counts_and_is_not_behind() -> None:
    assert not EVEN.void
    assert not EVEN.behind
    assert EVEN.line().split() == ["random", "10", "%", "fec", "0.900", "0.900", "3.00", "3.00", "1.0"]
    assert verdict([EVEN]) == 0


@pytest.mark.parametrize(
    ("name", "fields", "behind"),
    [
        ("random 10 % fec", {"stoi": 0.881}, False),
        ("random 10 % fec", {"stoi": 0.879}, True),
        ("random 10 % fec", {"pesq": 2.91}, False),
        ("random 10 % fec", {"pesq": 2.89}, True),
        ("random 10 % red1", {"stoi": 0.899}, True),
        ("random 10 % red1", {"pesq": 2.99}, True),
        ("random 10 % red1", {"pesq": 3.01, "stoi": 0.901}, False),
    ],
)
def test_behind_is_by_more_than_is_allowed_and_with_red_at_all(name: str, fields: dict[str, float], behind: bool) -> None:
    one = row(name=name, **fields)
    assert one.behind == behind
    assert one.line().endswith("behind") == behind
    assert one.as_json()["behind"] == behind
    assert verdict([EVEN, one]) == int(behind)


@pytest.mark.parametrize("pesq", [2.0, 3.5], ids=["behind", "ahead"])
@pytest.mark.parametrize("fields", [{"late": LATE + 0.001}, {"others": OTHERS + 0.01}], ids=["late", "others"])
def test_a_row_of_a_busy_machine_is_void_whatever_it_says(fields: dict[str, float], pesq: float) -> None:
    one = row(pesq=pesq, **fields)
    assert one.void
    assert not one.behind
    assert "void" in one.line()
    assert f"{pesq:.2f}" not in one.line()
    assert not {"pesq", "stoi", "pesq_neteq", "stoi_neteq"} & set(one.as_json())
    assert verdict([EVEN, one]) == 2
    assert verdict([one, row(pesq=1.0)]) == 1


def test_at_the_limits_it_still_counts() -> None:
    assert not row(late=LATE, others=OTHERS).void


def test_what_others_had_is_what_was_busy_less_our_own() -> None:
    before, after = [(10.0, 100.0), (20.0, 100.0)], [(14.0, 110.0), (26.0, 110.0)]
    assert others_share(before, after, own=7.0) == pytest.approx(3.0 / 20.0)
    assert others_share(before, after, own=11.0) == 0.0, "our own is counted finer than the machine's"
