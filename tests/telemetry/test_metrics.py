"""Metrics: what each event counts as, and that no input can grow the set of series."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.dialog.lifecycle import State
from gateway.dialog.turns import Turn, TurnEnd, TurnKind
from gateway.events import (
    BudgetReached,
    CallEnded,
    CallerStartedSpeaking,
    CallEvent,
    CallInfo,
    CallReport,
    CallSetUp,
    CallStarted,
    CallSummary,
    ContextRead,
    EndReason,
    Interrupted,
    LegKind,
    MediaReport,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelHeard,
    ModelLeaving,
    ModelMessageSkipped,
    ModelSwapped,
    Moderated,
    PacketsWithheld,
    PathSelected,
    SetupStage,
    StageReached,
    StateChanged,
    TokensUsed,
    ToolEnded,
    ToolOutcome,
    TurnEnded,
)
from gateway.telemetry import labels
from gateway.telemetry.metrics import Metrics

INFO = CallInfo("w1-0123", LegKind.WEBRTC, "default", "gemini-live")


class Bench:
    """A Metrics with its own registry, and short ways to ask what it shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now = 100.0
        self.metrics = Metrics(self.registry, ["gemini-live", "gemini-next"], ["weather"], clock=lambda: self.now)

    def see(self, *events: CallEvent, info: CallInfo = INFO) -> None:
        for event in events:
            self.metrics.observe(info, event)

    def value(self, name: str, **label: str) -> float | None:
        return self.registry.get_sample_value(f"gateway_{name}", label)

    def series(self) -> int:
        text = generate_latest(self.registry).decode()
        return sum(1 for line in text.splitlines() if line and not line.startswith("#"))


def ended(reason: EndReason = EndReason.CALLER_HUNG_UP, seconds: float = 12.0) -> CallEnded:
    return CallEnded(reason, "", CallSummary(seconds))


def test_a_call_is_counted_from_start_to_end() -> None:
    b = Bench()
    b.see(CallStarted())
    assert b.value("calls_active", leg="webrtc") == 1
    b.see(StageReached(SetupStage.ICE, 0.04, 0.05), CallSetUp(0.3), ModelConnected(0.2))
    assert b.value("model_sessions_active", model="gemini-live") == 1
    b.see(ended())
    assert b.value("calls_active", leg="webrtc") == 0
    assert b.value("model_sessions_active", model="gemini-live") == 0
    assert b.value("calls_ended_total", leg="webrtc", result="success", cause="caller_hung_up") == 1
    assert b.value("call_duration_seconds_sum", leg="webrtc") == 12.0
    assert b.value("call_setup_seconds_sum", leg="webrtc", result="success") == 0.3
    assert b.value("call_setup_stage_seconds_sum", leg="webrtc", stage="ice") == 0.04
    assert b.value("model_connects_total", model="gemini-live", kind="initial", result="ok") == 1


@pytest.mark.parametrize(
    ("reason", "result"),
    [
        (EndReason.CALLER_HUNG_UP, "client_error"),
        (EndReason.ICE_TIMEOUT, "client_error"),
        (EndReason.MODEL_REFUSED, "server_error"),
        (EndReason.CRASHED, "server_error"),
    ],
)
def test_a_call_that_never_worked_is_a_failed_setup(reason: EndReason, result: str) -> None:
    b = Bench()
    b.see(CallStarted(), ended(reason, 3.0))
    assert b.value("call_setup_seconds_sum", leg="webrtc", result=result) == 3.0
    assert b.value("call_setup_seconds_count", leg="webrtc", result="success") is None


def test_failed_connects_and_announced_ends_of_connections() -> None:
    b = Bench()
    b.see(CallStarted(), ModelConnectFailed("http429", "initial"), ModelConnectFailed("made up", "error"), ModelLeaving(50.0))
    assert b.value("model_connects_total", model="gemini-live", kind="initial", result="error") == 1
    assert b.value("model_connects_total", model="gemini-live", kind="error", result="error") == 1
    assert b.value("model_closes_total", model="gemini-live", code="http429") == 1
    assert b.value("model_closes_total", model="gemini-live", code="other") == 1
    assert b.value("model_goaway_total", model="gemini-live") == 1
    assert b.value("model_goaway_lead_seconds_sum", model="gemini-live") == 50.0


