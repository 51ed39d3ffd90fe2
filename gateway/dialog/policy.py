"""What a call does by itself as time passes: warn of its end, ask a silent caller, say goodbye, hang up.

Asked once a second with the facts; answers with what to do now. While a goodbye is being said nothing is decided but the end.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.dialog.budget import Level
from gateway.dialog.farewell import Farewell
from gateway.profile import Profile

GOODBYE = "The call has to end now. Say goodbye to the caller in one short, friendly sentence; ask nothing."
TIME_WARNING = "The call will be cut off in about {seconds} seconds. Tell the caller so in one short sentence, then go on."

GOODBYE_LIMIT = 12.0
"""Seconds from asking for a goodbye to the end of the call at the latest: whoever is out of money does not get a speech."""

POLITE = 8.0
"""Seconds that a warning waits for whoever is speaking, at most half of what is left to warn of."""


class Ending(enum.StrEnum):
    """Why the policy ends a call; the same words as `EndReason`."""

    IDLE = "idle"
    MAX_DURATION = "max_duration"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Facts:
    """How the call stands. Loop times; those of things that have not happened yet are when the call began."""

    here: bool
    """Caller and model are both there."""
    spoke_at: float
    """When either side last spoke."""
    caller_at: float
    """When the caller last spoke, typed or pressed something."""
    played_at: float
    """When the last frame of speech left."""
    unplayed: float
    """Seconds of speech that still wait to leave."""
    busy: bool
    """Somebody is speaking, or a function is at work."""
    level: Level
    """How far the budgets are used up."""


@dataclass(frozen=True, slots=True)
class Say:
    """Have the model say this."""

    prompt: str


@dataclass(frozen=True, slots=True)
class End:
    """Hang up."""

    ending: Ending
    detail: str = ""


Action = Say | End


class Policy:
    """One call's. `began`: loop time."""

    def __init__(self, profile: Profile, began: float) -> None:
        self._profile = profile
        self._end_at = began + profile.max_duration if profile.max_duration else None
        warning = profile.max_duration_warning
        self._warning = warning if profile.max_duration > warning > 0 else 0.0
        self._asked_at: float | None = None  # when a silent caller was asked
        self._farewell = Farewell()
        self._goodbye_by = 0.0

    def second(self, now: float, facts: Facts) -> list[Action]:
        """What to do now; often nothing."""
        if self._end_at is not None and now >= self._end_at:
            return [End(Ending.MAX_DURATION)]
        if facts.level is Level.HARD:
            return [End(Ending.BUDGET, "cut off")]
        if self._farewell:
            return self._say_goodbye(now, facts)
        if facts.level is Level.SOFT:
            if not facts.here:
                return [End(Ending.BUDGET, "without a goodbye")]
            self._farewell.ask(now)
            self._goodbye_by = now + GOODBYE_LIMIT
            return [Say(self._profile.goodbye or GOODBYE)]
        return self._warn(now, facts) or self._mind_silence(now, facts)

    def _say_goodbye(self, now: float, facts: Facts) -> list[Action]:
        if now >= self._goodbye_by or self._farewell.over(now, played_at=facts.played_at, unplayed=facts.unplayed):
            return [End(Ending.BUDGET)]
        return []

    def _warn(self, now: float, facts: Facts) -> list[Action]:
        if self._end_at is None or not self._warning or not facts.here:
            return []
        left = self._end_at - now
        if left > self._warning:
            return []
        if facts.busy and left > self._warning - min(POLITE, self._warning / 2):
            return []
        self._warning = 0.0
        prompt = self._profile.max_duration_prompt or TIME_WARNING
        return [Say(prompt.replace("{seconds}", str(max(1, round(left)))))]

    def _mind_silence(self, now: float, facts: Facts) -> list[Action]:
        timeout = self._profile.idle_timeout
        if not timeout:
            return []
        if self._asked_at is not None and facts.caller_at > self._asked_at:
            self._asked_at = None
        if facts.busy and facts.here:
            return []
        if self._asked_at is not None:
            patient = now - max(self._asked_at, facts.played_at) < self._profile.idle_grace
            return [] if patient or facts.unplayed else [End(Ending.IDLE, "no answer to the question")]
        if now - facts.spoke_at < timeout:
            return []
        if not self._profile.idle_prompt or not facts.here:
            return [End(Ending.IDLE)]
        self._asked_at = now
        return [Say(self._profile.idle_prompt)]
