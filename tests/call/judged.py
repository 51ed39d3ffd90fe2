"""A call's transcripts with a moderation hook, in fake time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.call.words import Words
from gateway.dialog.history import History
from gateway.dialog.moderation import Moderation, Ruling, Who
from gateway.events import CallEvent, EndReason
from gateway.model.tools.moderator import Moderator
from gateway.model.tools.request import ToolRequest
from gateway.toolspec import ToolKind, ToolSpec


class Hook:
    """Takes `seconds` over every piece; hangs up on "bomb" and lets all else pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[str] = []

    async def run(self, request: ToolRequest) -> object:
        """See Runner."""
        self.asked.append(request.args["text"])
        await asyncio.sleep(self.seconds)
        return "hang_up" if "bomb" in request.args["text"] else "allow"


class Judged:
    """Words with a hook, and all that came of them."""

    def __init__(self, *, seconds: float = 0.1, on_failure: Ruling = Ruling.ALLOW, who: frozenset[Who] = frozenset(Who)) -> None:
        self.hook = Hook(seconds)
        self.events: list[CallEvent] = []
        self.ends: list[tuple[EndReason, str]] = []
        self.history = History()
        spec = ToolSpec("moderation", ToolKind.PYTHON, timeout=5.0)
        moderator = Moderator(Moderation(spec, who, on_failure), self.hook, call_id="w-1", profile="p")
        self.words = Words(
            self.history,
            moderator,
            say=self.events.append,
            hang_up=lambda reason, detail: self.ends.append((reason, detail)),
            loop=asyncio.get_running_loop(),
        )

    def texts(self, kind: type) -> list[str]:
        """The words of the events of one type, in order."""
        return [event.text for event in self.events if isinstance(event, kind)]  # type: ignore[attr-defined]

    @asynccontextmanager
    async def judging(self) -> AsyncIterator[None]:
        """The hook is at work."""
        task = asyncio.create_task(self.words.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
