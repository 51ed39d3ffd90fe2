"""The outbound half of a WebRTC leg without its socket: frames in, plain RTP and RTCP out.

Called once per 20 ms tick of the worker's clock. Nothing is queued here: a frame becomes a packet in the same call, so after a
barge-in nothing stale can follow.
"""

from __future__ import annotations

import random

from gateway.media.audio import PTIME, AudioFrame
from gateway.media.codec import NATIVE_RATE, Codec, CodecName
from gateway.media.opus import Application, OpusEncoder
from gateway.wire.rtp import (
    RTP_HEADER,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    build_bye,
    build_rr,
    build_sdes,
    build_sr,
    ntp_timestamp,
)


class Sender:
    """One call's outgoing stream. `ntp_offset` turns `now` into seconds since 1900."""

    def __init__(self, codec: Codec, *, ssrc: int, cname: str, ntp_offset: float = 0.0) -> None:
        assert codec.name is CodecName.OPUS
        self.codec = codec
        self.rate = NATIVE_RATE[codec.name]
        self.ssrc = ssrc
        self.cname = cname
        self.packets = 0
        self.octets = 0
        self.rtt: float | None = None
        self.loss = 0.0
        self._ntp_offset = ntp_offset
        self._step = round(codec.clock_rate * PTIME)
        self._sequence = random.getrandbits(16)
        self._timestamp = random.getrandbits(32)
        self._silent = True
        self._encoder = OpusEncoder(self.rate, application=Application.RESTRICTED_LOWDELAY, bitrate=64_000, complexity=0)
        self._silence = bytes(round(self.rate * PTIME) * 2)
        self._last_now = 0.0

    def packet(self, frame: AudioFrame | None, now: float) -> bytes | None:
        """The plain RTP packet of this tick, or None when nothing needs to be sent."""
        marker = frame is not None and self._silent
        self._silent = frame is None
        payload = self._encoder.encode(frame.pcm if frame is not None else self._silence)
        self._timestamp = (self._timestamp + self._step) & 0xFFFFFFFF
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._last_now = now
        self.packets += 1
        self.octets += len(payload)
        second = self.codec.payload_type | 0x80 if marker else self.codec.payload_type
        return RTP_HEADER.pack(0x80, second, self._sequence, self._timestamp, self.ssrc) + payload

    def clear(self) -> None:
        """Barge-in: nothing is held here, so nothing stale can follow."""

    def report(self, now: float, received: ReportBlock | None) -> bytes:
        """A compound RTCP packet: SR and SDES."""
        reports = (received,) if received is not None else ()
        elapsed = round((now - self._last_now) * self.codec.clock_rate)
        timestamp = (self._timestamp + elapsed) & 0xFFFFFFFF
        ntp = ntp_timestamp(now + self._ntp_offset)
        return build_sr(SenderReport(self.ssrc, ntp, timestamp, self.packets, self.octets, reports)) + build_sdes(
            self.ssrc, self.cname
        )

    def goodbye(self) -> bytes:
        """The compound RTCP packet that ends the stream."""
        return build_rr(ReceiverReport(self.ssrc)) + build_sdes(self.ssrc, self.cname) + build_bye((self.ssrc,))

    def on_report(self, block: ReportBlock, now: float) -> None:
        """The far end reports on our stream."""
        self.loss = block.fraction

    def on_remb(self, bitrate: int) -> None:
        """The far end's estimate of the link, in bits per second."""
