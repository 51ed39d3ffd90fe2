"""A call's own figures in plain numbers: what its reports every few seconds and its summary at the end are made of."""

from __future__ import annotations

import statistics
from collections import Counter, deque

from gateway.dialog.turns import Turn, TurnEnd
from gateway.events import CallReport, CallSummary
from gateway.media.playout import Playout
from gateway.media.uplink import Uplink

SAMPLES = 64
"""Latency samples kept between two reports; the oldest gives way."""

RESPONSES = 256
"""Turns whose response time is kept for the call's median; the oldest gives way."""


class Account:
    """Counts of one call. The call adds to it; `report` and `summary` read it."""

    def __init__(self, now: float) -> None:
        self.turns = 0
        self.interruptions = 0
        self.messages = 0
        self.digits = 0
        self.errors = 0
        self.tokens: Counter[str] = Counter()
        self.uplink_added: deque[float] = deque(maxlen=SAMPLES)
        self.downlink_added: deque[float] = deque(maxlen=SAMPLES)
        self.playout_depth: deque[float] = deque(maxlen=SAMPLES)
        self.pacer_lag: deque[float] = deque(maxlen=SAMPLES)
        self._responses: deque[float] = deque(maxlen=RESPONSES)
        self._reported_at = now
        self._dropped = 0.0
        self._underruns = 0
        self._underrun_seconds = 0.0
        self._speaking = 0.0
        self._stretched = 0.0
        self._overflow = 0.0

    def add(self, turn: Turn) -> None:
        """A turn is over. An unanswered one is no turn of the conversation, but an error of it."""
        if turn.end is TurnEnd.NO_RESPONSE:
            self.errors += 1
            return
        self.turns += 1
        if turn.response is not None:
            self._responses.append(turn.response)

    def report(self, now: float, uplink: Uplink, playout: Playout) -> CallReport:
        """What happened since the last report."""
        report = CallReport(
            window=now - self._reported_at,
            uplink_backlog=uplink.backlog,
            uplink_chunk=uplink.chunk,
            uplink_dropped_seconds=uplink.dropped - self._dropped,
            uplink_added=tuple(self.uplink_added),
            downlink_added=tuple(self.downlink_added),
            playout_depth=tuple(self.playout_depth),
            playout_underruns=playout.underruns - self._underruns,
            playout_underrun_seconds=playout.underrun_seconds - self._underrun_seconds,
            playout_speaking_seconds=playout.speaking_seconds - self._speaking,
            playout_stretched_seconds=playout.stretched_seconds - self._stretched,
            playout_overflow_seconds=playout.overflow_seconds - self._overflow,
            pacer_lag=tuple(self.pacer_lag),
        )
        for samples in (self.uplink_added, self.downlink_added, self.playout_depth, self.pacer_lag):
            samples.clear()
        self._reported_at = now
        self._dropped = uplink.dropped
        self._underruns, self._underrun_seconds = playout.underruns, playout.underrun_seconds
        self._speaking, self._overflow = playout.speaking_seconds, playout.overflow_seconds
        self._stretched = playout.stretched_seconds
        return report

    def summary(self, seconds: float) -> CallSummary:
        """The account of the whole call."""
        return CallSummary(
            seconds=seconds,
            turns=self.turns,
            interruptions=self.interruptions,
            caller_messages=self.messages,
            errors=self.errors,
            tokens=dict(self.tokens),
            response_median=statistics.median(self._responses) if self._responses else None,
        )
