"""When the caller speaks, judged by energy against an adaptive noise floor. Time is that of the audio, not of the wall."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from gateway.emulator.sound import samples_of

FRAME = 0.02
"""Seconds judged at a time."""


def _power(dbfs: float) -> float:
    return float(10 ** (dbfs / 10) * 32768**2)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Speech is what exceeds both."""

    least: float
    """Power of one sample, absolute."""
    above_floor: float
    """Times the noise floor."""


EAGER = Threshold(_power(-48), 10**0.9)
CAUTIOUS = Threshold(_power(-40), 10**1.5)
LASTING = Threshold(_power(-54), 10**0.6)
"""For the end of speech only: the faintest voice keeps a turn open."""

_FLOOR_START = _power(-65)
_FLOOR_LEAST = _power(-75)
# A caller who never pauses must not become the noise floor: speech is practically never below −40 dBFS.
_FLOOR_MOST = _power(-50)
_FLOOR_RISE = 1.02


class Edge(enum.Enum):
    """What happened."""

    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Activity:
    """The caller began or ended; samples are counted from the first sample pushed."""

    edge: Edge
    sample: int
    """STARTED: where speech began. STOPPED: where speech really ended, before the silence that proved it."""
    known_at: int
    """The sample at which this became known."""


class EnergyVad:
    """Feed it audio; it says when speech starts (after `onset` s of it) and stops (after `hangover` s of silence)."""

    def __init__(self, rate: int, *, start: Threshold, end: Threshold, onset: float, hangover: float) -> None:
        self.rate = rate
        self.speaking = False
        self._start, self._end = start, end
        self._size = round(rate * FRAME)
        self._onset = max(1, round(onset / FRAME))
        self._hangover = max(1, round(hangover / FRAME))
        self._rest = b""
        self._sample = 0
        self._floor = _FLOOR_START
        self._evidence = 0
        self._began = 0
        self._last_speech = 0
        self._quiet = 0

    def push(self, pcm: bytes) -> list[Activity]:
        """Judge more audio: whole samples, any number of them."""
        data = self._rest + pcm if self._rest else pcm
        frames = len(data) // (2 * self._size)
        if not frames:
            self._rest = data
            return []
        used = frames * self._size * 2
        self._rest = data[used:]
        blocks = samples_of(data[:used]).astype(np.float32).reshape(frames, self._size)
        activities: list[Activity] = []
        for power in np.einsum("ij,ij->i", blocks, blocks).tolist():
            self._judge(power / self._size, activities)
        return activities

    def _judge(self, power: float, activities: list[Activity]) -> None:
        begin = self._sample
        self._sample += self._size
        threshold = self._end if self.speaking else self._start
        speech = power > max(threshold.least, self._floor * threshold.above_floor)
        self._floor = min(max(min(power, self._floor * _FLOOR_RISE), _FLOOR_LEAST), _FLOOR_MOST)
        if speech:
            if not self._evidence:
                self._began = begin
            self._evidence = min(self._evidence + 1, self._onset)
            self._last_speech = self._sample
            self._quiet = 0
            if not self.speaking and self._evidence == self._onset:
                self.speaking = True
                activities.append(Activity(Edge.STARTED, self._began, self._sample))
            return
        self._quiet += 1
        if not self.speaking:
            self._evidence = max(0, self._evidence - 1)
        elif self._quiet >= self._hangover:
            self._stop(activities)

    def _stop(self, activities: list[Activity]) -> None:
        self.speaking = False
        self._evidence = 0
        activities.append(Activity(Edge.STOPPED, self._last_speech, self._sample))

    def end(self) -> list[Activity]:
        """The stream pauses: speech that was going on is over. An unfinished frame is forgotten."""
        activities: list[Activity] = []
        self._sample += len(self._rest) // 2
        self._rest = b""
        if self.speaking:
            self._stop(activities)
        self._evidence = self._quiet = 0
        return activities
