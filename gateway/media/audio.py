"""The one form in which audio travels inside the gateway."""

from __future__ import annotations

from typing import NamedTuple

MODEL_INPUT_RATE = 16_000
"""Hz the model hears natively; every leg delivers frames at this rate."""

MODEL_OUTPUT_RATE = 24_000
"""Hz the model speaks."""

PTIME = 0.02
"""Seconds of audio per frame on the clock's grid."""

SAMPLE_BYTES = 2


class AudioFrame(NamedTuple):
    """A stretch of mono PCM16 little-endian audio.

    `pcm` holds `len(pcm) // 2` samples at `rate` Hz. `at` is the loop time (seconds) at which the last sample of this frame
    reached us; 0.0 where nobody measures. A NamedTuple because one is made per packet: a frozen dataclass costs
    three times as much to build.
    """

    pcm: bytes
    rate: int
    at: float = 0.0

    @property
    def samples(self) -> int:
        """Samples in this frame."""
        return len(self.pcm) // SAMPLE_BYTES

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.pcm) / (SAMPLE_BYTES * self.rate)
