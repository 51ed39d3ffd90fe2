"""Operators' functions, for tests: good ones and bad ones."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator

from gateway.model.tools import ToolError
from gateway.model.tools.python import REQUEST
from gateway.profile import Change

THREADS: list[str] = []
RELEASE = threading.Event()


def add(a: int, b: int = 1) -> int:
    """In a thread."""
    THREADS.append(threading.current_thread().name)
    return a + b


async def greet(name: str) -> dict[str, str]:
    """On the loop."""
    await asyncio.sleep(0)
    return {"said": f"Hello {name}", "call": REQUEST.get().call_id}


def who() -> str:
    """Knows who asks, in its thread too."""
    return f"{REQUEST.get().call_id} {REQUEST.get().tool_call_id}"


async def count(to: int) -> AsyncIterator[int]:
    """In instalments."""
    for number in range(to):
        await asyncio.sleep(0)
        yield number


def broken() -> None:
    """A bug."""
    raise KeyError("secret 4711")


async def polite() -> None:
    """Says in words what is wrong."""
    raise ToolError("there is no such order")


def leave() -> None:
    """Would end the process."""
    sys.exit(3)


async def leave_too() -> None:
    """Would end the process."""
    sys.exit(3)


def wait_for_release() -> str:
    """Blocks its thread until told."""
    RELEASE.wait(30.0)
    return "released"


async def for_ever() -> None:
    """Never ends."""
    await asyncio.Event().wait()


def huge() -> str:
    """More than a model should read."""
    return "x" * 10_000_000


def strange() -> object:
    """Not JSON."""
    return object()


def generator() -> object:
    """Not async, so not taken."""
    yield 1


class Shop:
    """Has methods."""

    @staticmethod
    def price(item: str) -> float:
        """Of an item."""
        return float(len(item))


not_callable = 7


def hand_over(to: str) -> str:
    """Has the call go on under another instruction, without this function. In a thread."""
    REQUEST.get().change(Change(instructions=f"You are {to} now.", tools=()))
    return "done"


def overreach() -> None:
    """Wants a function that the profile does not have."""
    REQUEST.get().change(Change(tools=("launch",)))