def test_a_model_swap_keeps_the_count_of_sessions() -> None:
    b = Bench()
    b.see(CallStarted(), ModelConnected(0.2), ModelClosed("1011"))
    assert b.value("model_sessions_active", model="gemini-live") == 0
    b.see(ModelConnected(0.4, kind="error"), ModelConnected(0.4, kind="goaway"))
    assert b.value("model_sessions_active", model="gemini-live") == 1
    b.see(ModelClosed("1000"), ended())
    assert b.value("model_sessions_active", model="gemini-live") == 0
    assert b.value("model_closes_total", model="gemini-live", code="1011") == 1


def test_another_model_takes_over_the_labels() -> None:
    b = Bench()
    b.see(CallStarted(), ModelConnected(0.2), ModelConnected(0.3, kind="error", model="gemini-next"))
    b.see(TokensUsed("input", "audio", "plain", 5))
    assert b.value("model_sessions_active", model="gemini-live") == 0
    assert b.value("model_sessions_active", model="gemini-next") == 1
    used = {"direction": "input", "modality": "audio", "class": "plain"}
    assert b.value("model_tokens_total", model="gemini-next", **used) == 5
    b.see(ended())
    assert b.value("model_sessions_active", model="gemini-next") == 0


def test_swaps_tools_and_money() -> None:
    b = Bench()
    b.see(
        ModelSwapped("goaway", "ok", gap=0.2, replayed=0.4, lost=0.1),
        ToolEnded("weather", ToolOutcome.TIMEOUT, 10.0),
        ToolEnded("made up by the model", ToolOutcome.DENIED, 0.0),
        TokensUsed("output", "audio", "plain", 100, usd=0.25),
    )
    assert b.value("model_resumptions_total", model="gemini-live", result="ok") == 1
    assert b.value("model_swap_gap_seconds_sum", model="gemini-live", kind="goaway") == 0.2
    assert b.value("model_uplink_replayed_seconds_total", kind="goaway") == 0.4
    assert b.value("model_uplink_lost_seconds_total", kind="goaway") == 0.1
    assert b.value("tool_calls_total", tool="weather", result="timeout") == 1
    assert b.value("tool_calls_total", tool="other", result="denied") == 1
    assert b.value("tool_seconds_sum", tool="weather") == 10.0
    assert b.value("model_cost_usd_total", model="gemini-live") == 0.25


def test_a_turn_is_split_by_cause() -> None:
    b = Bench()
    b.see(TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.COMPLETED, 0.9, 0.7, 0.15, 0.05, heard=3.0)))
    assert b.value("turn_response_seconds_sum", leg="webrtc", model="gemini-live", kind="speech") == 0.9
    parts = [
        b.value("turn_segment_seconds_sum", model="gemini-live", segment=s)
        for s in ("model_first_audio", "leading_silence", "out")
    ]
    assert parts == [0.7, 0.15, 0.05]
    assert b.value("turns_total", model="gemini-live", end="completed") == 1
    b.see(TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.NO_RESPONSE)))
    assert b.value("turn_response_seconds_count", leg="webrtc", model="gemini-live", kind="speech") == 1


def test_barge_in_counts_stop_and_what_was_thrown_away() -> None:
    b = Bench()
    b.see(Interrupted(unheard=1.5, stop=0.012))
    assert b.value("barge_in_stop_seconds_sum", trigger="model_interrupted") == 0.012
    assert b.value("playout_discarded_seconds_total", reason="barge_in") == 1.5


def test_from_the_callers_first_sound_to_the_end_of_the_answer() -> None:
    b = Bench()
    b.see(CallStarted(), CallerStartedSpeaking(0.1))
    b.now += 0.3
    b.see(Interrupted(unheard=1.0, stop=0.01))
    assert b.value("barge_in_onset_to_stop_seconds_sum") == pytest.approx(0.4)
    b.see(Interrupted(unheard=0.0, stop=0.0))  # the same speech, told twice
    assert b.value("barge_in_onset_to_stop_seconds_count") == 1


def test_an_answer_cut_off_by_the_end_of_the_call_was_not_played() -> None:
    b = Bench()
    b.see(TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.SESSION_CLOSED, unheard=2.5)))
    b.see(TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.INTERRUPTED, unheard=9.0)))  # the interruption has told it
    assert b.value("playout_discarded_seconds_total", reason="hangup") == 2.5


