"""How a call ends: the first who says so gives the reason, and whatever waits then stops waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from gateway.errors import ModelError
from gateway.events import EndReason

T = TypeVar("T")


class End(NamedTuple):
    """Why, and in whose words."""

    reason: EndReason
    detail: str


class Over(Exception):
    """Raised inside a task group when the call is over; cancels the other tasks."""


class Ending:
    """One call's. `name` is for its tasks."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self.said: asyncio.Future[End] = loop.create_future()

    def say(self, reason: EndReason, detail: str) -> bool:
        """End it. False: somebody has said so before."""
        if self.said.done():
            return False
        self.said.set_result(End(reason, detail))
        return True

    async def watch(self) -> None:
        """A task for a group: ends it with `Over`."""
        # wait() and not a plain await: cancelling this task must not cancel the future that says how the call ended.
        await asyncio.wait((self.said,))
        raise Over

    async def unless_over(self, opening: Awaitable[T]) -> T | None:
        """Wait for `opening`, but not longer than the call lasts (None). Raises ModelError as `opening` does."""
        value: T | None = None
        failed: ModelError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self.watch(), name=f"{self._name}:end")
                try:
                    value = await opening
                except ModelError as exc:  # kept out of the group: an expected failure is no crowd
                    failed = exc
                watch.cancel()
        except* Over:
            value = None
        if failed is not None:
            raise failed
        return value
