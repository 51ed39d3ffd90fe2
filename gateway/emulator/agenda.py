"""What will happen when, without a clock: the one timer of a session."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[float], None]
"""Called with the `now` at which it runs."""


class Agenda:
    """Actions to come, in order of time; two at the same time run in the order they were entered.

    A key names an entry so that it can be struck out or moved: entering a key again replaces what was there.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._live: dict[int, Action] = {}
        self._keys: dict[str, int] = {}
        self._serial = 0

    def enter(self, when: float, action: Action, key: str = "") -> None:
        """Run `action` at `when`; under a key, instead of what that key meant before."""
        if key:
            self.strike(key)
            self._keys[key] = self._serial
        self._live[self._serial] = action
        heapq.heappush(self._heap, (when, self._serial, key))
        self._serial += 1

    def strike(self, key: str) -> bool:
        """Forget the entry of this key; False when there is none."""
        serial = self._keys.pop(key, None)
        if serial is None:
            return False
        del self._live[serial]
        return True

    def pending(self, key: str) -> bool:
        """Whether an entry of this key is still to come."""
        return key in self._keys

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._live.clear()
        self._keys.clear()

    @property
    def next_at(self) -> float | None:
        """When `run` must be called next."""
        while self._heap and self._heap[0][1] not in self._live:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Run all that is due. Actions may enter further ones; those due by `now` run too."""
        while (when := self.next_at) is not None and when <= now:
            _, serial, key = heapq.heappop(self._heap)
            if key:
                del self._keys[key]
            self._live.pop(serial)(now)
