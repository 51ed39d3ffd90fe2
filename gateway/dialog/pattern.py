"""Regular expressions that are certain to be done soon, whatever they are held against.

`re` goes back and tries again: `(a+)+$` against thirty a's and a b takes minutes, and holds the interpreter all the while: no
time-out helps, and no thread. Arguments are a model's, and a model says what its callers make it say. Here an expression is what
it is in theory: an automaton, run over all its states at once (Thompson 1968; Cox, "Regular Expression Matching Can Be Simple And
Fast"). Time grows with the length of the text times the size of the expression and no faster.

The language is that of `re`, without what no automaton has: look-around, back-references, and groups that do not go back
(`(?>…)`, `a++`); flags only for the whole expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # tests/dialog/test_pattern.py fails when they move
from typing import Any

MAX_STEPS = 500
"""Size of an expression, its counted repeats (`{3,8}`) written out."""

MAX_TEXT = 1_000
"""Characters of a text that is held against one. With `MAX_STEPS` a tenth of a second at worst; mostly far less."""

_Test = Callable[[str], object]
_Place = Callable[[str, int], object]

_REFUSED = {
    _constants.ASSERT: "look-around",
    _constants.ASSERT_NOT: "look-around",
    _constants.GROUPREF: "back-references",
    _constants.GROUPREF_EXISTS: "back-references",
    _constants.ATOMIC_GROUP: "groups that do not go back",
    _constants.POSSESSIVE_REPEAT: "repeats that do not go back",
}


class PatternError(ValueError):
    """No expression, or not one of ours; says why."""


class Pattern:
    """An expression, ready to be held against texts. Making one raises PatternError."""

    def __init__(self, text: str) -> None:
        try:
            tree = _parser.parse(text)
            self._state = tree.state
            self._chars: dict[int, _Test] = {}  # steps that take a character, if it fits; the next step follows
            self._places: dict[int, _Place] = {}  # steps that want to be at a place
            self._ways: list[tuple[int, ...]] = []  # where a step leads without a character
            self._emit(tree)
        except (re.error, OverflowError, RecursionError):  # a{99999999999}; a thousand parentheses
            raise PatternError("is no regular expression") from None
        self._end = self._step()

    def search(self, text: str) -> bool:
        """Whether it fits somewhere in `text`, of at most MAX_TEXT characters."""
        assert len(text) <= MAX_TEXT, "the length is judged before"
        now: set[int] = set()
        for at in range(len(text) + 1):
            now.add(0)
            reached = self._closure(now, text, at)
            if self._end in reached:
                return True
            if at < len(text):
                chars, char = self._chars, text[at]
                now = {step + 1 for step in reached if step in chars and chars[step](char)}
        return False

    def _closure(self, steps: set[int], text: str, at: int) -> set[int]:
        """All steps that can be reached from these without a character."""
        reached: set[int] = set()
        todo = list(steps)
        while todo:
            step = todo.pop()
            if step in reached:
                continue
            reached.add(step)
            if step not in self._places or self._places[step](text, at):
                todo += self._ways[step]
        return reached

    # --- from re's own tree to steps ---

    def _step(self, *ways: int) -> int:
        if len(self._ways) == MAX_STEPS:
            raise PatternError(f"is too large: more than {MAX_STEPS} steps, repeats written out")
        self._ways.append(ways)
        return len(self._ways) - 1

    def _emit(self, items: Sequence[tuple[Any, Any]]) -> None:
        for op, of in items:
            if op in _REFUSED:
                raise PatternError(f"has {_REFUSED[op]}, which can take for ever")
            if op is _constants.BRANCH:
                self._branch(of[1])
            elif op is _constants.SUBPATTERN:
                _, added, taken, inner = of
                if added or taken:
                    raise PatternError("has flags for a part of it")
                self._emit(inner)
            elif op in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
                self._repeat(*of)
            elif op is _constants.AT:
                self._places[self._step(len(self._ways) + 1)] = self._alone(op, of)
            else:
                self._chars[self._step()] = self._alone(op, of)

    def _branch(self, choices: Sequence[Any]) -> None:
        fork = self._step()
        begins, ends = [], []
        for choice in choices:
            begins.append(len(self._ways))
            self._emit(choice)
            ends.append(self._step())
        self._ways[fork] = tuple(begins)
        for end in ends:
            self._ways[end] = (len(self._ways),)

    def _repeat(self, least: int, most: Any, inner: Any) -> None:
        for _ in range(least):
            before = len(self._ways)
            self._emit(inner)
            if len(self._ways) == before:
                break  # nothing, any number of times
        if most is _constants.MAXREPEAT:
            fork = self._step()
            self._emit(inner)
            self._step(fork)
            self._ways[fork] = (fork + 1, len(self._ways))
            return
        forks = []
        for _ in range(most - least):
            forks.append(self._step())
            self._emit(inner)
        for fork in forks:
            self._ways[fork] = (fork + 1, len(self._ways))

    def _alone(self, op: Any, of: Any) -> Callable[..., object]:
        """One character or one place, judged by `re` itself: there is nothing in it to go back to."""
        match: Callable[..., object] = _compiler.compile(_parser.SubPattern(self._state, [(op, of)])).match
        return match


@lru_cache(maxsize=256)
def pattern(text: str) -> Pattern:
    """The expression that `text` is. Raises PatternError."""
    return Pattern(text)
