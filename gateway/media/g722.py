"""G.722 at 64 kb/s (ITU-T G.722; RFC 3551 §4.5.2), by the codec inside PyAV's FFmpeg, one codec object per direction, no threads.

16 kHz mono PCM16; a frame of 20 ms is 320 samples, 640 bytes of PCM, 160 bytes on the wire, and 160 ticks of an RTP clock that is
8000 Hz by an old mistake. The codec's filters delay the audio by 22 samples (1.4 ms).
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Literal

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame as AvFrame
from av.packet import Packet

from gateway.errors import PacketError
from gateway.media.audio import PTIME, SAMPLE_BYTES

RATE = 16_000
"""Hz."""

FRAME_SAMPLES = round(RATE * PTIME)


@functools.cache
def _forbid_threads() -> None:
    """Tell FFmpeg that this machine has one processor.

    PyAV's encoder passes every frame through a filter graph of its own, and a graph starts a thread per processor unless
    there is only one; no setting of the encoder reaches it. `av_cpu_force_count` is libavutil's public word for it. Where the
    library is not the one in PyAV's wheel it is not found here, and the threads then are there, idle.
    """
    for path in sorted(Path(av.__file__).parent.parent.glob("av.libs/libavutil-*.so*")):
        ctypes.CDLL(str(path)).av_cpu_force_count(1)


def _context(mode: Literal["r", "w"]) -> AudioCodecContext:
    _forbid_threads()
    context = av.CodecContext.create("g722", mode)
    context.sample_rate = RATE
    context.layout = "mono"
    context.format = "s16"
    context.thread_count = 1
    return context


class G722Decoder:
    """One stream's decoder. Its state goes with the object."""

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = _context("r")

    def decode(self, payload: bytes) -> bytes:
        """Two samples for every byte; any bytes are valid G.722. Raises `PacketError` for none."""
        if not payload:
            raise PacketError("empty G.722 packet")
        return b"".join(bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES] for frame in self._context.decode(Packet(payload)))


class G722Encoder:
    """One stream's encoder."""

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = _context("w")

    def encode(self, pcm: bytes) -> bytes:
        """One 20 ms frame to 160 bytes. Raises ValueError when `pcm` is of another length."""
        if len(pcm) != FRAME_SAMPLES * SAMPLE_BYTES:
            raise ValueError(f"a G.722 frame is {FRAME_SAMPLES * SAMPLE_BYTES} bytes, not {len(pcm)}")
        frame = AvFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(pcm)
        frame.sample_rate = RATE
        return b"".join(map(bytes, self._context.encode(frame)))
