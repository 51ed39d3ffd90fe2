"""What is wrong with an open connection that says nothing about it: a far end that is gone, or a model that does not answer.

The lack of a message alone proves nothing: pauses are part of talking. What counts is what the service owes (`gemini_floor`), and
pongs where they come soon.
"""

from __future__ import annotations

from gateway.wire.gemini_floor import Floor
from gateway.wire.gemini_pulse import Pulse

DEAD_AFTER = 4.5
"""Seconds without message or pong after which a service that owes us something is gone."""
SILENT_AFTER = 2.5
"""The same beyond the time it owed it, where pongs say nothing."""
UNANSWERED = 6.0
"""Seconds after which a caller's question has plainly not been answered. The ring still holds it then."""


class Watch:
    """Over one session's sockets. `may_ignore`: the model may decide that what it heard was not meant for it.

    `asked_at`: when the oldest thing was asked that the model has not reacted to.
    """

    def __init__(self, *, may_ignore: bool) -> None:
        self.pulse = Pulse(0)
        """Of the present socket."""
        self.revived = False
        """The missing answer has been asked for again."""
        self._may_ignore = may_ignore
        self._silenced = False  # a socket has been dropped for its silence, and no answer came since

    def restart(self, position: int) -> None:
        """Another socket, on which the reel begins at `position`."""
        self.pulse = Pulse(position, self.pulse)

    def reacted(self) -> None:
        """The model has given a sign of life."""
        self.revived = self._silenced = False

    def dead(self, floor: Floor, asked_at: float | None, now: float) -> bool:
        """Nobody is there any more. Said once where it can't be told from a model that decides not to answer."""
        due = floor.due(asked_at)
        if due is None or now < due:
            return False
        if self.pulse.sure:
            found = now - max(floor.message_at, self.pulse.pong_at) >= DEAD_AFTER
        else:
            found = now >= due + SILENT_AFTER and (floor.answering or not self._silenced)
        self._silenced = self._silenced or found
        return found

    def deaf(self, floor: Floor, asked_at: float | None, now: float) -> bool:
        """Somebody is there and does not answer: another socket is asked again. Said once until it reacts."""
        ignored = floor.ignored(now, UNANSWERED)
        if self.revived or floor.answering or floor.tools or now - floor.message_at < UNANSWERED / 2:
            return False
        unanswered = asked_at is not None and now - asked_at >= UNANSWERED
        self.revived = unanswered or (ignored and (floor.missed > 1 or floor.suspect or not self._may_ignore))
        return self.revived
