"""Test signals and how to judge what became of them: tones, speech, numbered chirps, correlation and SNR.

All PCM is mono PCM16 little-endian as bytes; floats in between are on the int16 scale.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, resample_poly

Floats = NDArray[np.float64]

PTIME = 0.02
SPEECH_RATE = 24_000
SPEECH_FILE = Path(__file__).parent / "data" / "speech.flac"
"""Three synthetic voices of 4.5 s (espeak-ng en-us+m3, en-gb+f3, en-gb-scotland), 24 kHz mono, peak -3 dBFS."""


def floats(pcm: bytes) -> Floats:
    """PCM16 as float64 on the same scale."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def pcm16(samples: Floats) -> bytes:
    """Rounded and clipped to PCM16."""
    return np.clip(np.rint(samples), -32_768, 32_767).astype("<i2").tobytes()


def frames(pcm: bytes, rate: int, ptime: float = PTIME) -> list[bytes]:
    """Cut into whole frames; a remainder is left out."""
    size = round(rate * ptime) * 2
    return [pcm[begin : begin + size] for begin in range(0, len(pcm) - size + 1, size)]


# --- signals ---


def tone(frequency: float, rate: int, seconds: float, amplitude: float = 8_000.0) -> bytes:
    """A sine that begins at phase 0."""
    return pcm16(amplitude * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate))


def silence(rate: int, seconds: float) -> bytes:
    """Digital silence."""
    return bytes(2 * round(rate * seconds))


def noise(rate: int, seconds: float, rms: float, seed: int = 0) -> bytes:
    """White Gaussian noise."""
    return pcm16(np.random.default_rng(seed).standard_normal(round(rate * seconds)) * rms)


@functools.cache
def speech(rate: int, seconds: float | None = None) -> bytes:
    """The shipped voices at `rate`, cut or repeated to `seconds` (13.5 without)."""
    with av.open(str(SPEECH_FILE)) as file:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(audio=0)]).astype(np.float64)
    if samples.max() > 32_768:  # FLAC may decode to 32 bits
        samples /= 65_536
    pcm = resampled(pcm16(samples), SPEECH_RATE, rate)
    return pcm if seconds is None else np.resize(np.frombuffer(pcm, "<i2"), round(rate * seconds)).tobytes()


