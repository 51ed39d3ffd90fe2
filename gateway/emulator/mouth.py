"""How an answer leaves: cut into chunks, paced against real time, its words spread over its audio."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import NamedTuple

from gateway.emulator.faults import Options
from gateway.emulator.sound import OUTPUT_RATE, resample
from gateway.emulator.voices import CHUNK_BYTES, FIRST_CHUNK_BYTES, LoopSource, PcmSource, Source

_BYTES_PER_SECOND = 2 * OUTPUT_RATE
_GAP_EVERY = 4
_MAX_WHOLE = 120 * _BYTES_PER_SECOND


class Chunk(NamedTuple):
    """Audio of one message: PCM at `rate`, the words that go with it, and the message when it is ready-made."""

    pcm: bytes
    rate: int
    words: str
    prepared: bytes | None


@dataclass(slots=True)
class Pace:
    """What the pacing faults ask for."""

    speed: float
    gap: float = 0.0
    jitter: float = 0.0
    chunk_bytes: int = CHUNK_BYTES
    first_bytes: int = FIRST_CHUNK_BYTES
    odd: bool = False
    ends_after: float | None = None

    @classmethod
    def of(cls, options: Options, speed: float) -> Pace:
        """The pace a session was asked for."""
        pace = cls(speed)
        for name in ("burst", "starve"):
            if (wanted := options.number(name)) is not None:
                pace.speed = wanted
        pace.gap = (options.number("gap") or 0.0) / 1000
        pace.jitter = (options.number("jitter") or 0.0) / 1000
        if (tiny := options.number("tiny_chunks")) is not None:
            pace.chunk_bytes = pace.first_bytes = max(2, round(tiny * OUTPUT_RATE / 1000) * 2)
        if "huge_message" in options:
            pace.chunk_bytes = pace.first_bytes = _MAX_WHOLE
        pace.odd = "odd_bytes" in options
        pace.ends_after = options.number("premature_turn")
        return pace


class Mouth:
    """One answer at a time: `begin`, then `chunk` whenever `next_at` has come, until it gives None."""

    def __init__(
        self, source: Source, words: str, pace: Pace, now: float, draw: random.Random, *, rate: int = OUTPUT_RATE
    ) -> None:
        if rate != OUTPUT_RATE:
            source = PcmSource(resample(source.read(_MAX_WHOLE), OUTPUT_RATE, rate))
        self._source, self._pace, self._draw, self._rate = source, pace, draw, rate
        self._words = re.findall(r"\s*\S+", words)
        self._words_said = 0
        self._begun = now
        self.chunks = 0
        """Given out."""
        self._pauses = 0.0
        self.next_at = now
        self.played_until = now
        """When a player that started with the first chunk and never waits needlessly is through."""
        self.seconds = 0.0
        """Of audio given out."""
        self.said: list[str] = []
        """Words given out."""

    def chunk(self, now: float) -> Chunk | None:
        """The next chunk; None when the answer is over."""
        ends = self._pace.ends_after
        if ends is not None and self.seconds >= ends:
            return None
        prepared: bytes | None = None
        if isinstance(self._source, LoopSource):
            ready = self._source.read_prepared()
            if ready is None:
                return None
            pcm, prepared = ready
        else:
            size = self._pace.chunk_bytes if self.chunks else self._pace.first_bytes
            if self._pace.odd:
                size -= 1
            pcm = self._source.read(size)
            if not pcm:
                return None
        self.chunks += 1
        self.seconds += len(pcm) / (2 * self._rate)
        self.played_until = max(self.played_until, now) + len(pcm) / (2 * self._rate)
        if self._pace.gap and self.chunks % _GAP_EVERY == 0:
            self._pauses += self._pace.gap
        # An endless answer can't run ahead of its listener for ever: it is sent in real time.
        speed = 1.0 if self._source.seconds is None else self._pace.speed
        ahead = self.seconds / speed if speed else 0.0
        late = self._draw.uniform(0, self._pace.jitter) if self._pace.jitter else 0.0
        self.next_at = self._begun + ahead + self._pauses + late
        return Chunk(pcm, self._rate, self._words_so_far(), prepared)

    @property
    def finished(self) -> bool:
        """The last chunk was given out."""
        total = self._source.seconds
        return total is not None and self.seconds >= total - 0.5 / self._rate

    def _words_so_far(self) -> str:
        total = self._source.seconds
        if not self._words:
            return ""
        # Half a second ahead of the audio, as the service's transcript runs ahead.
        share = 1.0 if not total else min(1.0, (self.seconds + 0.5) / total)
        upto = round(share * len(self._words))
        fragment = "".join(self._words[self._words_said : upto])
        self._words_said = max(self._words_said, upto)
        if fragment:
            self.said.append(fragment)
        return fragment

    def rest_of_words(self) -> str:
        """Words that no chunk carried: of an answer without audio."""
        fragment = "".join(self._words[self._words_said :])
        self._words_said = len(self._words)
        if fragment:
            self.said.append(fragment)
        return fragment
