"""How gateway/loadtest/assets/speech.ogg was made: `python tests/loadtest/make_speech.py`. Needs espeak-ng.

Two voices, sentences with the pauses of somebody who waits for an answer; mono Opus as Chrome sends it: voip, 32 kb/s,
20 ms, in-band FEC.
"""

from __future__ import annotations

import io
import subprocess
import wave
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame

TARGET = Path(__file__).parents[2] / "gateway" / "loadtest" / "assets" / "speech.ogg"
RATE = 48_000
SENTENCES = (
    ("en-us+f3", "Hello, I would like to ask when my parcel is going to arrive.", 1.2),
    ("en-gb+m2", "Could you tell me whether the office is open on Saturday morning?", 1.4),
    ("en-us+f3", "Thank you. And what do I need to bring with me?", 1.6),
)


def say(voice: str, text: str) -> np.ndarray:
    """16-bit mono at `RATE`, peaks at half scale."""
    spoken = subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "--stdout", text], check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(float)
    at = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
    samples = np.interp(at, np.arange(len(samples)), samples)
    return (samples / np.abs(samples).max() * 16_000).astype(np.int16)


def main() -> None:
    """Writes the asset."""
    noise = np.random.default_rng(1)
    parts = []
    for voice, text, pause in SENTENCES:
        parts += [say(voice, text), np.zeros(int(pause * RATE), np.int16)]
    pcm = np.concatenate(parts)
    pcm = pcm[: len(pcm) // 960 * 960] + noise.integers(-6, 7, len(pcm) // 960 * 960).astype(np.int16)
    with av.open(str(TARGET), "w", format="ogg") as file:
        options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "5", "vbr": "on"}
        stream = file.add_stream("libopus", rate=RATE, options=options)
        stream.layout = "mono"
        stream.bit_rate = 32_000
        for start in range(0, len(pcm), 960):
            frame = AudioFrame.from_ndarray(pcm[None, start : start + 960], format="s16", layout="mono")
            frame.sample_rate = RATE
            frame.pts = start
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    print(TARGET, TARGET.stat().st_size, "bytes,", len(pcm) / RATE, "seconds")


if __name__ == "__main__":
    main()
