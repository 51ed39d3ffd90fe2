"""How near the worker is to its limits, from the files of a made-up control group."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.telemetry.saturation import LAG_LIMIT, Stress, Throttled, memory_limit, open_files, quota, resident, throttled


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_newer_control_groups(tmp_path: Path) -> None:
    write(
        tmp_path, cpu_dot_max="50000 100000\n", memory_dot_max="1000000\n", cpu_dot_stat="usage_usec 9\nthrottled_usec 2500000\n"
    )
    assert (quota(tmp_path), memory_limit(tmp_path), throttled(tmp_path)) == (0.5, 1_000_000.0, 2.5)


def test_the_older_control_groups(tmp_path: Path) -> None:
    write(
        tmp_path,
        cpu__cpu_dot_cfs_quota_us="200000\n",
        cpu__cpu_dot_cfs_period_us="100000\n",
        memory__memory_dot_limit_in_bytes="9223372036854771712\n",
        cpu__cpu_dot_stat="nr_periods 1\nthrottled_time 1500000000\n",
    )
    assert (quota(tmp_path), memory_limit(tmp_path), throttled(tmp_path)) == (1.0, float("inf"), 1.5)


@pytest.mark.parametrize("text", ["max 100000\n", "max\n", "", "0 0\n", "-1 100000\n"])
def test_no_limit(tmp_path: Path, text: str) -> None:
    write(tmp_path, cpu_dot_max=text, memory_dot_max="max\n", cpu_dot_stat="nonsense\n")
    assert (quota(tmp_path), memory_limit(tmp_path), throttled(tmp_path)) == (1.0, float("inf"), 0.0)


def test_nothing_there(tmp_path: Path) -> None:
    assert (quota(tmp_path), memory_limit(tmp_path), throttled(tmp_path), resident(tmp_path / "no")) == (1.0, float("inf"), 0, 0)
    assert resident() > 1e6
    assert open_files() > 2


def test_stress_is_the_nearest_limit() -> None:
    stress = Stress()
    assert stress.now(0.0, 40, 50) == pytest.approx(0.8)
    assert stress.now(0.9, 40, 50) >= 0.9
    assert stress.now(7.0, 0, 0) == 1.0
    for _ in range(100):
        stress.lag(LAG_LIMIT / 4)
    assert stress.now(0.0, 0, 50) == pytest.approx(0.25, abs=0.2)
    for _ in range(12):
        stress.lag(1.0)
    assert stress.now(0.0, 0, 50) == 1.0


def test_throttling_is_read_at_the_scrape(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(Throttled(tmp_path))
    assert registry.get_sample_value("gateway_cpu_throttled_seconds_total") == 0
    write(tmp_path, cpu_dot_stat="throttled_usec 4000000\n")
    assert registry.get_sample_value("gateway_cpu_throttled_seconds_total") == 4
