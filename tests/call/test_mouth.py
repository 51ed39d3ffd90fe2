"""The answer on its way to the caller's ears."""

from __future__ import annotations

import asyncio

import numpy as np

from gateway.account import Account
from gateway.call.mouth import Mouth
from gateway.dialog.budget import Budget, Spending
from gateway.dialog.turns import TurnEnd, Turns
from gateway.events import ModelHeard, TurnEnded
from gateway.model.base import AudioOut
from tests import clock
from tests.call.judged import Judged

TONE = (9000 * np.sin(2 * np.pi * 300 * np.arange(24_000) / 24_000)).astype("<i2").tobytes()
"""A second of an answer: PCM16 at 24 kHz."""


def test_words_that_came_before_their_sound_and_were_cut_off_are_not_read_with_the_next_answer() -> None:
    async def body() -> None:
        call, loop = Judged(), asyncio.get_running_loop()
        began = loop.time()
        mouth = Mouth(
            24_000,
            turns=Turns(),
            words=call.words,
            spending=Spending(Budget(), None),
            account=Account(began),
            say=call.events.append,
            began=began,
            offered_at=began,
        )
        async with call.judging():
            mouth.words("Never heard.")
            assert mouth.interrupted(loop.time(), loop.time(), 0.0) is None, "nothing has been heard that could be cut off"
            mouth.words("An answer.")
            mouth.audio(AudioOut(TONE, loop.time()), 0.0)
            mouth.generated()
            while (frame := mouth.frame(loop.time())) is not None:
                mouth.sent(loop.time(), frame)
                mouth.played(frame.seconds)
                await asyncio.sleep(frame.seconds)
            mouth.silent()
            await clock.until(lambda: bool(call.history.turns) and not mouth.speaking)
            await asyncio.sleep(1.0)
        assert "".join(call.texts(ModelHeard)) == "An answer."
        assert [said.text for said in call.history.turns] == ["An answer."]
        assert [event.turn.end for event in call.events if isinstance(event, TurnEnded)] == [TurnEnd.COMPLETED]

    clock.run(body())
