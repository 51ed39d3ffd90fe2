"""When to hang up after the model has asked for it: when the caller has heard the goodbye."""

from __future__ import annotations

SETTLE = 1.0
"""Seconds of quiet after a goodbye was heard. People take as long to put a receiver down."""

PATIENCE = 4.0
"""Seconds for a goodbye to begin that has not been said when the model asks to hang up."""

GOODBYE_LIMIT = 30.0
"""Seconds after which a goodbye is long enough."""


class Farewell:
    """The call ends when the caller has heard the goodbye; a caller who speaks over it calls the end off."""

    def __init__(self) -> None:
        self._asked_at: float | None = None

    def __bool__(self) -> bool:
        return self._asked_at is not None

    def ask(self, now: float) -> None:
        """The model wants to hang up."""
        if self._asked_at is None:
            self._asked_at = now

    def call_off(self) -> None:
        """The caller has more to say; the model may ask again."""
        self._asked_at = None

    def over(self, now: float, *, played_at: float, unplayed: float) -> bool:
        """Whether to hang up. `played_at`: when the last frame of speech left, `unplayed`: seconds that still wait to."""
        asked_at = self._asked_at
        if asked_at is None:
            return False
        if now - asked_at >= GOODBYE_LIMIT:
            return True
        patience = SETTLE if played_at > asked_at else PATIENCE
        return not unplayed and now - max(asked_at, played_at) >= patience
