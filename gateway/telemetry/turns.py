"""What the product is for: how soon the answer comes, how well it plays, how fast it stops."""

from __future__ import annotations

from gateway.dialog.turns import Turn, TurnEnd
from gateway.events import CallReport, Interrupted
from gateway.telemetry.labels import DEPTH, LAG, PATH, TURN, TURN_ENDS, TURN_KINDS, closed
from gateway.telemetry.series import Make


class TurnMetrics:
    """Turns, barge-in, the call's two buffers."""

    def __init__(self, make: Make) -> None:
        counters, histograms = make.counters, make.histograms
        self._response = histograms(
            "turn_response_seconds",
            "Voice to voice at the gateway's edge: last caller speech in to first audible packet out.",
            TURN,
            "leg",
            "model",
            "kind",
        )
        self._segment = histograms(
            "turn_segment_seconds", "Where a turn's latency went; sums to the response.", TURN, "model", "segment"
        )
        self._turns = counters("turns_total", "Answers, by how they ended.", "model", "end")
        self._barge_in = histograms("barge_in_stop_seconds", "Trigger read to the last stale packet out.", PATH, "trigger")
        self._onset = make.histogram(
            "barge_in_onset_to_stop_seconds", "The caller began to speak to the last stale packet out.", TURN
        )
        self._uplink_added = histograms("uplink_added_seconds", "RTP arrival to its write to the model returning.", PATH, "leg")
        self._downlink_added = histograms(
            "downlink_added_seconds", "Model audio read to its first sample's packet out.", PATH, "leg"
        )
        self._backlog = histograms("uplink_backlog_seconds", "Caller audio waiting for the model's socket.", PATH, "model")
        self._chunk = make.gauge("uplink_chunk_seconds", "Audio per message to the model, as last reported by a call.")
        self._uplink_dropped = counters(
            "uplink_dropped_seconds_total", "Caller audio thrown away because the model did not take it.", "model"
        )
        self._depth = histograms(
            "playout_depth_seconds", "Answer waiting to be played, once a second while speaking.", DEPTH, "leg"
        )
        self._underruns = counters("playout_underruns_total", "Gaps inside an answer.", "leg")
        self._underrun_seconds = counters("playout_underrun_seconds_total", "Seconds of such gaps.", "leg")
        self._speaking = counters("playout_speaking_seconds_total", "Seconds of answers played.", "leg")
        self._stretched = counters(
            "playout_stretched_seconds_total", "Seconds added to pauses between words while more was waited for.", "leg"
        )
        self._discarded = counters("playout_discarded_seconds_total", "Answer seconds never played.", "reason")
        self._pacer_lag = histograms("pacer_lag_seconds", "Tick due to tick done.", LAG, "leg")

    def ended(self, leg: str, model: str, turn: Turn) -> None:
        """An answer is over, or never came."""
        self._turns(model, closed(turn.end, TURN_ENDS)).inc()
        if turn.end in (TurnEnd.SESSION_CLOSED, TurnEnd.ERROR):
            self._discarded("hangup").inc(turn.unheard)
        if turn.response is not None:
            self._response(leg, model, closed(turn.kind, TURN_KINDS)).observe(turn.response)
        for segment, seconds in (
            ("model_first_audio", turn.model_first_audio),
            ("leading_silence", turn.leading_silence),
            ("out", turn.out),
        ):
            if seconds is not None:
                self._segment(model, segment).observe(seconds)

    def interrupted(self, event: Interrupted, since_onset: float | None) -> None:
        """The caller spoke over an answer, and began to `since_onset` seconds ago; None: our own ear did not hear it."""
        self._barge_in("model_interrupted").observe(event.stop)
        self._discarded("barge_in").inc(event.unheard)
        if since_onset is not None:
            self._onset.observe(since_onset)

    def report(self, leg: str, model: str, report: CallReport) -> None:
        """One window of one call's buffers."""
        self._backlog(model).observe(report.uplink_backlog)
        self._chunk.set(report.uplink_chunk)
        self._uplink_dropped(model).inc(report.uplink_dropped_seconds)
        self._underruns(leg).inc(report.playout_underruns)
        self._underrun_seconds(leg).inc(report.playout_underrun_seconds)
        self._speaking(leg).inc(report.playout_speaking_seconds)
        self._stretched(leg).inc(report.playout_stretched_seconds)
        self._discarded("overflow").inc(report.playout_overflow_seconds)
        for metric, samples in (
            (self._uplink_added(leg), report.uplink_added),
            (self._downlink_added(leg), report.downlink_added),
            (self._depth(leg), report.playout_depth),
            (self._pacer_lag(leg), report.pacer_lag),
        ):
            for sample in samples:
                metric.observe(sample)
