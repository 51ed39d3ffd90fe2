"""Admission, finding and refusing, in fake time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.clock import Clock
from gateway.errors import NotFound, Refused
from gateway.events import EndReason, LegKind, Refusal
from gateway.profile import Profile
from gateway.registry import Registry
from tests import clock
from tests.fakes import Diary, FakeLeg, FakeModel


def registry(max_calls: int = 3) -> Registry:
    loop = asyncio.get_running_loop()
    return Registry(
        worker="w0", max_calls=max_calls, model=FakeModel(), model_alias="fake", clock=Clock(loop), observe=Diary(), loop=loop
    )


def test_a_place_is_held_from_admission_and_freed_when_given_up() -> None:
    async def body() -> None:
        calls = registry(2)
        first, second = calls.admit(LegKind.WEBRTC), calls.admit(LegKind.WEBRTC)
        assert first.call_id != second.call_id
        assert first.call_id.startswith("w0-")
        assert len(first.call_id) == len("w0-") + 32
        with pytest.raises(Refused, match="full: 2") as refused:
            calls.admit(LegKind.WEBRTC)
        assert refused.value.retry_after > 0
        calls.give_up(first)
        calls.give_up(first)
        calls.admit(LegKind.WEBRTC)
        assert calls.refused[Refusal.CAPACITY] == 1

    clock.run(body())


def test_a_call_is_found_until_it_has_ended() -> None:
    async def body() -> None:
        calls = registry()
        call = calls.start(calls.admit(LegKind.WEBRTC), FakeLeg(), Profile())
        assert calls.find(call.call_id) is call
        assert calls.calls() == [call]
        with pytest.raises(NotFound):
            calls.find("w0-nobody")
        call.hang_up(EndReason.HUNG_UP_BY_API)
        await clock.until(lambda: not calls.calls())
        with pytest.raises(NotFound):
            calls.find(call.call_id)
        assert len(calls) == 0

    clock.run(body())


def test_all_calls_and_those_to_come_send_chunks_of_the_same_length() -> None:
    async def body() -> None:
        calls = registry()
        first = calls.start(calls.admit(LegKind.WEBRTC), FakeLeg(), Profile())
        assert first.uplink.chunk == calls.chunk == 0.02, "there is room"
        calls.set_chunk(0.1)
        second = calls.start(calls.admit(LegKind.WEBRTC), FakeLeg(), Profile())
        assert (first.uplink.chunk, second.uplink.chunk) == (0.1, 0.1)
        for call in (first, second):
            call.hang_up(EndReason.HUNG_UP_BY_API)
        await clock.until(lambda: not calls.calls())

    clock.run(body())


def test_a_draining_registry_refuses_and_says_when_to_come_back() -> None:
    async def body() -> None:
        calls = registry()
        assert await calls.drain(5.0) == 0
        with pytest.raises(Refused) as refused:
            calls.admit(LegKind.WEBRTC)
        assert refused.value.reason == Refusal.DRAINING
        assert calls.refused[Refusal.DRAINING] == 1

    clock.run(body())
