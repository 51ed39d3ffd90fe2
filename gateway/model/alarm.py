"""`asyncio.timeout_at` for somebody who waits again and again: one timer for many waits.

A model that speaks sends several messages a second, and none is waited for in vain: a timeout of its own for each, made, set and
cancelled, costs a fifth of what reading the message does. Here the timer of the first wait stays for the next ones. When it
rings too early for the wait it finds, it is set anew.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

EARLY = 0.001
"""Seconds by which it may ring too soon: uvloop counts whole milliseconds, and to wait for the rest would be to spin."""


class Alarm:
    """One task's, for one wait at a time: `with alarm.at(when): await …`.

    Raises TimeoutError out of the block at `when`, in seconds of the loop, as `asyncio.timeout_at` does: by cancelling what is
    awaited, and never for a cancellation by somebody else.
    """

    __slots__ = ("_cancelled", "_loop", "_rang", "_rings_at", "_task", "_timer", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None  # who waits; None: nobody
        self._cancelled = 0  # how often, before it waited
        self._until = self._rings_at = 0.0
        self._rang = False

    @property
    def rang(self) -> bool:
        """The last wait was given up."""
        return self._rang

    def at(self, when: float) -> Alarm:
        """The end of the next wait."""
        self._until = when
        return self

    def stop(self) -> None:
        """Nobody waits any more: lets go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None, "a task waits"
        assert self._task is None, "one wait at a time"
        if self._timer is None or self._rings_at > self._until:
            self._set()
        self._task, self._cancelled, self._rang = task, task.cancelling(), False

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        task, self._task = self._task, None
        assert task is not None, "it was entered"
        if self._rang and task.uncancel() <= self._cancelled and kind is asyncio.CancelledError:
            raise TimeoutError from exc

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait sets another
        if self._until - self._loop.time() >= EARLY:
            self._set()
            return
        self._rang = True
        self._task.cancel()

    def _set(self) -> None:
        self.stop()
        # Noted here: what uvloop gives for a moment that is nearly here can't be asked.
        self._rings_at = self._until
        self._timer = self._loop.call_at(self._until, self._ring)
