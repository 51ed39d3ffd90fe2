"""The recording that is played to the gateway, and the one that is made of its answer."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import av.error
from aiortc.mediastreams import MediaStreamTrack

from gateway.dial.errors import DialError

PTIME = 0.02
SEND_RATE = 48_000
"""Hz of what the Opus encoder takes."""
SAVE_RATE = 24_000
"""Hz of the recording of the answer: what the model speaks at."""
MAX_SECONDS = 600.0
"""Longest call, and what bounds the recording in memory."""


def read_speech(path: Path) -> bytes:
    """An audio file as PCM16 mono 48 kHz. Raises DialError."""
    try:
        with av.open(str(path), mode="r") as container:
            if not container.streams.audio:
                raise DialError(f"{path}: holds no audio")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SEND_RATE)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
    except OSError as exc:  # FFmpeg's errors about files are OSErrors too
        raise DialError(f"{path}: {exc.strerror or 'not an audio file'}") from None
    except (av.error.FFmpegError, ValueError):
        raise DialError(f"{path}: not an audio file") from None
    pcm = b"".join(samples_of(frame) for frame in frames)
    if not pcm:
        raise DialError(f"{path}: holds no audio")
    return pcm


def samples_of(frame: av.AudioFrame) -> bytes:
    """Packed s16 mono samples of a frame; its plane is padded beyond them."""
    return bytes(frame.planes[0])[: frame.samples * 2]


class Recording:
    """What was heard, on the sender's timeline: what was not sent is silence."""

    def __init__(self, play: Callable[[bytes], None] | None = None) -> None:
        """`play`: a speaker, which is given all that is heard as PCM16 mono 24 kHz."""
        self._play = play
        self._pcm = bytearray()
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAVE_RATE)
        self._first: int | None = None

    @property
    def seconds(self) -> float:
        """Duration so far."""
        return len(self._pcm) / (2 * SAVE_RATE)

    def add(self, frame: av.AudioFrame) -> None:
        """A decoded frame; `frame.pts` is its RTP time at 48 kHz."""
        pts = frame.pts or 0
        frame.pts = None  # the resampler would fill and cut by its own idea of time
        pcm = b"".join(samples_of(out) for out in self._resampler.resample(frame))
        if self._first is None:
            self._first = pts
        at = (pts - self._first) * SAVE_RATE // SEND_RATE * 2
        missing = at - len(self._pcm)
        # A few samples sit in the resampler, so a frame is never quite in place; only a whole missing one is a pause.
        if missing >= SAVE_RATE * PTIME * 2 and at < MAX_SECONDS * SAVE_RATE * 2:
            self._pcm += bytes(missing)
        self.append(pcm)

    def append(self, pcm: bytes) -> None:
        """What comes next: PCM16 mono 24 kHz."""
        if self.seconds < MAX_SECONDS:
            self._pcm += pcm
        if self._play is not None and pcm:
            self._play(pcm)

    def save(self, path: Path) -> None:
        """Write a WAV file. Raises OSError."""
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAVE_RATE)
            file.writeframes(bytes(self._pcm))


class Mouth(MediaStreamTrack):
    """The caller's voice: silence until `speak`, then the recording, then silence again; 20 ms a frame, in real time.

    In place of silence what `microphone` gives: 20 ms at a time, or nothing.
    """

    kind = "audio"

    def __init__(self, speech: bytes, microphone: Callable[[], bytes] | None = None) -> None:
        super().__init__()
        self._microphone = microphone
        self._speech = memoryview(speech)
        self._at = len(speech)
        self._frames = 0
        self._started = 0.0
        self.spoken = asyncio.Event()
        """The recording has been played to its end."""

    def speak(self) -> None:
        """From the next frame on, play the recording."""
        self._at = 0

    async def recv(self) -> av.AudioFrame:
        """The next frame, when its time has come."""
        loop = asyncio.get_running_loop()
        self._started = self._started or loop.time()
        # On the grid from the first frame, not 20 ms after the last: that would add up every wake-up's lateness.
        await asyncio.sleep(self._started + self._frames * PTIME - loop.time())
        samples = int(SEND_RATE * PTIME)
        pcm = bytes(self._speech[self._at : self._at + samples * 2])
        if pcm:
            self._at += len(pcm)
            if self._at == len(self._speech):
                self.spoken.set()
        elif self._microphone is not None:
            pcm = self._microphone()
        frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
        frame.planes[0].update(pcm.ljust(samples * 2, b"\0"))
        frame.pts = self._frames * samples
        frame.sample_rate = SEND_RATE
        frame.time_base = Fraction(1, SEND_RATE)
        self._frames += 1
        return frame
