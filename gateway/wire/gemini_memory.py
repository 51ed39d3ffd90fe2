"""What a new socket must be told so that the model goes on where the old one stopped.

A resumption handle stands for the conversation as it was when the handle was issued, which is after a turn as a rule. What was
said since then, an answer that was cut off in the middle, and results of functions whose call the new socket does not know, are
told in words. With no handle to resume, all of the conversation is.

Instructions here are the gateway's own, as a greeting is. They are given only when the model would otherwise stay silent in the
middle of a sentence: words that nobody spoke cost tokens and are answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from gateway.dialog.history import Role, Said, merged
from gateway.dialog.transcript import CutOff
from gateway.model.base import InputTranscript, ModelEvent, OutputTranscript, ToolAnswer
from gateway.wire.gemini_floor import Cut

MAX_SINCE = 4_000
"""Characters kept of what was said since the last handle; the oldest gives way."""

MAX_QUOTE = 300
"""Characters of its own last words that a model is reminded of, and of those that were not heard."""

GO_ON = (
    "(The line was interrupted while you were speaking. Go on exactly where you stopped, in mid-sentence if need be. "
    "Do not greet, do not repeat anything, do not mention the interruption.)"
)
LAST_WORDS = " Your last words were: {words}"
CUT_OFF = (
    "(The caller has spoken over your last answer. Of what you said the caller has heard no more than up to these words: {heard} "
    "Not heard was: {unheard} Bear that in mind, and do not answer this note.)"
)
CUT_OFF_AT_ONCE = (
    "(The caller has spoken over your last answer before a word of it was heard. Not heard was: {unheard} "
    "Bear that in mind, and do not answer this note.)"
)
RESULT = "(The function {name} that you have called gave this result: {result} Go on with it.)"
OPENING = "(The call begins.)"
"""A conversation begins with a user's turn; one that the model has opened gets this before it."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """What a socket is told before anything else. `complete`: the service waits for it and for nothing more."""

    turns: tuple[Said, ...] = ()
    complete: bool = False
    go_on: str = ""
    """What makes the model take up its interrupted answer; empty: it had finished."""


class Since:
    """What was said since the last handle: the part of the conversation that it does not stand for."""

    def __init__(self) -> None:
        self._turns: list[Said] = []
        self.cut_off = False
        """An answer among them has been cut down to what was heard of it."""

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def turns(self) -> tuple[Said, ...]:
        """Oldest first."""
        return tuple(self._turns)

    def hear(self, event: ModelEvent) -> None:
        """The model's account of either side."""
        match event:
            case InputTranscript(text=text):
                self._add(Role.CALLER, text)
            case OutputTranscript(text=text):
                self._add(Role.MODEL, text)

    def asked(self, text: str) -> None:
        """Typed words, a prompt."""
        self._add(Role.CALLER, text)

    def clear(self) -> None:
        """A new handle stands for all of it."""
        self._turns.clear()
        self.cut_off = False

    def unsaid(self, characters: int) -> None:
        """So many characters at the end of the model's words were never heard."""
        for at in range(len(self._turns) - 1, -1, -1):
            said = self._turns[at]
            if characters and said.role is Role.MODEL:
                kept = max(0, len(said.text) - characters)
                characters -= len(said.text) - kept
                self._turns[at] = Said(Role.MODEL, said.text[:kept])
                self.cut_off = True

    def _add(self, role: Role, text: str) -> None:
        if self._turns and self._turns[-1].role is role:
            self._turns[-1] = Said(role, self._turns[-1].text + text)
        else:
            self._turns.append(Said(role, text))
        while len(self._turns) > 1 and sum(len(said.text) for said in self._turns) > MAX_SINCE:
            del self._turns[0]
        last = self._turns[-1]
        self._turns[-1] = Said(last.role, last.text[-MAX_SINCE:])


def remind_new(history: Sequence[Said], cut: Cut | None, *, content_any_time: bool) -> Reminder:
    """For a session that knows nothing."""
    turns = list(history)
    if cut is not None and cut.said.strip():
        # The history has of this answer what was heard so far; what was sent will be heard, too.
        if turns and turns[-1].role is Role.MODEL and cut.said.strip().startswith(turns[-1].text):
            turns.pop()
        turns.append(Said(Role.MODEL, cut.said.strip()))
    turns = merged(turns)
    if turns and turns[0].role is Role.MODEL:
        turns.insert(0, Said(Role.CALLER, OPENING))
    return Reminder(tuple(turns), complete=bool(turns) and not content_any_time, go_on=GO_ON if cut is not None else "")


def remind_resumed(since: Since, cut: Cut | None, *, repeated: bool, content_any_time: bool) -> Reminder:
    """For a session that was resumed. `repeated`: the caller's last words are heard again, so they are not told as well."""
    go_on = ""
    if cut is not None:
        words = " ".join(cut.said.split())[-MAX_QUOTE:]
        go_on = GO_ON + (LAST_WORDS.format(words=orjson.dumps(words).decode()) if words and not content_any_time else "")
    if not content_any_time:
        return Reminder(go_on=go_on)
    turns = list(since.turns)
    if repeated and turns and turns[-1].role is Role.CALLER:
        turns.pop()
    return Reminder(tuple(said for said in turns if said.text.strip()), go_on=go_on)


def note_of(answer: CutOff) -> str:
    """What a model is told of an answer that was cut off; empty: it was heard to its end, as far as its words tell."""
    heard, unheard = " ".join(answer.heard.split())[-MAX_QUOTE:], " ".join(answer.unheard.split())[:MAX_QUOTE]
    if not unheard:
        return ""
    words = {"heard": orjson.dumps(heard).decode(), "unheard": orjson.dumps(unheard).decode()}
    return (CUT_OFF if heard else CUT_OFF_AT_ONCE).format(**words)


def result_in_words(answer: ToolAnswer) -> str:
    """A function's result for a socket that does not know the call's id."""
    return RESULT.format(name=answer.name, result=orjson.dumps(dict(answer.response)).decode())
