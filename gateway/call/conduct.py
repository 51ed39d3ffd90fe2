"""What a call does by itself as time passes, asked once a second: its budgets are told, its profile's policy is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.account import Account
from gateway.call.ear import Ear
from gateway.call.feed import Feed
from gateway.call.mouth import Mouth
from gateway.dialog.budget import Unit
from gateway.dialog.nudge import NUDGE, Nudge
from gateway.dialog.policy import End, Facts, Policy, Say
from gateway.dialog.prices import MICRO
from gateway.dialog.turns import Turns
from gateway.events import BudgetReached, CallEvent, EndReason, TokensUsed
from gateway.ledger import Tab
from gateway.profile import Profile


class Conduct:
    """One call's. `hang_up` ends it; `began`: loop time."""

    def __init__(
        self,
        profile: Profile,
        *,
        ear: Ear,
        mouth: Mouth,
        feed: Feed,
        turns: Turns,
        tab: Tab,
        account: Account,
        say: Callable[[CallEvent], None],
        hang_up: Callable[[EndReason, str], None],
        began: float,
    ) -> None:
        self.nudge = Nudge(profile.tool_nudge)
        self._policy = Policy(profile, began)
        self._ear = ear
        self._mouth = mouth
        self._feed = feed
        self._turns = turns
        self._tab = tab
        self._account = account
        self._say = say
        self._hang_up = hang_up
        self._typed_at = began  # when the caller last did something else than speak

    def caller_acted(self, now: float) -> None:
        """The caller typed or pressed something."""
        self._typed_at = now
        self.nudge.acted()

    def spent(self, used: TokensUsed) -> None:
        """The service counted tokens."""
        self._account.tokens[used.direction] += used.tokens
        cost = self._tab.spending.add(used.direction, used.modality, used.kind, used.tokens)
        self._say(replace(used, usd=cost))

    def second(self, now: float, *, here: bool, busy: bool) -> None:
        """`here`: caller and model are both there; `busy`: a function is at work."""
        if self._ear.speaking:
            self.nudge.acted()
        if here and self.nudge.due(now, busy=busy or self._turns.answering):
            self._feed.prompt(NUDGE)
        for level, scope, unit, used, limit in self._tab.reached():
            whole = MICRO if unit is Unit.USD else 1
            self._say(BudgetReached(level.name.lower(), scope.value, unit.value, used / whole, limit / whole))
        for action in self._policy.second(now, self._facts(here, busy)):
            match action:
                case Say(prompt=prompt):
                    self._feed.prompt(prompt)
                case End(ending=ending, detail=detail):
                    self._hang_up(EndReason(ending.value), detail)

    def _facts(self, here: bool, busy: bool) -> Facts:
        caller_at = max(self._ear.last_speech_at, self._typed_at)
        return Facts(
            here=here,
            spoke_at=max(self._mouth.played_at, caller_at),
            caller_at=caller_at,
            played_at=self._mouth.played_at,
            unplayed=self._mouth.playout.seconds,
            busy=busy or self._ear.speaking or self._turns.answering,
            level=self._tab.spending.level,
        )
