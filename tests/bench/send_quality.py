"""What the send profile sounds like and costs, against other settings of Opus: `python -m tests.bench.send_quality [--json]`.

PESQ-WB (ITU-T P.862.2, 1 to 4.64) of the shipped voices, encoded from 24 kHz and decoded at 16 kHz, and the CPU of encoding
one packet. Under loss the far end restores from FEC where the next packet came and carries it, and conceals otherwise. The
default profile must not be below voip, complexity 10, 24 kb/s: exit status 1 if it is. Needs `pip install pesq`, which the
gateway itself does not.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
from pesq import pesq

from gateway.media import opus
from gateway.media.opus import Application, OpusDecoder, OpusEncoder, has_fec
from gateway.media.voice import OpusSettings
from tests.audio import floats, frames, joined, resampled, speech

RATE, HEARD = 24_000, 16_000
VOICES = 3
LOSSES = (0.0, 0.02, 0.05, 0.10)
DEFAULT = OpusSettings()


@dataclass(frozen=True)
class Setting:
    """One way to encode. `fec`: with in-band FEC, told the loss there is."""

    name: str
    application: Application
    complexity: int
    bitrate: int
    fec: bool = False

    def encoder(self, loss: float) -> OpusEncoder:
        """A fresh one."""
        return OpusEncoder(
            RATE,
            application=self.application,
            complexity=self.complexity,
            bitrate=self.bitrate,
            fec=self.fec,
            loss=max(5, round(loss * 100)) if self.fec else 0,
        )


@dataclass(frozen=True)
class Row:
    """What was measured: PESQ-WB at each of `LOSSES`, mean over the voices; kb/s and µs of CPU per packet at no loss."""

    name: str
    kilobits: float
    microseconds: float
    pesq: tuple[float, ...]


LOWDELAY, VOIP = Application.RESTRICTED_LOWDELAY, Application.VOIP
CLEAR = Setting("lowdelay, complexity 0 (default)", LOWDELAY, DEFAULT.complexity, DEFAULT.bitrate)
LOSSY = Setting("voip, complexity 1, FEC (under loss)", VOIP, DEFAULT.lossy_complexity, DEFAULT.bitrate, fec=True)
YARDSTICK = Setting("voip, complexity 10 (yardstick)", VOIP, 10, 24_000)
SETTINGS = (
    CLEAR,
    LOSSY,
    YARDSTICK,
    Setting("lowdelay, complexity 0", LOWDELAY, 0, 32_000),
    Setting("lowdelay, complexity 0", LOWDELAY, 0, 48_000),
    Setting("lowdelay, complexity 0", LOWDELAY, 0, 80_000),
    Setting("lowdelay, complexity 5", LOWDELAY, 5, 64_000),
    Setting("voip, complexity 5", VOIP, 5, 24_000),
    Setting("voip, complexity 1, FEC", VOIP, 1, 32_000, fec=True),
    Setting("voip, complexity 5, FEC", VOIP, 5, 48_000, fec=True),
)


def heard(packets: list[bytes], loss: float, seed: int) -> bytes:
    """What the far end plays when this part of the packets is lost at random."""
    lost = np.random.default_rng(seed).random(len(packets)) < loss
    decoder = OpusDecoder(HEARD)
    samples = HEARD // 50
    parts = []
    for index, packet in enumerate(packets):
        following = packets[index + 1] if index + 1 < len(packets) and not lost[index + 1] else b""
        if not lost[index]:
            parts.append(decoder.decode(packet))
        elif has_fec(following):
            parts.append(decoder.decode_fec(following, samples))
        else:
            parts.append(decoder.conceal(samples))
    return joined(parts)


def measure(setting: Setting) -> Row:
    """All voices through one setting at every loss."""
    whole = speech(RATE)
    size = len(whole) // VOICES // 2 * 2
    voices = [whole[begin : begin + size] for begin in range(0, VOICES * size, size)]
    scores = []
    kilobits = microseconds = 0.0
    for loss in LOSSES:
        found = []
        bits = cpu = count = 0.0
        for seed, voice in enumerate(voices):
            encoder = setting.encoder(loss)
            cut = frames(voice, RATE)
            begin = time.thread_time()
            packets = [encoder.encode(frame) for frame in cut]
            cpu += time.thread_time() - begin
            bits += 8 * sum(map(len, packets))
            count += len(packets)
            reference = floats(resampled(voice, RATE, HEARD)).astype(np.int16)
            found.append(pesq(HEARD, reference, floats(heard(packets, loss, seed)).astype(np.int16), "wb"))
        scores.append(round(statistics.mean(found), 2))
        if loss == 0:
            kilobits, microseconds = bits / count / 20, 1e6 * cpu / count
    return Row(setting.name, round(kilobits, 1), round(microseconds, 1), tuple(scores))


def table(rows: list[Row]) -> str:
    """The rows as text."""
    head = f"{'Send profile (' + opus.load() + ')':38} {'kb/s':>6} {'µs':>6}   " + "".join(f"{loss:>7.0%}" for loss in LOSSES)
    body = [
        f"{row.name:38} {row.kilobits:6.1f} {row.microseconds:6.1f}   " + "".join(f"{score:7.2f}" for score in row.pesq)
        for row in rows
    ]
    return "\n".join([f"{'':54} PESQ-WB at a loss of", head, *body])


def main(arguments: list[str]) -> int:
    """Print the table, or JSON; 1 when the default is worse than the yardstick."""
    rows = [measure(setting) for setting in SETTINGS]
    print(json.dumps({"libopus": opus.load(), "rows": [asdict(row) for row in rows]}) if "--json" in arguments else table(rows))
    default, _, yardstick, *_ = rows
    return 0 if default.pesq[0] >= yardstick.pesq[0] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
