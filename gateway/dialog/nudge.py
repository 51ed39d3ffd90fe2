"""A reminder for a model that was given a function's result and says nothing.

Some do so now and then, and the caller waits. One reminder for each result, and none where the model or the caller has done
anything since. (A turn that the model ends without a word is answered by the session itself, at once; then none is needed here.)
"""

from __future__ import annotations

NUDGE = "(The function has given its result. Tell the caller.)"


class Nudge:
    """One call's. `patience`: seconds of silence after a result; 0: never."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None

    def answered(self, now: float) -> None:
        """The model was given a result to talk about."""
        self._since = now if self._patience else None

    def acted(self) -> None:
        """The model or the caller has done something: the result is no longer what is waited for."""
        self._since = None

    def due(self, now: float, *, busy: bool) -> bool:
        """Remind it now? True once for each result. `busy`: somebody speaks, or a function is at work."""
        if self._since is None or busy or now - self._since < self._patience:
            return False
        self._since = None
        return True
