"""One measured run: a gateway alone on core 0, callers and emulator on core 1, and what came of it."""

from __future__ import annotations

import json
import math
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.process import Process, busy_shares, core_times, free_port, json_lines, python, wait_for

GATEWAY_CORE, OTHER_CORE = 0, 1
BUSIEST_OTHER = 0.80
"""Above this share the other core may have been what was measured."""
STRANGERS = 0.08
"""Share of the gateway's core that others may use."""
RAMP = 0.3
"""Seconds between two callers at the beginning: their handshakes are not what is measured, and near capacity there is no room."""
RATE = 50.0
LONGEST_GAP = 0.06


@dataclass
class Run:
    """One run. Times in seconds, memory in bytes, shares 0 to 1."""

    gateway: str
    persona: str
    calls: int
    seconds: float
    load: dict[str, Any] = field(default_factory=dict)
    """The report of `gateway loadtest`."""
    cpu: float = 0.0
    """CPU seconds of the gateway in the window."""
    cores: tuple[float, ...] = ()
    uplink_least: float = 0.0
    """Audio at the model by real time: the worst call."""
    downlink_said: float = 0.0
    """Audio the model sent in the window, by real time: the mean over calls."""
    memory_before: int = 0
    memory: int = 0
    threads: int = 0
    faults: tuple[str, ...] = ()
    """Why it did not pass; empty: it did."""
    void: str = ""

    @property
    def cpu_per_call(self) -> float:
        """CPU seconds a call-second."""
        return self.cpu / (self.calls * self.seconds) if self.calls else math.nan

    @property
    def memory_per_call(self) -> float:
        """Bytes."""
        return (self.memory - self.memory_before) / self.calls if self.calls else math.nan

    @property
    def passed(self) -> bool:
        return not self.faults and not self.void

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "cpu_per_call_second": self.cpu_per_call,
            "memory_per_call": self.memory_per_call,
            "passed": self.passed,
        }

    def line(self) -> str:
        """For people."""
        gap, packets = self.load.get("gap", {}), self.load.get("packets", {})
        cores = "  ".join(f"core {number} {share:4.0%}" for number, share in enumerate(self.cores[:2]))
        verdict = f"void: {self.void}" if self.void else "passes" if not self.faults else "; ".join(self.faults)
        return (
            f"{self.gateway:<9} {self.persona:<10} {self.calls:>4} calls  {self.cpu_per_call * 1000:6.2f} ms/call-s  "
            f"{cores}  slowest {packets.get('rate_least', 0):5.1f}/s  "
            f"p99 gap {(gap.get('p99') or 0) * 1000:5.1f} ms  uplink {self.uplink_least:7.2%}  {verdict}"
        )


