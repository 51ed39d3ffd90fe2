"""The published catalogue of metrics is what the code makes: `python -m tests.telemetry.test_catalogue` writes it anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.events import CallInfo, LegKind
from gateway.telemetry import labels
from gateway.telemetry.metrics import Metrics
from tests.telemetry.test_metrics import INFO, ended, everything

CATALOGUE = Path(__file__).parents[2] / "gateway" / "telemetry" / "catalogue.md"

HEAD = """# Metrics

What `/metrics` on the admin port publishes, made from the code. Label values come from closed sets; what is in none is `other`.
Buckets of latencies have the objectives' thresholds as edges. `process_*` are those of every Prometheus client.

| metric | type | labels | meaning |
|---|---|---|---|
"""

WANTED = """
call_attempts_total{leg,eligible} calls_active{leg} call_capacity calls_ended_total{leg,result,cause} call_duration_seconds{leg}
calls_stuck_total{leg} calls_one_way_audio_total{dir} call_setup_seconds{leg,result} call_setup_stage_seconds{leg,stage}
rtp_packets_total{leg,dir} rtp_bytes_total{leg,dir} rtp_lost_total{leg,dir} rtp_late_discarded_total{leg}
rtp_reordered_total{leg} rtp_duplicate_total{leg} rtp_loss_ratio{leg,dir} rtp_jitter_seconds{leg,dir} rtp_rtt_seconds{leg}
audio_concealed_seconds_total{leg,kind} audio_expected_seconds_total{leg} jitter_buffer_delay_seconds{leg}
call_mos_estimate{leg,dir} calls_bad_now{leg,why} turn_response_seconds{leg,model,kind} turn_segment_seconds{model,segment}
uplink_added_seconds{leg} downlink_added_seconds{leg} uplink_backlog_seconds{model} barge_in_stop_seconds{trigger}
barge_in_onset_to_stop_seconds turns_total{model,end} playout_depth_seconds{leg} playout_underruns_total{leg}
playout_underrun_seconds_total{leg} playout_speaking_seconds_total{leg} playout_discarded_seconds_total{reason}
pacer_lag_seconds{leg} model_sessions_active{model} model_connects_total{model,kind,result}
model_connect_seconds{model,kind,result} model_closes_total{model,code} model_goaway_total{model}
model_goaway_lead_seconds{model} model_resumptions_total{model,result} model_swap_gap_seconds{model,kind}
model_uplink_replayed_seconds_total{kind} model_uplink_lost_seconds_total{kind}
model_tokens_total{model,direction,modality,class} model_cost_usd_total{model} tool_calls_total{tool,result} tool_seconds{tool}
tools_inflight event_loop_lag_seconds event_loop_blocked_total{over} worker_stress asyncio_tasks udp_rcvbuf_drops_total
cpu_throttled_seconds_total admission_refused_total{reason} budget_used_ratio auth_failures_total{surface,reason}
sdp_rejected_total{reason} udp_dropped_total{reason} srtp_auth_failures_total http_requests_total{route,method,status}
http_request_seconds{route} build_info{version,revision,python,aiortc} draining drain_remaining_calls
config_loaded_timestamp_seconds ice_selected_total{local_type,remote_type} ice_pair_switches_total{result}
model_context_tokens{model}
"""
"""What operators were promised: names and labels that dashboards and alerts are built on."""


def everything_once() -> CollectorRegistry:
    """Every metric of ours after everything has happened once."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, ["gemini-live"], ["weather"])
    metrics.watch_udp(dict, 7882)
    metrics.call_attempted(LegKind.WEBRTC, eligible=True)
    metrics.auth_failed("http", "missing")
    metrics.sdp_rejected("size")
    metrics.http_request("/whip", "POST", 201, 0.1)
    for event in (*everything(), ended()):
        metrics.observe(INFO, event)
    return registry


def published() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """All of them: type, labels and meaning."""
    found = {}
    for family in everything_once().collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("gateway_"):
            used = {tuple(label for label in sample.labels if label != "le") for sample in family.samples}
            assert len(used) == 1, f"{name}: {used or 'no sample of it'}"
            found[name.removeprefix("gateway_")] = (family.type, used.pop(), family.documentation)
    return found


def markdown() -> str:
    """The catalogue."""
    rows = [
        f"| `gateway_{name}` | {kind} | {', '.join(used)} | {text} |" for name, (kind, used, text) in sorted(published().items())
    ]
    return HEAD + "\n".join(rows) + "\n"


def test_the_published_catalogue_is_the_codes_own() -> None:
    assert CATALOGUE.read_text() == markdown(), "run: python -m tests.telemetry.test_catalogue"


@pytest.mark.parametrize("wanted", WANTED.split())
def test_what_was_promised_is_there(wanted: str) -> None:
    name, _, rest = wanted.partition("{")
    found = published()
    assert name in found
    assert set(found[name][1]) == set(rest.removesuffix("}").split(",")) - {""}


def test_names_say_their_unit_and_texts_say_something() -> None:
    for name, (kind, _, text) in published().items():
        assert not name.endswith(("_ms", "_milliseconds", "_percent")), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert text.endswith("."), name


def test_hostile_calls_add_no_series() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, ["gemini-live"], ["weather"])

    def series(number: int) -> int:
        info = CallInfo(f"w-{number}", LegKind.WEBRTC, f"profile {number}", f"model {number}")
        for event in everything():
            metrics.observe(info, event)
        metrics.observe(info, ended())
        metrics.http_request(f"/made/up/{number}", f"M{number}", 200, 0.1)
        metrics.admission_refused(f"reason {number}")
        metrics.auth_failed(f"surface {number}", f"reason {number}")
        metrics.sdp_rejected(f"reason {number}")
        return sum(len(family.samples) for family in registry.collect())

    counts = [series(number) for number in range(3 * labels.MAX_ROUTES)]
    assert len(set(counts[labels.MAX_ROUTES :])) == 1, "after the routes are full nothing grows any more"
    assert counts[-1] <= 2_500


if __name__ == "__main__":
    CATALOGUE.write_text(markdown())
