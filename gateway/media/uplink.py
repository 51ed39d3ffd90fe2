"""What waits on its way to the model: the caller's frames, handed over in chunks.

A message to the model costs about 40 µs of CPU whatever its size, so frames travel in chunks: small ones while the
worker has room (low delay), up to 100 ms near capacity. A feeder that fell behind gets everything that waits in one
message, up to `MAX_MESSAGE`. When nobody takes, the oldest frames give way: late speech is worse than lost speech.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from gateway.media.audio import MODEL_INPUT_RATE, SAMPLE_BYTES, AudioFrame

MIN_CHUNK = 0.02
MAX_CHUNK = 0.1

PAIRED_FROM = 0.06
"""The chunk, in seconds, from which on the frames of a silence that lasts hurry in pairs: see `hurry`."""

PAIR = 0.04

MAX_MESSAGE = 0.5
"""Seconds of audio in one message at most: 16 kB of PCM, 21 kB of base64, one TLS write. A second of backlog is two messages."""


class UplinkChunk(NamedTuple):
    """PCM16 mono 16 kHz, whole frames; `oldest_at` and `newest_at` are the `at` of its first and last frame."""

    pcm: bytes
    oldest_at: float
    newest_at: float


class Uplink:
    """A bounded queue of frames between the caller (`push`) and the task that feeds the model (`take`)."""

    __slots__ = (
        "_bytes",
        "_chunk_bytes",
        "_dropped",
        "_frames",
        "_hurried",
        "_limit",
        "_max_message",
        "_pair",
        "_second",
    )

    def __init__(self, *, chunk: float = MAX_CHUNK, limit: float = 10.0, rate: int = MODEL_INPUT_RATE) -> None:
        self._second = rate * SAMPLE_BYTES
        self._frames: deque[AudioFrame] = deque()  # bounded by bytes: `_limit`
        self._bytes = 0
        self._limit = int(limit * self._second)
        self._max_message = int(MAX_MESSAGE * self._second)
        self._hurried = False
        self._dropped = 0
        self.chunk = chunk

    @property
    def chunk(self) -> float:
        """Seconds of audio that make a chunk; kept within 20 … 100 ms. May be set at any time."""
        return self._chunk_bytes / self._second

    @chunk.setter
    def chunk(self, seconds: float) -> None:
        self._chunk_bytes = round(min(max(seconds, MIN_CHUNK), MAX_CHUNK) * self._second)
        # What must wait before a silence that lasts hurries on.
        self._pair = round(PAIR * self._second) if self._chunk_bytes >= round(PAIRED_FROM * self._second) else 1

    @property
    def hurried_chunk(self) -> float:
        """Seconds of a lasting silence that go together: see `hurry`. Of a single frame 0.0, it waits for nothing."""
        return PAIR if self._pair > 1 else 0.0

    @property
    def backlog(self) -> float:
        """Seconds of audio waiting."""
        return self._bytes / self._second

    @property
    def dropped(self) -> float:
        """Seconds of audio thrown away so far because nobody took it in time."""
        return self._dropped / self._second

    @property
    def ready(self) -> bool:
        """`take` has something to give."""
        return self._bytes >= self._chunk_bytes or (self._hurried and self._bytes > 0)

    def push(self, frame: AudioFrame) -> bool:
        """Add a frame. True when a chunk is ready: wake the feeder."""
        return self.push_row((frame,))

    def push_row(self, frames: Sequence[AudioFrame]) -> bool:
        """`push` for several in a row."""
        self._frames.extend(frames)
        waiting = self._bytes = self._bytes + sum([len(frame.pcm) for frame in frames])
        if waiting > self._limit:
            self._shorten(self._limit)
            return self.ready
        return waiting >= self._chunk_bytes or (self._hurried and waiting > 0)

    def shorten(self, seconds: float) -> None:
        """No more than this is to wait: the oldest frames give way, and are counted as dropped."""
        self._shorten(int(seconds * self._second))

    def _shorten(self, limit: int) -> None:
        while self._bytes > limit and self._frames:
            oldest = self._frames.popleft()
            self._bytes -= len(oldest.pcm)
            self._dropped += len(oldest.pcm)

    def hurry(self, *, again: bool = False) -> bool:
        """What is there goes at once, a full chunk or not: the caller just fell silent and the answer waits for this.

        `again`: the caller fell silent before this, and what was said has left. With room in the worker nothing changes; with
        chunks of `PAIRED_FROM` or more the silence goes in pairs of frames (40 ms), in half the messages: every other frame
        waits for the next, 20 ms at most, and an end of speech that the service finds itself comes no later than that.

        True when there is something to take. Holds until the next `take`; with nothing waiting it does nothing.
        """
        if self._bytes >= (self._pair if again else 1):
            self._hurried = True
            return True
        return False

    def take(self, most_bytes: int | None = None) -> UplinkChunk | None:
        """What waits, at most `MAX_MESSAGE` and `most_bytes` of it in whole frames, or one; None while no chunk is ready."""
        if not self.ready:
            return None
        frames = self._frames
        most = self._max_message if most_bytes is None else min(self._max_message, most_bytes)
        if self._bytes <= most:  # all of it, as nearly always
            chunk = UplinkChunk(b"".join([frame.pcm for frame in frames]), frames[0].at, frames[-1].at)
            frames.clear()
            self._bytes = 0
            self._hurried = False
            return chunk
        first = newest = frames.popleft()
        parts = [first.pcm]
        size = len(first.pcm)
        while frames and size + len(frames[0].pcm) <= most:
            newest = frames.popleft()
            parts.append(newest.pcm)
            size += len(newest.pcm)
        self._bytes -= size
        if not frames:
            self._hurried = False
        return UplinkChunk(b"".join(parts), first.at, newest.at)

    def clear(self) -> float:
        """Forget everything that waits (it is not counted as dropped); seconds forgotten."""
        forgotten = self.backlog
        self._frames.clear()
        self._bytes = 0
        self._hurried = False
        return forgotten