def test_a_call_whose_end_does_not_end_is_stuck() -> None:
    b = Bench()
    b.see(CallStarted(), StateChanged(State.ENDING, EndReason.CALLER_HUNG_UP))
    b.now += 59.0
    b.metrics.second(0.1)
    assert b.value("calls_stuck_total", leg="webrtc") == 0
    for _ in range(3):
        b.now += 1.5
        b.metrics.second(0.1)
    assert b.value("calls_stuck_total", leg="webrtc") == 1


def test_calls_that_are_bad_now() -> None:
    b = Bench()
    other = CallInfo("w1-4567", LegKind.WEBRTC, "default", "gemini-live")
    lossy = MediaReport(5.0, packets_in=100, packets_out=100, loss_ratio_in=0.2, rtt=0.05, expected_seconds=5.0, plc_seconds=0.5)
    for info in (INFO, other):
        b.see(CallStarted(), lossy, lossy, info=info)
    assert b.value("calls_bad_now", leg="webrtc", why="loss") == 2
    b.see(MediaReport(5.0, packets_in=100, packets_out=100))
    assert b.value("calls_bad_now", leg="webrtc", why="loss") == 1
    b.see(CallReport(5.0, playout_underruns=3, playout_underrun_seconds=1.0, playout_speaking_seconds=2.0), info=other)
    assert b.value("calls_bad_now", leg="webrtc", why="underrun") == 1
    b.see(ended(), info=other)
    b.see(ended())
    assert b.value("calls_bad_now", leg="webrtc", why="loss") == 0
    assert b.value("calls_bad_now", leg="webrtc", why="underrun") == 0
    b.see(lossy)  # after its end: counted, but nobody is bad
    assert b.value("calls_bad_now", leg="webrtc", why="loss") == 0
    assert b.value("call_mos_estimate_count", leg="webrtc", dir="in") == 5
    assert b.value("call_mos_estimate_count", leg="webrtc", dir="out") is None
    heard = b.value("call_mos_estimate_sum", leg="webrtc", dir="in")
    assert heard is not None
    assert 2.5 < heard / 5 < 3.5


def test_audio_one_way() -> None:
    b = Bench()
    deaf = MediaReport(5.0, packets_out=250)
    b.see(CallStarted(), deaf, deaf, deaf)
    assert b.value("calls_one_way_audio_total", dir="in") == 1
    assert b.value("calls_bad_now", leg="webrtc", why="one_way") == 1


def test_the_workers_stress() -> None:
    b = Bench()
    b.metrics.set_capacity(4)
    b.see(CallStarted())
    b.metrics.second(0.0)
    stress = b.value("worker_stress")
    assert stress is not None
    assert 0.25 <= stress < 1.0
    b.metrics.second(0.99)
    assert b.value("worker_stress") >= 0.99  # type: ignore[operator]


def test_media_windows_add_up() -> None:
    b = Bench()
    window = MediaReport(
        5.0,
        packets_in=250,
        bytes_in=20_000,
        packets_out=240,
        bytes_out=30_000,
        lost_in=5,
        lost_out=-1,
        late=2,
        reordered=3,
        duplicate=4,
        malformed=6,
        srtp_failed=7,
        channel_malformed=8,
        channel_excess=9,
        fec_seconds=0.1,
        plc_seconds=0.2,
        silence_seconds=0.3,
        expected_seconds=5.0,
        loss_ratio_in=0.02,
        jitter_in=0.004,
        rtt=0.08,
        jitter_buffer_delay=0.003,
    )
    b.see(window, window)
    for name, label, value in (
        ("rtp_packets_total", {"dir": "in"}, 500),
        ("rtp_packets_total", {"dir": "out"}, 480),
        ("rtp_bytes_total", {"dir": "in"}, 40_000),
        ("rtp_lost_total", {"dir": "in"}, 10),
        ("rtp_lost_total", {"dir": "out"}, 0),
        ("rtp_late_discarded_total", {}, 4),
        ("rtp_reordered_total", {}, 6),
        ("rtp_duplicate_total", {}, 8),
        ("rtp_malformed_total", {}, 12),
        ("rtp_loss_ratio_count", {"dir": "in"}, 2),
        ("rtp_jitter_seconds_count", {"dir": "in"}, 2),
        ("rtp_rtt_seconds_count", {}, 2),
        ("jitter_buffer_delay_seconds_count", {}, 2),
        ("audio_expected_seconds_total", {}, 10.0),
    ):
        assert b.value(name, leg="webrtc", **label) == value, name
    assert b.value("srtp_auth_failures_total") == 14
    assert b.value("data_channel_dropped_total", reason="malformed") == 16
    assert b.value("data_channel_dropped_total", reason="limit") == 18
    assert b.value("rtp_loss_ratio_count", leg="webrtc", dir="out") is None
    kinds = {k: b.value("audio_concealed_seconds_total", leg="webrtc", kind=k) for k in ("fec", "plc", "silence")}
    assert kinds == {"fec": 0.2, "plc": 0.4, "silence": 0.6}


