"""G.711 by table: PCM16 mono at 8 kHz to and from one byte a sample (ITU-T G.711; RFC 3551 §4.5.14, payload types 0 and 8).

A frame of 20 ms is 160 samples, 320 bytes of PCM, 160 bytes on the wire. Decoding accepts any bytes; encoding raises ValueError
for half a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 8_000
"""Hz."""

ULAW_SILENCE = 0xFF
"""The byte of PCM zero in mu-law."""

ALAW_SILENCE = 0xD5
"""The byte of PCM +8 in A-law, the smallest it has: A-law knows no zero."""


def _ulaw_encode_table() -> NDArray[np.uint8]:
    """Indexed by the sample as an unsigned 16-bit number."""
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    # 14-bit magnitude with the bias of 33, scaled by 4 to 16 bits; clipped where the last segment ends.
    magnitude = np.minimum(np.abs(sample), 32_635) + 132
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = magnitude >> segment + 3 & 15
    sign = np.where(sample < 0, 0x80, 0)
    codes: NDArray[np.uint8] = (~(sign | segment << 4 | mantissa) & 0xFF).astype(np.uint8)
    return codes


def _ulaw_decode_table() -> NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 15) << 3) + 132 << (code >> 4 & 7)) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_encode_table() -> NDArray[np.uint8]:
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    # 12 bits of magnitude; one's complement for negative samples, so that -1 falls into the first negative interval.
    magnitude = np.where(sample < 0, ~sample, sample) >> 4
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 3, 0)
    mantissa = magnitude >> np.maximum(segment - 1, 0) & 15
    sign = np.where(sample < 0, 0, 0x80)
    codes: NDArray[np.uint8] = ((sign | segment << 4 | mantissa) ^ 0x55).astype(np.uint8)
    return codes


def _alaw_decode_table() -> NDArray[np.int16]:
    code = np.arange(256) ^ 0x55
    segment = code >> 4 & 7
    step = ((code & 15) << 4) + 8
    magnitude = np.where(segment == 0, step, step + 256 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_ULAW_ENCODE = _ulaw_encode_table()
_ULAW_DECODE = _ulaw_decode_table()
_ALAW_ENCODE = _alaw_encode_table()
_ALAW_DECODE = _alaw_decode_table()


def _lookup(table: NDArray[Any], index: NDArray[Any]) -> bytes:
    found: bytes = table[index].tobytes()
    return found


def ulaw_decode(payload: bytes) -> bytes:
    """PCMU to PCM16."""
    return _lookup(_ULAW_DECODE, np.frombuffer(payload, np.uint8))


def ulaw_encode(pcm: bytes) -> bytes:
    """PCM16 to PCMU."""
    return _lookup(_ULAW_ENCODE, np.frombuffer(pcm, np.uint16))


def alaw_decode(payload: bytes) -> bytes:
    """PCMA to PCM16."""
    return _lookup(_ALAW_DECODE, np.frombuffer(payload, np.uint8))


def alaw_encode(pcm: bytes) -> bytes:
    """PCM16 to PCMA."""
    return _lookup(_ALAW_ENCODE, np.frombuffer(pcm, np.uint16))
