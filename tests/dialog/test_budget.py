"""What a call has used up, and when it is told so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.budget import Budget, Level, Limits, Reached, Scope, Spending, Unit, level_of, reservation
from gateway.dialog.prices import Price

PRICE = Price("m", text_in=1, audio_in=3, image_in=2, text_out=4, audio_out=12)


def levels(spending: Spending, others: dict[tuple[Scope, Unit], float] | None = None) -> list[Level]:
    return [reached.level for reached in spending.reached(others or {})]


def test_each_level_is_told_once_and_in_order() -> None:
    spending = Spending(Budget(call=Limits(tokens=1000)), None)
    told = []
    for _ in range(24):
        spending.add("output", "audio", "plain", 50)
        told += [(spending.used[Unit.TOKENS], level) for level in levels(spending)]
    assert told == [(800, Level.WARN), (1000, Level.SOFT), (1100, Level.HARD)]
    assert spending.level is Level.HARD


def test_a_large_step_tells_only_the_highest() -> None:
    spending = Spending(Budget(call=Limits(tokens=1000)), None)
    spending.add("input", "audio", "plain", 5000)
    assert levels(spending) == [Level.HARD]
    assert levels(spending) == []


@pytest.mark.parametrize(
    ("limits", "counts"),
    [
        (Limits(text_tokens=100), ("input", "text", "plain")),
        (Limits(audio_tokens=100), ("output", "audio", "plain")),
        (Limits(image_tokens=100), ("input", "image", "plain")),
        (Limits(tokens=100), ("input", "unknown", "tool")),
        (Limits(usd=100 / 1e6), ("input", "text", "cached")),
    ],
    ids=["text", "audio", "image", "tokens", "usd"],
)
def test_each_unit_counts_its_own(limits: Limits, counts: tuple[str, str, str]) -> None:
    spending = Spending(Budget(call=limits), PRICE)
    spending.add("input", "unknown", "plain", 0)
    for other in (("input", "text", "plain"), ("input", "audio", "plain"), ("input", "image", "plain")):
        if limits.tokens or limits.usd or other[1] == counts[1]:
            continue
        spending.add(*other, 1_000_000)
    assert levels(spending) == []
    spending.add(*counts, 100)
    assert levels(spending) == [Level.SOFT]


def test_money_is_what_the_tokens_cost() -> None:
    spending = Spending(Budget(call=Limits(usd=0.01)), PRICE)
    assert spending.add("output", "audio", "plain", 500) == pytest.approx(0.006)
    assert spending.add("input", "audio", "plain", 1000) == pytest.approx(0.003)
    (reached,) = spending.reached({})
    assert reached == Reached(Level.WARN, Scope.CALL, Unit.USD, 9000.0, 10_000)


def test_without_a_price_there_is_no_money_budget() -> None:
    spending = Spending(Budget(call=Limits(usd=0.000001, tokens=1000)), None)
    assert spending.add("output", "audio", "plain", 900) == 0.0
    assert [reached.unit for reached in spending.reached({})] == [Unit.TOKENS]


def test_audio_counts_before_the_service_has_counted_it() -> None:
    spending = Spending(Budget(call=Limits(audio_tokens=1000, usd=1.0)), PRICE)
    spending.passed(heard=20.0, said=20.0)  # 25 tokens a second each
    assert levels(spending) == [Level.SOFT]
    assert spending.expected()[Unit.USD] == pytest.approx(500 * 3 + 500 * 12)
    assert spending.used[Unit.AUDIO_TOKENS] == 0, "an estimate is nobody's account"
    spending.add("input", "audio", "plain", 400)
    assert spending.expected()[Unit.AUDIO_TOKENS] == 400, "its own count replaces ours"


def test_what_others_use_counts_where_it_is_shared() -> None:
    spending = Spending(Budget(call=Limits(tokens=10_000), key=Limits(tokens=10_000), day=Limits(tokens=50_000)), None)
    spending.add("input", "audio", "plain", 500)
    assert levels(spending, {(Scope.KEY, Unit.TOKENS): 7400.0}) == []
    (reached,) = spending.reached({(Scope.KEY, Unit.TOKENS): 9500.0, (Scope.DAY, Unit.TOKENS): 9500.0})
    assert (reached.level, reached.scope, reached.used) == (Level.SOFT, Scope.KEY, 10_000)


def test_the_worst_comes_last() -> None:
    spending = Spending(Budget(call=Limits(tokens=100, audio_tokens=120)), None)
    spending.add("input", "audio", "plain", 105)
    assert levels(spending) == [Level.WARN, Level.SOFT]


@given(st.lists(st.tuples(st.sampled_from(["text", "audio", "image", "unknown"]), st.integers(0, 10_000)), max_size=30))
def test_levels_only_rise_and_money_is_the_sum(counts: list[tuple[str, int]]) -> None:
    spending = Spending(Budget(call=Limits(tokens=20_000, usd=0.02)), PRICE)
    level, cost = Level.FREE, 0.0
    for modality, tokens in counts:
        cost += spending.add("input", modality, "plain", tokens)
        news = spending.reached({})
        assert all(reached.level > Level.FREE for reached in news)
        assert spending.level >= level
        level = spending.level
    assert spending.used[Unit.USD] / 1e6 == pytest.approx(cost)
    assert spending.used[Unit.TOKENS] == sum(tokens for _, tokens in counts)
    assert level is max(level_of(spending.used[Unit.TOKENS], 20_000), level_of(spending.used[Unit.USD], 20_000))


def test_what_is_held_of_a_shared_budget_is_a_minute_of_talk() -> None:
    assert reservation(Unit.TOKENS, None) == 3000
    assert reservation(Unit.USD, PRICE) == 1500 * 3 + 1500 * 12
    assert reservation(Unit.USD, None) == 0
    assert reservation(Unit.TEXT_TOKENS, PRICE) == 0


def test_shared_means_others_count() -> None:
    assert not Budget(call=Limits(tokens=1)).shared
    assert Budget(day=Limits(usd=1.0)).shared
    assert not Budget().shared


def test_what_the_service_does_not_say_the_kind_of_counts_as_what_is_dearest() -> None:
    spending = Spending(Budget(call=Limits(audio_tokens=100)), PRICE)
    spending.add("output", "unknown", "plain", 100)
    assert levels(spending) == [Level.SOFT]
    spending.add("input", "unknown", "tool", 100)
    assert spending.used[Unit.TEXT_TOKENS] == 100


def test_who_hangs_up_before_the_bill_comes_pays_all_the_same() -> None:
    spending = Spending(Budget(), PRICE)
    spending.passed(heard=600.0, said=8.0)
    spending.close()
    assert spending.used[Unit.AUDIO_TOKENS] == (60 + 8) * 25
    assert spending.used[Unit.USD] == 60 * 25 * 3 + 8 * 25 * 12
    spending.close()
    assert spending.used[Unit.AUDIO_TOKENS] == (60 + 8) * 25, "once"


def test_a_new_day_warns_again_but_calls_no_goodbye_off() -> None:
    spending = Spending(Budget(call=Limits(tokens=1000), day=Limits(tokens=1000), key=Limits(tokens=800)), None)
    spending.add("output", "audio", "plain", 900)
    assert levels(spending) == [Level.WARN, Level.WARN, Level.HARD]
    spending.new_day()
    assert spending.level is Level.HARD
    assert levels(spending) == [Level.WARN], "the day's, not the call's"