def test_call_buffers_are_sampled() -> None:
    b = Bench()
    b.see(
        CallReport(
            5.0,
            uplink_backlog=0.1,
            uplink_chunk=0.04,
            uplink_dropped_seconds=0.5,
            uplink_added=(0.01, 0.02),
            downlink_added=(0.03,),
            playout_depth=(1.0, 2.0, 3.0),
            playout_underruns=2,
            playout_underrun_seconds=0.2,
            playout_speaking_seconds=4.0,
            playout_stretched_seconds=0.3,
            playout_overflow_seconds=0.7,
            pacer_lag=(0.001,),
        )
    )
    assert b.value("uplink_backlog_seconds_sum", model="gemini-live") == 0.1
    assert b.value("uplink_chunk_seconds") == 0.04
    assert b.value("uplink_dropped_seconds_total", model="gemini-live") == 0.5
    counts = [
        b.value(f"{n}_count", leg="webrtc")
        for n in ("uplink_added_seconds", "downlink_added_seconds", "playout_depth_seconds", "pacer_lag_seconds")
    ]
    assert counts == [2, 1, 3, 1]
    assert b.value("playout_underruns_total", leg="webrtc") == 2
    assert b.value("playout_underrun_seconds_total", leg="webrtc") == 0.2
    assert b.value("playout_speaking_seconds_total", leg="webrtc") == 4.0
    assert b.value("playout_stretched_seconds_total", leg="webrtc") == 0.3
    assert b.value("playout_discarded_seconds_total", reason="overflow") == 0.7


def test_tokens_and_skipped_messages() -> None:
    b = Bench()
    b.see(TokensUsed("input", "audio", "plain", 250), TokensUsed("input", "smell", "plain", 1), ModelMessageSkipped("json"))
    tokens = {"model": "gemini-live", "direction": "input", "class": "plain"}
    assert b.value("model_tokens_total", modality="audio", **tokens) == 250
    assert b.value("model_tokens_total", modality="other", **tokens) == 1
    assert b.value("model_messages_skipped_total", model="gemini-live") == 1


def test_the_context_that_was_read() -> None:
    b = Bench()
    b.see(CallStarted(), ContextRead(900), ContextRead(20_000))
    for edge, count in (("1000.0", 1), ("16000.0", 1), ("32000.0", 2)):
        assert b.value("model_context_tokens_bucket", model="gemini-live", le=edge) == count
    assert b.value("model_context_tokens_sum", model="gemini-live") == 20_900


def test_packets_thrown_away_for_a_demonstration_can_be_told_from_lost_ones() -> None:
    b = Bench()
    b.see(CallStarted(), PacketsWithheld(10.0, 50, 40, 0.6, 0.2), PacketsWithheld(1.0, 1, 2, 0.0, 0.0))
    assert b.value("rtp_withheld_total", leg="webrtc", dir="in") == 51
    assert b.value("rtp_withheld_total", leg="webrtc", dir="out") == 42


