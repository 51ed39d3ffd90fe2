"""Calls without a gateway: a recording or a person on one side, the emulator as the model on the other."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import statistics
import wave
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.dial import DialSettings, dial
from gateway.dial.card import BLOCK, SoundCard
from gateway.server import open_house
from tests.audio import segment_correlations, speech
from tests.dial.test_card import FakeStream


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(speech(16_000, 1.5))
    return path


def configured(tmp_path: Path, toml: str = '[profiles.quiet]\ntitle = "No greeting"\n', **environ: str) -> Any:
    path = tmp_path / "gateway.toml"
    path.write_text(toml)
    return load({"config": str(path)}, environ)


async def ring(config: Any, wav: Path | None, profile: str = "quiet", **given: Any) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, what was told, what was complained about."""
    options = {name: given.pop(name) for name in ("save", "seconds") if name in given}
    out, complaints = io.StringIO(), io.StringIO()
    settings = DialSettings(url="", wav=wav, json=True, profile=profile, **options)
    async with asyncio.timeout(60):
        status = await dial(settings, house=lambda: open_house(config), out=out, complaints=complaints, **given)
    return status, [json.loads(line) for line in out.getvalue().splitlines()], complaints.getvalue()


def test_a_question_to_the_model_is_told_and_saved_as_one_to_a_gateway(question: Path, tmp_path: Path) -> None:
    async def body() -> None:
        before = asyncio.all_tasks()
        saved = tmp_path / "answer.wav"
        status, events, complaints = await ring(configured(tmp_path), question, save=saved)
        assert (status, complaints) == (0, "")
        assert [event["event"] for event in events] == ["connected", "caller", "model", "turn", "ended"]
        turn, ended = events[3], events[4]
        assert (turn["kind"], turn["end"], turn["number"]) == ("speech", "completed", 1)
        assert turn["response"] > 0.2
        assert (ended["reason"], ended["turns"]) == ("caller_hung_up", 1)
        with wave.open(str(saved), "rb") as file:
            heard = file.readframes(file.getnframes())
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert len(heard) / 48_000 == pytest.approx(ended["heard"], abs=0.01)
        # A parrot: what was saved is what was said.
        assert statistics.median(segment_correlations(speech(24_000, 1.5), heard, 24_000, slack=0.1)) > 0.8
        assert asyncio.all_tasks() == before

    asyncio.run(body())


def test_a_person_speaks_hears_and_hangs_up(tmp_path: Path) -> None:
    """The card's thread is played by a task: it says a second of speech and listens until Ctrl-C."""
    streams: list[FakeStream] = []

    def open_stream(exchange: Any) -> FakeStream:
        streams.append(FakeStream(exchange))
        return streams[-1]

    async def person() -> bool:
        while not streams:
            await asyncio.sleep(0.01)
        said, at, due = speech(48_000, 1.0), 0, asyncio.get_running_loop().time()
        answered, quiet = False, 0
        while not answered or quiet < 20:
            played = streams[0].block(said[at : at + 2 * BLOCK].ljust(2 * BLOCK, b"\0"))
            at += 2 * BLOCK
            loud = max(played) > 0 and any(played[1::2])
            answered, quiet = answered or loud, 0 if loud else quiet + 1
            due += 0.02
            await asyncio.sleep(due - asyncio.get_running_loop().time())
        os.kill(os.getpid(), signal.SIGINT)
        return True

    async def body() -> None:
        speaking = asyncio.create_task(person())
        status, events, complaints = await ring(configured(tmp_path), None, card=lambda: SoundCard(open_stream))
        assert (status, complaints) == (0, "")
        assert await speaking
        assert [event["event"] for event in events][:2] == ["connected", "listening"]
        assert events[-1]["event"] == "ended"
        assert events[-1]["reason"] == "caller_hung_up"
        assert "model" in [event["event"] for event in events]
        assert not streams[0].running

    asyncio.run(body())


def test_a_model_that_is_not_there_is_one_line(question: Path, tmp_path: Path) -> None:
    environ = {"GEMINI_API_KEY": "k", "GATEWAY_GEMINI_BASE_URL": "https://127.0.0.1:9"}
    status, _, complaints = asyncio.run(ring(configured(tmp_path, **environ), question))
    assert (status, complaints) == (1, "gateway: the model service can't be reached\n")


def test_a_profile_that_is_not_there_is_one_line(question: Path, tmp_path: Path) -> None:
    status, _, complaints = asyncio.run(ring(configured(tmp_path), question, profile="nobody"))
    assert (status, complaints) == (1, "gateway: no profile is called 'nobody'; there are default, quiet\n")