def resampled(pcm: bytes, rate_in: int, rate_out: int) -> bytes:
    """As it ought to sound at another rate: by scipy's polyphase filter, all at once."""
    if rate_in == rate_out:
        return pcm
    divisor = math.gcd(int(rate_in), int(rate_out))
    return pcm16(resample_poly(floats(pcm), int(rate_out) // divisor, int(rate_in) // divisor))


# --- numbered chirps: one number a frame, legible after any codec we speak ---  Each frame of 20 ms steps from one of eight
# tones to another at its middle. Of the twelve shapes tried (sweeps and steps, 100 to 350 Hz apart, sharp and soft edges)
# this is the one that Opus reads back best through SILK, FEC copies included.

NUMBERS = 64
"""Numbers before they repeat: 1.28 s of frames, longer than any repair reaches back."""

_STEPS = 150.0 * np.arange(8) + 300.0
"""Hz; within a telephone line's 300 to 3400."""


@functools.cache
def _chirps(rate: int) -> NDArray[np.complex128]:
    """One analytic chirp for every number: two tones of 10 ms, the phase running on, tapered at both ends over 2 ms."""
    samples = round(rate * PTIME)
    time = np.arange(samples) / rate
    edge = np.minimum(1.0, np.minimum(time, PTIME - 1 / rate - time) / 0.002)
    taper = np.sin(np.pi / 2 * np.clip(edge, 0, 1)) ** 2
    rows = []
    for number in range(NUMBERS):
        frequency = np.where(time < PTIME / 2, _STEPS[number % 8], _STEPS[number // 8])
        rows.append(taper * np.exp(2j * np.pi * np.cumsum(frequency) / rate))
    return np.array(rows)


def numbered(count: int, rate: int, first: int = 0, amplitude: float = 9_000.0) -> bytes:
    """`count` frames of 20 ms; frame k says `(first + k) * 27 % 64`, so that neighbours share neither tone."""
    chirps = _chirps(rate).real
    order = (np.arange(first, first + count) * 27) % NUMBERS
    return pcm16(amplitude * chirps[order].ravel())


def read_numbers(pcm: bytes, rate: int, delay: float, slack: float = 0.001, sure: float = 0.7) -> list[int | None]:
    """The frame numbers (k modulo 64) that can be read, frame by frame from `delay` seconds on; None where none can.

    A chirp counts as read when its normalised correlation, at a shift of at most `slack` seconds, is at least `sure` and the
    highest of all 64. What a concealment invents from the frame before resembles that frame's number, or none.
    """
    samples = floats(pcm)
    size = round(rate * PTIME)
    chirps = _chirps(rate)
    scores = np.zeros(((len(samples) - round(delay * rate)) // size, NUMBERS))
    for shift in range(-round(slack * rate), round(slack * rate) + 1, max(1, rate // 8_000)):
        begin = round(delay * rate) + shift
        if begin < 0:
            continue
        count = min(len(scores), (len(samples) - begin) // size)
        cut = samples[begin : begin + count * size].reshape(count, size)
        power = np.sqrt((cut**2).sum(axis=1) * (np.abs(chirps[0]) ** 2).sum() / 2)
        found = np.abs(cut @ chirps.conj().T) / np.maximum(power, 1.0)[:, None]
        scores[:count] = np.maximum(scores[:count], found)
    inverse = {k * 27 % NUMBERS: k for k in range(NUMBERS)}
    best = scores.argmax(axis=1)
    return [inverse[int(b)] if row[b] >= sure else None for b, row in zip(best, scores, strict=True)]


def find_chirps(pcm: bytes, rate: int, count: int, longest: float = 0.5) -> float:
    """Seconds from the beginning of `pcm` to the first of `count` numbered frames, at most `longest`."""
    return find(numbered(min(count, 50), rate), pcm, rate, longest)


# --- judging ---


def find(reference: bytes, heard: bytes, rate: int, longest: float) -> float:
    """Seconds by which `heard` lags behind `reference`, 0 to `longest`, to a sample, by cross-correlation."""
    a = floats(reference)
    b = floats(heard)[: len(a) + round(longest * rate)]
    correlation = fftconvolve(b, a[::-1])[len(a) - 1 : len(a) + round(longest * rate)]
    return int(np.abs(correlation).argmax()) / rate


def segment_correlations(
    reference: bytes, heard: bytes, rate: int, segment: float = 0.5, slack: float = 0.1, warp: float = 0.0
) -> list[float]:
    """For each `segment` of `reference` with speech in it, its best normalised correlation with `heard`.

    The two are aligned as a whole first; each segment may then move by `slack` seconds (a jitter buffer stretches). A segment
    whose power is 30 dB under the mean says nothing and is left out. With `warp` each fifth of a segment may move by that much
    more: a jitter buffer on a busy machine cuts pieces out or puts some in, also in the middle of a segment.
    """
    a, b = floats(reference), floats(heard)
    whole = fftconvolve(b, a[::-1])
    lag = int(np.abs(whole).argmax()) - (len(a) - 1)
    size, reach = round(segment * rate), round(slack * rate)
    least = (a**2).mean() / 1_000
    result = []
    for begin in range(0, len(a) - size + 1, size):
        cut = a[begin : begin + size]
        if (cut**2).mean() < least:
            continue
        low = begin + lag - reach
        window = np.zeros(size + 2 * reach)
        source = b[max(0, low) : max(0, low + len(window))]
        offset = max(0, -low)
        window[offset : offset + len(source)] = source[: len(window) - offset]
        product = fftconvolve(window, cut[::-1], mode="valid")
        power = np.convolve(window**2, np.ones(size), mode="valid")
        fit = product / np.sqrt(np.maximum(power, 1.0) * (cut**2).sum())
        best = float(fit.max())
        if warp:
            best = max(best, _warped(cut, window, int(fit.argmax()), round(warp * rate)))
        result.append(best)
    return result


def _warped(cut: Floats, window: Floats, at: int, reach: int) -> float:
    """Correlation of `cut` with `window` from `at` on, each fifth of it where it fits best within `reach` samples."""
    size = len(cut) // 5
    product = power = 0.0
    for begin in range(0, size * 5, size):
        part = cut[begin : begin + size]
        low = max(0, at + begin - reach)
        there = window[low : at + begin + size + reach]
        products = fftconvolve(there, part[::-1], mode="valid")
        powers = np.convolve(there**2, np.ones(size), mode="valid")
        best = int((products / np.sqrt(np.maximum(powers, 1.0))).argmax())
        product += float(products[best])
        power += float(powers[best])
    return product / max(1.0, float(np.sqrt(power * (cut[: size * 5] ** 2).sum())))


def tone_sinad(pcm: bytes, rate: int, frequency: float, skip: float = 0.2) -> float:
    """dB of the sine of this frequency over everything else, without `skip` seconds at either end."""
    samples = floats(pcm)[round(skip * rate) : -round(skip * rate)]
    phase = 2 * np.pi * frequency * np.arange(len(samples)) / rate
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, samples, rcond=None)
    signal = basis[:, :2] @ weights[:2]
    rest = samples - signal
    return decibels((signal**2).sum() / max((rest**2).sum(), 1e-9))


def tone_level(pcm: bytes, rate: int, frequency: float, skip: float = 0.2) -> float:
    """dB of the sine of this frequency relative to a full-scale sine."""
    samples = floats(pcm)[round(skip * rate) : -round(skip * rate)]
    phase = 2 * np.pi * frequency * np.arange(len(samples)) / rate
    amplitude = 2 * abs((samples * np.exp(-1j * phase)).mean())
    return 2 * decibels(max(amplitude, 1e-9) / 32_768)


def snr(reference: bytes, heard: bytes, rate: int, longest: float = 0.05) -> float:
    """dB of `reference` over its difference from `heard`, after the best delay (to 1/8 sample, at most `longest`) and gain."""
    up = 8
    delay = find(reference, heard, rate, longest)
    a = resample_poly(floats(reference), up, 1)
    b = resample_poly(floats(heard), up, 1)
    best = -np.inf
    centre = round(delay * rate * up)
    for lag in range(centre - up, centre + up + 1):
        if lag < 0:
            continue
        size = min(len(a), len(b) - lag)
        x, y = a[:size], b[lag : lag + size]
        gain = (x @ y) / max(y @ y, 1e-9)
        best = max(best, decibels((x @ x) / max(((x - gain * y) ** 2).sum(), 1e-9)))
    return float(best)


def decibels(ratio: float) -> float:
    """A power ratio in dB."""
    return float(10 * np.log10(ratio))


def gaps(pcm: bytes, rate: int, least: float = 0.005, floor: float = 8.0) -> list[float]:
    """Seconds at which a run of `least` seconds or more of samples within ±`floor` begins: holes, in a signal that has none."""
    quiet = np.abs(floats(pcm)) <= floor
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    return [begin / rate for begin, end in edges.reshape(-1, 2) if end - begin >= least * rate]


def rms(pcm: bytes) -> float:
    """Root mean square, on the int16 scale."""
    return float(np.sqrt((floats(pcm) ** 2).mean()))


def native_threads() -> int:
    """Threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))


def joined(parts: Sequence[bytes]) -> bytes:
    """One stretch."""
    return b"".join(parts)
