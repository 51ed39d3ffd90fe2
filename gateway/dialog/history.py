"""The conversation so far, as it was heard: what a session that has lost its memory is told, and what is handed over.

The model's words count when the caller's ears have had them, so an answer that was cut off ends here where it was cut. The
service may send a caller's words after the answer to them has begun; they are put before it.

There is one such account per call, and in one form, `Said`: it seeds a session that has lost its memory, and whoever else is to
know the conversation reads `History.turns`. Captions and observers get the same words piece by piece, as they come in here.
What cannot be seen (control characters, direction marks) does not come in.
"""

from __future__ import annotations

import enum
import unicodedata
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

MAX_CHARACTERS = 24_000
"""Kept of one conversation: about 6,000 tokens, half an hour of talk. The oldest turn gives way."""


_JOINERS = "\u200c\u200d"  # invisible, but spelling in Persian and in the scripts of India


class Role(enum.StrEnum):
    """Who spoke; the names are those of the service's `Content.role`."""

    CALLER = "user"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Said:
    """One turn's words."""

    role: Role
    text: str


class History:
    """One call's conversation, oldest first. Feed it what was said and heard, in fragments, in the order it became known."""

    def __init__(self, limit: int = MAX_CHARACTERS) -> None:
        self._limit = limit
        self._turns: deque[Said] = deque()  # bounded by characters: `_limit`
        self._answering = False  # the last turn is the model's and may get longer

    @property
    def turns(self) -> tuple[Said, ...]:
        """Everything kept, without empty turns and outer spaces."""
        return tuple(replace(said, text=text) for said in self._turns if (text := said.text.strip()))

    def caller_said(self, text: str) -> None:
        """A fragment of what the caller said or typed."""
        late = self._answering and bool(self._turns) and self._turns[-1].role is Role.MODEL
        answer = self._turns.pop() if late else None
        self._add(Role.CALLER, text)
        if answer is not None:
            self._turns.append(answer)
        self._trim()

    def model_said(self, text: str) -> None:
        """A fragment of an answer that the caller has heard."""
        if not self._answering:
            # Two answers in a row are one turn of the model's only if somebody asked for it that way: keep them apart.
            self._turns.append(Said(Role.MODEL, ""))
            self._answering = True
        self._add(Role.MODEL, text)
        self._trim()

    def answer_over(self) -> None:
        """The answer has been heard to its end, or was cut off: what the caller says now is a new turn."""
        self._answering = False

    def _add(self, role: Role, text: str) -> None:
        text = _visible(text)
        if self._turns and self._turns[-1].role is role:
            self._turns[-1] = Said(role, self._turns[-1].text + text)
        else:
            self._turns.append(Said(role, text))

    def _trim(self) -> None:
        over = sum(len(said.text) for said in self._turns) - self._limit
        while over > 0 and len(self._turns) > 1:
            over -= len(self._turns.popleft().text)
        if over > 0 and self._turns:
            only = self._turns[0]
            self._turns[0] = Said(only.role, only.text[-self._limit :])


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if char.isspace() else char for char in text if _is_visible(char))


def _is_visible(char: str) -> bool:
    return char.isspace() or char in _JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def merged(turns: Iterable[Said]) -> list[Said]:
    """Turns of one speaker in a row as one: what the service expects of a conversation."""
    found: list[Said] = []
    for said in turns:
        if found and found[-1].role is said.role:
            found[-1] = Said(said.role, f"{found[-1].text}\n{said.text}")
        else:
            found.append(said)
    return found
