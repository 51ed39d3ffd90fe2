"""The audio formats a leg can carry, as negotiated."""

from __future__ import annotations

import enum
from typing import NamedTuple


class CodecName(enum.StrEnum):
    """Encoding names as SDP spells them, upper-cased."""

    OPUS = "OPUS"
    PCMU = "PCMU"
    PCMA = "PCMA"
    G722 = "G722"
    RED = "RED"
    CN = "CN"
    TELEPHONE_EVENT = "TELEPHONE-EVENT"


SPEECH = frozenset({CodecName.OPUS, CodecName.PCMU, CodecName.PCMA, CodecName.G722})
"""The codecs that carry speech by themselves; the others only accompany one of these."""

NATIVE_RATE = {CodecName.OPUS: 24_000, CodecName.PCMU: 8_000, CodecName.PCMA: 8_000, CodecName.G722: 16_000}
"""Hz of the PCM our encoders take (the rate of `Leg.send`). Opus needs no resampler for the model's 24 kHz."""


class Codec(NamedTuple):
    """One negotiated payload type.

    `clock_rate` is the RTP clock in Hz as SDP states it: 48000 for Opus, and 8000 for G.722 although it samples at 16 kHz
    (RFC 3551 §4.5.2).
    """

    name: CodecName
    payload_type: int
    clock_rate: int
    channels: int = 1
    fmtp: str = ""
