"""The outbound half of a WebRTC leg without its socket: frames in, plain RTP and RTCP out (RFC 3550, RFC 3551, RFC 7587).

Called once per 20 ms tick of the worker's clock, or once for several. Nothing is queued here: a frame becomes a packet in the
same call, and what was made for later ticks can be taken back, so nothing stale can follow a barge-in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

import numpy as np

from gateway.media.audio import PTIME, SAMPLE_BYTES, AudioFrame
from gateway.media.codec import NATIVE_RATE, Codec, CodecName
from gateway.media.g711 import alaw_encode, ulaw_encode
from gateway.media.g722 import G722Encoder
from gateway.media.voice import OpusSettings, OpusVoice
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
    round_trip,
)

HANGOVER = 5
"""Silent ticks that are still encoded when speech ends, 100 ms.

The far end's decoder thereby holds digital silence in its overlap, its predictors and its noise estimate before packets stop
coming, and continues exactly that.
"""

KEEP_ALIVE = 20
"""Ticks between packets in silence, 400 ms: libopus's own DTX interval, which every WebRTC receiver knows from Chrome."""

REST = 250
"""Ticks of silence, 5 s, after which the encoder is let go of."""

STALL = 0.15
"""Seconds behind the grid after which the missed ticks are taken for dropped: more than the clock ever catches up.

Their time is then skipped in the timestamps too. Otherwise the far end would hear everything later by that much for the rest
of the call.
"""

ENOUGH = 20
"""Packets a loss figure must rest on: in silence a report covers a dozen, and one lost would count as 8 %."""

_RAMP = 0.005
"""Seconds over which a step to or from silence is spread, so that a cut in mid-word does not click."""

_COMFORT_NOISE = bytes((127,))
"""RFC 3389: noise at -127 dBov, no spectrum."""


