"""What a call may use up: tokens by modality and money, of its own, of its API key's day and of the gateway's day.

At 80 % of a limit there is a warning, at the limit the model says goodbye (`soft`), at 110 % the call is cut off (`hard`).
Between soft and hard lies what a goodbye costs: the service tells what a turn has cost only when it is over, and every turn is
billed for the whole conversation before it, so the last step may be a large one. Until it tells, the audio that has passed is
counted at the service's own rate, so that an answer without end does not go unnoticed.

Money is in millionths of a dollar, tokens in tokens: whole numbers wherever they are kept.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

from gateway.dialog.prices import MICRO, Price

WARN_AT, SOFT_AT, HARD_AT = 0.8, 1.0, 1.1

AUDIO_TOKENS = 25
"""Tokens a second of speech, either way (the service's documentation)."""

RESERVED_TALK = 60.0
"""Seconds of talk that a running call holds of a budget it shares with others."""


class Level(enum.IntEnum):
    """How far a budget is used up."""

    FREE = 0
    WARN = 1
    SOFT = 2
    HARD = 3


class Scope(enum.StrEnum):
    """Whose budget."""

    CALL = "call"
    KEY = "key"
    """Every call with the same API key, one UTC day."""
    DAY = "day"
    """Every call of the gateway, one UTC day."""


SHARED = (Scope.KEY, Scope.DAY)


class Unit(enum.StrEnum):
    """Of what."""

    TOKENS = "tokens"
    TEXT_TOKENS = "text_tokens"
    AUDIO_TOKENS = "audio_tokens"
    IMAGE_TOKENS = "image_tokens"
    USD = "usd"
    """Kept in millionths."""


_MODALITIES = {"text": Unit.TEXT_TOKENS, "audio": Unit.AUDIO_TOKENS, "image": Unit.IMAGE_TOKENS}


def _unit(modality: str, kind: str) -> Unit:
    """What a count is of. Where the service does not say, as its price is reckoned (`Price.micro_usd`): never too little."""
    return _MODALITIES.get(modality, Unit.TEXT_TOKENS if kind == "tool" else Unit.AUDIO_TOKENS)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one scope; 0: no limit. The names are those of `Unit`."""

    tokens: int = 0
    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    usd: float = 0.0

    def amounts(self) -> dict[Unit, int]:
        """The limits that are set, in whole tokens and millionths of a dollar."""
        found = {Unit(field.name): getattr(self, field.name) for field in fields(self)}
        return {unit: round(limit * MICRO) if unit is Unit.USD else int(limit) for unit, limit in found.items() if limit}


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a profile's calls."""

    call: Limits = Limits()
    key: Limits = Limits()
    """What all calls with the caller's API key may use in a day, before this profile's calls stop."""
    day: Limits = Limits()
    """The same for all calls of the gateway."""

    def limits(self) -> Iterator[tuple[Scope, Unit, int]]:
        """Every limit that is set."""
        for scope in Scope:
            for unit, limit in getattr(self, scope.value).amounts().items():
                yield scope, unit, limit

    @property
    def shared(self) -> bool:
        """Others' calls count too."""
        return any(scope in SHARED for scope, _, _ in self.limits())


UNLIMITED = Budget()


class Reached(NamedTuple):
    """A limit is used up as far as `level`; amounts as they are kept (millionths of a dollar)."""

    level: Level
    scope: Scope
    unit: Unit
    used: float
    limit: int


def level_of(used: float, limit: int) -> Level:
    """How far `used` has come."""
    ratio = used / limit
    if ratio >= HARD_AT:
        return Level.HARD
    if ratio >= SOFT_AT:
        return Level.SOFT
    return Level.WARN if ratio >= WARN_AT else Level.FREE


class Spending:
    """What one call has used, and which of its limits it has reached."""

    def __init__(self, budget: Budget, price: Price | None) -> None:
        self.used: dict[Unit, float] = dict.fromkeys(Unit, 0.0)
        """As reported by the service, since the call began."""
        self.price = price
        """Of the model that answers now. Without one money is not counted."""
        self._limits = tuple(budget.limits())
        self._levels: dict[tuple[Scope, Unit], Level] = {}
        self._heard = 0.0  # seconds of audio to the model since its last report
        self._said = 0.0  # and from it

    @property
    def level(self) -> Level:
        """The worst so far."""
        return max(self._levels.values()) if self._levels else Level.FREE

    def add(self, direction: str, modality: str, kind: str, tokens: int) -> float:
        """The service has counted `tokens`. Returns what they cost in dollars (0 without a price)."""
        if self._heard or self._said:
            self._heard = self._said = 0.0  # its own count replaces ours
        self.used[Unit.TOKENS] += tokens
        self.used[_unit(modality, kind)] += tokens
        cost = self.price.micro_usd(direction, modality, kind, tokens) if self.price else 0.0
        self.used[Unit.USD] += cost
        return cost / MICRO

    def passed(self, *, heard: float = 0.0, said: float = 0.0) -> None:
        """So many seconds of audio went to the model and came from it, which it has not counted yet."""
        self._heard += heard
        self._said += said

    def expected(self) -> dict[Unit, float]:
        """`used`, and what the audio since the last report will have cost."""
        heard, said = self._heard * AUDIO_TOKENS, self._said * AUDIO_TOKENS
        used = dict(self.used)
        used[Unit.TOKENS] += heard + said
        used[Unit.AUDIO_TOKENS] += heard + said
        if self.price:
            used[Unit.USD] += heard * self.price.audio_in + said * self.price.audio_out
        return used

    def close(self) -> None:
        """The call is over: what the service would have told of its last words is used, whoever hung up before it did.

        Of the caller's audio no more than a minute: it may be silence, which is not billed everywhere.
        """
        self._heard = min(self._heard, RESERVED_TALK)
        self.used = self.expected()
        self._heard = self._said = 0.0

    def new_day(self) -> None:
        """The shared budgets begin again, and so do their warnings. A goodbye that was asked for stays asked for."""
        for key, level in list(self._levels.items()):
            if key[0] in SHARED and level < Level.SOFT:
                del self._levels[key]

    def reached(self, others: Mapping[tuple[Scope, Unit], float]) -> list[Reached]:
        """The limits that have come to a higher level since the last question, the worst last.

        `others`: of the shared limits, what is used or held by everybody else; missing: nothing.
        """
        if not self._limits:
            return []
        own, news = self.expected(), []
        for scope, unit, limit in self._limits:
            if unit is Unit.USD and self.price is None:
                continue
            used = own[unit] + others.get((scope, unit), 0.0)
            level = level_of(used, limit)
            if level > self._levels.get((scope, unit), Level.FREE):
                self._levels[scope, unit] = level
                news.append(Reached(level, scope, unit, used, limit))
        return sorted(news, key=lambda reached: reached.level)


def reservation(unit: Unit, price: Price | None) -> int:
    """What a running call holds of a shared budget: a minute of both sides talking."""
    tokens = round(RESERVED_TALK * AUDIO_TOKENS)
    match unit:
        case Unit.USD:
            return round(tokens * (price.audio_in + price.audio_out)) if price else 0
        case Unit.TOKENS | Unit.AUDIO_TOKENS:
            return 2 * tokens
        case _:
            return 0
