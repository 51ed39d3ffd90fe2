"""When something counts as growth."""

from __future__ import annotations

from tests.bench.soak import MEMORY_SLACK, Look, grown, warm


def looks(memory: int = 0, files: int = 0, tasks: int = 0) -> list[Look]:
    """Nine looks, growing by so much each."""
    return [Look(60.0 * n, 50_000_000 + n * memory, 20 + n * files, 5, 12 + n * tasks) for n in range(9)]


def test_a_steady_process_has_not_grown() -> None:
    assert grown(looks()) == []
    assert grown(looks(memory=MEMORY_SLACK // 10)) == []


def test_a_leak_is_named() -> None:
    assert grown(looks(files=1)) == ["files grew from 20 to 26"]
    assert grown(looks(tasks=1)) == ["tasks grew from 12 to 18"]
    assert "memory grew" in grown(looks(memory=MEMORY_SLACK))[0]


def test_one_odd_look_is_no_trend() -> None:
    odd = looks()
    odd[-1] = Look(9.0, 500_000_000, 300, 50, 120)
    assert grown(odd) == []


def test_what_is_there_for_a_moment_is_no_growth() -> None:
    moments = [Look(each.at, each.memory, each.files, each.threads, 12 + (n in (4, 6, 8))) for n, each in enumerate(looks())]
    assert grown(moments) == []


def test_the_first_quarter_is_warm_up() -> None:
    many = looks() * 10
    assert warm(many) == many[22:]
    assert warm(looks()) == looks()[8:]
