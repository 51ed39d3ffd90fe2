"""Every metric of the gateway, fed by call events and a few plain setters.

Names, labels and buckets are one catalogue (catalogue.md); the modules `media`, `turns`, `sessions`, `worker`, `tools` and `udp`
beside this one make it by subject, and the help texts say what each tells. Rules that keep it affordable and safe:

* one registry, given by the caller; one process is one registry is one `/metrics` (never prometheus multiprocess mode);
* label values come from closed sets, anything else becomes `other`: no call id, address, SDP or exception text is ever a label;
* nothing here runs per packet: the media path counts in plain integers and reports them about every 5 s, and the UDP
  socket's counters are read when a scrape asks. Label children are looked up once and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, disable_created_metrics

from gateway.dialog.lifecycle import State
from gateway.events import (
    CallEnded,
    CallerStartedSpeaking,
    CallEvent,
    CallInfo,
    CallReport,
    CallSetUp,
    CallStarted,
    ContextRead,
    Interrupted,
    LegKind,
    MediaReport,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelLeaving,
    ModelMessageSkipped,
    ModelSwapped,
    Moderated,
    PacketsWithheld,
    PathSelected,
    StageReached,
    StateChanged,
    TokensUsed,
    ToolEnded,
    TurnEnded,
)
from gateway.telemetry.labels import DURATION, LEGS, MAX_MODELS, SETUP, STAGES, closed
from gateway.telemetry.media import MediaMetrics
from gateway.telemetry.quality import Health
from gateway.telemetry.series import Make
from gateway.telemetry.sessions import SessionMetrics
from gateway.telemetry.tools import ToolMetrics
from gateway.telemetry.turns import TurnMetrics
from gateway.telemetry.udp import UdpDrops
from gateway.telemetry.worker import WorkerMetrics

STUCK_AFTER = 60.0
"""Seconds after its end for which a call may still be closing things."""

Clock = Callable[[], float]


@dataclass(slots=True)
class _Live:
    """What must be remembered of a call until it ends."""

    leg: str
    set_up: bool = False
    model: str = ""
    """The model that answers now, where it is not the call's first."""
    model_open: bool = False
    health: Health = field(default_factory=Health)
    spoke_at: float | None = None
    """When the caller began to speak, until it has interrupted something."""
    ending_at: float | None = None
    stuck: bool = False


