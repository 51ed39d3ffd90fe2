"""Audio invented where none came: comfort noise for every codec, pitch repetition for those without concealment of their own.

All PCM16 mono at 16 kHz. Good frames cost an append each; arithmetic is done only when something is missing.
"""

from __future__ import annotations

from collections import deque
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gateway.media.audio import MODEL_INPUT_RATE

Floats = NDArray[np.float32]

_RATE = MODEL_INPUT_RATE

LOUDEST_NOISE = 104.0
"""RMS of -50 dBFS: comfort noise is never louder, whatever the last second was like. It must not sound like speech to a model."""

QUIET_SHARE = 10
"""The background is as loud as the quietest tenth of the last frames."""

REMEMBERED = 50
"""Frames that the background is judged by, about a second."""

JUDGED = 2 * _RATE // 100
"""Bytes of each: its first 10 ms. Whole frames would be 33 KiB a call."""

SHORTEST_PITCH, LONGEST_PITCH = _RATE // 200, _RATE // 66
"""5 to 15 ms, voices of 66 to 200 Hz; higher ones repeat within (G.711 Appendix I)."""

_MATCH = _RATE // 50  # samples compared when the pitch is sought
_HISTORY = LONGEST_PITCH * 3 + _RATE // 200
_SMOOTH = _RATE * 5 // 2000  # 2.5 ms: over which edges are blended
_FULL = _RATE // 100  # samples at full loudness, then fading
_GONE = _RATE * 6 // 100  # samples after which nothing of it is left (Appendix I: 60 ms)


@cache
def _noise_table() -> Floats:
    """A second of noise of RMS 1, the same in every process, slightly low-passed: rooms hum more than they hiss."""
    white = np.random.default_rng(20).standard_normal(_RATE + 1).astype(np.float32)
    soft = white[1:] + 0.7 * white[:-1]
    return np.asarray(soft / np.sqrt(np.mean(soft * soft)), np.float32)


_noise_table()  # Now: numpy loads its random numbers for it, 40 ms in which every call would wait.


def to_floats(pcm: bytes) -> Floats:
    """PCM16 as float32, not scaled."""
    return np.frombuffer(pcm, np.int16).astype(np.float32)


def to_pcm(samples: Floats) -> bytes:
    """Back, rounded and clipped."""
    return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16).tobytes()


class ComfortNoise:
    """Noise as loud as this caller's background."""

    __slots__ = (
        "_position",
        "_recent",
        "_told",
    )

    def __init__(self) -> None:
        self._recent: deque[bytes] = deque(maxlen=REMEMBERED)
        self._told: float | None = None
        self._position = 0

    def heard(self, pcm: bytes) -> None:
        """A good frame: the background is in some of them."""
        self._recent.append(pcm[:JUDGED])

    def told(self, dbov: int) -> None:
        """The sender's own word on its background: -dBov of a comfort noise packet (RFC 3389 §3.1)."""
        self._told = 32_768.0 * 10.0 ** (-dbov / 20.0)

    @property
    def level(self) -> float:
        """RMS of the background, at most `LOUDEST_NOISE`."""
        if self._told is not None:
            return min(self._told, LOUDEST_NOISE)
        powers = sorted(
            float(np.dot(samples, samples)) / samples.size for pcm in self._recent if (samples := to_floats(pcm)).size
        )
        return min(float(np.sqrt(powers[len(powers) // QUIET_SHARE])), LOUDEST_NOISE) if powers else 0.0

    def make(self, samples: int, level: float) -> Floats:
        """The next `samples` of noise at this RMS."""
        table = _noise_table()
        start = self._position
        self._position = (start + samples) % table.size
        return np.take(table, np.arange(start, start + samples), mode="wrap") * np.float32(level)


class PitchRepetition:
    """Concealment for waveform codecs after G.711 Appendix I: the last pitch cycles go on, ever softer.

    Unlike the appendix it adds no delay: the seam to the good audio before is blended with its mirror image instead of audio
    held back for it. `remember` every frame that goes out; `conceal` makes one up; `join` blends the first good one after.
    """

    def __init__(self) -> None:
        self._last: deque[bytes] = deque(maxlen=8)  # at least `_HISTORY` samples even at 10 ms a frame
        self._history: Floats | None = None
        self._pitch = 0
        self._made = 0  # samples made up so far in this hole

    def remember(self, pcm: bytes) -> None:
        """A good frame went out."""
        self._last.append(pcm)

    def conceal(self, samples: int) -> Floats:
        """The next `samples` of a hole; silence once 60 ms are over."""
        if self._history is None:
            self._history = self._recall()
            self._pitch = _pitch(self._history)
            self._made = 0
        made = self._synthesize(self._made, samples)
        self._made += samples
        return made

    def join(self, pcm: bytes) -> bytes:
        """The first good frame after a hole, blended with what the hole would have gone on with."""
        if self._history is None:
            return pcm
        good = to_floats(pcm)
        # Appendix I: the longer the hole, the longer the blend, 4 ms and 4 ms for each 10 ms of it, at most 10 ms.
        length = min(good.size, _RATE // 100, _RATE // 250 * (1 + self._made // (_RATE // 100)))
        if length:
            rise = np.linspace(0.0, 1.0, length, endpoint=False, dtype=np.float32)
            good[:length] = good[:length] * rise + self._synthesize(self._made, length) * (1.0 - rise)
        self._history = None
        return to_pcm(good)

    def _recall(self) -> Floats:
        history = to_floats(b"".join(self._last))[-_HISTORY:]
        return np.pad(history, (_HISTORY - history.size, 0))

    def _synthesize(self, start: int, samples: int) -> Floats:
        history = self._history
        assert history is not None, "called within a hole only"
        if start >= _GONE:
            return np.zeros(samples, np.float32)
        # One cycle repeated for long buzzes: two after the first frame's worth, then three.
        cycles = 1 if start < _FULL else 2 if start < 3 * _FULL else 3
        length = self._pitch * cycles
        cycle = history[-length:].copy()
        blend = min(_SMOOTH, self._pitch)
        rise = np.linspace(0.0, 1.0, blend, endpoint=False, dtype=np.float32)
        # Its end leads into its own beginning.
        cycle[-blend:] = cycle[-blend:] * (1.0 - rise) + history[-length - blend : history.size - length] * rise
        at = np.arange(start, start + samples)
        made = cycle[at % length]
        if start == 0:
            mirror = history[: -blend - 1 : -1]
            made[:blend] = made[:blend] * rise[: made.size] + (mirror * (1.0 - rise))[: made.size]
        return np.asarray(made * np.clip((_GONE - at) / (_GONE - _FULL), 0.0, 1.0), np.float32)


def _pitch(history: Floats) -> int:
    """Samples between the end of `history` and the place before that is most like it."""
    template = history[-_MATCH:]
    past = history[-_MATCH - LONGEST_PITCH : -SHORTEST_PITCH]
    products = np.correlate(past, template, "valid")
    energies = np.convolve(past * past, np.ones(_MATCH, np.float32), "valid")
    likeness = products / np.sqrt(energies + 1.0)
    return LONGEST_PITCH - int(np.argmax(likeness))
