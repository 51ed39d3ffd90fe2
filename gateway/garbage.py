"""When the garbage collector goes its full round: when ended calls have left something, at a moment that costs little.

A full round looks at every object of every call, 0.8 µs each: 70 ms at 170 calls (measured), in which nobody is heard and nothing
is said, and near capacity it takes seconds to make up for them. CPython would go it by the number of new objects, every eight
seconds there, and find nothing: what is taken away is what ended calls leave, half a megabyte each, for cancelled tasks'
tracebacks tie a call's objects into cycles. Its short rounds, of what is young, go on as ever.
"""

from __future__ import annotations

import gc

PATIENCE = 10.0
"""Seconds between two full rounds at least, while there are calls and room."""

BUSY = 0.55
"""The share of the core above which there is no room: a round then waits for `BUSY_PATIENCE`."""

BUSY_PATIENCE = 60.0

MANY = 100
"""Ended calls after which a round is worth it in any case: some 50 MB."""

YOUNG = 20_000
"""New objects, less those gone again, after which the collector looks at them: some megabytes, and a millisecond."""

ANYWAY = 300.0
"""Seconds after which one is gone although no call has ended: for what else may have aged."""


class Rounds:
    """Asked once a second."""

    def __init__(self) -> None:
        self._cleared = 0  # calls whose leavings the last round took away
        self._ended = 0  # calls that had ended a second ago: what they held on to while they closed is let go by now
        self._seconds = 0

    def due(self, ended: int, calls: int, load: float) -> bool:
        """Go one now. `ended`: calls so far; `calls`: up now; `load`: 0 to 1 of a core."""
        self._seconds += 1
        left, before, self._ended = self._ended - self._cleared, self._ended, ended
        patience = (BUSY_PATIENCE if load > BUSY else PATIENCE if calls else 0.0) if left else ANYWAY
        if self._seconds < patience and left < MANY:
            return False
        self._cleared, self._seconds = before, 0
        return True


def spare_the_collector() -> None:
    """Take what lives as long as the process (modules, classes: some 130,000 objects) out of the collector's rounds.

    Full ones are gone only when they are asked for. The shortest are gone after `YOUNG` new objects: near capacity CPython's own
    700 would take 3 % of the core (measured), and what they find dies by itself soon after.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 1_000_000_000)
