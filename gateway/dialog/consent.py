"""Whether the caller has had a say before a tool with `confirm` runs. Decided here, not by the model.

The first call of such a tool with given arguments runs nothing. It is answered with a one-time token and the request to ask the
caller. The token opens exactly this tool with exactly these arguments, once, within `GOOD_FOR` seconds, and only when, after it
was issued, the model has said something and the caller has then begun to speak or has typed. A model that repeats the call at
once, with a guessed token or with other arguments, is refused.

What the caller's words meant only the model can judge; that there were any, after a question, is our own measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.toolspec import CONFIRMATION

GOOD_FOR = 120.0
"""Seconds: a question, a pause for thought, an answer."""

MAX_OPEN = 8
"""Questions that wait for the caller; the oldest gives way."""

ASK = (
    "Nothing has been done yet. Tell the caller what you are about to do and ask for a yes. Only after a yes, call this function "
    f"again with the same arguments and {CONFIRMATION} set to this token. After a no, do not call it again."
)
WAIT = "Nothing has been done: the caller has not answered yet. Ask, and call again only after the caller has spoken."


@dataclass(slots=True)
class _Question:
    key: bytes
    until: float
    asked: bool = False
    """The model has said something since."""
    answered: bool = False
    """And then the caller."""


class Consent:
    """The open questions of one call. `token` makes one-time tokens."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._open: dict[str, _Question] = {}

    def lacking(self, key: bytes, token: object, now: float) -> dict[str, str] | None:
        """None: it may run, and the token is used up. Else what the model is told.

        `key` names the tool with its arguments, `token` is what the model gave for one.
        """
        self._open = {text: question for text, question in self._open.items() if question.until > now}
        question = self._open.get(token) if isinstance(token, str) else None
        if question is not None and question.key == key:
            if not question.answered:
                return {"confirmation_required": WAIT, CONFIRMATION: str(token)}
            del self._open[str(token)]
            return None
        while len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        fresh = self._token()
        self._open[fresh] = _Question(key, now + GOOD_FOR)
        return {"confirmation_required": ASK, CONFIRMATION: fresh}

    def model_spoke(self) -> None:
        """The model said something to the caller."""
        for question in self._open.values():
            question.asked = True

    def caller_spoke(self) -> None:
        """The caller began to speak, or typed."""
        for question in self._open.values():
            question.answered = question.answered or question.asked
