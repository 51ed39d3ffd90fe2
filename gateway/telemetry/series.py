"""Making metrics: one prefix, one registry, and children that are looked up once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

M = TypeVar("M", Counter, Gauge, Histogram)


class Children(Generic[M]):
    """The children of one labelled metric, looked up once each (a cached `inc` costs 1 µs, an uncached `labels()` two more)."""

    __slots__ = ("_known", "_metric")

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._known: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        child = self._known.get(labels)
        if child is None:
            child = self._known[labels] = self._metric.labels(*labels)
        return child


class Make:
    """Makes the gateway's metrics in one registry. With labels the plural forms give the children."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def counter(self, name: str, text: str) -> Counter:
        """Without labels."""
        return Counter(f"gateway_{name}", text, registry=self.registry)

    def counters(self, name: str, text: str, *labels: str) -> Children[Counter]:
        """With labels."""
        return Children(Counter(f"gateway_{name}", text, labels, registry=self.registry))

    def gauge(self, name: str, text: str, ask: Callable[[], float] | None = None) -> Gauge:
        """Without labels; `ask` is called at the scrape."""
        gauge = Gauge(f"gateway_{name}", text, registry=self.registry)
        if ask is not None:
            gauge.set_function(ask)
        return gauge

    def gauges(self, name: str, text: str, *labels: str) -> Children[Gauge]:
        """With labels."""
        return Children(Gauge(f"gateway_{name}", text, labels, registry=self.registry))

    def histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        """Without labels."""
        return Histogram(f"gateway_{name}", text, buckets=buckets, registry=self.registry)

    def histograms(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Children[Histogram]:
        """With labels."""
        return Children(Histogram(f"gateway_{name}", text, labels, buckets=buckets, registry=self.registry))