class Sender:
    """One call's outgoing stream.

    `packet` takes PCM16 mono frames of 20 ms at `rate` Hz (`NATIVE_RATE` of the codec). `ntp_offset` turns `now` into seconds
    since 1900. `comfort_noise` is the payload type of CN (RFC 3389, 8 kHz) where the far end takes it beside G.711. The first
    sequence number and timestamp are random (RFC 3550 §5.1) unless given.

    `packets` and `octets` count what was made and not taken back; of the far end's latest reports, `lost` is its count of what
    never came, `loss` (0 to 1), `rtt` and `jitter` (seconds) are None before the first.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        ssrc: int,
        cname: str,
        ntp_offset: float = 0.0,
        opus: OpusSettings | None = None,
        comfort_noise: int | None = None,
        first_sequence: int | None = None,
        first_timestamp: int | None = None,
    ) -> None:
        if codec.name not in NATIVE_RATE:
            raise ValueError(f"{codec.name} carries no speech")
        self.codec = codec
        self.rate = NATIVE_RATE[codec.name]
        self.ssrc = ssrc
        self.cname = cname
        self.packets = 0
        self.octets = 0
        self.lost = 0
        self.loss: float | None = None
        self.jitter: float | None = None
        self.rtt: float | None = None
        self.voice: OpusVoice | None = None
        self._encode: Callable[[bytes], bytes]
        match codec.name:
            case CodecName.OPUS:
                self.voice = OpusVoice(opus or OpusSettings())
                self._encode = self.voice.encode
            case CodecName.PCMU:
                self._encode = ulaw_encode
            case CodecName.PCMA:
                self._encode = alaw_encode
            case CodecName.G722:
                self._encode = G722Encoder().encode
        self._comfort_noise = comfort_noise if self.rate == 8_000 else None
        self._ntp_offset = ntp_offset
        self._step = round(codec.clock_rate * PTIME)
        self._sequence = secrets.randbits(16) if first_sequence is None else first_sequence
        self._timestamp = secrets.randbits(32) if first_timestamp is None else first_timestamp
        self._due: float | None = None  # when the coming tick is due; None before the first
        self._silent = 0  # ticks of silence so far
        self._gap = True  # the tick before sent nothing
        self._prepared: list[tuple[bytes, int]] = []  # the last frame sent and those prepared after it: PCM, bytes of payload
        self._zeros = self._speech = bytes(round(self.rate * PTIME) * SAMPLE_BYTES)  # `_speech`: the last frame of it
        self._resting = b""  # the payload of the last encoded silence
        self._highest: int | None = None
        self._expected = self._missed = 0.0

    def packet(self, frame: AudioFrame | None, now: float) -> bytes | None:
        """The RTP packet of this tick, None when nothing is due. Raises ValueError when `frame` is not 20 ms at `rate`.

        Every tick moves the timestamp, every packet the sequence number. In silence (None) Opus sends one packet of one byte
        in 400 ms: fifty would cost the far end and us their encryption and headers and tell nothing, and a receiver that has
        had it plays silence until the next (for Chrome's NetEq it is DTX: comfort noise, no concealment). G.711 and G.722
        know no such packet, and without CN a hole would count as loss: there the last encoded silence goes out again and
        again, encoded once.
        """
        timestamp = self._tick(now)
        payload_type = self.codec.payload_type
        if frame is None:
            self._silent += 1
            if self._silent == REST and self.voice is not None:
                self.voice.rest()
            if self._silent <= HANGOVER:
                payload = self._resting = self._encode(self._fade() if self._silent == 1 else self._zeros)
            elif self._comfort_noise is None and self.voice is None:
                payload = self._resting
            elif (self._silent - HANGOVER) % KEEP_ALIVE == 1:
                payload_type, payload = self._cheapest()
            else:
                self._gap = True
                return None
        else:
            pcm = self._speech = frame.pcm
            if self._silent or self._gap:
                payload = self._begin(pcm)
                if self._gap:  # RFC 3551 §4.1: only after silence in which packets did not follow each other
                    payload_type |= 0x80
                self._silent = 0
            else:
                payload = self._encode(pcm)
        self._gap = False
        return self._packet(payload_type, timestamp, payload)

    @property
    def prepares(self) -> bool:
        """Whether `prepare` may be called: with Opus, whose encoder can be made anew where it has run ahead in vain. G.722's can
        not, and G.711's has nothing to gain."""
        return self.voice is not None

    def prepare(self, frames: Iterable[AudioFrame], now: float) -> list[bytes]:
        """The RTP packets of the ticks after this one, which was at `now` and had a frame of speech.

        They are numbered, stamped and counted as if they had left. Raises ValueError like `packet`.
        """
        prepared = self._prepared = [(self._speech, 0)]
        packets = []
        for frame in frames:
            now += PTIME
            payload = self._encode(frame.pcm)
            prepared.append((frame.pcm, len(payload)))
            packets.append(self._packet(self.codec.payload_type, self._tick(now), payload))
        self._speech = prepared[-1][0]
        return packets

    def rewind(self, packets: int) -> list[AudioFrame]:
        """Barge-in: the last so many of the prepared packets will not leave; gives their frames.

        The next one has the number and the timestamp of the first of them, and the cut itself is smoothed by the next silent
        tick, not by stale audio.
        """
        if not packets:
            return []
        self._sequence = (self._sequence - packets) & 0xFFFF
        self._timestamp = (self._timestamp - packets * self._step) & 0xFFFFFFFF
        assert self._due is not None, "something was prepared"
        self._due -= packets * PTIME
        self.packets -= packets
        unsent = self._prepared[-packets:]
        self.octets -= sum(size for _, size in unsent)
        del self._prepared[-packets:]
        self._speech = self._prepared[-1][0]
        if self.voice is not None:
            self.voice.rewind(self._speech)
        return [AudioFrame(pcm, self.rate) for pcm, _ in unsent]

    def _tick(self, now: float) -> int:
        """The timestamp of this tick."""
        due = self._due
        if due is None:
            due = now
        elif now - due > STALL:
            missed = round((now - due) / PTIME)
            due += missed * PTIME
            self._timestamp = (self._timestamp + missed * self._step) & 0xFFFFFFFF
        self._due = due + PTIME
        timestamp = self._timestamp
        self._timestamp = (timestamp + self._step) & 0xFFFFFFFF
        return timestamp

    def _packet(self, payload_type: int, timestamp: int, payload: bytes) -> bytes:
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return RTP_HEADER.pack(0x80, payload_type, sequence, timestamp, self.ssrc) + payload

    def left(self, unsent: int) -> tuple[int, int]:
        """Packets, and bytes of their payloads, but for the last `unsent` of the prepared ones: what never goes down."""
        return self.packets - unsent, self.octets - sum(size for _, size in self._prepared[len(self._prepared) - unsent :])

    def report(self, now: float, received: ReportBlock | None, unsent: int = 0) -> bytes:
        """A compound RTCP packet with our SR (an RR before the first packet), what we `received`, and our CNAME.

        `unsent`: of the prepared packets, those that have not left yet.
        """
        blocks = () if received is None else (received,)
        if self._due is None or not self.packets:
            opening = build_rr(ReceiverReport(self.ssrc, blocks))
        else:
            # `_timestamp` is that of the tick due at `_due`: the grid, not the moment a late tick really ran.
            timestamp = self._timestamp + round((now - self._due) * self.codec.clock_rate) & 0xFFFFFFFF
            ntp = ntp_timestamp(now + self._ntp_offset)
            opening = build_sr(SenderReport(self.ssrc, ntp, timestamp, *self.left(unsent), blocks))
        return opening + build_sdes(self.ssrc, self.cname)

    def goodbye(self) -> bytes:
        """The compound RTCP packet that ends the stream. A compound opens with a report, here one of nothing (RFC 3550 §6.1)."""
        return build_rr(ReceiverReport(self.ssrc)) + build_sdes(self.ssrc, self.cname) + build_bye((self.ssrc,))

    def on_report(self, block: ReportBlock, now: float) -> None:
        """What the far end says of our stream; a block about another stream is none of our business."""
        if block.ssrc != self.ssrc:
            return
        self.lost = max(0, block.packets_lost)
        self.jitter = block.jitter / self.codec.clock_rate
        rtt = round_trip(block, ntp_timestamp(now + self._ntp_offset))
        if rtt is not None:
            self.rtt = rtt
        passed = self.packets if self._highest is None else block.highest_sequence - self._highest & 0xFFFFFFFF
        self._highest = block.highest_sequence
        self._expected += passed
        self._missed += passed * block.fraction
        if self._expected >= ENOUGH:
            self.loss = self._missed / self._expected
            self._expected = self._missed = 0.0
            if self.voice is not None:
                self.voice.on_loss(self.loss, self.rtt, now)

    def on_remb(self, bitrate: int) -> None:
        """The far end's estimate of what it can receive, in bits per second, headers included."""
        if self.voice is not None:
            self.voice.on_remb(bitrate)

    def _begin(self, pcm: bytes) -> bytes:
        """The payload of a talkspurt's first frame, its first sample's step from silence taken out."""
        step = int.from_bytes(pcm[:SAMPLE_BYTES], "little", signed=True)
        if step:
            pcm = _slope(pcm, -step, round(self.rate * _RAMP))
        return self._encode(pcm)

    def _fade(self) -> bytes:
        """A frame of silence that begins where speech broke off."""
        step = int.from_bytes(self._speech[-SAMPLE_BYTES:], "little", signed=True)
        return _slope(self._zeros, step, round(self.rate * _RAMP)) if step else self._zeros

    def _cheapest(self) -> tuple[int, bytes]:
        """Payload type and payload of a packet that only says: still silent."""
        if self._comfort_noise is not None:
            return self._comfort_noise, _COMFORT_NOISE
        # One frame of no bytes, in the mode of the packet before (RFC 6716 §3.1: the table-of-contents byte alone).
        return self.codec.payload_type, bytes((self._resting[0] & 0xFC,))


def _slope(pcm: bytes, step: int, samples: int) -> bytes:
    """`pcm` with a straight line from `step` down to 0 added to its first `samples`."""
    head = np.frombuffer(pcm, "<i2", samples) + np.linspace(step, 0, samples)
    return np.clip(head, -32_768, 32_767).astype("<i2").tobytes() + pcm[samples * SAMPLE_BYTES :]
