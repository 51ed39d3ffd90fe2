"""The sound card of `--mic`: microphone and speaker, between PortAudio's thread and the event loop.

PortAudio comes with the `sounddevice` package (extra `mic`); nothing else needs it. Both ways are bounded, and the oldest sound
gives way: late speech is worse than lost speech.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import av

from gateway.dial.errors import DialError
from gateway.dial.sound import PTIME, SAVE_RATE, SEND_RATE, samples_of

RATE = SEND_RATE
"""Hz of both ways: what nearly every card runs at by itself."""
BLOCK = int(RATE * PTIME)
"""Samples the card hands over at a time."""
MAX_HEARD = 10
"""Blocks of the microphone that wait for us."""
MAX_UNPLAYED = 25
"""Blocks that wait for the speaker: half a second."""
AHEAD = 2
"""Blocks that must wait before the first is taken, so that a wake-up that is a little late is no click."""


class Stream(Protocol):
    """What is used of `sounddevice.RawStream`."""

    def start(self) -> None:
        """The callback is called from now on."""

    def close(self) -> None:
        """The callback is called no more."""


Exchange = Callable[[Any, Any], None]
"""Takes the microphone's block and fills the speaker's: PCM16 mono, as buffers of BLOCK samples. Runs on the card's thread."""


def open_portaudio(exchange: Exchange) -> Stream:
    """The default microphone and speaker. Raises DialError."""
    try:
        sounddevice: Any = importlib.import_module("sounddevice")
    except ImportError:
        raise DialError("--mic needs the sounddevice package: pip install 'gemini-voice-gateway[mic]'") from None
    except OSError:
        raise DialError("--mic needs the PortAudio library (Debian: libportaudio2)") from None

    def callback(microphone: Any, speaker: Any, frames: int, at: Any, status: Any) -> None:
        del frames, at, status
        exchange(microphone, speaker)

    try:
        stream: Stream = sounddevice.RawStream(samplerate=RATE, blocksize=BLOCK, channels=1, dtype="int16", callback=callback)
    except (sounddevice.PortAudioError, ValueError) as exc:
        raise DialError(f"no microphone and speaker: {str(exc.args[0] if exc.args else exc).splitlines()[0]}") from None
    return stream


class SoundCard:
    """Microphone and speaker while the block is open."""

    def __init__(self, open_stream: Callable[[Exchange], Stream] = open_portaudio) -> None:
        self._open_stream = open_stream
        self._heard: deque[bytes] = deque(maxlen=MAX_HEARD)
        self._unplayed: deque[bytes] = deque(maxlen=MAX_UNPLAYED)
        self._rest = b""  # of what is to be played: less than a block
        self._flowing = False  # the microphone is ahead of us
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def __enter__(self) -> SoundCard:
        self._stream = self._open_stream(self._exchange)
        self._stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _exchange(self, microphone: Any, speaker: Any) -> None:
        # On the card's thread: a deque's ends are safe to use from two.
        self._heard.append(bytes(microphone))
        try:
            block = self._unplayed.popleft()
        except IndexError:
            block = b""
        memoryview(speaker).cast("B")[:] = block.ljust(2 * BLOCK, b"\0")

    def take(self) -> bytes:
        """The next block of the microphone: PCM16 mono 48 kHz; empty while there is none."""
        if not self._flowing and len(self._heard) < AHEAD:
            return b""
        self._flowing = bool(self._heard)
        return self._heard.popleft() if self._heard else b""

    def play(self, pcm: bytes) -> None:
        """PCM16 mono 24 kHz for the speaker."""
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = SAVE_RATE
        self._rest += b"".join(samples_of(out) for out in self._resampler.resample(frame))
        while len(self._rest) >= 2 * BLOCK:
            self._unplayed.append(self._rest[: 2 * BLOCK])
            self._rest = self._rest[2 * BLOCK :]

    def hush(self) -> None:
        """What is still to be played is not."""
        self._unplayed.clear()
        self._rest = b""
