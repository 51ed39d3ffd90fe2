"""Processes on given cores, and what the kernel says they used."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TICK = os.sysconf("SC_CLK_TCK")


class Process:
    """A child pinned to one core. Times in seconds, memory in bytes."""

    def __init__(self, argv: Sequence[str], core: int, *, env: Mapping[str, str] | None = None, log: Path | None = None) -> None:
        self._log = log.open("wb") if log is not None else None
        self.child = subprocess.Popen(
            ["taskset", "-c", str(core), *argv],
            cwd=ROOT,
            env=os.environ | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log or subprocess.PIPE,
            text=True,
        )
        self.pid = self.child.pid

    def cpu(self) -> float:
        """CPU seconds so far, all threads, from the scheduler (nanoseconds, unlike the clock ticks of `stat`)."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total * 1e-9

    def memory(self) -> int:
        """Resident bytes that are its own: anonymous memory, without shared libraries."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        return 0

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for stream in (self.child.stdout, self.child.stderr, self._log):
            if stream is not None:
                stream.close()


def python(*words: str) -> list[str]:
    """argv of a module of this environment."""
    return [sys.executable, *words]


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that is free just now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: Process, patience: float = 30.0) -> float:
    """Seconds until `url` answers 200. Raises RuntimeError when the process ends or nothing answers in time."""
    began = time.monotonic()
    while time.monotonic() - began < patience:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return time.monotonic() - began
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.child.wait(0.05)
            raise RuntimeError(f"{url}: the process ended with {process.child.returncode}")
    raise RuntimeError(f"{url}: no answer in {patience:.0f} s")


def core_times() -> list[tuple[float, float]]:
    """(busy, all) seconds of each core so far."""
    cores = []
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            numbers = [int(field) / TICK for field in fields[:8]]
            cores.append((sum(numbers) - numbers[3] - numbers[4], sum(numbers)))
    return cores


def busy_shares(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]) -> list[float]:
    """Share of each core's time that was not idle, 0 to 1."""
    return [(b[0] - a[0]) / max(1e-9, b[1] - a[1]) for a, b in zip(before, after, strict=True)]


def await_quiet(patience: float, busiest: float = 0.1) -> bool:
    """Wait until no core was busy for more than `busiest` of two seconds. False when that did not come in `patience` seconds."""
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nothing:
        nothing.bind(("127.0.0.1", 0))
        nothing.settimeout(2.0)
        while True:
            before = core_times()
            with contextlib.suppress(TimeoutError):
                nothing.recv(1)
            if max(busy_shares(before, core_times())) <= busiest:
                return True
            if time.monotonic() > deadline:
                return False


def json_lines(stream: Iterator[str]) -> Iterator[dict[str, object]]:
    """The objects of a stream of JSON lines; other lines are passed over."""
    for line in stream:
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def cpu_model() -> str:
    """As /proc/cpuinfo names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def commit() -> str:
    """Short hash of the checkout, with a + when it has changes."""
    run = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude", "*"]
    found = subprocess.run(run, check=False, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"
