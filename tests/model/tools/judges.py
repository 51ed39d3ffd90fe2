"""Operators' moderation hooks, for tests."""

from __future__ import annotations

import asyncio
import threading

ASKED: list[tuple[str, str, str]] = []
THREADS: set[str] = set()


def judge(who: str, text: str, call_id: str) -> object:
    """Goes by what it is told."""
    ASKED.append((who, text, call_id))
    THREADS.add(threading.current_thread().name)
    for word, answer in {
        "secret": {"action": "redact", "reason": "a secret", "text": "[hidden]"},
        "rude": {"action": "flag", "reason": "rude"},
        "bomb": {"action": "hang_up", "reason": "a threat"},
        "raise": None,
    }.items():
        if word in text:
            if answer is None:
                raise RuntimeError(text)
            return answer
    return None


def wedged(who: str, text: str, call_id: str) -> object:
    """Takes longer than anybody waits."""
    threading.Event().wait(3.0)  # blocks its thread, as a slow library would
    return {"who": who, "text": text, "call_id": call_id}


async def kind(who: str, text: str, call_id: str) -> str:
    """On the loop, where it may wait."""
    ASKED.append((who, text, call_id))
    await asyncio.sleep(0)
    return "allow"


def nonsense(who: str, text: str, call_id: str) -> object:
    """Has an opinion that nobody can read."""
    return {"who": who, "length": len(text), "call": call_id}


def forgetful(who: str, text: str) -> None:
    """Does not take what it is asked with."""
    ASKED.append((who, text, ""))
