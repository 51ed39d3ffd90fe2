"""Losses on demand: the share asked for, in both directions, the same for the same seed, and none after the end."""

from __future__ import annotations

import asyncio

import pytest

from gateway.events import PacketsWithheld
from gateway.legs.webrtc.rough import AFTERMATH, Rough
from gateway.media.audio import MODEL_INPUT_RATE
from tests.audio import tone
from tests.legs.caller import webrtc_pair
from tests.legs.contract import cut, ticking


def rough(seed: int = 1, share: float = 0.1, seconds: float = 10.0) -> Rough:
    return Rough(share, 100.0, seconds, seed, restored=0.0, concealed=0.0)


def test_the_share_is_lost_each_way() -> None:
    loss = rough()
    lost_in = [loss.loses_in(100.0) for _ in range(5_000)]
    lost_out = [loss.loses_out(100.0) for _ in range(5_000)]
    assert (sum(lost_in), sum(lost_out)) == (loss.lost_in, loss.lost_out)
    assert loss.lost_in / 5_000 == pytest.approx(0.1, abs=0.02)
    assert loss.lost_out / 5_000 == pytest.approx(0.1, abs=0.02)
    assert lost_in != lost_out


def test_the_seed_decides_whatever_the_other_direction_does() -> None:
    one, same, other = rough(7), rough(7), rough(8)
    for _ in range(33):
        one.loses_in(100.0)
    runs = [[each.loses_out(100.0) for _ in range(500)] for each in (one, same, other)]
    assert runs[0] == runs[1] != runs[2]


def test_it_ends() -> None:
    loss = rough(share=0.5)
    assert any(loss.loses_in(109.9) for _ in range(50))
    assert not loss.over(110.0 + AFTERMATH - 0.01)
    before = loss.lost_in, loss.lost_out
    assert not any(loss.loses_in(110.0) or loss.loses_out(110.0) for _ in range(500))
    assert (loss.lost_in, loss.lost_out) == before
    assert loss.over(110.0 + AFTERMATH)


def test_a_leg_loses_what_it_was_told_to_and_says_what_became_of_it() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair, ticking(pair.leg, cut(tone(500, pair.leg.rate, 3.0), pair.leg.rate)):
            await pair.far.opened.wait()
            await pair.far.heard(0.2)
            pair.leg.lose(0.3, 1.0, 5)
            await pair.far.say(tone(500, MODEL_INPUT_RATE, 2.0))
            await pair.sink.until(lambda: any(isinstance(note, PacketsWithheld) for note in pair.sink.notes))
            (withheld,) = [note for note in pair.sink.notes if isinstance(note, PacketsWithheld)]
            assert withheld.seconds == pytest.approx(1.0)
            assert withheld.lost_in > 3
            assert withheld.lost_out > 3
            assert withheld.restored + withheld.concealed > 0.02 * withheld.lost_in / 2, "it was mended"
            await pair.far.heard(1.0)
            numbers = [packet.sequence for packet in pair.far.packets]
            missing = (numbers[-1] - numbers[0]) % 65_536 + 1 - len(numbers)
            assert missing == withheld.lost_out

    asyncio.run(body())
