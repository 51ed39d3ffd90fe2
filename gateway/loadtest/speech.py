"""What the callers say: a shipped loop of speech, already encoded (tests/loadtest/make_speech.py made it)."""

from __future__ import annotations

import math
from functools import cache
from importlib import resources
from typing import NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame

from gateway.media.opus import Application, OpusEncoder


class SpeechPacket(NamedTuple):
    """20 ms of Opus, and how loud it is: -dBov from 0 (loudest) to 127 (silence), as RFC 6464 writes it."""

    payload: bytes
    level: int
    voice: bool


RATE = 48_000

ROOM = 30.0
"""Root mean square of the noise of a quiet room, of 32,768: -61 dBFS."""

VOICE_LEVEL = 50
"""-dBov; louder than this is speech."""


def level_of(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
    """-dBov of samples in -1…1."""
    power = float(np.mean(np.square(samples))) if samples.size else 0.0
    return 127 if power <= 0 else min(127, max(0, round(-10 * math.log10(power))))


@cache
def speech() -> tuple[SpeechPacket, ...]:
    """The loop, about 16 s. Read once a process: the packets as they lie in the file, decoded only for their levels."""
    path = resources.files("gateway.loadtest") / "assets" / "speech.ogg"
    packets: list[SpeechPacket] = []
    with path.open("rb") as file, av.open(file, "r", format="ogg") as container:
        for packet in container.demux(audio=0):
            payload = bytes(packet)
            if not payload:
                continue
            samples = [
                frame.to_ndarray().astype(np.float64).ravel() for frame in packet.decode() if isinstance(frame, AudioFrame)
            ]
            level = level_of(np.concatenate(samples)) if samples else 127
            packets.append(SpeechPacket(payload, level, level < VOICE_LEVEL))
    return tuple(packets)


@cache
def quiet() -> tuple[SpeechPacket, ...]:
    """A second of a quiet room: the microphone is open and nobody speaks."""
    encoder = OpusEncoder(RATE, application=Application.VOIP, bitrate=32_000, complexity=5)
    room = np.random.default_rng(0).normal(0.0, ROOM, RATE)
    frames = room.astype("<i2").reshape(50, -1)
    return tuple(SpeechPacket(encoder.encode(frame.tobytes()), level_of(frame / 32_768), False) for frame in frames)
