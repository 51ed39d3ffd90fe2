"""Both transcripts on their way to whoever may read them: history, captions and observers.

With a moderation hook they go through it first, piece by piece, one after another; the sound does not wait for it. What is not
judged when the call ends is not shown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.dialog.history import History
from gateway.dialog.moderation import Held, Pieces, Ruling, Verdict, Who, instead
from gateway.events import CallerSaid, CallEvent, EndReason, ModelHeard, ModelSaid, Moderated
from gateway.model.tools.moderator import Moderator

MAX_WAITING = 32
"""Pieces that wait for the hook; the oldest gives way and counts as not judged. A minute and more of talk."""

MAX_KEPT = 4 * MAX_WAITING
"""Pieces in all, with those that gave way and only keep their place. Of more the oldest is told before its turn."""


@dataclass(slots=True, eq=False)
class _Piece:
    who: Who
    text: str
    judged: Callable[[Verdict], None]
    verdict: Verdict | None = None
    """Of one that gave way: the hook is not asked."""


class Words:
    """One call's. `hang_up` ends it. Plain calls put in; with a moderator, `run` waits for its verdicts."""

    def __init__(
        self,
        history: History,
        moderator: Moderator | None,
        *,
        say: Callable[[CallEvent], None],
        hang_up: Callable[[EndReason, str], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._history = history
        self._moderator = moderator
        self._say = say
        self._hang_up = hang_up
        self._loop = loop
        self._pieces = {who: Pieces() for who in Who}
        self._held = Held()
        self._said = 0  # characters of the model's words so far
        self._waiting: deque[_Piece] = deque()  # bounded by _queue
        self._wake = asyncio.Event()

    # --- what was said ---

    def caller_said(self, text: str) -> None:
        """A fragment of the caller's transcript."""
        if not self._asked_about(Who.CALLER):
            self._caller(text)
            return
        for piece in self._pieces[Who.CALLER].add(text, self._loop.time()):
            self._ask(Who.CALLER, piece)

    def model_said(self, text: str) -> None:
        """A fragment of the answer's transcript. The caller has finished."""
        self._finish(Who.CALLER)
        if not self._asked_about(Who.MODEL):
            self._say(ModelSaid(text))
            return
        self._said += len(text)
        for piece in self._pieces[Who.MODEL].add(text, self._loop.time()):
            self._ask(Who.MODEL, piece)

    def model_heard(self, text: str) -> None:
        """The caller's ears have had these words: the next unheard part of what the model said."""
        if not self._asked_about(Who.MODEL):
            self._heard(text)
            return
        self._held.heard(text)
        self._read()

    def generated(self) -> None:
        """No more comes of this answer."""
        self._finish(Who.CALLER)
        self._finish(Who.MODEL)

    def answer_over(self) -> None:
        """The answer has been heard to its end, or was cut off."""
        if not self._asked_about(Who.MODEL):
            self._history.answer_over()
            return
        self._finish(Who.MODEL)
        self._held.over(self._said)
        self._read()

    def second(self, now: float) -> None:
        """Once a second: what waits for more that does not come."""
        for who, pieces in self._pieces.items():
            for piece in pieces.quiet(now):
                self._ask(who, piece)

    # --- judging ---

    async def run(self) -> None:
        """Ask the hook, until cancelled."""
        assert self._moderator is not None, "only calls with a hook have somebody to ask"
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                piece = self._waiting.popleft()
                self._judged(piece, piece.verdict or await self._moderator.judge(piece.who, piece.text))

    @property
    def moderated(self) -> bool:
        """There is a hook."""
        return self._moderator is not None

    def _asked_about(self, who: Who) -> bool:
        return self._moderator is not None and who in self._moderator.who

    def _finish(self, who: Who) -> None:
        for piece in self._pieces[who].end():
            self._ask(who, piece)

    def _ask(self, who: Who, text: str) -> None:
        if who is Who.CALLER:
            self._queue(_Piece(who, text, lambda verdict: self._caller(instead(text, verdict))))
            return
        stretch = self._held.said(text)

        def judged(verdict: Verdict) -> None:
            if shown := self._held.judged(stretch, verdict):
                self._say(ModelSaid(shown))
            self._read()

        self._queue(_Piece(who, text, judged))

    def _queue(self, piece: _Piece) -> None:
        assert self._moderator is not None, "asked only where there is a hook"
        unasked = [waiting for waiting in self._waiting if waiting.verdict is None]
        if len(unasked) >= MAX_WAITING:
            # It keeps its place: the words that the hook is busy with were said before it.
            unasked[0].verdict = self._moderator.unjudged("too many pieces wait")
        if len(self._waiting) >= MAX_KEPT and (verdict := self._waiting[0].verdict) is not None:
            self._judged(self._waiting.popleft(), verdict)
        self._waiting.append(piece)
        self._wake.set()

    def _judged(self, piece: _Piece, verdict: Verdict) -> None:
        if verdict.failed or verdict.ruling is not Ruling.ALLOW:
            self._say(Moderated(piece.who.value, verdict.ruling.value, verdict.reason, verdict.failed))
        if verdict.ruling is Ruling.HANG_UP:
            self._hang_up(EndReason.MODERATED, verdict.reason)
        piece.judged(verdict)

    # --- telling ---

    def _caller(self, text: str) -> None:
        if text:
            self._history.caller_said(text)
            self._say(CallerSaid(text))

    def _heard(self, text: str) -> None:
        self._history.model_said(text)
        self._say(ModelHeard(text))

    def _read(self) -> None:
        for part in self._held.take():
            if part is None:
                self._history.answer_over()
                continue
            if not part.shown:
                self._say(ModelSaid(part.words))
            self._heard(part.words)
