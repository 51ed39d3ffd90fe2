"""How an answer is cut and paced."""

from __future__ import annotations

import random

import pytest

from gateway.emulator.faults import parse_options
from gateway.emulator.models import Backend
from gateway.emulator.mouth import Chunk, Mouth, Pace
from gateway.emulator.sound import tone
from gateway.emulator.voices import LoopSource, PcmSource, prepared_loop


def said(words: str, seconds: float, faults: str = "", speed: float = 4.0) -> tuple[Mouth, list[tuple[float, Chunk]]]:
    pace = Pace.of(parse_options(faults), speed)
    mouth = Mouth(PcmSource(tone(440, seconds)), words, pace, 10.0, random.Random(1))
    chunks: list[tuple[float, Chunk]] = []
    now = 10.0
    while (chunk := mouth.chunk(now)) is not None:
        chunks.append((now, chunk))
        now = max(now, mouth.next_at)
    return mouth, chunks


def test_words_run_half_a_second_ahead_and_all_of_them_come() -> None:
    words = " ".join(f"w{number}" for number in range(40))
    _, chunks = said(words, 4.0)
    assert "".join(chunk.words for _, chunk in chunks) == words
    assert len(chunks[0][1].words.split()) == pytest.approx(7, abs=1)
    assert chunks[-1][1].words == ""


def test_an_interrupted_answer_remembers_what_was_sent() -> None:
    mouth = Mouth(PcmSource(tone(440, 2.0)), "one two three four", Pace(4.0), 0.0, random.Random(1))
    mouth.chunk(0.0)
    assert "".join(mouth.said) == "one"


def test_the_listener_is_done_when_a_player_would_be() -> None:
    mouth, _ = said("", 2.0)
    assert mouth.played_until == pytest.approx(12.0)
    starved, chunks = said("", 2.0, speed=0.5)
    assert starved.played_until == pytest.approx(chunks[-1][0] + len(chunks[-1][1].pcm) / 48_000)


def test_an_endless_answer_is_sent_in_real_time_whatever_the_speed() -> None:
    mouth = Mouth(LoopSource(prepared_loop(Backend.DEVELOPER), None), "", Pace(4.0), 0.0, random.Random(1))
    times = []
    for _ in range(100):
        times.append(mouth.next_at)
        chunk = mouth.chunk(mouth.next_at)
        assert chunk is not None
        assert chunk.prepared
    assert times[-1] == pytest.approx(99 * 0.24)


def test_no_audio_at_all() -> None:
    mouth, chunks = said("only words", 0.0)
    assert chunks == []
    assert mouth.rest_of_words() == "only words"
    assert mouth.said == ["only words"]
    assert mouth.rest_of_words() == ""
    assert mouth.said == ["only words"]
    assert mouth.played_until == 10.0