class Metrics:
    """Observer of every call of one worker, and the worker's own gauges.

    `models` are the configured model names (the first 8 count as label values), `tools` the functions of the profiles. `clock`
    gives seconds that only go forward. Not thread-safe: call it on the event loop.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        models: Sequence[str] = (),
        tools: Sequence[str] = (),
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        # A `_created` series beside every counter and histogram child: nobody asks for it, and it is a switch of the process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self._models = frozenset(models[:MAX_MODELS])
        self._live: dict[str, _Live] = {}
        self._clock = clock
        make = Make(registry)
        self._attempts = make.counters("call_attempts_total", "Offers accepted for processing.", "leg", "eligible")
        self._active = make.gauges("calls_active", "Live calls.", "leg")
        self._ended = make.counters("calls_ended_total", "Calls that are over, by cause.", "leg", "result", "cause")
        self._duration = make.histograms("call_duration_seconds", "Length of a call.", DURATION, "leg")
        self._stuck = make.counters("calls_stuck_total", "Calls not taken down 60 s after their end.", "leg")
        self._setup = make.histograms(
            "call_setup_seconds", "Offer received to caller heard and model ready.", SETUP, "leg", "result"
        )
        self._stage = make.histograms(
            "call_setup_stage_seconds", "One step of the setup, since the step before.", SETUP, "leg", "stage"
        )
        self._media = MediaMetrics(make)
        self._turns = TurnMetrics(make)
        self._sessions = SessionMetrics(make)
        self._worker = WorkerMetrics(make, lambda: len(self._live))
        self.tools = ToolMetrics(registry, tools)

    # --- what happened in calls ---

    def observe(self, info: CallInfo, event: CallEvent) -> None:
        """Count one event. What is only for the data channel falls through."""
        match event:
            case MediaReport():
                self._media.observe(self._leg(info), event, self._health(info))
            case CallReport():
                self._reported(info, event)
            case TokensUsed():
                self._sessions.used(self._model(info), event)
            case ContextRead():
                self._sessions.read(self._model(info), event)
            case TurnEnded(turn=turn):
                self._turns.ended(self._leg(info), self._model(info), turn)
            case CallerStartedSpeaking() | Interrupted():
                self._floor(info, event)
            case StageReached(stage=stage, seconds=seconds):
                self._stage(self._leg(info), closed(stage, STAGES)).observe(seconds)
            case PathSelected():
                self._media.path(event)
            case PacketsWithheld():
                self._media.withheld(self._leg(info), event)
            case ModelConnected() | ModelClosed():
                self._model_changed(info, event)
            case ModelConnectFailed():
                self._sessions.failed(self._model(info), event)
            case ModelLeaving():
                self._sessions.leaving(self._model(info), event)
            case ModelSwapped():
                self._sessions.swapped(self._model(info), event)
            case ModelMessageSkipped():
                self._sessions.skipped(self._model(info))
            case ToolEnded():
                self.tools.observe(event)
            case Moderated():
                self.tools.moderated(event)
            case CallStarted() | CallSetUp() | StateChanged() | CallEnded():
                self._life(info, event)

    def _leg(self, info: CallInfo) -> str:
        return closed(info.leg, LEGS)

    def _model(self, info: CallInfo) -> str:
        live = self._live.get(info.call_id)
        return closed(live.model if live is not None and live.model else info.model, self._models)

    def _health(self, info: CallInfo) -> Health | None:
        live = self._live.get(info.call_id)
        return live.health if live is not None else None

    def _life(self, info: CallInfo, event: CallStarted | CallSetUp | StateChanged | CallEnded) -> None:
        leg, live = self._leg(info), self._live.get(info.call_id)
        match event:
            case CallStarted():
                self._live[info.call_id] = _Live(leg)
                self._active(leg).inc()
                self._stuck(leg)  # an alarm's series is there before it rings
            case CallSetUp(seconds=seconds):
                self._setup(leg, "success").observe(seconds)
                if live is not None:
                    live.set_up = True
            case StateChanged(state=State.ENDING):
                if live is not None:
                    live.ending_at = self._clock()
            case CallEnded():
                self._call_ended(info, event)

    def _call_ended(self, info: CallInfo, event: CallEnded) -> None:
        leg, reason = self._leg(info), event.reason
        self._ended(leg, reason.result, reason.value).inc()
        self._duration(leg).observe(event.summary.seconds)
        self._model_gone(info)
        live = self._live.pop(info.call_id, None)
        if live is None:
            return
        self._active(leg).dec()
        self._media.changed(leg, live.health.bad, set())
        if not live.set_up:
            # Hanging up before it rang through is no success of ours, whatever the end's own account says.
            result = "client_error" if reason.result == "success" else reason.result
            self._setup(leg, result).observe(event.summary.seconds)

    def _reported(self, info: CallInfo, event: CallReport) -> None:
        leg, health = self._leg(info), self._health(info)
        self._turns.report(leg, self._model(info), event)
        if health is not None:
            before = set(health.bad)
            health.call(event)
            self._media.changed(leg, before, health.bad)

    def _floor(self, info: CallInfo, event: CallerStartedSpeaking | Interrupted) -> None:
        live, now = self._live.get(info.call_id), self._clock()
        if isinstance(event, Interrupted):
            since = now - live.spoke_at if live is not None and live.spoke_at is not None else None
            self._turns.interrupted(event, since)
            if live is not None:
                live.spoke_at = None  # one onset stops one answer
        elif live is not None:
            live.spoke_at = now - event.ago

    def _model_changed(self, info: CallInfo, event: ModelConnected | ModelClosed) -> None:
        live = self._live.get(info.call_id)
        if isinstance(event, ModelClosed):
            self._sessions.closed(self._model(info), event.code)
            self._model_gone(info)
            return
        if live is not None and event.model:
            self._model_gone(info)  # the gauge of the model before
            live.model = event.model
        model = self._model(info)
        self._sessions.connected(model, event)
        if live is not None and not live.model_open:
            live.model_open = True
            self._sessions.active(model).inc()

    def _model_gone(self, info: CallInfo) -> None:
        live = self._live.get(info.call_id)
        if live is not None and live.model_open:
            live.model_open = False
            self._sessions.active(self._model(info)).dec()

    # --- what is not an event of a call ---

    def call_attempted(self, leg: LegKind, *, eligible: bool) -> None:
        """An offer came in. `eligible`: authenticated, in quota and readable; the setup objective counts only these."""
        self._attempts(closed(leg, LEGS), "true" if eligible else "false").inc()

    def admission_refused(self, reason: str) -> None:
        """A call was not admitted; `reason` as in `errors.Refused`."""
        self._worker.refused(reason)

    def auth_failed(self, surface: str, reason: str) -> None:
        """A request came with no key (`missing`) or a wrong one (`bad_sig`)."""
        self._worker.auth_failed(surface, reason)

    def sdp_rejected(self, reason: str) -> None:
        """An offer was turned away before it reached the WebRTC stack."""
        self._worker.sdp_rejected(reason)

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A response was sent. `route` is the route's template, never the path asked for; 14 of them count."""
        self._worker.http_request(route, method, status, seconds)

    def set_capacity(self, calls: int) -> None:
        """Calls this worker admits at most."""
        self._worker.set_capacity(calls)

    def set_budget_used(self, ratio: float) -> None:
        """How much of the gateway's day is spent."""
        self._sessions.set_budget_used(ratio)

    def set_draining(self, draining: bool) -> None:
        """New calls are refused from now on (or again welcome)."""
        self._worker.set_draining(draining)

    def set_tasks(self, tasks: int) -> None:
        """Tasks on the event loop just now."""
        self._worker.set_tasks(tasks)

    def loop_lag(self, seconds: float) -> None:
        """The loop's ticker came `seconds` late."""
        self._worker.loop_lag(seconds)

    def second(self, load: float) -> None:
        """A second has passed, in which `load` of a core was used: what is judged now and then is judged."""
        self._worker.second(load)
        now = self._clock()
        for live in self._live.values():
            if live.ending_at is not None and not live.stuck and now - live.ending_at > STUCK_AFTER:
                live.stuck = True
                self._stuck(live.leg).inc()

    def watch_udp(self, counters: Callable[[], Mapping[str, int]], port: int | None = None) -> None:
        """Publish the media socket's drop counters, read at scrape. With `port`, also what the kernel dropped for it."""
        self.registry.register(UdpDrops(counters, port))
