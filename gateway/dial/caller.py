"""The caller: when it speaks, when it hangs up, and what the person at the terminal reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TextIO

from gateway.dial.errors import DialError
from gateway.dial.sound import MAX_SECONDS, Mouth
from gateway.errors import PacketError

CONNECT_TIMEOUT = 15.0
READY_TIMEOUT = 15.0
"""Seconds from media to a model that listens; its own connect may take 10."""
GREETING_WAIT = 2.0
"""Seconds in which a greeting would begin. Speaking over it would cut it off."""
GREETING_LIMIT = 30.0
ANSWER_TIMEOUT = 20.0
"""Seconds from the end of the recording to the end of the patience."""
HANG_UP_AFTER = 1.5
"""Seconds of silence after an answer: some models answer in two parts."""

CLIENT_READY = json.dumps(
    {
        "id": "1",
        "label": "rtvi-ai",
        "type": "client-ready",
        "data": {"version": "2.0.0", "about": {"library": "gateway call"}},
    }
)
"""How we introduce ourselves on the data channel."""

NORMAL_ENDS = frozenset({"caller_hung_up", "model_hung_up", "hung_up_by_api", "idle", "max_duration", "budget", "moderated"})


class Report:
    """What the person at the terminal reads."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._json = as_json
        self._answer = ""
        self.turns = 0

    def say(self, event: str, line: str, **fields: object) -> None:
        """One line: `line`, or the event with its fields as JSON."""
        print(json.dumps({"event": event} | fields) if self._json else line, file=self._out, flush=True)

    def caller_said(self, text: str) -> None:
        """The model's transcription of the caller, final."""
        self.say("caller", f"caller: {text.strip()}", text=text)

    def heard(self, text: str) -> None:
        """A piece of the answer has been played."""
        self._answer += text

    def turn_over(self, turn: dict[str, Any] | None = None) -> None:
        """The answer is over; `turn` is the gateway's account of it."""
        if self._answer.strip():
            self.say("model", f"model: {self._answer.strip()}", text=self._answer)
        self._answer = ""
        if turn is None:
            return
        self.turns += 1
        response = turn.get("response")
        took = f"{response:.2f} s to answer" if isinstance(response, int | float) else "no latency measured"
        self.say("turn", f"turn {self.turns}: {turn.get('end', '?')}, {took}", number=self.turns, **turn)


class Caller:
    """Speaks a recording when its turn comes, and follows the gateway's messages to know when that is.

    With a `microphone` somebody is really there: they speak and hang up when they like.
    """

    def __init__(self, speech: bytes, report: Report, microphone: Callable[[], bytes] | None = None) -> None:
        self.mouth = Mouth(speech, microphone)
        self._live = microphone is not None
        self._enough = asyncio.Event()  # the person at the terminal hangs up
        self.over = asyncio.Event()
        """The gateway has ended the call, or the connection is lost."""
        self.ended_by = ""
        self._settled = asyncio.Event()  # connected, or failed to
        self._report = report
        self._trouble = ""
        self._ready = asyncio.Event()
        self._speaking = False
        self._changed = asyncio.Event()  # the model began or stopped speaking
        self._answers = 0  # that have come to their end

    async def media(self) -> None:
        """Wait until media can flow. Raises DialError."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._settled.wait()
        except TimeoutError:
            raise DialError(f"no network path was found within {CONNECT_TIMEOUT:g} s") from None
        if self._trouble:
            raise DialError(self._trouble)

    async def converse(self) -> None:
        """Wait for the model, speak, and wait for the answer. Raises DialError when the call fails."""
        talk = asyncio.ensure_future(self._talk())
        gone = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((talk, gone), return_when=asyncio.FIRST_COMPLETED)
            if talk.done():
                talk.result()
        finally:
            for task in (talk, gone):
                task.cancel()
            await asyncio.wait((talk, gone))
        if self._trouble or (self.ended_by and self.ended_by not in NORMAL_ENDS):
            raise DialError(self._trouble or f"the call ended: {self.ended_by}")

    def hang_up(self) -> None:
        """The person at the terminal has had enough."""
        self._enough.set()

    async def _talk(self) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await self._ready.wait()
        except TimeoutError:
            raise DialError(f"no model was ready within {READY_TIMEOUT:g} s") from None
        if self._live:
            self._report.say("listening", "speak; Ctrl-C hangs up")
            await self._enough.wait()
            return
        await self._until(speaking=True, within=GREETING_WAIT)
        await self._until(speaking=False, within=GREETING_LIMIT)
        self.mouth.speak()
        await self.mouth.spoken.wait()
        answers = self._answers
        deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
        while self._answers == answers:
            if not await self._change(deadline - asyncio.get_running_loop().time()):
                raise DialError(f"no answer within {ANSWER_TIMEOUT:g} s")
        while await self._until(speaking=True, within=HANG_UP_AFTER):
            await self._until(speaking=False, within=MAX_SECONDS)

    async def _until(self, *, speaking: bool, within: float) -> bool:
        """Wait until the model speaks, or does not. False when it took too long."""
        deadline = asyncio.get_running_loop().time() + within
        while self._speaking is not speaking:
            if not await self._change(deadline - asyncio.get_running_loop().time()):
                return False
        return True

    async def _change(self, within: float) -> bool:
        self._changed.clear()
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def state(self, state: str) -> None:
        """The peer connection's state changed."""
        if state == "connected":
            self._settled.set()
        elif state in ("failed", "closed"):
            self._trouble = self._trouble or (
                "the connection was lost" if self._settled.is_set() else "no network path was found"
            )
            self._settled.set()
            self.over.set()

    def message(self, raw: str | bytes) -> None:
        """One message of the gateway on the data channel; what is none of RTVI's is passed over."""
        try:
            kind, data = parse_rtvi(raw)
        except PacketError:
            return
        match kind:
            case "bot-ready":
                self._ready.set()
            case "bot-started-speaking":
                self._speaking = True
                self._changed.set()
            case "bot-stopped-speaking":
                self._speaking = False
                self._answers += 1
                self._changed.set()
            case "user-transcription" if data.get("final") is True:
                self._report.caller_said(str(data.get("text", "")))
            case "bot-output" if data.get("spoken") is True:
                self._report.heard(str(data.get("text", "")))
            case "metrics" if isinstance(turn := data.get("turn"), dict):
                self._report.turn_over(turn)
            case "error":
                text = str(data.get("error") or data.get("message") or "error")
                if data.get("fatal"):
                    self._trouble = text
                else:
                    self._report.say("error", f"error: {text}", text=text)
            case "server-message" if data.get("type") == "call-ended":
                self.ended_by = str(data.get("reason", ""))
                if self.ended_by not in NORMAL_ENDS:
                    self._trouble = self._trouble or str(data.get("message") or self.ended_by)
                self.over.set()


def parse_rtvi(raw: str | bytes) -> tuple[str, dict[str, Any]]:
    """Type and data of an RTVI message. Raises PacketError."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        raise PacketError("no JSON") from None
    if not isinstance(message, dict) or message.get("label") != "rtvi-ai" or not isinstance(message.get("type"), str):
        raise PacketError("not an RTVI message")
    data = message.get("data")
    return message["type"], data if isinstance(data, dict) else {}
