"""The caller's network and what it did to the sound: one observation a window of a call, never one a packet."""

from __future__ import annotations

from gateway.events import MediaReport, PacketsWithheld, PathSelected
from gateway.telemetry.labels import CANDIDATES, JITTER, LOSS, MOS, PATH, RTT, closed
from gateway.telemetry.quality import BAD, Health, mos
from gateway.telemetry.series import Make


class MediaMetrics:
    """RTP both ways, concealment, the jitter buffer, and how it adds up."""

    def __init__(self, make: Make) -> None:
        counters, histograms = make.counters, make.histograms
        self._packets = counters("rtp_packets_total", "RTP packets.", "leg", "dir")
        self._bytes = counters("rtp_bytes_total", "RTP bytes.", "leg", "dir")
        self._lost = counters("rtp_lost_total", "Packets that never came; out: as RTCP reports.", "leg", "dir")
        self._late = counters("rtp_late_discarded_total", "Packets that came too late to be played.", "leg")
        self._reordered = counters("rtp_reordered_total", "Packets that came after a later one.", "leg")
        self._duplicate = counters("rtp_duplicate_total", "Packets that came twice.", "leg")
        self._malformed = counters("rtp_malformed_total", "RTP, RTCP or payloads that do not parse.", "leg")
        self._channel = counters(
            "data_channel_dropped_total", "Of callers on the data channel: what makes no sense, or is over a limit.", "reason"
        )
        self._withheld = counters(
            "rtp_withheld_total", "Packets thrown away for a demonstration; callers asked for it.", "leg", "dir"
        )
        self._srtp_failed = make.counter("srtp_auth_failures_total", "SRTP packets with a wrong authentication tag.")
        self._loss_ratio = histograms("rtp_loss_ratio", "Loss in one window of a call.", LOSS, "leg", "dir")
        self._jitter = histograms("rtp_jitter_seconds", "RFC 3550 interarrival jitter.", JITTER, "leg", "dir")
        self._rtt = histograms("rtp_rtt_seconds", "Round trip by RTCP.", RTT, "leg")
        self._concealed = counters("audio_concealed_seconds_total", "Caller audio repaired or invented.", "leg", "kind")
        self._expected = counters("audio_expected_seconds_total", "Caller audio that should have come.", "leg")
        self._buffered = histograms("jitter_buffer_delay_seconds", "Mean wait of a packet before it is decoded.", PATH, "leg")
        self._paths = counters(
            "ice_selected_total", "Network paths, by what each side's address is.", "local_type", "remote_type"
        )
        self._switches = counters("ice_pair_switches_total", "Calls that moved to another path while they lasted.", "result")
        self._mos = histograms(
            "call_mos_estimate", "Estimate by a reduced E-model (telemetry/quality.py), a window at a time.", MOS, "leg", "dir"
        )
        self._one_way = counters("calls_one_way_audio_total", "Calls in which nothing came one way for 10 s.", "dir")
        for direction in ("in", "out"):
            self._one_way(direction)
        self._bad_now = make.gauges("calls_bad_now", "Calls with something wrong in their last window.", "leg", "why")

    def observe(self, leg: str, report: MediaReport, health: Health | None) -> None:
        """One window of one call; None: one that is over already."""
        for direction, packets, size, lost, ratio, jitter in (
            ("in", report.packets_in, report.bytes_in, report.lost_in, report.loss_ratio_in, report.jitter_in),
            ("out", report.packets_out, report.bytes_out, report.lost_out, report.loss_ratio_out, report.jitter_out),
        ):
            self._packets(leg, direction).inc(packets)
            self._bytes(leg, direction).inc(size)
            self._lost(leg, direction).inc(max(0, lost))  # RTCP's cumulative loss can shrink: duplicates count against it
            if ratio is not None:
                self._loss_ratio(leg, direction).observe(ratio)
            if jitter is not None:
                self._jitter(leg, direction).observe(jitter)
        self._late(leg).inc(report.late)
        self._reordered(leg).inc(report.reordered)
        self._duplicate(leg).inc(report.duplicate)
        self._malformed(leg).inc(report.malformed)
        self._srtp_failed.inc(report.srtp_failed)
        self._channel("malformed").inc(report.channel_malformed)
        self._channel("limit").inc(report.channel_excess)
        self._concealed(leg, "fec").inc(report.fec_seconds)
        self._concealed(leg, "plc").inc(report.plc_seconds)
        self._concealed(leg, "silence").inc(report.silence_seconds)
        self._expected(leg).inc(report.expected_seconds)
        if report.rtt is not None:
            self._rtt(leg).observe(report.rtt)
        if report.jitter_buffer_delay is not None:
            self._buffered(leg).observe(report.jitter_buffer_delay)
        self._estimate(leg, report)
        if health is None:
            return
        before = set(health.bad)
        for direction in health.media(report):
            self._one_way(direction).inc()
        self.changed(leg, before, health.bad)

    def withheld(self, leg: str, event: PacketsWithheld) -> None:
        """A demonstration of a bad network is over."""
        self._withheld(leg, "in").inc(event.lost_in)
        self._withheld(leg, "out").inc(event.lost_out)

    def path(self, event: PathSelected) -> None:
        """ICE has a path, or another one."""
        if event.again:
            self._switches("ok").inc()
        else:
            self._paths(closed(event.local, CANDIDATES), closed(event.remote, CANDIDATES)).inc()

    def _estimate(self, leg: str, report: MediaReport) -> None:
        rtt = report.rtt
        if rtt is None:  # until RTCP has told it there is no delay to judge by
            return
        if report.packets_in and report.expected_seconds > 0.0:
            invented = report.plc_seconds / report.expected_seconds
            self._mos(leg, "in").observe(mos(invented, rtt, report.jitter_buffer_delay or 0.0))
        if report.loss_ratio_out is not None:
            self._mos(leg, "out").observe(mos(report.loss_ratio_out, rtt, 0.0))

    def changed(self, leg: str, before: set[str], after: set[str]) -> None:
        """A call has another set of things wrong with it."""
        for why in BAD:
            if (why in before) != (why in after):
                self._bad_now(leg, why).inc(1 if why in after else -1)
