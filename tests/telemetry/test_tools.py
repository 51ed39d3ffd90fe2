"""Tools in metrics: what is counted, and that names from outside grow nothing."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from gateway.events import CallInfo, LegKind, ToolEnded, ToolOutcome
from gateway.telemetry.labels import MAX_TOOLS
from gateway.telemetry.metrics import Metrics

INFO = CallInfo("w1-0123", LegKind.WEBRTC, "default", "gemini-live")


def test_calls_seconds_and_what_runs() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, tools=["look"])
    metrics.tools.watch(lambda: 3)
    for outcome in ToolOutcome:
        metrics.observe(INFO, ToolEnded("look", outcome, 0.5, "fc1"))
    for outcome in ToolOutcome:
        assert registry.get_sample_value("gateway_tool_calls_total", {"tool": "look", "result": outcome.value}) == 1
    assert registry.get_sample_value("gateway_tool_seconds_sum", {"tool": "look"}) == 0.5 * len(ToolOutcome)
    assert registry.get_sample_value("gateway_tools_inflight") == 3


def test_label_values_are_at_most_32() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, tools=[f"tool{number}" for number in range(100)])
    for number in range(200):
        metrics.observe(INFO, ToolEnded(f"tool{number}", ToolOutcome.OK, 0.1))
    (family,) = [family for family in registry.collect() if family.name == "gateway_tool_calls"]
    assert len(family.samples) == MAX_TOOLS
