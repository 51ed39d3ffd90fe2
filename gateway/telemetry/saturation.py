"""How near the worker is to its limits: one number, and what the container's scheduler took away.

Limits are read from the process and its control group (cgroups v2, else v1); where there is none it does not count. Linux only;
elsewhere every file is missing and the load alone is told.
"""

from __future__ import annotations

import os
import resource
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

LAG_LIMIT = 0.02
"""Seconds of loop lag at which packets leave a whole frame late."""

BEATS = 200
"""Beats of the pulse that the lag is judged by: ten seconds."""

CGROUP = Path("/sys/fs/cgroup")
PAGE_BYTES = resource.getpagesize()


def quota(group: Path = CGROUP) -> float:
    """Cores this process may use, at most one: it has one thread that matters."""
    try:
        most, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            most, period = ((group / "cpu" / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        except OSError:
            return 1.0
    try:
        share = float(most) / float(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return 1.0
    return min(1.0, share) if share > 0.0 else 1.0


def memory_limit(group: Path = CGROUP) -> float:
    """Bytes this process may have; infinite without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = float((group / name).read_text())
        except (OSError, ValueError):
            continue
        return limit if limit < 2**60 else float("inf")
    return float("inf")


def throttled(group: Path = CGROUP) -> float:
    """Seconds for which the scheduler has held this control group back."""
    for name, key, unit in (("cpu.stat", "throttled_usec", 1e-6), ("cpu/cpu.stat", "throttled_time", 1e-9)):
        try:
            lines = (group / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, value = line.partition(" ")
            if word == key and value.isdigit():
                return int(value) * unit
    return 0.0


def resident(statm: Path = Path("/proc/self/statm")) -> float:
    """Bytes of memory in use."""
    try:
        return float(statm.read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0.0


def open_files() -> int:
    """File descriptors in use."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class Stress:
    """The greatest of: cpu / quota, 95th percentile of lag / 20 ms, calls / capacity, files / limit, memory / limit; 0 to 1."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=BEATS)
        self._quota = quota()
        self._memory = memory_limit()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def lag(self, seconds: float) -> None:
        """A beat was so late."""
        self._lags.append(seconds)

    def now(self, load: float, calls: float, capacity: float) -> float:
        """`load`: share of one core used in the last second."""
        lags = sorted(self._lags)
        late = lags[int(0.95 * (len(lags) - 1))] if lags else 0.0
        shares = (
            load / self._quota,
            late / LAG_LIMIT,
            calls / capacity if capacity else 0.0,
            open_files() / self._files if self._files > 0 else 0.0,
            resident() / self._memory,
        )
        return min(1.0, max(shares))


class Throttled(Collector):
    """`gateway_cpu_throttled_seconds_total`, read at the scrape."""

    def __init__(self, group: Path = CGROUP) -> None:
        self._group = group

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "gateway_cpu_throttled_seconds",
            "Seconds for which the container's CPU limit held the process back.",
            value=throttled(self._group),
        )
