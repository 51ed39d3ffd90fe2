"""What a call does by itself as time passes, second by second."""

from __future__ import annotations

from dataclasses import replace

from gateway.dialog.budget import Level
from gateway.dialog.policy import GOODBYE, GOODBYE_LIMIT, Action, End, Ending, Facts, Policy, Say
from gateway.profile import Profile

QUIET = Facts(here=True, spoke_at=0.0, caller_at=0.0, played_at=0.0, unplayed=0.0, busy=False, level=Level.FREE)


def follow(policy: Policy, facts: Facts, begin: int, end: int) -> list[tuple[int, Action]]:
    """Every action of these seconds, up to and with an End."""
    found: list[tuple[int, Action]] = []
    for now in range(begin, end + 1):
        for action in policy.second(float(now), facts):
            found.append((now, action))
            if isinstance(action, End):
                return found
    return found


def test_idle_hangs_up() -> None:
    policy = Policy(Profile(idle_timeout=20.0), 0.0)
    assert follow(policy, QUIET, 1, 60) == [(20, End(Ending.IDLE))]


def test_idle_asks_first_and_hangs_up_after_the_grace() -> None:
    policy = Policy(Profile(idle_timeout=20.0, idle_prompt="Ask.", idle_grace=5.0), 0.0)
    assert follow(policy, QUIET, 1, 20) == [(20, Say("Ask."))]
    speaking = replace(QUIET, busy=True, spoke_at=23.0, played_at=23.0)
    assert follow(policy, speaking, 21, 23) == []
    heard = replace(QUIET, spoke_at=23.0, played_at=23.0)
    assert follow(policy, heard, 24, 60) == [(28, End(Ending.IDLE, "no answer to the question"))]


def test_an_answer_to_the_question_begins_anew() -> None:
    policy = Policy(Profile(idle_timeout=20.0, idle_prompt="Ask."), 0.0)
    assert follow(policy, QUIET, 20, 20) == [(20, Say("Ask."))]
    answered = replace(QUIET, spoke_at=25.0, caller_at=25.0, played_at=23.0)
    assert follow(policy, answered, 25, 50) == [(45, Say("Ask."))]


def test_nobody_is_idle_while_somebody_works_or_speaks() -> None:
    policy = Policy(Profile(idle_timeout=20.0), 0.0)
    assert follow(policy, replace(QUIET, busy=True), 1, 100) == []


def test_the_end_is_announced_and_comes() -> None:
    policy = Policy(Profile(max_duration=100.0, max_duration_warning=30.0, max_duration_prompt="{seconds} left"), 0.0)
    assert follow(policy, QUIET, 1, 200) == [(70, Say("30 left")), (100, End(Ending.MAX_DURATION))]


def test_the_announcement_waits_for_whoever_speaks_but_not_for_ever() -> None:
    policy = Policy(Profile(max_duration=100.0), 0.0)
    (warned, _) = follow(policy, replace(QUIET, busy=True), 1, 200)
    assert warned[0] == 78
    assert "22 seconds" in warned[1].prompt  # type: ignore[union-attr]


def test_a_call_too_short_for_the_warning_is_not_warned() -> None:
    assert follow(Policy(Profile(max_duration=30.0), 0.0), QUIET, 1, 60) == [(30, End(Ending.MAX_DURATION))]
    assert follow(Policy(Profile(max_duration=90.0, max_duration_warning=0.0), 0.0), QUIET, 1, 99) == [
        (90, End(Ending.MAX_DURATION))
    ]


def test_a_soft_stop_says_goodbye_and_ends_when_it_was_heard() -> None:
    policy = Policy(Profile(goodbye="Say bye."), 0.0)
    soft = replace(QUIET, level=Level.SOFT)
    assert follow(policy, soft, 10, 10) == [(10, Say("Say bye."))]
    assert follow(policy, replace(soft, played_at=13.0, unplayed=1.0, busy=True), 11, 13) == []
    assert follow(policy, replace(soft, played_at=14.0), 14, 30) == [(15, End(Ending.BUDGET))]


def test_a_goodbye_that_never_comes_or_never_ends_is_not_waited_for() -> None:
    soft = replace(QUIET, level=Level.SOFT)
    assert follow(Policy(Profile(), 0.0), soft, 10, 60) == [(10, Say(GOODBYE)), (14, End(Ending.BUDGET))]
    endless = replace(soft, played_at=1000.0, unplayed=5.0, busy=True)
    assert follow(Policy(Profile(), 0.0), endless, 10, 60)[-1] == (10 + GOODBYE_LIMIT, End(Ending.BUDGET))


def test_a_hard_stop_does_not_wait() -> None:
    policy = Policy(Profile(), 0.0)
    assert follow(policy, replace(QUIET, level=Level.HARD, busy=True), 10, 60) == [(10, End(Ending.BUDGET, "cut off"))]
    policy = Policy(Profile(), 0.0)
    follow(policy, replace(QUIET, level=Level.SOFT), 10, 10)
    assert follow(policy, replace(QUIET, level=Level.HARD), 11, 60) == [(11, End(Ending.BUDGET, "cut off"))]


def test_a_warning_alone_changes_nothing() -> None:
    assert follow(Policy(Profile(), 0.0), replace(QUIET, level=Level.WARN), 1, 100) == []


def test_nothing_is_said_to_nobody() -> None:
    gone = replace(QUIET, here=False)
    profile = Profile(idle_timeout=20.0, idle_prompt="Ask.", max_duration=100.0)
    assert follow(Policy(profile, 0.0), gone, 1, 200) == [(20, End(Ending.IDLE))]
    assert follow(Policy(Profile(max_duration=100.0), 0.0), gone, 1, 200) == [(100, End(Ending.MAX_DURATION))]
    assert follow(Policy(Profile(), 0.0), replace(gone, level=Level.SOFT), 1, 9) == [(1, End(Ending.BUDGET, "without a goodbye"))]
