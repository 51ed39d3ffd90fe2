"""Asks a profile's moderation hook: a function or a webhook, run by the runners of the tools.

Nothing here raises: a hook that raises, is late, or talks nonsense gives the verdict that the profile has for that.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.dialog.moderation import Moderation, Verdict, Who, verdict
from gateway.model.tools.request import Runner, ToolRequest

log = logging.getLogger(__name__)


class Moderator:
    """One call's."""

    def __init__(self, moderation: Moderation, runner: Runner, *, call_id: str, profile: str) -> None:
        self.who = moderation.who
        self._moderation = moderation
        self._runner = runner
        self._call_id = call_id
        self._profile = profile
        self._number = 0

    def unjudged(self, reason: str) -> Verdict:
        """What the profile says of a piece that was not judged."""
        return Verdict(self._moderation.on_failure, reason, failed=True)

    async def judge(self, who: Who, text: str) -> Verdict:
        """The hook's verdict on a finished piece, within its time-out. May be cancelled."""
        hook = self._moderation.hook
        self._number += 1
        request = ToolRequest(
            tool=hook,
            args={"who": who.value, "text": text, "call_id": self._call_id},
            tool_call_id=f"{self._call_id}-m{self._number}",
            call_id=self._call_id,
            profile=self._profile,
            part=lambda _: None,
        )
        task = asyncio.create_task(self._run(request), name=f"{self._call_id}:moderation")
        try:
            await asyncio.wait((task,), timeout=hook.timeout)
        finally:
            task.cancel()  # harmless when it is done
        if not task.done():
            return self._failed("timeout")
        if task.cancelled():
            return self._failed("stopped")
        if (exc := task.exception()) is not None:
            return self._failed("error", type(exc).__name__)
        try:
            return verdict(task.result(), text)
        except ValueError as exc:
            return self._failed("bad answer", str(exc))

    async def _run(self, request: ToolRequest) -> object:
        return await self._runner.run(request)

    def _failed(self, why: str, detail: str = "") -> Verdict:
        # Never what an exception of somebody's function says: it may quote the words that the function was given.
        about = {"call_id": self._call_id, "profile": self._profile, "why": why, "detail": detail}
        log.warning("! moderation failed", extra=about)
        return self.unjudged(why)