def test_the_workers_own_gauges() -> None:
    b = Bench()
    m = b.metrics
    m.set_capacity(80)
    m.call_attempted(LegKind.WEBRTC, eligible=True)
    m.admission_refused("capacity")
    m.auth_failed("http", "missing")
    m.sdp_rejected("size")
    m.http_request("/whip", "POST", 201, 0.02)
    m.loop_lag(0.3)
    m.set_tasks(7)
    assert b.value("call_capacity") == 80
    assert b.value("call_attempts_total", leg="webrtc", eligible="true") == 1
    assert b.value("admission_refused_total", reason="capacity") == 1
    assert b.value("auth_failures_total", surface="http", reason="missing") == 1
    assert b.value("sdp_rejected_total", reason="size") == 1
    assert b.value("http_requests_total", route="/whip", method="POST", status="2xx") == 1
    assert b.value("http_request_seconds_count", route="/whip") == 1
    assert b.value("event_loop_lag_seconds_count") == 1
    assert b.value("event_loop_blocked_total", over="100ms") == 1
    assert b.value("event_loop_blocked_total", over="1s") == 0
    assert b.value("asyncio_tasks") == 7


def test_drain_counts_down() -> None:
    b = Bench()
    b.see(CallStarted())
    assert b.value("drain_remaining_calls") == 0
    b.metrics.set_draining(True)
    assert (b.value("draining"), b.value("drain_remaining_calls")) == (1, 1)
    b.see(ended(EndReason.DRAINED))
    assert b.value("drain_remaining_calls") == 0


def test_udp_drops_are_read_at_the_scrape() -> None:
    b = Bench()
    counters = {"unknown_source": 3, "bad_stun": 1, "moon": 2, "mars": 5}
    b.metrics.watch_udp(lambda: counters)
    assert b.value("udp_dropped_total", reason="unknown_source") == 3
    assert b.value("udp_dropped_total", reason="other") == 7
    counters["unknown_source"] = 9
    assert b.value("udp_dropped_total", reason="unknown_source") == 9
    assert b.value("udp_dropped_total", reason="queue_full") == 0


def test_the_exposition_parses_and_tells_the_process() -> None:
    b = Bench()
    b.see(CallStarted(), CallSetUp(0.1), ended())
    families = {f.name for f in text_string_to_metric_families(generate_latest(b.registry).decode())}
    assert {"gateway_build_info", "process_resident_memory_bytes", "process_open_fds", "gateway_calls_ended"} <= families


HOSTILE = ["\n# evil 1", "'; droop", "w1-0123", "203.0.113.9", "x" * 5000]


def test_hostile_labels_become_other() -> None:
    b = Bench()
    m = b.metrics
    for text in HOSTILE:
        odd = CallInfo(text, cast(LegKind, text), text, text)
        b.see(
            CallStarted(),
            ModelConnected(0.1, kind=text),
            ModelClosed(text),
            TokensUsed(text, text, text, 1),
            ModelMessageSkipped(text),
            ModelSwapped(text, text, 0.1, 0.1, 0.1),
            ToolEnded(text, cast(ToolOutcome, text), 0.1),
            BudgetReached(text, text, text, 1, 1),
            StageReached(cast(SetupStage, text), 0.1, 0.1),
            TurnEnded(Turn(cast(TurnKind, text), cast(TurnEnd, text), 1.0, 0.5, 0.4, 0.1)),
            MediaReport(5.0, packets_in=1),
            CallReport(5.0),
            ended(),
            info=odd,
        )
        m.call_attempted(cast(LegKind, text), eligible=False)
        m.admission_refused(text)
        m.auth_failed(text, text)
        m.sdp_rejected(text)
        m.http_request("/whip", text, -700, 0.1)
    exposition = generate_latest(b.registry).decode()
    for text in ("evil", "droop", "0123", "203.0.113", "xxxx"):
        assert text not in exposition
    assert b.value("admission_refused_total", reason="other") == len(HOSTILE)


def test_routes_beyond_the_limit_are_other() -> None:
    b = Bench()
    for n in range(100):
        b.metrics.http_request(f"/r{n}", "GET", 200, 0.1)
    routes = {s.labels["route"] for f in b.registry.collect() for s in f.samples if "route" in s.labels}
    assert len(routes) == labels.MAX_ROUTES
    assert b.value("http_request_seconds_count", route="other") == 86


def test_nothing_is_kept_of_an_ended_call() -> None:
    b = Bench()
    for n in range(50):
        b.see(CallStarted(), ModelConnected(0.1), ended(), info=CallInfo(f"w1-{n}", LegKind.WEBRTC, "p", "gemini-live"))
    assert b.value("drain_remaining_calls") == 0
    b.metrics.set_draining(True)
    assert b.value("drain_remaining_calls") == 0
    assert b.value("model_sessions_active", model="gemini-live") == 0


