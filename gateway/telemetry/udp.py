"""Drops at the media socket: what the gateway threw away, and what the kernel did (`/proc/net/udp`, `udp6`; proc(5))."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.telemetry.labels import UDP_REASONS, closed

TABLES = (Path("/proc/net/udp"), Path("/proc/net/udp6"))


def drops_in(table: str, port: int) -> int:
    """Sum of the `drops` column of one table's text over the sockets bound to `port`. Lines that do not parse count nothing."""
    total = 0
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 13:
            continue
        _, _, local_port = columns[1].rpartition(":")
        if local_port == f"{port:04X}" and columns[-1].isdigit():
            total += int(columns[-1])
    return total


def rcvbuf_drops(port: int, tables: Iterable[Path] = TABLES) -> int:
    """Datagrams dropped for want of buffer space on `port`; 0 where the system has no such table."""
    total = 0
    for table in tables:
        try:
            total += drops_in(table.read_text(), port)
        except OSError:
            continue
    return total


class UdpDrops(Collector):
    """Reads plain integers when a scrape asks, so that the packet path never touches a metric."""

    def __init__(self, counters: Callable[[], Mapping[str, int]], port: int | None) -> None:
        self._counters = counters
        self._port = port

    def collect(self) -> Iterable[Metric]:
        totals = dict.fromkeys(UDP_REASONS, 0)
        for reason, count in self._counters().items():
            totals[closed(reason, totals)] += count
        dropped = CounterMetricFamily("gateway_udp_dropped", "Datagrams thrown away at the media socket.", labels=["reason"])
        for reason, count in totals.items():
            dropped.add_metric([reason], count)
        yield dropped
        if self._port is not None:
            yield CounterMetricFamily(
                "gateway_udp_rcvbuf_drops",
                "Datagrams the kernel dropped because the media socket's buffer was full.",
                value=rcvbuf_drops(self._port),
            )
