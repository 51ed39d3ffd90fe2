"""When the caller speaks: an adaptive noise floor under the energy of 20 ms frames."""

from __future__ import annotations

import enum
import math

import numpy as np

from gateway.media.audio import AudioFrame


class Voice(enum.Enum):
    """What a frame changed."""

    STARTED = "started"
    STOPPED = "stopped"


ONSET = 0.04
"""Seconds of speech before it counts: a click or one loud frame is not a word."""

HANGOVER = 0.3
"""Seconds of silence before the caller counts as silent: pauses between words and closed stops are shorter."""

TRAIL = 1.0
"""Seconds after the end of speech in which the answer is waited for: nothing should lie in the uplink then."""

MARGIN = 6.0
"""dB over the noise floor that make a frame speech."""

FLOOR_RISE = 3.0
"""dB per second by which the floor follows a level that stays up: a fan that is switched on is noise after some seconds."""

QUIETEST = -55.0
"""dBFS under which nothing is speech, whatever the floor."""


class VoiceActivity:
    """Follows one caller. `push` every frame, in order."""

    def __init__(self, rate: int = 16_000) -> None:
        self._rate = rate
        self._floor = -60.0
        self._run = 0.0  # seconds of speech not yet announced
        self._silence = 0.0  # seconds since the last speech frame
        self.speaking = False
        self.last_speech_at = 0.0
        self.began_at = 0.0

    @property
    def fell_silent(self) -> bool:
        """The caller spoke, and the frame just pushed was silent: an answer may be due within `TRAIL`."""
        return 0.0 < self._silence <= TRAIL and self.last_speech_at > 0.0

    def push(self, frame: AudioFrame) -> Voice | None:
        """One frame of PCM16 mono. STARTED or STOPPED when it decided that, else None."""
        samples = np.frombuffer(frame.pcm, np.int16).astype(np.float32)
        if not samples.size:
            return None
        seconds = samples.size / self._rate
        level = 10.0 * math.log10(float(samples.dot(samples)) / samples.size + 1e-3) - 90.3
        heard = level > max(self._floor + MARGIN, QUIETEST)
        if level < self._floor:
            self._floor = max(level, self._floor - 100.0 * seconds, -80.0)
        else:
            self._floor = min(level, self._floor + FLOOR_RISE * seconds)
        if not heard:
            self._run = 0.0
            self._silence += seconds
            if self.speaking and self._silence > HANGOVER:
                self.speaking = False
                return Voice.STOPPED
            return None
        if not self._run and not self.speaking:
            self.began_at = frame.at - seconds
        self._run += seconds
        if not self.speaking and self._run < ONSET - 1e-9:
            return None
        self._silence = 0.0
        self.last_speech_at = frame.at
        if self.speaking:
            return None
        self.speaking = True
        return Voice.STARTED
