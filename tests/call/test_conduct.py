"""What a call does by itself, second by second: its facts are those of its ears and its mouth."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.account import Account
from gateway.call.conduct import Conduct
from gateway.call.ear import Ear
from gateway.dialog.budget import Budget, Limits, Unit
from gateway.dialog.nudge import NUDGE
from gateway.dialog.policy import GOODBYE
from gateway.dialog.prices import Price
from gateway.dialog.turns import Turns
from gateway.events import BudgetReached, CallEvent, EndReason, TokensUsed
from gateway.ledger import Tab
from gateway.media.audio import AudioFrame
from gateway.profile import Listening, Profile
from tests.audio import frames, noise, silence, speech

BEGAN = 1000.0
RATE = 16_000
PRICE = Price("model", text_in=1.0, audio_in=2.0, image_in=2.0, text_out=4.0, audio_out=8.0)


@dataclass
class Playout:
    """Seconds that wait to leave."""

    seconds: float = 0.0


@dataclass
class Lips:
    """As much of a mouth as a call's conduct looks at."""

    played_at: float = BEGAN
    playout: Playout = field(default_factory=Playout)


class Prompts:
    """As much of a feed."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def prompt(self, text: str) -> None:
        self.said.append(text)


class Scene:
    """A call's conduct, and all that came of it, with seconds."""

    def __init__(self, profile: Profile | None = None, price: Price | None = PRICE) -> None:
        profile = profile or Profile(idle_timeout=0.0, max_duration=0.0, tool_nudge=0.0)
        self.ear, self.lips, self.turns, self.feed = Ear(Listening()), Lips(), Turns(), Prompts()
        self.tab = Tab("lease", "key", profile.budget, "model", lambda _: price)
        self.account = Account(BEGAN)
        self.events: list[CallEvent] = []
        self.ends: list[tuple[float, EndReason, str]] = []
        self.now = BEGAN
        self.conduct = Conduct(
            profile,
            ear=self.ear,
            mouth=self.lips,  # type: ignore[arg-type]
            feed=self.feed,  # type: ignore[arg-type]
            turns=self.turns,
            tab=self.tab,
            account=self.account,
            say=self.events.append,
            hang_up=lambda reason, detail: self.ends.append((self.now - BEGAN, reason, detail)),
            began=BEGAN,
        )

    def pass_(self, seconds: int, *, here: bool = True, busy: bool = False, sound: bytes = b"") -> None:
        """So many seconds pass, until the call is over; the caller is heard with `sound`, from the first moment on."""
        heard = frames(sound, RATE)
        for _ in range(seconds):
            for number in range(50):
                if heard:
                    self.ear.hear(AudioFrame(heard.pop(0), RATE, self.now + number * 0.02))
            self.now += 1.0
            if not self.ends:
                self.conduct.second(self.now, here=here, busy=busy)


def quiet(**options: object) -> Profile:
    """A profile in which nothing happens by itself but what is asked for."""
    return Profile(**({"idle_timeout": 0.0, "max_duration": 0.0, "tool_nudge": 0.0} | options))  # type: ignore[arg-type]


def test_nothing_is_wanted_nothing_is_done() -> None:
    scene = Scene()
    scene.pass_(3600)
    assert (scene.ends, scene.feed.said, scene.events) == ([], [], [])


# --- silence ---


def test_idle_counts_from_the_last_word_of_either_side() -> None:
    scene = Scene(quiet(idle_timeout=20.0, idle_prompt=""))
    scene.pass_(15, sound=noise(RATE, 1.0, 10.0) + speech(RATE, 2.0) + noise(RATE, 12.0, 10.0))
    assert scene.ear.last_speech_at > BEGAN + 1.0
    spoke = scene.ear.last_speech_at - BEGAN
    scene.pass_(60)
    ((at, reason, _),) = scene.ends
    assert reason is EndReason.IDLE
    assert spoke + 20.0 <= at < spoke + 21.0

    scene = Scene(quiet(idle_timeout=20.0, idle_prompt=""))
    scene.lips.played_at = BEGAN + 30.0
    scene.now = BEGAN + 30.0
    scene.pass_(60)
    assert [(at, reason) for at, reason, _ in scene.ends] == [(50.0, EndReason.IDLE)]


