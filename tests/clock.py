"""Fake time: an event loop whose clock jumps to the next timer instead of waiting for it.

`run(coro)` gives the result; `loop.time()` starts at 1000.0 and moves only when every task waits for a timer. No sockets.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1000.0


class _Jump(selectors.BaseSelector):
    """A selector that never waits: the time it was asked to wait passes at once."""

    def __init__(self, loop: FakeTimeLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that can never happen")
        self._loop.now += timeout
        return []

    def get_map(self) -> Any:
        return self._keys


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in fake time."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As uvloop does: what is due already is called at once, and its handle has no `when`."""
        if when <= self.now:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, in fake time."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(main)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let fake time pass, 5 ms at a time, until `condition` holds; fails after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.005)