class Model:
    """The emulator of a run, asked over its own HTTP port what it heard."""

    def __init__(self, process: Process) -> None:
        assert process.child.stdout is not None
        self.process = process
        self.url, self.ca = process.child.stdout.readline().split()
        self._context = ssl.create_default_context(cafile=self.ca)
        self.looked_at = 0.0
        """The emulator's time of the last `sessions`: under load its answer may take long."""

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Open sessions by id."""
        with urllib.request.urlopen(f"{self.url}/emu/sessions", context=self._context, timeout=20) as response:
            listed = json.load(response)
        self.looked_at = listed["at"]
        return {session["id"]: session for session in listed["sessions"] if session["open"]}


@dataclass
class Bench:
    """What is running: a gateway and its emulator."""

    name: str
    gateway: Process
    model: Model
    url: str
    """Of WHIP."""
    admin: str = ""
    ready_after: float = 0.0


@contextmanager
def started(name: str, persona: str, *, ledger: Path | None = None) -> Iterator[Bench]:
    """`ours` or `textbook`, ready to be called. With `ledger` the emulator keeps account of every message (`model.Ledger`)."""
    with ExitStack() as stack:
        words = ["--persona", persona, *(["--ledger", str(ledger)] if ledger is not None else [])]
        emulator = Process(python("-m", "tests.bench.model", *words), OTHER_CORE)
        stack.callback(emulator.stop)
        model = Model(emulator)
        port, admin = free_port(), free_port()
        env = {
            "GEMINI_API_KEY": "bench",
            "GATEWAY_GEMINI_BASE_URL": model.url,
            "GATEWAY_GEMINI_CA_FILE": model.ca,
            "GATEWAY_MAX_CALLS": "1000",
            "GATEWAY_LOG_LEVEL": "warning",
        }
        if name == "ours":
            argv = python(
                "-m", "gateway", "serve", "--port", str(port), "--admin-port", str(admin), "--udp-port", str(free_port())
            )
        else:
            argv = python("-m", "tests.bench.textbook", "--port", str(port), "--model-url", model.url, "--ca", model.ca)
        log = Path(tempfile.mkdtemp(prefix="bench-")) / f"{name}.log"
        gateway = Process(argv, GATEWAY_CORE, env=env, log=log)
        stack.callback(gateway.stop)
        ready = wait_for(f"http://127.0.0.1:{port}/readyz", gateway)
        yield Bench(name, gateway, model, f"http://127.0.0.1:{port}/whip", f"http://127.0.0.1:{admin}", ready)


def load(
    bench: Bench, calls: int, seconds: float, *, ramp: float, settle: float = 3.0, quiet: bool = False
) -> Iterator[dict[str, Any]]:
    """Run the load tool on the other core; its events as they come, its report last as `{"event": "report", …}`.

    In place of a report that it does not give: `{"event": "broken", "why": …}`, its last words.
    """
    argv = ["-m", "gateway", "loadtest", "--url", bench.url, "--json", "--calls", str(calls)]
    # It lingers so that we can ask gateway and emulator about the window's end before the first call ends.
    argv += ["--ramp", str(ramp), "--seconds", str(seconds), "--settle", str(settle), "--linger", "2"]
    argv += ["--quiet"] if quiet else []
    tool = Process(python(*argv), OTHER_CORE)
    try:
        assert tool.child.stderr is not None
        assert tool.child.stdout is not None
        words = ""
        for line in iter(tool.child.stderr.readline, ""):
            words = line.strip() or words
            yield from json_lines(iter((line,)))
        report = tool.child.stdout.read()
        yield {"event": "report", **json.loads(report)} if report else {"event": "broken", "why": words}
    finally:
        tool.stop()


def measure(
    name: str, calls: int, *, persona: str = "talker", seconds: float = 30.0, talking: bool = True, quiet: bool = False
) -> Run:
    """Start everything, call, measure one window, stop everything. `quiet`: the callers do not speak."""
    run = Run(name, persona, calls, seconds)
    with started(name, persona) as bench:
        for event in load(bench, 1, 1.0, ramp=0.0, settle=0.5):  # warm: imports, caches, the first handshake
            del event
        run.memory_before = bench.gateway.memory()
        old = bench.model.sessions().keys()
        before: dict[str, Any] = {}
        cpu, began, cores = 0.0, 0.0, core_times()
        for event in load(bench, calls, seconds, ramp=max(2.0, calls * RAMP), quiet=quiet):
            if event["event"] == "window":
                before = {key: session for key, session in bench.model.sessions().items() if key not in old}
                began = bench.model.looked_at
                cpu, cores = bench.gateway.cpu(), core_times()
            elif event["event"] == "end":
                run.cpu, run.cores = bench.gateway.cpu() - cpu, tuple(busy_shares(cores, core_times()))
                after = bench.model.sessions()
                took = bench.model.looked_at - began
                run.memory, run.threads = bench.gateway.memory(), bench.gateway.threads()
                heard = [after[key]["heard_seconds"] - before[key]["heard_seconds"] for key in before if key in after]
                said = [after[key]["said_seconds"] - before[key]["said_seconds"] for key in before if key in after]
                run.uplink_least = min(heard, default=0.0) / took if len(heard) == calls else 0.0
                run.downlink_said = sum(said) / max(1, len(said)) / took
            elif event["event"] == "report":
                run.load = event
            elif event["event"] == "broken":
                run.void = f"the load tool broke off: {event['why']}"
    judge(run, talking=talking)
    return run


def judge(run: Run, *, talking: bool) -> None:
    """Fill in `faults` and `void`. `talking`: the model never stops, so that every stream owes 50 packets a second."""
    if not run.cores:
        run.void = run.void or "the load tool did not get to its window's end"
        return
    faults = []
    packets, gap = run.load.get("packets", {}), run.load.get("gap", {})
    if run.load.get("connected") != run.calls:
        faults.append(f"only {run.load.get('connected', 0)} connected")
    if talking and packets.get("rate_least", 0.0) < 0.99 * RATE:
        faults.append(f"slowest stream {packets.get('rate_least', 0.0):.1f}/s")
    if (gap.get("p99_worst_stream") or 0.0) >= LONGEST_GAP:
        faults.append(f"p99 gap {gap['p99_worst_stream'] * 1000:.0f} ms")
    if run.uplink_least < 0.99:
        faults.append(f"uplink {run.uplink_least:.1%}")
    run.faults = tuple(faults)
    strangers = run.cores[GATEWAY_CORE] - run.cpu / run.seconds
    if run.cores[OTHER_CORE] > BUSIEST_OTHER:
        run.void = f"core 1 was busy for {run.cores[OTHER_CORE]:.0%}"
    elif strangers > STRANGERS and run.faults:
        run.void = f"others used {strangers:.0%} of core 0"
