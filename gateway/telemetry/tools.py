"""What the tools of a worker did, and its moderation hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.events import Moderated, ToolEnded
from gateway.telemetry.labels import MAX_TOOLS, RULINGS, SETUP, SPEAKERS, TOOL_RESULTS, closed


class ToolMetrics:
    """The tools' part of the catalogue. `tools`: the names that count as label values, the first 32 of them."""

    def __init__(self, registry: CollectorRegistry, tools: Sequence[str]) -> None:
        self._tools = frozenset(tools[: MAX_TOOLS - 1])
        self._calls = Counter("gateway_tool_calls_total", "Tool calls, by how they ended.", ("tool", "result"), registry=registry)
        self._seconds = Histogram("gateway_tool_seconds", "Asked for to answered.", ("tool",), buckets=SETUP, registry=registry)
        self._moderated = Counter(
            "gateway_moderated_total",
            "Pieces of transcript that a moderation hook did not simply let pass, or did not judge.",
            ("who", "action", "result"),
            registry=registry,
        )
        self._inflight = Gauge("gateway_tools_inflight", "Functions at work.", registry=registry)

    def observe(self, event: ToolEnded) -> None:
        """Count one call's end."""
        tool = closed(event.tool, self._tools)
        self._calls.labels(tool, closed(event.outcome, TOOL_RESULTS)).inc()
        self._seconds.labels(tool).observe(event.seconds)

    def moderated(self, event: Moderated) -> None:
        """Count one verdict, or the lack of one."""
        result = "failed" if event.failed else "judged"
        self._moderated.labels(closed(event.who, SPEAKERS), closed(event.action, RULINGS), result).inc()

    def watch(self, running: Callable[[], int]) -> None:
        """Publish how many run, asked for at scrape."""
        self._inflight.set_function(running)
