"""How loud a stretch of PCM16 mono is, in dB below full scale (0 dBFS = a sample of ±32768)."""

from __future__ import annotations

import math

import numpy as np

FLOOR_DBFS = -127.0
"""What digital silence (and an empty stretch) is said to be: the floor of RFC 6464's scale, instead of minus infinity."""

AUDIBLE_DBFS = -50.0
"""A peak below this is not heard as speech.

Speech as models speak it peaks at -3 to -15 dBFS; what precedes its first word (dither, breath, codec noise) stays below -55.
"""

SOUNDING_RMS = 164.0
"""-46 dBFS over 10 ms: a word's faintest sounds (f, th) as models speak them lie above it, the pauses between words below."""

_FULL_SCALE = 32_768.0
_AUDIBLE = round(_FULL_SCALE * 10 ** (AUDIBLE_DBFS / 20))


def peak_dbfs(pcm: bytes) -> float:
    """The largest sample."""
    if not pcm:
        return FLOOR_DBFS
    samples = np.frombuffer(pcm, "<i2")
    peak = max(int(samples.max()), -int(samples.min()))  # abs() would overflow at -32768
    return 20 * math.log10(peak / _FULL_SCALE) if peak else FLOOR_DBFS


def rms_dbfs(pcm: bytes) -> float:
    """The root mean square; a full-scale sine is -3.01."""
    if not pcm:
        return FLOOR_DBFS
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    power = float(np.dot(samples, samples)) / len(samples)
    return max(FLOOR_DBFS, 10 * math.log10(power) - 20 * math.log10(_FULL_SCALE)) if power > 0 else FLOOR_DBFS


def first_audible(pcm: bytes, rate: int) -> float | None:
    """Seconds to the first sample at or above `AUDIBLE_DBFS`, None when there is none. `rate` in Hz."""
    if not pcm:
        return None
    samples = np.frombuffer(pcm, "<i2")
    # int16 comparison both ways, no temporary in a wider type.
    audible = (samples >= _AUDIBLE) | (samples <= -_AUDIBLE)
    first = int(audible.argmax())
    return first / rate if audible[first] else None


def sounding(pcm: bytes, rate: int) -> tuple[tuple[float, float], ...]:
    """Where it sounds: (begin, end) in seconds of every stretch of whole 10 ms above `SOUNDING_RMS`. `rate` in Hz."""
    step = rate // 100
    whole = len(pcm) // (2 * step)
    if not whole:
        return ()
    samples = np.frombuffer(pcm, "<i2", whole * step).astype(np.float32).reshape(whole, step)
    loud = (np.vecdot(samples, samples) > SOUNDING_RMS * SOUNDING_RMS * step).tobytes()  # a byte each, 1 or 0
    found: list[tuple[float, float]] = []
    begin = loud.find(1)
    while begin >= 0:
        end = loud.find(0, begin)
        if end < 0:
            end = whole
        found.append((begin / 100, end / 100))
        begin = loud.find(1, end)
    return tuple(found)