def everything() -> list[CallEvent]:
    """One event for each label value a call can produce."""
    events: list[Any] = [CallStarted(), Interrupted(1.0, 0.01), ModelMessageSkipped("json")]
    events += [StageReached(stage, 0.1, 0.1) for stage in SetupStage]
    events += [ModelConnected(0.1, kind=kind) for kind in labels.CONNECT_KINDS]
    events += [ModelClosed(code) for code in (*labels.CLOSE_CODES, "?")]
    events += [TurnEnded(Turn(kind, end, 1.0, 0.7, 0.2, 0.1)) for kind, end in itertools.product(TurnKind, TurnEnd)]
    events += [
        TokensUsed(d, m, c, 1) for d, m, c in itertools.product(labels.DIRECTIONS, labels.MODALITIES, labels.TOKEN_CLASSES)
    ]
    events += [MediaReport(5.0, loss_ratio_in=0, loss_ratio_out=0, jitter_in=0, jitter_out=0, rtt=0, jitter_buffer_delay=0)]
    events += [ModelSwapped(k, r, 0.1, 0.1, 0.0) for k, r in itertools.product(labels.CONNECT_KINDS, labels.RESUMPTIONS)]
    events += [ToolEnded(f"tool-{n}", outcome, 0.1) for n, outcome in itertools.product(range(40), ToolOutcome)]
    events += [CallReport(5.0), CallSetUp(0.1)]
    events += [PathSelected(a, b) for a, b in itertools.product((*labels.CANDIDATES, "?"), repeat=2)]
    events += [PathSelected("host", "prflx", again=True)]
    # What goes wrong for a while, and what takes long.
    events += [MediaReport(10.0, packets_out=1), MediaReport(10.0, packets_in=1)]
    events += [CallerStartedSpeaking(), Interrupted(1.0, 0.01), ModelConnectFailed("dns", "initial"), ModelLeaving(5.0)]
    events += [MediaReport(5.0, packets_in=9, expected_seconds=1.0, loss_ratio_out=0.5, rtt=1.0)]
    events += [CallReport(5.0, playout_underruns=1, playout_underrun_seconds=1.0)]
    events += [TokensUsed("input", "text", "plain", 1, usd=0.1)]
    events += [Moderated(w, a, "why", f) for w, a, f in itertools.product(labels.SPEAKERS, labels.RULINGS, (False, True))]
    events += [ContextRead(5_000), PacketsWithheld(10.0, 50, 40, 0.6, 0.2), StateChanged(State.ENDING, EndReason.IDLE)]
    return events


def fill(legs: list[LegKind], models: list[str], tools: int) -> int:
    """Series after every event with every label value."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, models, [f"tool-{n}" for n in range(tools)])
    metrics.watch_udp(dict)
    for leg, model in itertools.product(legs, models):
        info = CallInfo("c", leg, "p", model)
        for event in everything():
            metrics.observe(info, event)
        for reason in EndReason:
            metrics.observe(info, CallStarted())
            metrics.observe(info, ended(reason))
    for reason in labels.REFUSALS:
        metrics.admission_refused(reason)
    for surface, reason in itertools.product(labels.AUTH_SURFACES, labels.AUTH_REASONS):
        metrics.auth_failed(surface, reason)
    for route, method, status in itertools.product(range(20), labels.METHODS, (200, 300, 400, 500)):
        metrics.http_request(f"/{route}", method, status, 0.1)
    total = sum(len(family.samples) for family in registry.collect())
    print(f"{len(legs)} legs, {len(models)} models: {total} series")
    return total


def test_the_number_of_series_stays_in_budget() -> None:
    assert fill([LegKind.WEBRTC], ["gemini-live"], 4) <= 2_500
    assert fill(list(LegKind), [f"model-{n}" for n in range(12)], 40) <= 10_000


def test_an_event_that_nobody_counts_is_no_error() -> None:
    b = Bench()
    before = b.series()
    b.see(ModelHeard("words that must not show"))
    assert b.series() == before
    assert b"must not show" not in generate_latest(b.registry)
