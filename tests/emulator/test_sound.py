"""Resampling, levelling, WAV, and the recordings shipped in the package."""

from __future__ import annotations

import io
import math
import wave

import numpy as np
import pytest

from gateway.emulator import sound
from tests.emulator.playing import loud


def rms_dbfs(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return 20 * math.log10(math.sqrt((samples**2).mean()) / 32768)


@pytest.mark.parametrize("name", sound.LINES)
def test_the_lines_are_speech(name: str) -> None:
    line = sound.line(name)
    assert line.words == sound.LINES[name]
    assert 0.5 < len(line.pcm) / 48_000 < 6
    assert -30 < rms_dbfs(line.pcm) < -12
    assert sound.line(name) is line


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_resampling_keeps_the_sound_and_its_length(rate: int) -> None:
    out = np.frombuffer(sound.resample(loud(1.0, rate), rate), "<i2").astype(float)
    assert len(out) == pytest.approx(24_000, abs=30)
    expected = np.frombuffer(loud(1.0, 24_000), "<i2").astype(float)
    middle = slice(2400, 21_600)
    assert np.corrcoef(out[middle], expected[middle])[0, 1] > 0.999


def test_levelling() -> None:
    speech = np.frombuffer(sound.line("greeting").pcm, "<i2")
    for gain in (0.1, 0.5, 1.0):
        levelled = sound.level((speech * gain).astype("<i2").tobytes())
        assert rms_dbfs(levelled) == pytest.approx(-22, abs=4)
        assert np.abs(np.frombuffer(levelled, "<i2")).max() < 32_700
    assert sound.level(bytes(1000)) == bytes(1000)
    assert sound.level(b"") == b""
    whisper = (speech * 0.001).astype("<i2").tobytes()
    assert rms_dbfs(sound.level(whisper)) < rms_dbfs(whisper) + 24.5


def test_wav() -> None:
    with wave.open(io.BytesIO(sound.wav(loud(0.5), 16_000))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.readframes(99_999) == loud(0.5)
    assert len(sound.decode(sound.wav(loud(0.5), 16_000))) == pytest.approx(24_000, abs=100)


@pytest.mark.parametrize("data", [b"", b"not sound", sound.wav(b"", 8000)[:20]])
def test_what_is_not_sound_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable sound file"):
        sound.decode(data)


def test_a_tone_has_its_pitch() -> None:
    samples = np.frombuffer(sound.tone(440, 1.0), "<i2").astype(float)
    assert abs(np.fft.rfft(samples)).argmax() == 440
    assert samples[0] == 0
