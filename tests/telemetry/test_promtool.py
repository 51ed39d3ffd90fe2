"""What Prometheus's own tool says of our `/metrics`: nothing.

`promtool check metrics` parses the exposition and complains of names without a unit, counters without `_total`, metrics without
help and the like; it exits with 0 only when it has nothing to say. It comes with the Debian package prometheus (.ci/packages).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import PATIENCE, Gateway, running_gateway
from tests.telemetry.test_catalogue import CATALOGUE, everything_once

CALLS = 4


def complaints(exposition: str) -> str:
    """What promtool says; empty: nothing."""
    promtool = shutil.which("promtool")
    assert promtool, "no promtool: bash .ci/packages"
    done = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, text=True, timeout=PATIENCE)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == (not said), (done.returncode, said)
    return said


def test_every_metric_with_every_label() -> None:
    assert complaints(generate_latest(everything_once()).decode()) == ""


def test_it_would_complain() -> None:
    registry = CollectorRegistry()
    Counter("gateway_wait_milliseconds", "", registry=registry).inc()
    assert "no help text" in complaints(generate_latest(registry).decode())


async def load(gateway: Gateway) -> None:
    """Callers talk, until they hang up again."""
    command = [
        "loadtest",
        "--url",
        f"{gateway.url}/whip",
        "--calls",
        f"{CALLS}",
        "--ramp",
        "1",
        "--settle",
        "1",
        "--seconds",
        "6",
    ]
    callers = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(2 * PATIENCE):
            assert await callers.wait() == 0
    finally:
        if callers.returncode is None:
            callers.kill()
            await callers.wait()


@pytest.fixture(scope="module")
def scrapes() -> tuple[str, str]:
    """`/metrics` of a gateway while it has callers, and when they have gone."""

    async def body() -> tuple[str, str]:
        async with running_gateway() as gateway, asyncio.TaskGroup() as tasks:
            callers = tasks.create_task(load(gateway))
            async with asyncio.timeout(PATIENCE):
                while (await gateway.status())["calls"] < CALLS:
                    await asyncio.sleep(0.1)
            during = await gateway.metrics()
            await callers
            await gateway.nobody_left()
            return during, await gateway.metrics()

    return asyncio.run(body())


def test_a_gateway_with_callers_and_after_them(scrapes: tuple[str, str]) -> None:
    for exposition in scrapes:
        assert complaints(exposition) == ""
    assert f'gateway_calls_active{{leg="webrtc"}} {CALLS}.0' in scrapes[0]
    families = {family.name: family for family in text_string_to_metric_families(scrapes[1])}
    assert sum(sample.value for sample in families["gateway_calls_ended"].samples) == CALLS
    assert sum(sample.value for sample in families["gateway_rtp_packets"].samples) > 100 * CALLS
    assert sum(sample.value for sample in families["gateway_model_context_tokens"].samples) > 0
    assert sum(len(family.samples) for family in families.values()) <= 2_500


def test_all_it_publishes_is_in_the_catalogue(scrapes: tuple[str, str]) -> None:
    exposition = scrapes[1]
    known = set(re.findall(r"^\| `(gateway_\w+)` \| (\w+)", CATALOGUE.read_text(), re.MULTILINE))
    seen = set(re.findall(r"^# TYPE (gateway_\w+) (\w+)", exposition, re.MULTILINE))
    assert len(seen) > 60
    assert seen <= known
    assert not re.search(r"w0-[0-9a-f]{8}", exposition), "no call id"