def test_typing_is_a_sign_of_life() -> None:
    scene = Scene(quiet(idle_timeout=20.0, idle_prompt="Still there?", idle_grace=10.0))
    scene.pass_(15)
    scene.conduct.caller_acted(scene.now)
    scene.pass_(10)
    assert scene.feed.said == []
    scene.pass_(12)
    assert scene.feed.said == ["Still there?"]
    scene.conduct.caller_acted(scene.now)
    scene.pass_(15)
    assert scene.ends == [], "that was the answer"
    scene.pass_(60)
    assert scene.feed.said == ["Still there?"] * 2
    assert [reason for _, reason, _ in scene.ends] == [EndReason.IDLE]


@pytest.mark.parametrize("who", ["caller", "model", "function"])
def test_nobody_is_idle_who_speaks_or_works(who: str) -> None:
    scene = Scene(quiet(idle_timeout=5.0, idle_prompt=""))
    if who == "model":
        scene.turns.model_audio(BEGAN, 0.1, 0.0)
    sound = noise(RATE, 0.5, 10.0) + speech(RATE) if who == "caller" else b""
    scene.pass_(min(30, len(sound) // (2 * RATE)) if sound else 30, busy=who == "function", sound=sound)
    assert scene.ends == []


def test_what_still_waits_to_be_heard_is_no_silence_after_the_question() -> None:
    scene = Scene(quiet(idle_timeout=5.0, idle_prompt="Still there?", idle_grace=3.0))
    scene.pass_(5)
    assert scene.feed.said == ["Still there?"]
    scene.lips.playout.seconds = 1.0
    scene.pass_(20)
    assert scene.ends == []
    scene.lips.playout.seconds = 0.0
    scene.pass_(1)
    assert [reason for _, reason, _ in scene.ends] == [EndReason.IDLE]


# --- functions ---


def answered(patience: float = 4.0) -> Scene:
    scene = Scene(quiet(tool_nudge=patience))
    scene.conduct.nudge.answered(scene.now)
    return scene


def test_a_model_that_says_nothing_of_a_result_is_reminded_once() -> None:
    scene = answered()
    scene.pass_(3)
    assert scene.feed.said == []
    scene.pass_(60)
    assert scene.feed.said == [NUDGE]


def test_no_reminder_while_somebody_is_away_or_at_work() -> None:
    scene = answered()
    scene.pass_(10, here=False)
    scene.pass_(10, busy=True)
    scene.turns.model_audio(scene.now, 0.1, 0.0)
    scene.pass_(10)
    assert scene.feed.said == []
    scene.turns.interrupted(0.0)
    scene.pass_(1)
    assert scene.feed.said == [NUDGE]


@pytest.mark.parametrize("how", ["speaks", "types"])
def test_no_reminder_when_the_caller_has_done_something_since(how: str) -> None:
    scene = answered()
    if how == "types":
        scene.pass_(1)
        scene.conduct.caller_acted(scene.now)
    scene.pass_(30, sound=(noise(RATE, 0.5, 10.0) + speech(RATE, 2.0) + silence(RATE, 1.0)) if how == "speaks" else b"")
    assert scene.feed.said == []


# --- money and time ---


def test_what_the_service_counts_is_added_up_and_told_with_its_price() -> None:
    scene = Scene()
    scene.conduct.spent(TokensUsed("input", "audio", "plain", 1000))
    scene.conduct.spent(TokensUsed("output", "audio", "plain", 500))
    scene.conduct.spent(TokensUsed("input", "audio", "plain", 1))
    assert scene.events == [
        TokensUsed("input", "audio", "plain", 1000, usd=pytest.approx(0.002)),
        TokensUsed("output", "audio", "plain", 500, usd=pytest.approx(0.004)),
        TokensUsed("input", "audio", "plain", 1, usd=pytest.approx(0.000002)),
    ]
    assert dict(scene.account.tokens) == {"input": 1001, "output": 500}
    assert scene.tab.spending.used[Unit.TOKENS] == 1501


def test_without_a_price_tokens_are_counted_and_cost_nothing() -> None:
    scene = Scene(price=None)
    scene.conduct.spent(TokensUsed("input", "audio", "plain", 1000))
    assert scene.events == [TokensUsed("input", "audio", "plain", 1000, usd=0.0)]
    assert scene.account.tokens["input"] == 1000


def test_a_budget_is_told_at_each_level_once_and_ends_with_a_goodbye() -> None:
    scene = Scene(quiet(budget=Budget(call=Limits(tokens=1000))))
    scene.pass_(5)
    assert scene.events == []
    for tokens, level in ((850, "warn"), (160, "soft")):
        scene.conduct.spent(TokensUsed("input", "audio", "plain", tokens))
        scene.pass_(1)
        scene.pass_(1)
        told = [event for event in scene.events if isinstance(event, BudgetReached)]
        assert told[-1].level == level
    assert [(event.level, event.scope, event.unit, event.used, event.limit) for event in told] == [
        ("warn", "call", "tokens", 850, 1000),
        ("soft", "call", "tokens", 1010, 1000),
    ]
    assert scene.feed.said == [GOODBYE]
    assert scene.ends == []
    for _ in range(6):  # a second of it at a time has left when it is looked at
        scene.lips.played_at = scene.now + 0.9
        scene.pass_(1)
    assert scene.ends == [], "a goodbye is heard out"
    heard = scene.now - BEGAN
    scene.pass_(30)
    ((at, reason, _),) = scene.ends
    assert reason is EndReason.BUDGET
    assert at <= heard + 2.0


def test_money_is_told_in_dollars() -> None:
    scene = Scene(quiet(budget=Budget(call=Limits(usd=0.01))))
    scene.conduct.spent(TokensUsed("output", "audio", "plain", 1_100))
    scene.pass_(1)
    (told,) = [event for event in scene.events if isinstance(event, BudgetReached)]
    assert (told.unit, told.level) == ("usd", "warn")
    assert told.used == pytest.approx(0.0088)
    assert told.limit == pytest.approx(0.01)


def test_a_call_that_runs_over_is_cut_off() -> None:
    scene = Scene(quiet(budget=Budget(call=Limits(tokens=1000))))
    scene.conduct.spent(TokensUsed("input", "audio", "plain", 5000))
    scene.pass_(1)
    assert [(reason, detail) for _, reason, detail in scene.ends] == [(EndReason.BUDGET, "cut off")]
    assert scene.feed.said == []


def test_the_end_is_announced_and_comes_although_nobody_is_there() -> None:
    options = {"max_duration": 100.0, "max_duration_warning": 30.0, "max_duration_prompt": "{seconds} left"}
    scene = Scene(quiet(**options))
    scene.pass_(200)
    assert scene.feed.said == ["30 left"]
    assert [(at, reason) for at, reason, _ in scene.ends] == [(100.0, EndReason.MAX_DURATION)]

    scene = Scene(quiet(**options))
    scene.pass_(200, here=False)
    assert scene.feed.said == []
    assert [(at, reason) for at, reason, _ in scene.ends] == [(100.0, EndReason.MAX_DURATION)]


def test_the_announcement_waits_for_a_caller_who_is_speaking() -> None:
    scene = Scene(quiet(max_duration=40.0, max_duration_warning=30.0, max_duration_prompt="{seconds} left"))
    scene.pass_(8)
    scene.pass_(6, sound=noise(RATE, 0.5, 10.0) + speech(RATE, 3.4) + noise(RATE, 2.0, 10.0))
    scene.pass_(26)
    (said,) = scene.feed.said
    assert 24 <= int(said.split()[0]) < 30
