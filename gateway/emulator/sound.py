"""Sound for the emulator: resampling, levelling, WAV, and the spoken lines shipped beside this file.

All PCM is 16 bit little-endian mono. Everything here works on a whole utterance at once, not per message.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources

import av
import numpy as np
from numpy.typing import NDArray

OUTPUT_RATE = 24_000
"""Hz of everything the model says."""

_TARGET_RMS = 10 ** (-20 / 20) * 32768
_MAX_PEAK = 10 ** (-2 / 20) * 32768
_MAX_GAIN = 10 ** (24 / 20)

LINES = {
    "greeting": "Hello! I am the gateway's parrot. Say something, and I will say it back.",
    "typed": "You typed something. I only repeat what I hear.",
    "tool": "Thank you, I have the answer.",
    "goodbye": "Goodbye!",
}
"""What the shipped recordings say (espeak-ng, Ogg Opus)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A spoken line: PCM at 24 kHz and its words."""

    pcm: bytes
    words: str


def samples_of(pcm: bytes) -> NDArray[np.int16]:
    """A read-only view; an odd last byte is left out."""
    return np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2)


@cache
def line(name: str) -> Line:
    """One of `LINES`, decoded. Raises KeyError for another name."""
    words = LINES[name]
    data = resources.files("gateway.emulator").joinpath("assets", f"{name}.ogg").read_bytes()
    return Line(decode(data), words)


def decode(data: bytes) -> bytes:
    """Any audio file the bundled libavformat reads (WAV, Ogg, MP3 …) as PCM at 24 kHz. Raises ValueError."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=OUTPUT_RATE)
    pcm = bytearray()
    try:
        with av.open(io.BytesIO(data), "r") as container:
            container.streams.audio[0].codec_context.thread_count = 1
            for frame in (*container.decode(audio=0), None):
                for out in resampler.resample(frame):
                    pcm += bytes(out.planes[0])[: out.samples * 2]
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"not a readable sound file: {error}") from error
    return bytes(pcm)


def resample(pcm: bytes, rate_in: int, rate_out: int = OUTPUT_RATE) -> bytes:
    """The whole utterance at another rate."""
    samples = samples_of(pcm)
    if rate_in == rate_out or not len(samples):
        return samples.tobytes()
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_out)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate_in
    frame.pts, frame.time_base = 0, Fraction(1, rate_in)
    return b"".join(bytes(out.planes[0])[: out.samples * 2] for part in (frame, None) for out in resampler.resample(part))


def level(pcm: bytes) -> bytes:
    """Brought to about −20 dBFS, never clipped, never amplified by more than 24 dB (a whisper is not made a shout)."""
    samples = samples_of(pcm).astype(np.float32)
    if not len(samples):
        return b""
    # The loudness that counts is that of the louder half: an utterance has pauses.
    blocks = samples[: len(samples) // 480 * 480].reshape(-1, 480) if len(samples) >= 480 else samples.reshape(1, -1)
    powers = np.sort((blocks**2).mean(axis=1))
    rms = float(np.sqrt(powers[len(powers) // 2 :].mean()))
    peak = float(np.abs(samples).max())
    if rms < 1 or peak < 1:
        return pcm
    gain = min(_TARGET_RMS / rms, _MAX_PEAK / peak, _MAX_GAIN)
    return (samples * gain).round().clip(-32768, 32767).astype("<i2").tobytes()


def tone(hz: float, seconds: float, *, rate: int = OUTPUT_RATE, dbfs: float = -15.0) -> bytes:
    """A sine with 5 ms ramps, so that it neither clicks nor hides a click."""
    count = round(seconds * rate)
    wave_form = np.sin(2 * np.pi * hz * np.arange(count) / rate) * (10 ** (dbfs / 20) * 32767)
    ramp = min(count // 2, rate // 200)
    if ramp:
        shape = np.linspace(0, 1, ramp, endpoint=False)
        wave_form[:ramp] *= shape
        wave_form[-ramp:] *= shape[::-1]
    return wave_form.round().astype("<i2").tobytes()


def wav(pcm: bytes, rate: int) -> bytes:
    """A WAV file of this PCM."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return out.getvalue()
