"""One call's Opus encoding: which encoder runs, at what bit rate, as loss and bandwidth come and go.

Two profiles. *Clear*: restricted-lowdelay, complexity 0. *Lossy*: voip with in-band FEC. An encoder cannot change between
them after its first frame, so a change makes a new encoder. Only one exists at a time, and in a long silence none: making one
costs 20 µs and happens seldom, keeping one costs 31 to 43 KiB a call.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.media.audio import MODEL_OUTPUT_RATE, PTIME, SAMPLE_BYTES
from gateway.media.level import peak_dbfs
from gateway.media.opus import Application, OpusEncoder

LOSS_LIMIT = 0.02
"""More loss than this is worth FEC: at 2 % the two profiles sound alike (PESQ-WB 3.24 and 3.27), beyond it the lossy one is
better.
"""

CLEAN_FOR = 10.0
"""Seconds without a lossy report before the clear profile comes back."""

QUIET_DBFS = -40.0
"""A frame below this is a pause: a change of encoder there cannot be heard."""

HURRY, LEISURE = 0.5, 10.0
"""Seconds a change waits for a pause: little when packets are being lost, long when nothing but CPU is to be won."""

OVERHEAD = (20 + 8 + 12 + 10) * 8 * round(1 / PTIME)
"""Bits per second around the payloads: IPv4, UDP, RTP and the SRTP tag of fifty packets."""

_RISE = 1.25


class Profile(enum.Enum):
    """Which of the two encoders runs."""

    CLEAR = "clear"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class OpusSettings:
    """How to spend CPU and bits. The defaults are measured on synthetic speech at 24 kHz mono (PESQ-WB, µs of CPU per packet).

    Bits are nearly free in CPU, complexity is not. Clear: lowdelay complexity 0 at 32 / 48 / 64 kb/s gives 3.23 / 3.58 / 3.90
    for 15 / 18 / 20 µs; voip complexity 10 at 24 kb/s 3.62 for 227 µs. Lossy, at 5 / 10 % loss: voip complexity 1 at 64 kb/s
    gives 3.18 / 2.77 for 81 µs, complexity 5 at 48 kb/s 3.49 / 3.03 for 175 µs; clear would give 2.96 / 2.28.
    tests/bench/send_quality.py prints it all.
    """

    bitrate: int = 64_000
    """Bits per second of either profile while nothing narrows the link."""
    complexity: int = 0
    """Of the clear profile, 0 to 10."""
    lossy_complexity: int = 1
    """Of the lossy profile, 0 to 10."""
    lossy_floor: int = 32_000
    """Loss alone never takes the bit rate below this: at 32 kb/s a link so thin also shows a queue (a growing round trip),
    and a link that just drops packets gains nothing from fewer bits.
    """
    floor: int = 16_000
    """Neither REMB nor loss with a queue goes below this."""


class OpusVoice:
    """Frames of 20 ms PCM16 mono at 24 kHz in, Opus payloads out."""

    __slots__ = (
        "_bitrate",
        "_ceiling",
        "_dirty_at",
        "_encoder",
        "_least_rtt",
        "_loss",
        "_previous",
        "_settings",
        "_waited",
        "_wanted",
        "profile",
    )

    def __init__(self, settings: OpusSettings = OpusSettings()) -> None:
        self._settings = settings
        self._loss = 0.0
        self._ceiling = settings.bitrate
        self._dirty_at = 0.0
        self._least_rtt: float | None = None
        self._previous = bytes(round(MODEL_OUTPUT_RATE * PTIME) * SAMPLE_BYTES)
        self._waited = 0.0
        self.profile = self._wanted = Profile.CLEAR
        self._bitrate = settings.bitrate
        self._encoder: OpusEncoder | None = self._make(Profile.CLEAR, settings.bitrate)

    @property
    def bitrate(self) -> int:
        """Bits per second aimed at now."""
        return self._bitrate

    def encode(self, pcm: bytes) -> bytes:
        """The payload of the next frame. Raises ValueError when `pcm` is not 20 ms."""
        if (encoder := self._encoder) is None:
            return self._change(pcm)
        if self._wanted is not self.profile:
            self._waited += PTIME
            patience = HURRY if self._wanted is Profile.LOSSY else LEISURE
            if self._waited >= patience or peak_dbfs(pcm) < QUIET_DBFS:
                return self._change(pcm)
        self._previous = pcm
        return encoder.encode(pcm)

    def rest(self) -> None:
        """Nothing is to be encoded for a while, and what was last was silence: the encoder goes, the next frame makes another."""
        self._encoder = None

    def rewind(self, pcm: bytes) -> None:
        """What was encoded after the frame `pcm` will never be heard: another encoder goes on from there."""
        self._encoder = None
        self._previous = pcm

    def on_loss(self, loss: float, rtt: float | None, now: float) -> None:
        """The far end lost this part (0 to 1) of what it should have had lately; `rtt` in seconds where known."""
        if rtt is not None and (self._least_rtt is None or rtt < self._least_rtt):
            self._least_rtt = rtt
        # Falls slowly, so that a single clean report does not take the FEC's budget away.
        self._loss = max(loss, (self._loss + loss) / 2)
        if loss > LOSS_LIMIT:
            self._dirty_at = now
            self._want(Profile.LOSSY)
        elif now - self._dirty_at >= CLEAN_FOR:
            self._want(Profile.CLEAR)
        if loss > 0.1:  # the loss-based half of Google congestion control (draft-ietf-rmcat-gcc-02 §6)
            queueing = rtt is not None and self._least_rtt is not None and rtt > self._least_rtt + 0.1
            floor = self._settings.floor if queueing else self._settings.lossy_floor
            self._aim(max(min(floor, self.bitrate), round(self.bitrate * (1 - loss / 2))))
        elif loss <= LOSS_LIMIT:
            self._aim(round(self.bitrate * _RISE))
        if self._encoder is not None and self.profile is Profile.LOSSY:
            self._encoder.loss = self._expected_loss

    def on_remb(self, bitrate: int) -> None:
        """The link carries `bitrate` bits per second, headers included."""
        self._ceiling = max(self._settings.floor, min(self._settings.bitrate, bitrate - OVERHEAD))
        self._aim(self.bitrate)

    @property
    def _expected_loss(self) -> int:
        # Below 5 % libopus hardly spends anything on FEC; above 25 % it would spend everything.
        return min(25, max(5, round(self._loss * 100)))

    def _aim(self, bitrate: int) -> None:
        self._bitrate = min(bitrate, self._ceiling)
        if self._encoder is not None:
            self._encoder.bitrate = self._bitrate

    def _want(self, profile: Profile) -> None:
        if profile is not self._wanted:
            self._wanted = profile
            self._waited = 0.0

    def _change(self, pcm: bytes) -> bytes:
        """Encode `pcm` as the first frame of the other profile.

        A fresh encoder knows nothing of the past, and the frame's overlap with silence is heard as a click: on a tone 15 to
        39 dB above the sharpest bend of the signal, on speech 18 dB. Fed the frame before, its first packet begins as if it
        had always run, and the decoder's own cross-fade does the rest: below 1.5 dB. More frames make it worse, for then it
        predicts from what the decoder has not heard.
        """
        encoder = self._make(self._wanted, self.bitrate)
        encoder.encode(self._previous)
        self._encoder = encoder
        self.profile = self._wanted
        self._previous = pcm
        return encoder.encode(pcm)

    def _make(self, profile: Profile, bitrate: int) -> OpusEncoder:
        if profile is Profile.CLEAR:
            return OpusEncoder(application=Application.RESTRICTED_LOWDELAY, bitrate=bitrate, complexity=self._settings.complexity)
        return OpusEncoder(
            application=Application.VOIP,
            bitrate=bitrate,
            complexity=self._settings.lossy_complexity,
            fec=True,
            loss=self._expected_loss,
        )
