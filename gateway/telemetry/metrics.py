"""Every metric of the gateway, fed by call events and a few plain setters.

Names, labels and buckets are one catalogue; the help texts say what each tells. Rules that keep it affordable and safe:

* one registry, given by the caller; one process is one registry is one `/metrics` (never prometheus multiprocess mode);
* label values come from closed sets, anything else becomes `other`: no call id, address, SDP or exception text is ever a label;
* nothing here runs per packet: the media path counts in plain integers and reports them about every 5 s, and the UDP
  socket's counters are read when a scrape asks. Label children are looked up once and kept (a cached `inc` costs 1 µs,
  an uncached `labels()` two more).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from gateway import __version__
from gateway.dialog.prices import AS_OF
from gateway.dialog.turns import Turn
from gateway.events import (
    BudgetReached,
    CallEnded,
    CallerSaid,
    CallerStartedSpeaking,
    CallerStoppedSpeaking,
    CallEvent,
    CallInfo,
    CallReport,
    CallSetUp,
    CallStarted,
    Interrupted,
    LegKind,
    MediaReport,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelHeard,
    ModelLeaving,
    ModelMessageSkipped,
    ModelSaid,
    ModelStartedSpeaking,
    ModelStoppedSpeaking,
    ModelSwapped,
    Moderated,
    Refusal,
    StageReached,
    StateChanged,
    TokensUsed,
    ToolEnded,
    Trouble,
    TurnEnded,
)
from gateway.telemetry.labels import (
    AUTH_REASONS,
    AUTH_SURFACES,
    CLOSE_CODES,
    CONNECT_KINDS,
    DEPTH,
    DIRECTIONS,
    DURATION,
    JITTER,
    LAG,
    LEAD,
    LEGS,
    LOOP_LAG,
    LOSS,
    MAX_MODELS,
    MAX_ROUTES,
    METHODS,
    MODALITIES,
    OTHER,
    PATH,
    REFUSALS,
    RESUMPTIONS,
    RTT,
    SDP_REASONS,
    SETUP,
    STAGES,
    STATUSES,
    TOKEN_CLASSES,
    TURN,
    TURN_ENDS,
    TURN_KINDS,
    closed,
)
from gateway.telemetry.tools import ToolMetrics
from gateway.telemetry.udp import UdpDrops

M = TypeVar("M", Counter, Gauge, Histogram)


class _Children(Generic[M]):
    """The children of one labelled metric, looked up once each."""

    __slots__ = ("_known", "_metric")

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._known: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        child = self._known.get(labels)
        if child is None:
            child = self._known[labels] = self._metric.labels(*labels)
        return child


@dataclass(slots=True)
class _Live:
    """What must be remembered of a call until it ends."""

    set_up: bool = False
    model: str = ""
    """The model that answers now, where it is not the call's first."""
    model_open: bool = False


