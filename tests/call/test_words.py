"""Transcripts on their way through a moderation hook, in fake time: in order, whatever the hook takes its time over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.call.words import MAX_KEPT, MAX_WAITING
from gateway.dialog.moderation import Ruling, Who
from gateway.events import CallerSaid, EndReason, ModelSaid, Moderated
from tests import clock
from tests.call.judged import Judged


def play(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    clock.run(body())


def sentences(first: int, last: int) -> list[str]:
    return [f" Number {number}." for number in range(first, last)]


@pytest.mark.parametrize("who", list(Who))
def test_the_oldest_that_waits_gives_way_and_keeps_its_place(who: Who) -> None:
    async def body() -> None:
        call = Judged(seconds=2.0, on_failure=Ruling.REDACT, who=frozenset({who}))
        add = call.words.caller_said if who is Who.CALLER else call.words.model_said
        kind = CallerSaid if who is Who.CALLER else ModelSaid
        said = sentences(0, MAX_WAITING + 4)
        async with call.judging():
            add(said[0] + " ")
            await clock.until(lambda: bool(call.hook.asked))
            for text in said[1:]:
                add(text.lstrip() + " ")
            await asyncio.sleep(1.0)
            assert not call.texts(kind), "nothing overtakes the words that the hook is busy with"
            await clock.until(lambda: len(call.texts(kind)) == len(said), 200.0)
        told = [text.strip() for text in call.texts(kind)]
        unjudged = [number for number, text in enumerate(told) if text == "[redacted]"]
        assert unjudged == [1, 2, 3]
        assert [text for text in told if text != "[redacted]"] == [said[0].strip(), *(text.strip() for text in said[4:])]
        assert len(call.hook.asked) == len(said) - 3
        failed = [(event.who, event.action, event.failed) for event in call.events if isinstance(event, Moderated)]
        assert failed == [(who.value, "redact", True)] * 3

    play(body)


def test_what_gave_way_keeps_its_place_only_while_there_is_room() -> None:
    async def body() -> None:
        call = Judged(seconds=4.0, on_failure=Ruling.REDACT, who=frozenset({Who.CALLER}))
        async with call.judging():
            call.words.caller_said("One. Two.")
            await clock.until(lambda: bool(call.hook.asked))
            for text in sentences(0, 3 * MAX_KEPT):
                call.words.caller_said(text)
                assert len(call.words._waiting) <= MAX_KEPT
            assert call.texts(CallerSaid)
            assert {text.strip() for text in call.texts(CallerSaid)} == {"[redacted]"}
            await clock.until(lambda: len(call.texts(CallerSaid)) > 3 * MAX_KEPT, 600.0)

    play(body)


def test_more_than_can_wait_ends_the_call_where_the_profile_wants_everything_judged() -> None:
    async def body() -> None:
        call = Judged(seconds=1.0, on_failure=Ruling.HANG_UP)
        async with call.judging():
            call.words.caller_said("One. Two.")
            await clock.until(lambda: bool(call.hook.asked))
            call.words.caller_said("".join(sentences(0, MAX_WAITING + 1)))
            await clock.until(lambda: bool(call.ends))
        assert call.ends == [(EndReason.MODERATED, "too many pieces wait")]
        assert call.texts(CallerSaid) == ["One."]

    play(body)


def test_what_waits_for_more_that_does_not_come_is_judged() -> None:
    async def body() -> None:
        call = Judged()
        loop = asyncio.get_running_loop()
        async with call.judging():
            call.words.caller_said("Hello")
            call.words.second(loop.time() + 0.5)
            await asyncio.sleep(0.5)
            assert call.hook.asked == []
            call.words.second(loop.time() + 1.0)
            await clock.until(lambda: call.texts(CallerSaid) == ["Hello"])

    play(body)


def test_the_caller_has_finished_when_the_model_speaks() -> None:
    async def body() -> None:
        call = Judged(who=frozenset({Who.CALLER}))
        async with call.judging():
            call.words.caller_said("There is a bomb")
            call.words.model_said("Oh")
            assert call.texts(ModelSaid) == ["Oh"], "nobody asked about the model"
            await clock.until(lambda: bool(call.ends))
        assert call.hook.asked == ["There is a bomb"]
        assert call.texts(CallerSaid) == []

    play(body)
