"""How a call sounds, judged by its reports: an estimate of its quality, and what is wrong with it now. Pure.

`mos` is an estimate, not a measurement. It is the E-model (ITU-T G.107) with its defaults, reduced to what a gateway can see
(Cole and Rosenbluth 2001):

    R = 93.2 - Id - Ie,eff        Id = 0.024 d + 0.11 (d - 177.3) above 177.3        d: one-way delay, ms
    Ie,eff = 95 Ppl / (Ppl + Bpl)                                                    Ppl: loss, percent
    MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6

`d` is half of the round trip, the jitter buffer and one packet. `Bpl` is 25.1, that of G.711 with packet loss concealment (G.113
appendix I): none is standardised for Opus. What redundancy has restored is no loss. The caller's own jitter buffer, echo and
microphone are not in it: read it as a trend, and compare calls with calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.events import CallReport, MediaReport
from gateway.media.audio import PTIME

R_BEST = 93.2
BPL = 25.1
DELAY_KNEE = 0.1773
"""Seconds of one-way delay above which people begin to talk over each other."""

BAD_LOSS = 0.05
BAD_RTT = 0.4
BAD_UNDERRUN = 0.02
"""Share of an answer's speaking time. The objective is 0.001 over a month; this is a call that stutters now."""

ONE_WAY_AFTER = 10.0
"""Seconds in which packets pass one way only."""

BAD = ("loss", "rtt", "one_way", "underrun")


def mos(loss: float, rtt: float, buffered: float) -> float:
    """1.0 to 4.5 for one direction: `loss` 0..1 after repair, `rtt` and the jitter buffer's wait in seconds."""
    delay = rtt / 2 + buffered + PTIME
    percent = 100.0 * max(0.0, loss)
    r = R_BEST - 24.0 * delay - 110.0 * max(0.0, delay - DELAY_KNEE) - 95.0 * percent / (percent + BPL)
    if r <= 0.0:
        return 1.0
    return max(1.0, 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6)


@dataclass(slots=True)
class Health:
    """What is wrong with one call now; `bad` holds words of `BAD`."""

    bad: set[str] = field(default_factory=set)
    _silent_in: float = 0.0
    _silent_out: float = 0.0
    _one_way: set[str] = field(default_factory=set)  # directions that have been told

    def media(self, report: MediaReport) -> tuple[str, ...]:
        """A window is over. Gives the directions, `in` or `out`, that have just been found silent; each once a call."""
        self._judge("loss", max(report.loss_ratio_in or 0.0, report.loss_ratio_out or 0.0) > BAD_LOSS)
        self._judge("rtt", report.rtt is not None and report.rtt > BAD_RTT)
        self._silent_in = self._silent_in + report.window if report.packets_out and not report.packets_in else 0.0
        self._silent_out = self._silent_out + report.window if report.packets_in and not report.packets_out else 0.0
        # Windows are 5 s and a little: two of them are ten.
        silent = [name for name, seconds in (("in", self._silent_in), ("out", self._silent_out)) if seconds >= ONE_WAY_AFTER]
        self._judge("one_way", bool(silent))
        news = tuple(name for name in silent if name not in self._one_way)
        self._one_way.update(news)
        return news

    def call(self, report: CallReport) -> None:
        """A window of the call's own buffers is over."""
        speaking = report.playout_speaking_seconds
        self._judge("underrun", report.playout_underrun_seconds > BAD_UNDERRUN * speaking and report.playout_underruns > 0)

    def _judge(self, why: str, bad: bool) -> None:
        (self.bad.add if bad else self.bad.discard)(why)
