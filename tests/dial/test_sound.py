"""What the terminal caller plays and records."""

from __future__ import annotations

import asyncio
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gateway.dial.errors import DialError
from gateway.dial.sound import MAX_SECONDS, PTIME, SAVE_RATE, SEND_RATE, Mouth, Recording, read_speech
from tests import clock
from tests.audio import tone


def write_wav(path: Path, pcm: bytes, rate: int, *, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return path


def read_wav(path: Path) -> tuple[bytes, int, int]:
    with wave.open(str(path), "rb") as file:
        return file.readframes(file.getnframes()), file.getframerate(), file.getnchannels()


def frame(pcm: bytes, pts: int) -> av.AudioFrame:
    made = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    made.planes[0].update(pcm)
    made.sample_rate, made.pts, made.time_base = SEND_RATE, pts, Fraction(1, SEND_RATE)
    return made


# --- reading ---


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_is_played_at_its_pitch_and_length(tmp_path: Path, rate: int, channels: int) -> None:
    samples = np.frombuffer(tone(440, rate, 1.0), np.int16).repeat(channels)
    pcm = read_speech(write_wav(tmp_path / "a.wav", samples.tobytes(), rate, channels=channels))
    assert len(pcm) / (2 * SEND_RATE) == pytest.approx(1.0, abs=0.01)
    heard = np.abs(np.fft.rfft(np.frombuffer(pcm, np.int16)[: SEND_RATE // 2]))
    assert np.argmax(heard) * 2 == pytest.approx(440, abs=4)


def test_what_is_no_recording(tmp_path: Path) -> None:
    empty, garbage, cut = tmp_path / "empty.wav", tmp_path / "garbage.wav", tmp_path / "cut.wav"
    empty.write_bytes(b"")
    garbage.write_bytes(bytes(range(256)) * 40)
    cut.write_bytes(write_wav(tmp_path / "whole.wav", tone(440, 8_000, 0.1), 8_000).read_bytes()[:30])
    silent = write_wav(tmp_path / "silent.wav", b"", 8_000)
    for path in (empty, garbage, cut, silent, tmp_path / "missing.wav", tmp_path):
        with pytest.raises(DialError, match=f"^{path}: [^\n]+$"):
            read_speech(path)


# --- playing ---


def test_the_mouth_speaks_in_real_time_when_told_to() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        speech = tone(440, SEND_RATE, 0.07)  # three frames and a half
        mouth = Mouth(speech)
        began = loop.time()
        for _ in range(3):
            assert not any(bytes((await mouth.recv()).planes[0])[:1920])
        mouth.speak()
        heard = b""
        for n in range(5):
            assert mouth.spoken.is_set() == (n == 4)
            made = await mouth.recv()
            assert (made.samples, made.sample_rate, made.pts) == (960, SEND_RATE, (n + 3) * 960)
            heard += bytes(made.planes[0])[:1920]
        assert heard == speech.ljust(5 * 1920, b"\0")
        assert loop.time() - began == pytest.approx(7 * PTIME)

    clock.run(body())


def test_the_mouth_catches_up_after_a_stall() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        mouth = Mouth(b"")
        await mouth.recv()
        began = loop.time()
        await asyncio.sleep(1.0)
        for _ in range(60):
            await mouth.recv()
        assert loop.time() - began == pytest.approx(60 * PTIME)

    clock.run(body())


# --- recording ---


def test_a_recording_is_what_was_heard(tmp_path: Path) -> None:
    recording = Recording()
    said = tone(440, SEND_RATE, 1.0)
    for n in range(50):
        recording.add(frame(said[n * 1920 : (n + 1) * 1920], 7_000 + n * 960))
    path = tmp_path / "a.wav"
    recording.save(path)
    pcm, rate, channels = read_wav(path)
    assert (rate, channels) == (SAVE_RATE, 1)
    assert len(pcm) / (2 * rate) == pytest.approx(1.0, abs=0.005)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, np.int16)[: SAVE_RATE // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=4)


def test_a_pause_is_kept_as_long_as_it_was() -> None:
    recording = Recording()
    said = tone(440, SEND_RATE, PTIME)
    for pts in (0, 960, 48_000, 48_960):
        recording.add(frame(said, pts))
    assert recording.seconds == pytest.approx(1.04, abs=0.005)


def test_a_leap_of_the_clock_does_not_fill_the_memory() -> None:
    recording = Recording()
    said = tone(440, SEND_RATE, PTIME)
    recording.add(frame(said, 0))
    recording.add(frame(said, int(MAX_SECONDS * SEND_RATE) + 960))
    assert recording.seconds < 1.0


def test_nothing_heard_is_an_empty_file(tmp_path: Path) -> None:
    Recording().save(tmp_path / "a.wav")
    assert read_wav(tmp_path / "a.wav") == (b"", SAVE_RATE, 1)
