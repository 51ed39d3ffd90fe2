"""G.722 at 64 kb/s (ITU-T G.722; RFC 3551 §4.5.2), by the codec inside PyAV's FFmpeg, one codec object per direction, no threads.

16 kHz mono PCM16; a frame of 20 ms is 320 samples, 640 bytes of PCM, 160 bytes on the wire, and 160 ticks of an RTP clock that is
8000 Hz by an old mistake. The codec's filters delay the audio by 22 samples (1.4 ms).
"""

from __future__ import annotations

from typing import Literal

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame as AvFrame
from av.packet import Packet

from gateway.errors import PacketError
from gateway.media.audio import SAMPLE_BYTES

RATE = 16_000
"""Hz."""

SAMPLES_PER_BYTE = 2


def _context(mode: Literal["r", "w"]) -> AudioCodecContext:
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
        """PCM16 at 16 kHz to 64 kb/s. Raises ValueError unless `pcm` holds a whole, even number of samples, at least two."""
        if not pcm or len(pcm) % (SAMPLE_BYTES * SAMPLES_PER_BYTE):
            raise ValueError(f"{len(pcm)} bytes are not pairs of 16-bit samples")
        frame = AvFrame(format="s16", layout="mono", samples=len(pcm) // SAMPLE_BYTES)
        frame.planes[0].update(pcm)
        frame.sample_rate = RATE
        return b"".join(map(bytes, self._context.encode(frame)))
