"""When speech starts and stops, on the audio's own time line."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.emulator.sound import line, resample
from gateway.emulator.vad import CAUTIOUS, EAGER, Activity, Edge, EnergyVad
from tests.emulator.playing import loud, quiet


def vad(rate: int = 16_000, *, onset: float = 0.06, hangover: float = 0.5) -> EnergyVad:
    return EnergyVad(rate, start=EAGER, end=EAGER, onset=onset, hangover=hangover)


def scaled(pcm: bytes, gain: float) -> bytes:
    return (np.frombuffer(pcm, "<i2") * gain).astype("<i2").tobytes()


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("chunk", [0.01, 0.02, 0.1, 0.0333])
def test_edges_are_where_they_are_whatever_the_chunks(rate: int, chunk: float) -> None:
    pcm = quiet(1.0, rate) + loud(0.8, rate) + quiet(1.0, rate)
    detector, seen = vad(rate), []
    size = round(chunk * rate) * 2
    for at in range(0, len(pcm), size):
        seen += detector.push(pcm[at : at + size])
    assert [item.edge for item in seen] == [Edge.STARTED, Edge.STOPPED]
    assert seen[0].sample / rate == pytest.approx(1.0, abs=0.02)
    assert seen[0].known_at / rate == pytest.approx(1.06, abs=0.02)
    assert seen[1].sample / rate == pytest.approx(1.8, abs=0.02)
    assert seen[1].known_at / rate == pytest.approx(2.3, abs=0.02)


def test_a_click_is_not_speech() -> None:
    assert vad().push(quiet(0.5) + loud(0.03) + quiet(1.0)) == []


def test_a_pause_shorter_than_the_hangover_does_not_end_speech() -> None:
    seen = vad(hangover=0.5).push(loud(0.5) + quiet(0.4) + loud(0.5) + quiet(0.6))
    assert [item.edge for item in seen] == [Edge.STARTED, Edge.STOPPED]


def test_the_end_of_the_stream_ends_speech() -> None:
    detector = vad()
    detector.push(loud(0.505))
    (stopped,) = detector.end()
    assert stopped == Activity(Edge.STOPPED, 8000, 8080)
    assert detector.end() == []


def test_noise_raises_the_bar_but_a_long_talk_does_not() -> None:
    noise = np.random.default_rng(2).normal(0, 60, 16_000 * 10).astype("<i2").tobytes()  # −55 dBFS
    detector = vad()
    assert detector.push(noise) == []
    assert [item.edge for item in detector.push(scaled(loud(1.0), 0.2))] == [Edge.STARTED]
    talk = vad()
    assert [item.edge for item in talk.push(loud(60.0))] == [Edge.STARTED]


def test_the_cautious_threshold_misses_a_whisper() -> None:
    whisper = scaled(loud(1.0), 0.025)  # about −44 dBFS
    assert vad().push(whisper)
    assert EnergyVad(16_000, start=CAUTIOUS, end=CAUTIOUS, onset=0.06, hangover=0.5).push(whisper) == []


def test_the_end_has_a_threshold_of_its_own() -> None:
    fading = loud(0.5) + scaled(loud(0.6), 0.05) + quiet(0.6)  # −46 to −40 dBFS
    detector = EnergyVad(16_000, start=CAUTIOUS, end=EAGER, onset=0.06, hangover=0.5)
    _, stopped = detector.push(fading)
    assert stopped.sample / 16_000 == pytest.approx(1.1, abs=0.03)


def test_real_speech_is_one_turn() -> None:
    pcm = resample(line("typed").pcm, 24_000, 16_000)
    seen = vad(hangover=0.6).push(quiet(0.5) + pcm + quiet(1.0))
    assert [item.edge for item in seen] == [Edge.STARTED, Edge.STOPPED]
    assert (seen[1].sample - seen[0].sample) / 16_000 == pytest.approx(len(pcm) / 32_000, abs=0.25)
