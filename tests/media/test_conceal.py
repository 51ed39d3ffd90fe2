"""What is invented where audio is missing: pitch repetition, comfort noise, and the seams."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.conceal import LOUDEST_NOISE, ComfortNoise, PitchRepetition, to_floats, to_pcm
from tests.audio import frames, noise, speech, tone

RATE = 16_000
FRAME = 320


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.asarray(samples, float) ** 2)))


def holed(pcm: bytes, lost: set[int]) -> np.ndarray:
    """`pcm` through repetition, with these 20 ms frames lost."""
    repetition = PitchRepetition()
    out = []
    for number, frame in enumerate(frames(pcm, RATE)):
        if number in lost:
            out.append(to_pcm(repetition.conceal(FRAME)))
        else:
            joined = repetition.join(frame)
            repetition.remember(joined)
            out.append(joined)
    return to_floats(b"".join(out))


@pytest.mark.parametrize("frequency", [80, 130, 200, 310])
def test_a_periodic_sound_goes_on_through_a_lost_frame(frequency: int) -> None:
    time = np.arange(RATE) / RATE
    voice = sum(3_000 / k * np.sin(2 * np.pi * frequency * k * time + k) for k in range(1, 8))
    heard = holed(to_pcm(np.float32(voice)), {20})
    error = rms(heard[20 * FRAME : 21 * FRAME] - voice[20 * FRAME : 21 * FRAME])
    assert error < 0.5 * rms(voice), "silence in its place would be an error of 1"


def test_there_is_no_click_at_either_seam() -> None:
    pcm = speech(RATE, 4.5)
    clean = to_floats(pcm)
    heard = holed(pcm, {20, 21, 60, 100, 101, 102, 150})
    steepest = np.abs(np.diff(clean)).max()
    for number in (20, 22, 60, 61, 100, 103, 150, 151):
        seam = np.abs(np.diff(heard[number * FRAME - 8 : number * FRAME + 48]))
        assert seam.max() <= steepest


def test_the_first_sample_made_up_continues_the_last_good_one() -> None:
    for phase in range(8):
        time = np.arange(RATE // 5) / RATE
        sine = to_pcm(np.float32(8_000 * np.sin(2 * np.pi * (157 * time + phase / 8))))
        repetition = PitchRepetition()
        for frame in frames(sine, RATE):
            repetition.remember(frame)
        made = repetition.conceal(FRAME)
        assert abs(made[0] - to_floats(sine)[-1]) < 2 * 2 * np.pi * 157 / RATE * 8_000


def test_a_long_hole_fades_to_nothing_in_60_ms() -> None:
    heard = holed(tone(150, RATE, 1.0), set(range(10, 20)))
    levels = [rms(heard[n * FRAME : (n + 1) * FRAME]) for n in range(10, 20)]
    assert levels[0] > levels[1] > levels[2] > 0
    assert levels[3:] == [0.0] * 7


def test_what_is_lost_first_of_all_is_silence() -> None:
    assert not PitchRepetition().conceal(FRAME).any()


def test_good_frames_are_not_touched() -> None:
    pcm = speech(RATE, 1.0)
    assert to_pcm(holed(pcm, set())) == pcm


def test_comfort_noise_is_as_loud_as_the_background_between_words() -> None:
    background = ComfortNoise()
    pcm = to_pcm(to_floats(speech(RATE, 1.0)) + to_floats(noise(RATE, 1.0, 30)))
    quiet = noise(RATE, 0.4, 30, seed=1)
    for frame in frames(pcm + quiet, RATE):
        background.heard(frame)
    assert background.level == pytest.approx(30, rel=0.2)
    made = background.make(RATE, background.level)
    assert rms(made) == pytest.approx(background.level, rel=0.1)
    assert rms(made[:FRAME]) > 0


def test_comfort_noise_is_never_loud_even_after_a_second_of_speech() -> None:
    background = ComfortNoise()
    for frame in frames(tone(300, RATE, 2.0), RATE):
        background.heard(frame)
    assert background.level == LOUDEST_NOISE


def test_nothing_heard_is_silence_and_the_senders_word_counts() -> None:
    background = ComfortNoise()
    assert background.level == 0.0
    assert not background.make(FRAME, background.level).any()
    background.told(60)
    assert background.level == pytest.approx(32.768)
    background.told(10)
    assert background.level == LOUDEST_NOISE


def test_consecutive_noise_does_not_repeat() -> None:
    background = ComfortNoise()
    first, second = background.make(FRAME, 50.0), background.make(FRAME, 50.0)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3
    long = background.make(3 * RATE, 50.0)
    assert rms(long) == pytest.approx(50.0, rel=0.05)
