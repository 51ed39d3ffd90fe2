"""Voice activity against speech whose edges are known, in noise. The long form of its choice is told in its docstring."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from gateway.media import vad
from gateway.media.audio import AudioFrame
from gateway.media.vad import HANGOVER, TRAIL, Voice, VoiceActivity
from tests.audio import floats, pcm16, silence, speech

RATE = 16_000
LEVEL = 32_768 * 10 ** (-26 / 20)  # of active speech, the level P.56 measurements are made at

Floats = NDArray[np.float64]


def active_level(samples: Floats) -> float:
    """RMS of what is speech: blocks within 30 dB of the loudest."""
    powers = (samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1)
    return float(np.sqrt(powers[powers > powers.max() / 1_000].mean()))


@functools.cache
def clean() -> Floats:
    """Twelve utterances of three voices, with pauses of one to three seconds."""
    rng = np.random.default_rng(4)
    voices = np.split(floats(speech(RATE, 13.5)), 3)
    parts = []
    for number in range(12):
        voice = voices[number % 3]
        parts += [np.zeros(int(RATE * rng.uniform(1.0, 3.0))), voice / active_level(voice) * LEVEL]
    return np.concatenate([*parts, np.zeros(RATE)])


def edges(samples: Floats) -> list[tuple[float, float]]:
    """When speech is: over 15.9 dB below its active level (ITU-T P.56), pauses under the hangover bridged."""
    power = (samples[: len(samples) // 80 * 80].reshape(-1, 80) ** 2).mean(axis=1)
    loud = np.convolve(power, [0.5, 0.5], "same") > active_level(samples) ** 2 / 10**1.59
    runs = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]]))).reshape(-1, 2) * 0.005
    merged: list[tuple[float, float]] = []
    for begin, end in runs:
        if merged and begin - merged[-1][1] < HANGOVER:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return [(begin, end) for begin, end in merged if end - begin >= 0.04]


def noise(colour: str, samples: int, seed: int) -> Floats:
    """RMS 1."""
    white = np.random.default_rng(seed).standard_normal(samples)
    match colour:
        case "pink":  # Kellet's filter, within 0.5 dB of -3 dB an octave
            shaped = lfilter([0.049922, -0.095994, 0.050613, -0.004409], [1, -2.494956, 2.017266, -0.522189], white)
        case "brown":
            shaped = lfilter([1], [1, -0.98], white)
        case _:
            shaped = white
    return np.asarray(shaped / np.sqrt((shaped**2).mean()))


def follow(samples: Floats, frame: float = 0.02) -> list[tuple[float, float, float]]:
    """What the detector says: (announced at, began at, ended at) of each utterance."""
    voice = VoiceActivity()
    pcm = pcm16(samples)
    size = round(RATE * frame) * 2
    said: list[tuple[float, float, float]] = []
    for begin in range(0, len(pcm) - size + 1, size):
        at = (begin + size) / 2 / RATE
        match voice.push(AudioFrame(pcm[begin : begin + size], RATE, at)):
            case Voice.STARTED:
                said.append((at, voice.began_at, at))
            case Voice.STOPPED:
                said[-1] = (*said[-1][:2], voice.last_speech_at)
                assert at - voice.last_speech_at == pytest.approx(HANGOVER, abs=0.021 + frame)
    if voice.speaking:
        said[-1] = (*said[-1][:2], voice.last_speech_at)
    return said


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
@pytest.mark.parametrize("snr", [20, 10])
def test_on_and_offsets_are_within_60_ms_in_noise(snr: int, colour: str) -> None:
    said = follow(clean() + noise(colour, len(clean()), snr) * LEVEL / 10 ** (snr / 20))
    truth = edges(clean())
    # A pause about as long as the hangover may fall to either side of it: such edges say nothing.
    onsets = [begin for (_, end), (begin, _) in zip([(0.0, -1.0), *truth], truth, strict=False) if begin - end > HANGOVER * 1.5]
    offsets = [end for (_, end), (begin, _) in zip(truth, [*truth[1:], (1e9, 1e9)], strict=True) if begin - end > HANGOVER * 1.5]
    good = sum(min(abs(began - onset) for _, began, _ in said) <= 0.06 for onset in onsets)
    good += sum(min(abs(ended - offset) for _, _, ended in said) <= 0.06 for offset in offsets)
    assert len(onsets) + len(offsets) >= 24
    assert good / (len(onsets) + len(offsets)) >= 0.95
    false = [at for at, _, _ in said if not any(begin - 0.06 <= at <= end + 0.06 for begin, end in truth)]
    assert len(false) / (len(clean()) / RATE / 60) <= 1.0
    assert all(at - began <= 0.041 for at, began, _ in said), "announced within two blocks"


@pytest.mark.parametrize("level", [-60, -45, -30])
@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_steady_noise_is_no_speech(colour: str, level: int) -> None:
    assert len(follow(noise(colour, RATE * 60, 3) * 32_768 * 10 ** (level / 20))) <= 1


def test_silence_and_hum_are_no_speech() -> None:
    assert follow(np.zeros(RATE * 5)) == []
    time = np.arange(RATE * 20) / RATE
    assert len(follow(300 * np.sin(2 * np.pi * 50 * time) + 200 * np.sin(2 * np.pi * 100 * time))) <= 1


def test_a_click_is_no_speech() -> None:
    samples = noise("pink", RATE * 10, 2) * 30
    for second in range(3, 9):
        samples[second * RATE : second * RATE + 200] += 8_000
    assert len(follow(samples)) == 0


def test_the_echo_of_a_room_is_not_the_end_of_a_word() -> None:
    """A clean line: even an echo 35 dB down stands out, but it is not the caller."""
    time = np.arange(RATE) / RATE
    word = sum(2_000 / k * np.sin(2 * np.pi * 140 * k * time) for k in range(1, 20))
    echo = word[: RATE // 4] * 10 ** (-35 / 20)
    said = follow(np.concatenate([np.zeros(2 * RATE), word, echo, np.zeros(2 * RATE)]))
    assert len(said) == 1
    assert said[0][2] == pytest.approx(3.0, abs=0.041)


def test_a_click_after_a_word_is_not_its_end() -> None:
    time = np.arange(RATE) / RATE
    word = sum(2_000 / k * np.sin(2 * np.pi * 140 * k * time) for k in range(1, 20))
    samples = np.concatenate([np.zeros(2 * RATE), word, np.zeros(2 * RATE)]) + noise("white", 5 * RATE, 1) * 30
    samples[int(3.165 * RATE) :][:200] += noise("white", 200, 2) * 600
    said = follow(samples)
    assert len(said) == 1
    assert said[0][2] == pytest.approx(3.0, abs=0.041)


def test_noise_that_is_switched_on_becomes_the_floor() -> None:
    rng = np.random.default_rng(1)
    said = follow(np.concatenate([rng.standard_normal(RATE * 5) * 10, rng.standard_normal(RATE * 20) * 400]))
    assert len(said) <= 1
    assert all(ended < 5.0 + 4.0 for _, _, ended in said), "within two windows of minimum tracking"


def test_frames_of_any_length_say_the_same() -> None:
    noisy = clean()[: RATE * 20] + noise("pink", RATE * 20, 1) * LEVEL / 10
    by_20 = follow(noisy)
    assert len(by_20) >= 3
    for frame in (0.01, 0.03, 0.06):
        other = follow(noisy, frame)
        assert [(began, ended) for _, began, ended in other] == [
            (pytest.approx(began, abs=1e-6), pytest.approx(ended, abs=1e-6)) for _, began, ended in by_20
        ]


def test_the_caller_is_noticed_to_have_fallen_silent_before_that_is_certain() -> None:
    voice = VoiceActivity()
    pcm = silence(RATE, 0.5) + speech(RATE, 1.0) + silence(RATE, 2.0)
    trailing = []
    for number in range(len(pcm) // 640):
        changed = voice.push(AudioFrame(pcm[number * 640 : (number + 1) * 640], RATE, (number + 1) * 0.02))
        if voice.fell_silent and number * 0.02 > 1.5:
            trailing.append((number + 1) * 0.02)
        if changed is Voice.STOPPED:
            assert trailing
            assert trailing[0] <= voice.last_speech_at + 0.041
    assert trailing[-1] - voice.last_speech_at == pytest.approx(TRAIL, abs=0.021)


def test_only_the_models_rate() -> None:
    with pytest.raises(ValueError, match="16000"):
        VoiceActivity(8_000)


def test_arithmetic_starts_no_threads() -> None:
    """One process is one core: OpenBLAS would share products of microseconds among all of them."""
    script = "import gateway.media.vad, os; print(len(os.listdir('/proc/self/task')))"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout == b"1\n"


def test_the_same_frame_again_is_the_same_as_an_equal_one() -> None:
    frame = pcm16(noise("pink", 320, 5) * 3)
    again, equal = VoiceActivity(), VoiceActivity()
    for number in range(200):
        pcm = pcm16(clean()[RATE * 2 + number * 320 :][:320]) if number % 50 > 30 else frame
        changed = again.push(AudioFrame(pcm, RATE, number * 0.02))
        assert changed == equal.push(AudioFrame(bytes(bytearray(pcm)), RATE, number * 0.02))
    assert again._noise == equal._noise


@pytest.mark.parametrize("level", [0, 3, 300, 10_000])
def test_powers_are_those_of_the_plain_sum(level: int) -> None:
    """The mean power of a band is that of its bins in both halves of the block, each under the root of a Hann window."""
    block = pcm16(noise("pink", 320, 8) * level)
    time = np.arange(160) / RATE
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, 161) / 161))
    halves = floats(block).reshape(2, 160) * window
    bins = {hz: np.mean(np.abs(halves @ np.exp(2j * np.pi * hz * time)) ** 2) for hz in vad._HZ}
    bounds = zip(vad._EDGES, vad._EDGES[1:], strict=False)
    expected = [np.mean([power for hz, power in bins.items() if low < hz <= high]) for low, high in bounds]
    powers = pytest.approx([power + vad.QUIETEST for power in expected], rel=1e-4)
    assert vad.band_powers(block) == powers
    for place in range(vad.ROW):
        row = [pcm16(noise("white", 320, number) * 2_000) for number in range(vad.ROW)]
        row[place] = block
        in_a_row = vad.row_powers(b"".join(row))
        assert len(in_a_row) == vad.ROW
        assert in_a_row[place] == powers


class Plain:
    """The judgement as it is described, band by band and with no shortcut."""

    def __init__(self, first: Floats) -> None:
        self.noise = self.smooth = self.low = self.low_before = first
        self.blocks = 0
        self.speech_power = 0.0

    def judge(self, power: Floats, voice: VoiceActivity, threshold: float) -> bool:
        self.smooth = self.smooth + (power - self.smooth) * vad.SMOOTH
        self.low = np.minimum(self.low, self.smooth)
        self.blocks += 1
        if self.blocks % vad.MINIMA == 0:
            self.low_before, self.low = self.low, self.smooth
        over = np.maximum(power / self.noise, 1.0)
        loud = float(np.sum(np.maximum(power - self.noise, 0.0) * vad._WEIGHTS))
        speech = bool(np.sum((over - 1.0 - np.log(over)) * vad._WEIGHTS) > threshold)
        if speech and voice.speaking and loud < self.speech_power * vad.GATE:
            speech = False
        if speech:
            self.speech_power = max(self.speech_power * 0.995, self.speech_power * 0.8 + loud * 0.2)
        elif not voice.speaking or voice._silence > 0.1:
            self.noise = self.noise + (power - self.noise) * vad.FOLLOW
        low = np.minimum(self.low, self.low_before)
        self.noise = np.clip(self.noise, low * vad.LOWEST, low * vad.HIGHEST)
        return speech


@pytest.mark.parametrize("seed", range(6))
def test_judgement_is_the_plain_one(seed: int) -> None:
    """Over random powers with words, pauses, and noise that rises and falls."""
    rng = np.random.default_rng(seed)
    voice = VoiceActivity()
    plain: Plain | None = None
    level = np.full(7, 1e5)
    found = 0
    for block in range(1_500):
        if block % 190 == 0:
            level = 10 ** rng.uniform(3.5, 6.5, 7)
        word = 10 ** rng.uniform(0.0, 3.0, 7) if block // 25 % 3 == 1 else 1.0
        power = level * rng.gamma(6.0, 1 / 6.0, 7) * word
        plain = plain or Plain(power)
        within = voice.speaking and voice._silence < vad.NEAR
        threshold = vad.GO_ON if within else vad.SECOND if voice._run else vad.START
        expected = plain.judge(power, voice, threshold)
        voice._pcm, voice._powers = b"", power.tolist()
        voice._block(voice._pcm, block * 0.02)
        assert (voice._run > 0) == expected
        assert voice._noise == pytest.approx(list(plain.noise))
        found += expected
    assert 200 < found < 1_200


@pytest.mark.parametrize("odd", [0, 1], ids=["blocks", "with other lengths"])
def test_a_row_is_judged_as_its_frames_one_by_one(odd: int) -> None:
    """Rows of any length; among them digital silence, the same frame again and again, and frames that are no whole blocks."""
    noisy = pcm16(clean()[: RATE * 30] + noise("pink", RATE * 30, 1) * LEVEL / 10)
    rng = np.random.default_rng(7)
    one, row = VoiceActivity(), VoiceActivity()
    same = silence(RATE, 0.02)
    at, begin = 0.0, 0
    found: list[list[Voice]] = []
    while begin + 20 * 640 < len(noisy):
        frames = []
        for _ in range(rng.choice([1, 2, 4, vad.ROW, vad.ROW, vad.ROW, 17])):
            size = 640 + 320 * odd * int(rng.choice([-1, 0, 0, 0, 0, 0, 0, 1]))
            pcm = same if begin // 640 % 200 < 50 else noisy[begin : begin + size]
            at, begin = at + len(pcm) / 32_000, begin + len(pcm)
            frames.append(AudioFrame(pcm, RATE, at))
        found.append([change for frame in frames if (change := one.push(frame)) is not None])
        assert row.push_row(frames) == found[-1]
        assert (row.speaking, row.fell_silent) == (one.speaking, one.fell_silent)
        assert (row.began_at, row.last_speech_at) == (one.began_at, one.last_speech_at)
    assert sum(map(len, found)) > 4


def test_a_row_of_odd_lengths_is_no_row_of_blocks_though_its_sum_is_one() -> None:
    """Which blocks its frames end in is told by their lengths."""
    loud = pcm16(noise("white", RATE * 2, 3) * 3_000)
    one, row = VoiceActivity(), VoiceActivity()
    at = begin = 0
    for sizes in ([640] * 5, [640] * 5, [320, 960, 640, 640, 640], [320, 640, 640, 640, 960]) * 4:
        frames = []
        for size in sizes:
            pcm = silence(RATE, size / 32_000) if begin < 640 * 9 else loud[begin : begin + size]
            at, begin = at + size, begin + size
            frames.append(AudioFrame(pcm, RATE, at / 32_000))
        changes = [change for frame in frames if (change := one.push(frame)) is not None]
        assert row.push_row(frames) == changes
        assert (row.began_at, row.last_speech_at) == (one.began_at, one.last_speech_at)
    assert one.began_at > 0.0


def test_callers_do_not_disturb_one_another() -> None:
    """They share the room that a block is worked on in."""
    alone, beside, other = VoiceActivity(), VoiceActivity(), VoiceActivity()
    noisy = pcm16(clean()[RATE : RATE * 6] + noise("pink", RATE * 5, 1) * LEVEL / 10)
    for begin in range(0, len(noisy) - 639, 640):
        frame = AudioFrame(noisy[begin : begin + 640], RATE, begin / 32_000)
        other.push(AudioFrame(noisy[-begin - 640 :][:640], RATE, begin / 32_000))
        assert alone.push(frame) == beside.push(frame)
        assert alone._noise == beside._noise
