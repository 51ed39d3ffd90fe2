"""What the model has said and the caller has not yet heard.

The model speaks in chunks of 200 to 240 ms, usually much faster than real time; the clock pulls 20 ms frames. The first
words start at once. Only a session in which the playout once ran dry waits before it (re)starts, as long as experience
asks for and never over `MAX_WAIT`; a model that is ahead of real time is never held back, because what it sends ahead
counts as waiting done. Experience is how much later any chunk of the last answers was than an earlier one of the same answer: an
answer that begins with a chunk as early as this one and goes on with one as late as that one needs so much, even if no answer has
yet. It is measured from the first chunk of the session on, and used from its first hole on. Where waiting is not enough, the
first pauses between words are made longer by `MAX_STRETCH` at most. A model that stays slower than real time is paused between
words, where a pause hurts least.
"""

from __future__ import annotations

import enum
from collections import deque

import numpy as np

from gateway.media.audio import PTIME, SAMPLE_BYTES, AudioFrame

MAX_WAIT = 0.2
"""Seconds at most between a chunk's arrival and its (re)start after the playout ran dry."""

AHEAD = 0.35
"""Seconds beyond the first chunk that end the wait at once: the model is ahead of real time, waiting gains nothing."""

MAX_NEED = 0.34
"""Seconds of delay that an uneven model can need: 150 ms early, then 150 ms late, and the grain of the clock. One that needs more
is not uneven but slow."""

TRUST = 0.75
"""The first hole of a session may be only the beginning, so the worst is assumed; from answer to answer by so much less."""

MAX_STRETCH = 0.12
"""Seconds by which the pauses of one answer are made longer."""

REMEMBERED = 16
"""Answers whose unevenness is remembered. A model that has become even is trusted again after so many."""

STARVING_BELOW = 0.1
"""Seconds left at which a starving playout looks for a pause between words."""

QUIET_RMS = 330.0
"""-40 dBFS: speech as models speak it lies near -20 dBFS, its pauses below -50 dBFS."""

_frame = tuple.__new__  # of AudioFrame: half of what calling the class costs, for every packet


class _State(enum.Enum):
    IDLE = "idle"  # nothing to say
    HELD = "held"  # there is audio, but it waits for more
    PLAYING = "playing"
    DRY = "dry"  # in the middle of an answer and nothing left; an underrun if more comes


_IDLE, _HELD, _PLAYING, _DRY = _State  # to look a member up costs more than all that is done with it on a tick


