"""Everything towards the model, in order: greeting, what the gateway wants said, typed words, and the caller's audio."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.account import Account
from gateway.call.ear import Ear
from gateway.dialog.budget import Spending
from gateway.dialog.history import History
from gateway.dialog.transcript import CutOff
from gateway.dialog.turns import TurnKind, Turns
from gateway.media.audio import MODEL_INPUT_RATE, SAMPLE_BYTES
from gateway.media.uplink import UplinkChunk
from gateway.model.base import ModelSession, Updated
from gateway.profile import Profile

MAX_WAITING_PROMPTS = 4
"""Things the gateway itself wants said; the oldest gives way: a goodbye is worth more than a question before it."""

MAX_WAITING_TEXTS = 8
"""Typed messages waiting for the model; the oldest gives way. More than a person types while a session opens."""


MAX_WAITING_NOTES = 4
"""Answers cut off of which the model has not been told; the oldest gives way."""


class Feed:
    """One call's. Plain calls say what is wanted; only `run` waits, for the model session to take it."""

    def __init__(
        self,
        ear: Ear,
        *,
        turns: Turns,
        history: History,
        spending: Spending,
        account: Account,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._ear = ear
        self._turns = turns
        self._history = history
        self._spending = spending
        self._account = account
        self._loop = loop
        self._wake = asyncio.Event()
        self._at_rest: ModelSession | None = None  # of `run`, while nothing but audio can come next
        self._paused = False
        self._changed: Profile | None = None  # not told yet
        self._told: asyncio.Future[Updated] | None = None  # what will become of it
        self._prompts: deque[str] = deque(maxlen=MAX_WAITING_PROMPTS)
        self._texts: deque[str] = deque(maxlen=MAX_WAITING_TEXTS)
        self._cut_off: deque[CutOff] = deque(maxlen=MAX_WAITING_NOTES)

    def wake(self) -> None:
        """Something waits in the ear. With nothing before it and a session that is free it leaves here and now.

        Waking the task instead costs as much as the message itself; for the rest the task is there.
        """
        if (session := self._at_rest) is not None:
            while session.free:
                piece = self._ear.take()
                if piece is None:
                    return
                assert not isinstance(piece, bool), "no turns here"
                session.post_audio(piece.pcm)
                self._passed(piece)
                if not self._ear.uplink.ready:
                    return
        self._stir()

    def pause(self) -> None:
        """The caller is away: the model should know that no more audio comes for now."""
        self._paused = True
        self._stir()

    def cut_off(self, answer: CutOff) -> None:
        """The caller has spoken over this answer."""
        self._cut_off.append(answer)
        self._stir()

    def change(self, profile: Profile) -> asyncio.Future[Updated]:
        """The model's options are these from now on. What is not told yet is told with it, in one."""
        self._changed = profile
        if self._told is None:
            self._told = self._loop.create_future()
        self._stir()
        return self._told

    def prompt(self, text: str) -> None:
        """Have the model say this."""
        self._prompts.append(text)
        self._stir()

    def type(self, text: str) -> None:
        """The caller typed this."""
        self._texts.append(text)
        self._stir()

    async def run(self, session: ModelSession, greeting: str) -> None:
        """Until cancelled. Raises ModelError."""
        if greeting:
            self._turns.asked(self._loop.time(), TurnKind.GREETING)
            await session.prompt(greeting)
        while True:
            await self._rest(session)
            while self._cut_off:
                await session.cut_off(self._cut_off.popleft())
            if self._changed is not None:
                await self._tell(session)
            while self._prompts:
                await session.prompt(self._prompts.popleft())
            while self._texts:
                self._turns.asked(self._loop.time(), TurnKind.TEXT)
                text = self._texts.popleft()
                self._history.caller_said(text)
                await session.send_text(text)
            paused, self._paused = self._paused, False
            await self._send_audio(session)
            if paused:  # after the last words before it
                await session.end_audio()

    async def _rest(self, session: ModelSession) -> None:
        """Until there is something to do."""
        if not self._ear.finds_turns:
            self._at_rest = session
        try:
            await self._wake.wait()
        finally:
            self._at_rest = None
        self._wake.clear()

    def _stir(self) -> None:
        """There is something for the task; what comes now comes after it."""
        self._at_rest = None
        self._wake.set()

    async def _tell(self, session: ModelSession) -> None:
        (profile, self._changed), (told, self._told) = (self._changed, None), (self._told, None)
        assert profile is not None, "asked only then"
        assert told is not None, "made with the change"
        updated = await session.update(profile)
        if not told.done():
            told.set_result(updated)

    async def _send_audio(self, session: ModelSession) -> None:
        while (piece := self._ear.take()) is not None:
            if isinstance(piece, bool):
                await session.activity(piece)
                continue
            await session.send_audio(piece.pcm)
            self._passed(piece)

    def _passed(self, chunk: UplinkChunk) -> None:
        """It is on its way."""
        self._spending.passed(heard=len(chunk.pcm) / (SAMPLE_BYTES * MODEL_INPUT_RATE))
        self._account.uplink_added.append(self._loop.time() - chunk.oldest_at)