class Metrics:
    """Observer of every call of one worker, and the worker's own gauges.

    `models` are the configured model names (the first 8 count as label values), `tools` the functions of the profiles. Not
    thread-safe: call it on the event loop.
    """

    def __init__(self, registry: CollectorRegistry, models: Sequence[str] = (), tools: Sequence[str] = ()) -> None:
        # A `_created` series beside every counter and histogram child: nobody asks for it, and it is a switch of the process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self._models = frozenset(models[:MAX_MODELS])
        self._routes: set[str] = set()
        self._live: dict[str, _Live] = {}
        self._is_draining = False
        self._make_call_metrics()
        self._make_media_metrics()
        self._make_dialog_metrics()
        self._make_worker_metrics()
        self.tools = ToolMetrics(registry, tools)

    # --- the catalogue ---

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"gateway_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"gateway_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _make_call_metrics(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._attempts = _Children(counter("call_attempts_total", "Offers accepted for processing.", "leg", "eligible"))
        self._active = _Children(gauge("calls_active", "Live calls.", "leg"))
        self._capacity = gauge("call_capacity", "Calls this worker admits at most.")
        self._ended = _Children(counter("calls_ended_total", "Calls that are over, by cause.", "leg", "result", "cause"))
        self._duration = _Children(histogram("call_duration_seconds", "Length of a call.", DURATION, "leg"))
        self._setup = _Children(
            histogram("call_setup_seconds", "Offer received to caller heard and model ready.", SETUP, "leg", "result")
        )
        self._stage = _Children(
            histogram("call_setup_stage_seconds", "One step of the setup, since the step before.", SETUP, "leg", "stage")
        )

    def _make_media_metrics(self) -> None:
        counter, histogram = self._counter, self._histogram
        self._packets = _Children(counter("rtp_packets_total", "RTP packets.", "leg", "dir"))
        self._bytes = _Children(counter("rtp_bytes_total", "RTP bytes.", "leg", "dir"))
        self._lost = _Children(counter("rtp_lost_total", "Packets that never came; out: as RTCP reports.", "leg", "dir"))
        self._late = _Children(counter("rtp_late_discarded_total", "Packets that came too late to be played.", "leg"))
        self._reordered = _Children(counter("rtp_reordered_total", "Packets that came after a later one.", "leg"))
        self._duplicate = _Children(counter("rtp_duplicate_total", "Packets that came twice.", "leg"))
        self._malformed = _Children(counter("rtp_malformed_total", "RTP, RTCP or payloads that do not parse.", "leg"))
        self._srtp_failed = counter("srtp_auth_failures_total", "SRTP packets with a wrong authentication tag.")
        self._loss_ratio = _Children(histogram("rtp_loss_ratio", "Loss in one window of a call.", LOSS, "leg", "dir"))
        self._jitter = _Children(histogram("rtp_jitter_seconds", "RFC 3550 interarrival jitter.", JITTER, "leg", "dir"))
        self._rtt = _Children(histogram("rtp_rtt_seconds", "Round trip by RTCP.", RTT, "leg"))
        self._concealed = _Children(counter("audio_concealed_seconds_total", "Caller audio repaired or invented.", "leg", "kind"))
        self._expected = _Children(counter("audio_expected_seconds_total", "Caller audio that should have come.", "leg"))
        self._buffered = _Children(
            histogram("jitter_buffer_delay_seconds", "Mean wait of a packet before it is decoded.", PATH, "leg")
        )

    def _make_dialog_metrics(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._response = _Children(
            histogram(
                "turn_response_seconds",
                "Voice to voice at the gateway's edge: last caller speech in to first audible packet out.",
                TURN,
                "leg",
                "model",
                "kind",
            )
        )
        self._segment = _Children(
            histogram("turn_segment_seconds", "Where a turn's latency went; sums to the response.", TURN, "model", "segment")
        )
        self._turns = _Children(counter("turns_total", "Answers, by how they ended.", "model", "end"))
        self._barge_in = _Children(
            histogram("barge_in_stop_seconds", "Trigger read to the last stale packet out.", PATH, "trigger")
        )
        self._uplink_added = _Children(
            histogram("uplink_added_seconds", "RTP arrival to its write to the model returning.", PATH, "leg")
        )
        self._downlink_added = _Children(
            histogram("downlink_added_seconds", "Model audio read to its first sample's packet out.", PATH, "leg")
        )
        self._backlog = _Children(
            histogram("uplink_backlog_seconds", "Caller audio waiting for the model's socket.", PATH, "model")
        )
        self._chunk = gauge("uplink_chunk_seconds", "Audio per message to the model, as last reported by a call.")
        self._uplink_dropped = _Children(
            counter("uplink_dropped_seconds_total", "Caller audio thrown away because the model did not take it.", "model")
        )
        self._depth = _Children(
            histogram("playout_depth_seconds", "Answer waiting to be played, once a second while speaking.", DEPTH, "leg")
        )
        self._underruns = _Children(counter("playout_underruns_total", "Gaps inside an answer.", "leg"))
        self._underrun_seconds = _Children(counter("playout_underrun_seconds_total", "Seconds of such gaps.", "leg"))
        self._speaking = _Children(counter("playout_speaking_seconds_total", "Seconds of answers played.", "leg"))
        self._discarded = _Children(counter("playout_discarded_seconds_total", "Answer seconds never played.", "reason"))
        self._pacer_lag = _Children(histogram("pacer_lag_seconds", "Tick due to tick done.", LAG, "leg"))
        self._sessions = _Children(gauge("model_sessions_active", "Open model sessions.", "model"))
        self._connects = _Children(counter("model_connects_total", "Model connects.", "model", "kind", "result"))
        self._connect_seconds = _Children(
            histogram("model_connect_seconds", "Connect to setup complete.", SETUP, "model", "kind", "result")
        )
        self._closes = _Children(counter("model_closes_total", "Model sockets closed, by code.", "model", "code"))
        self._skipped = _Children(counter("model_messages_skipped_total", "Model messages that do not parse.", "model"))
        self._cost = _Children(
            counter("model_cost_usd_total", f"What the tokens cost by the price table of {AS_OF}, US dollars.", "model")
        )
        self._budget = gauge("budget_used_ratio", "Share of the gateway's daily budget that is used up, by its tightest limit.")
        self._tokens = _Children(
            counter("model_tokens_total", "Tokens the model reports.", "model", "direction", "modality", "class")
        )

        self._resumptions = _Children(
            counter("model_resumptions_total", "Sessions that went on on another socket.", "model", "result")
        )
        self._goaways = _Children(counter("model_goaway_total", "Announced ends of a model connection.", "model"))
        self._goaway_lead = _Children(
            histogram("model_goaway_lead_seconds", "How long before the end it was announced.", LEAD, "model")
        )
        self._swap_gap = _Children(
            histogram("model_swap_gap_seconds", "Audio missing to or from the model in a swap, as heard.", TURN, "model", "kind")
        )
        self._replayed = _Children(
            counter("model_uplink_replayed_seconds_total", "Caller audio said again after a swap.", "kind")
        )
        self._swap_lost = _Children(counter("model_uplink_lost_seconds_total", "Caller audio lost in a swap.", "kind"))

    def _make_worker_metrics(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._loop_lag = histogram("event_loop_lag_seconds", "Lateness of a 50 ms ticker.", LOOP_LAG)
        self._loop_blocked = _Children(counter("event_loop_blocked_total", "Ticks late by more than so much.", "over"))
        self._tasks = gauge("asyncio_tasks", "Tasks on the event loop.")
        self._refused = _Children(counter("admission_refused_total", "Calls not admitted.", "reason"))
        self._auth_failures = _Children(counter("auth_failures_total", "Requests with no or a wrong key.", "surface", "reason"))
        self._sdp_rejected = _Children(counter("sdp_rejected_total", "Offers turned away at the door.", "reason"))
        self._requests = _Children(counter("http_requests_total", "HTTP requests.", "route", "method", "status"))
        self._request_seconds = _Children(histogram("http_request_seconds", "Time to the response.", SETUP, "route"))
        self._draining = gauge("draining", "1 while no new call is admitted.")
        self._remaining = gauge("drain_remaining_calls", "Calls a drain still waits for.")
        self._remaining.set_function(lambda: len(self._live) if self._is_draining else 0)
        build = gauge("build_info", "What is running.", "version", "revision", "python", "aiortc")
        revision = __version__.partition("+")[2] or "unknown"
        build.labels(__version__, revision, platform.python_version(), version("aiortc")).set(1)
        gauge("config_loaded_timestamp_seconds", "Unix time of the configuration's load.").set_to_current_time()
        ProcessCollector(registry=self.registry)
        for over in ("100ms", "1s"):
            self._loop_blocked(over)
        for reason in Refusal:
            self._refused(reason.value)

    # --- what happened in calls ---

    def observe(self, info: CallInfo, event: CallEvent) -> None:
        """Count one event. Events for the data channel only fall through."""
        match event:
            case (
                ModelHeard()
                | ModelSaid()
                | CallerSaid()
                | StateChanged()
                | CallerStartedSpeaking()
                | CallerStoppedSpeaking()
                | ModelStartedSpeaking()
                | ModelStoppedSpeaking()
                | Trouble()
                | BudgetReached()
            ):
                return
            case MediaReport():
                self._media(self._leg(info), event)
            case CallReport():
                self._report(self._leg(info), self._model(info), event)
            case TokensUsed(direction=direction, modality=modality, kind=kind, tokens=tokens, usd=usd):
                if usd:
                    self._cost(self._model(info)).inc(usd)
                self._tokens(
                    self._model(info),
                    closed(direction, DIRECTIONS),
                    closed(modality, MODALITIES),
                    closed(kind, TOKEN_CLASSES),
                ).inc(tokens)
            case TurnEnded(turn=turn):
                self._turn(self._leg(info), self._model(info), turn)
            case Interrupted(unheard=unheard, stop=stop):
                self._barge_in("model_interrupted").observe(stop)
                self._discarded("barge_in").inc(unheard)
            case StageReached(stage=stage, seconds=seconds):
                self._stage(self._leg(info), closed(stage, STAGES)).observe(seconds)
            case CallStarted():
                self._live[info.call_id] = _Live()
                self._active(self._leg(info)).inc()
            case CallSetUp(seconds=seconds):
                self._setup(self._leg(info), "success").observe(seconds)
                if live := self._live.get(info.call_id):
                    live.set_up = True
            case ModelConnected():
                self._connected(info, event)
            case ModelClosed(code=code):
                self._closes(self._model(info), closed(code, CLOSE_CODES)).inc()
                self._model_gone(info)
            case ModelConnectFailed(code=code, kind=kind):
                self._connects(self._model(info), closed(kind, CONNECT_KINDS), "error").inc()
                self._closes(self._model(info), closed(code, CLOSE_CODES)).inc()
            case ModelLeaving(left=left):
                self._goaways(self._model(info)).inc()
                self._goaway_lead(self._model(info)).observe(left)
            case ModelSwapped():
                self._swapped(self._model(info), event)
            case ModelMessageSkipped():
                self._skipped(self._model(info)).inc()
            case ToolEnded():
                self.tools.observe(event)
            case Moderated():
                self.tools.moderated(event)
            case CallEnded():
                self._call_ended(info, event)

    def _leg(self, info: CallInfo) -> str:
        return closed(info.leg, LEGS)

    def _model(self, info: CallInfo) -> str:
        live = self._live.get(info.call_id)
        return closed(live.model if live is not None and live.model else info.model, self._models)

    def _call_ended(self, info: CallInfo, event: CallEnded) -> None:
        leg, reason = self._leg(info), event.reason
        self._ended(leg, reason.result, reason.value).inc()
        self._duration(leg).observe(event.summary.seconds)
        self._model_gone(info)
        live = self._live.pop(info.call_id, None)
        if live is None:
            return
        self._active(leg).dec()
        if not live.set_up:
            # Hanging up before it rang through is no success of ours, whatever the end's own account says.
            result = "client_error" if reason.result == "success" else reason.result
            self._setup(leg, result).observe(event.summary.seconds)

    def _connected(self, info: CallInfo, event: ModelConnected) -> None:
        live = self._live.get(info.call_id)
        if live is not None and event.model:
            self._model_gone(info)  # the gauge of the model before
            live.model = event.model
        model, kind = self._model(info), closed(event.kind, CONNECT_KINDS)
        self._connects(model, kind, "ok").inc()
        self._connect_seconds(model, kind, "ok").observe(event.seconds)
        if live is not None and not live.model_open:
            live.model_open = True
            self._sessions(model).inc()

    def _swapped(self, model: str, event: ModelSwapped) -> None:
        kind = closed(event.kind, CONNECT_KINDS)
        self._resumptions(model, closed(event.result, RESUMPTIONS)).inc()
        self._swap_gap(model, kind).observe(event.gap)
        self._replayed(kind).inc(event.replayed)
        self._swap_lost(kind).inc(event.lost)

    def _model_gone(self, info: CallInfo) -> None:
        live = self._live.get(info.call_id)
        if live is not None and live.model_open:
            live.model_open = False
            self._sessions(self._model(info)).dec()

    def _turn(self, leg: str, model: str, turn: Turn) -> None:
        self._turns(model, closed(turn.end, TURN_ENDS)).inc()
        if turn.response is not None:
            self._response(leg, model, closed(turn.kind, TURN_KINDS)).observe(turn.response)
        for segment, seconds in (
            ("model_first_audio", turn.model_first_audio),
            ("leading_silence", turn.leading_silence),
            ("out", turn.out),
        ):
            if seconds is not None:
                self._segment(model, segment).observe(seconds)

    def _media(self, leg: str, report: MediaReport) -> None:
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
        self._concealed(leg, "fec").inc(report.fec_seconds)
        self._concealed(leg, "plc").inc(report.plc_seconds)
        self._concealed(leg, "silence").inc(report.silence_seconds)
        self._expected(leg).inc(report.expected_seconds)
        if report.rtt is not None:
            self._rtt(leg).observe(report.rtt)
        if report.jitter_buffer_delay is not None:
            self._buffered(leg).observe(report.jitter_buffer_delay)

    def _report(self, leg: str, model: str, report: CallReport) -> None:
        self._backlog(model).observe(report.uplink_backlog)
        self._chunk.set(report.uplink_chunk)
        self._uplink_dropped(model).inc(report.uplink_dropped_seconds)
        self._underruns(leg).inc(report.playout_underruns)
        self._underrun_seconds(leg).inc(report.playout_underrun_seconds)
        self._speaking(leg).inc(report.playout_speaking_seconds)
        self._discarded("overflow").inc(report.playout_overflow_seconds)
        for metric, samples in (
            (self._uplink_added(leg), report.uplink_added),
            (self._downlink_added(leg), report.downlink_added),
            (self._depth(leg), report.playout_depth),
            (self._pacer_lag(leg), report.pacer_lag),
        ):
            for sample in samples:
                metric.observe(sample)

    # --- what is not an event of a call ---

    def call_attempted(self, leg: LegKind, *, eligible: bool) -> None:
        """An offer came in. `eligible`: authenticated, in quota and readable; the setup objective counts only these."""
        self._attempts(closed(leg, LEGS), "true" if eligible else "false").inc()

    def admission_refused(self, reason: str) -> None:
        """A call was not admitted; `reason` as in `errors.Refused`."""
        self._refused(closed(reason, REFUSALS)).inc()

    def auth_failed(self, surface: str, reason: str) -> None:
        """A request came with no key (`missing`) or a wrong one (`bad_sig`)."""
        self._auth_failures(closed(surface, AUTH_SURFACES), closed(reason, AUTH_REASONS)).inc()

    def sdp_rejected(self, reason: str) -> None:
        """An offer was turned away before it reached the WebRTC stack."""
        self._sdp_rejected(closed(reason, SDP_REASONS)).inc()

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A response was sent. `route` is the route's template, never the path asked for; 14 of them count."""
        if route not in self._routes:
            if len(self._routes) < MAX_ROUTES - 1:
                self._routes.add(route)
            else:
                route = OTHER
        self._requests(route, closed(method, METHODS), closed(f"{status // 100}xx", STATUSES)).inc()
        self._request_seconds(route).observe(seconds)

    def set_capacity(self, calls: int) -> None:
        """Calls this worker admits at most."""
        self._capacity.set(calls)

    def set_budget_used(self, ratio: float) -> None:
        """How much of the gateway's day is spent."""
        self._budget.set(ratio)

    def set_draining(self, draining: bool) -> None:
        """New calls are refused from now on (or again welcome)."""
        self._is_draining = draining
        self._draining.set(draining)

    def set_tasks(self, tasks: int) -> None:
        """Tasks on the event loop just now."""
        self._tasks.set(tasks)

    def loop_lag(self, seconds: float) -> None:
        """The loop's ticker came `seconds` late."""
        self._loop_lag.observe(seconds)
        if seconds > 0.1:
            self._loop_blocked("100ms").inc()
        if seconds > 1.0:
            self._loop_blocked("1s").inc()

    def watch_udp(self, counters: Callable[[], Mapping[str, int]], port: int | None = None) -> None:
        """Publish the media socket's drop counters, read at scrape. With `port`, also what the kernel dropped for it."""
        self.registry.register(UdpDrops(counters, port))