class Playout:
    """A bounded queue of PCM16 mono between the model (`push`) and the clock (`pull`). Cleared by barge-in.

    On overflow the newest audio is thrown away: what has been said before it must be heard first.
    """

    __slots__ = (
        "_bytes",
        "_chunks",
        "_doubt",
        "_dry_frames",
        "_earliest",
        "_ended",
        "_floor",
        "_frame",
        "_given",
        "_half",
        "_hold_bytes",
        "_hold_until",
        "_limit",
        "_need",
        "_offset",
        "_paused",
        "_ran_dry",
        "_rise",
        "_rises",
        "_second",
        "_shift",
        "_starving",
        "_state",
        "_stretched",
        "_within",
        "overflow_seconds",
        "rate",
        "speaking_seconds",
        "stretched_seconds",
        "underrun_seconds",
        "underruns",
    )

    def __init__(self, rate: int, *, limit: float = 60.0) -> None:
        self.rate = rate
        self._second = rate * SAMPLE_BYTES
        self._frame = int(rate * PTIME) * SAMPLE_BYTES
        self._limit = int(limit * self._second)
        self._chunks: deque[tuple[bytes, float]] = deque()  # bounded by bytes: `_limit`
        self._offset = 0  # bytes of the first chunk that are played
        self._bytes = 0
        self._half = b""  # the first byte of a sample cut by a chunk's edge
        self._state = _IDLE
        self._ended = True
        self._within = False  # HELD inside an answer: its silence is an underrun; at its start it is not
        self._hold_until = 0.0
        self._hold_bytes = 0
        self._need = 0.0  # seconds from a first chunk to its playing that this session needs; 0 until the first hole
        self._shift = 0.0  # the same in this answer, so far
        self._stretched = 0.0  # of it, in longer pauses
        self._ran_dry = False  # in this answer
        # Of a chunk, `lateness` is when it came less the seconds of this answer before it.
        self._given = 0.0  # seconds of this answer so far
        self._floor = 0.0  # lateness below which the model is ahead of real time, not early
        self._earliest = 0.0  # least lateness in this answer
        self._rise = 0.0  # the most by which a chunk of this answer was later than one before it
        self._rises: deque[float] = deque(maxlen=REMEMBERED)  # the same of the answers before
        self._doubt = 0.0  # what is assumed to be needed, whatever was seen
        self._dry_frames = 0  # silence since running dry; an underrun only if more audio comes
        self._starving = False
        self._paused = False  # starving, since the last word: what is there is not held back for ever
        self.underruns = 0
        self.underrun_seconds = 0.0
        self.speaking_seconds = 0.0
        self.stretched_seconds = 0.0
        """Added to pauses between words; no word is cut by it, so it is no underrun."""
        self.overflow_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of audio still unsaid."""
        return self._bytes / self._second

    @property
    def wait(self) -> float:
        """Seconds this session waits before it (re)starts; 0 until it has once run dry."""
        return min(MAX_WAIT, self._need)

    def push(self, pcm: bytes, at: float) -> None:
        """Audio of the model, read at `at`. Any number of bytes: a sample cut in two is joined with the next chunk."""
        if self._half:
            pcm = self._half + pcm
            self._half = b""
        if len(pcm) % SAMPLE_BYTES:
            self._half = pcm[-1:]
            pcm = pcm[:-1]
        room = self._limit - self._bytes
        if len(pcm) > room:
            self.overflow_seconds += (len(pcm) - room) / self._second
            pcm = pcm[:room]
        if not pcm:
            return
        if self._ended:
            self._begin(at)
        self._measure(at, len(pcm) / self._second)
        if self._state is _IDLE:
            self._shift = self._stretched = 0.0
            self._ran_dry = False
            self._hold(at, len(pcm), self.wait, within=False)
        elif self._state is _DRY:
            self._learn()
            self._count_hole()
            pause = MAX_WAIT if self._starving else self._pause()
            self._hold(at, len(pcm), pause, within=True)
        self._chunks.append((pcm, at))
        self._bytes += len(pcm)

    def end(self) -> None:
        """The answer is complete: running dry from now on is its end, not an underrun."""
        self._half = b""
        self._ended = True
        if self._state is not _DRY:
            return
        if self._bytes:  # less than a frame of it was held back for more to come
            self._count_hole()
            self._state = _PLAYING
        else:
            self._finish()

    def pull(self, now: float) -> AudioFrame | None:
        """The next 20 ms, `at` being that of its first sample; None is silence."""
        if self._state is _IDLE:
            return None
        if self._state is _HELD:
            if not self._ended and now < self._hold_until and self._bytes < self._hold_bytes:
                self._shift += PTIME
                if self._within:
                    self.underrun_seconds += PTIME
                return None
            self._state = _PLAYING
        if self._bytes >= self._frame:
            if self._starving and not self._ended and self._may_pause():
                self._paused = True
                self.underruns += 1
                self.underrun_seconds += PTIME
                self._hold(now, self._bytes, MAX_WAIT, within=True)
                return None
            if self._shift < self._need and self._may_stretch():
                self._shift += PTIME
                self._stretched += PTIME
                self.stretched_seconds += PTIME
                return None
            self.speaking_seconds += PTIME
            chunk, at = self._chunks[0]
            start = self._offset
            end = start + self._frame
            if end >= len(chunk):
                return self._cut(self._frame)
            self._offset = end
            self._bytes -= self._frame
            return _frame(AudioFrame, (chunk[start:end], self.rate, at))
        if not self._ended:
            self._state = _DRY
            self._dry_frames += 1
            self._shift += PTIME
            return None
        if not self._bytes:
            self._finish()
            return None
        self.speaking_seconds += self.seconds
        last = self._cut(self._bytes)
        return AudioFrame(last.pcm.ljust(self._frame, b"\0"), self.rate, last.at)

    def ahead(self, frames: int) -> list[AudioFrame]:
        """Up to `frames` that follow the one just pulled whatever comes meanwhile: they count as pulled.

        None where a pull could still find a reason to wait, nor the last one there is: what follows it is for `pull` to see.
        """
        may_stretch = self._shift < self._need and self._stretched < MAX_STRETCH
        if self._state is not _PLAYING or self._starving or may_stretch:
            return []
        frames = min(frames, max(0, self._bytes - 1) // self._frame)
        self.speaking_seconds += frames * PTIME
        return [self._cut(self._frame) for _ in range(frames)]

    def clear(self) -> float:
        """Forget everything unsaid (barge-in, hang-up); seconds thrown away."""
        unsaid = self.seconds
        self._chunks.clear()
        self._offset = self._bytes = 0
        self._half = b""
        self._ended = True
        self._dry_frames = 0
        self._state = _IDLE
        return unsaid

    def _hold(self, at: float, level: int, pause: float, *, within: bool) -> None:
        self._state = _HELD
        self._within = within
        self._hold_until = at + pause
        self._hold_bytes = level + int(AHEAD * self._second)

    def _pause(self) -> float:
        """Seconds to wait in a hole: what is missing of the delay, unless the pauses that come can still make up for it."""
        return min(MAX_WAIT, max(0.0, self._need - self._shift - (MAX_STRETCH - self._stretched)))

    def _count_hole(self) -> None:
        self.underruns += 1
        self.underrun_seconds += self._dry_frames * PTIME
        self._dry_frames = 0

    def _begin(self, at: float) -> None:
        """The first chunk of an answer. What was seen of the one before, heard to its end or not, is remembered."""
        self._rises.append(self._rise)
        if self._need:
            most = max(self._rises)
            self._doubt *= TRUST
            self._need = min(MAX_NEED, max(self._doubt, most + PTIME)) if most else 0.0
        self._ended = False
        self._given = self._rise = 0.0
        self._earliest = at
        self._floor = at - MAX_NEED

    def _measure(self, at: float, seconds: float) -> None:
        lateness = max(at - self._given, self._floor)
        self._given += seconds
        self._earliest = min(self._earliest, lateness)
        self._rise = max(self._rise, lateness - self._earliest)
        if self._need:
            self._need = max(self._need, min(MAX_NEED, self._rise + PTIME))

    def _learn(self) -> None:
        """A hole. One that comes although we wait as long as we may is not of an uneven model but of a slow one."""
        self._starving = self._shift > MAX_NEED
        self._ran_dry = True
        self._rise = max(self._rise, self._shift)
        if not self._need:
            self._need = self._doubt = MAX_NEED
        self._need = min(MAX_NEED, max(self._need, self._rise + PTIME))

    def _finish(self) -> None:
        self._state = _IDLE
        self._dry_frames = 0
        if not self._ran_dry:
            self._starving = False

    def _may_stretch(self) -> bool:
        """A model that is ahead needs no delay, and nothing but a pause between words may grow."""
        return not self._ended and self._stretched < MAX_STRETCH and self._bytes < self._hold_bytes and self._next_is_quiet()

    def _may_pause(self) -> bool:
        """Little is left, and here is the first pause since a word."""
        if not self._next_is_quiet():
            self._paused = False
        elif not self._paused:
            return self.seconds < STARVING_BELOW
        return False

    def _next_is_quiet(self) -> bool:
        head, _ = self._chunks[0]
        samples = np.frombuffer(head, np.int16, offset=self._offset)[: self._frame // SAMPLE_BYTES].astype(np.float32)
        return float(np.dot(samples, samples)) < QUIET_RMS * QUIET_RMS * samples.size

    def _cut(self, size: int) -> AudioFrame:
        """The next `size` bytes, which must be there."""
        chunks = self._chunks
        head, at = chunks[0]
        self._bytes -= size
        start = self._offset
        end = start + size
        if end < len(head):
            self._offset = end
            return AudioFrame(head[start:end], self.rate, at)
        parts = [head[start:]]
        size -= len(head) - start
        chunks.popleft()
        while size and size >= len(chunks[0][0]):
            part, _ = chunks.popleft()
            parts.append(part)
            size -= len(part)
        if size:
            parts.append(chunks[0][0][:size])
        self._offset = size
        return AudioFrame(b"".join(parts), self.rate, at)
