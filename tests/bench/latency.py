"""What the gateway adds, seen from outside: a click from the caller to the model, the beginning of an answer to the caller.

Up: probe callers say a click now and then. The time from sending the packet that carries the click's first sample to the
arrival of the model message that holds it is the gateway's, its chunking and the loopback included; the codec's own delay is
not in it (the same packets decoded here say which packet carries the sample). Down: the model talks in bursts; the time from
sending a burst's first message to the arrival of the packet with the marker bit.

The emulator writes down when each message came and went (`Ledger`); both clocks are the machine's monotonic one.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from gateway.loadtest.caller import PTIME, Caller
from gateway.loadtest.dtls import Identity
from gateway.loadtest.meter import percentile
from gateway.loadtest.speech import SpeechPacket
from gateway.media.opus import Application, OpusDecoder, OpusEncoder
from tests.bench.measure import OTHER_CORE, Bench, started
from tests.bench.model import Ledger
from tests.bench.process import Process, json_lines, python

PERSONA = "talker:0.5,0.7"
PERIOD = 33
"""Packets between two clicks: 0.66 s, which falls at ever other places of a 100 ms chunk."""
PROBES = 5
LOUD = 4000
"""Sample value that only the click reaches."""
SECONDS = 60.0


def clicks() -> list[SpeechPacket]:
    """A loop with one click in it, as a decoder meets it the second time round."""
    encoder = OpusEncoder(24_000, application=Application.VOIP, bitrate=32_000, complexity=5)
    noise = np.random.default_rng(7)
    payloads = []
    for number in range(2 * PERIOD):
        pcm = noise.integers(-8, 9, 480).astype(np.int16)
        if number % PERIOD == PERIOD // 2:
            pcm[:240] = (20_000 * np.sign(noise.standard_normal(240))).astype(np.int16)
        payloads.append(encoder.encode(pcm.tobytes()))
    return [SpeechPacket(payload, 60, False) for payload in payloads[PERIOD:]]


def onsets(pcm: np.ndarray[Any, np.dtype[np.int16]], rate: int = 16_000) -> list[int]:
    """Sample index of each click's first loud sample; a click is preceded by 0.2 s without one."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > LOUD)
    if not loud.size:
        return []
    starts = np.flatnonzero(np.diff(loud, prepend=-rate) > rate // 5)
    return [int(loud[start]) for start in starts]


def carrier(packets: Sequence[SpeechPacket]) -> int:
    """Which packet of the loop brings the click's first sample out of a decoder."""
    decoder = OpusDecoder(16_000)
    heard = b"".join(decoder.decode(packet.payload) for packet in [*packets, *packets])
    first = next(onset for onset in onsets(np.frombuffer(heard, np.int16)) if onset >= 320 * len(packets))
    return first // 320 % len(packets)


class Probe(Caller):
    """A caller that notes when its clicks left and when talkspurts began to arrive (wall clock)."""

    clicked: list[float]
    began: list[float]
    packet: int

    def listen(self, packet: int) -> None:
        """From now on note; `packet` of the loop carries the click."""
        self.clicked, self.began, self.packet = [], [], packet

    def _speak(self, session: Any) -> None:
        if self._at == self.packet:
            self.clicked.append(time.monotonic())
        super()._speak(session)

    def _hear(self, data: bytes, at: float) -> None:
        if data[1] & 0x80 and not 192 <= data[1] < 224:
            self.began.append(at)
        super()._hear(data, at)


@dataclass(frozen=True)
class Added:
    """Seconds the gateway adds each way."""

    calls: int
    up: tuple[float, ...]
    down: tuple[float, ...]

    def figures(self) -> dict[str, float | int | None]:
        """Percentiles."""
        found: dict[str, float | int | None] = {"calls": self.calls, "up_samples": len(self.up), "down_samples": len(self.down)}
        for name, values in (("up", self.up), ("down", self.down)):
            for share in (50, 99):
                found[f"{name}_p{share}"] = percentile(values, share / 100)
        return found

    def line(self) -> str:
        """For people, milliseconds."""
        told = {key: math.nan if value is None else value for key, value in self.figures().items()}
        return (
            f"added at {self.calls} calls, p50 / p99: "
            f"caller to model {told['up_p50'] * 1000:.1f} / {told['up_p99'] * 1000:.1f} ms "
            f"({len(self.up)} clicks), model to caller {told['down_p50'] * 1000:.1f} / {told['down_p99'] * 1000:.1f} ms "
            f"({len(self.down)} bursts)"
        )


def follow(sent: Sequence[float], came: Sequence[float], within: float = 0.5) -> list[float]:
    """For each moment of `sent`, how long until the next of `came`; those without one `within` seconds are left out."""
    found, at = [], 0
    ordered = sorted(came)
    for moment in sorted(sent):
        while at < len(ordered) and ordered[at] < moment:
            at += 1
        if at < len(ordered) and ordered[at] - moment < within:
            found.append(ordered[at] - moment)
    return found


def wait_until_connected(crowd: Process) -> None:
    """Blocks until every caller of the load tool is up. Raises RuntimeError when it ends before."""
    assert crowd.child.stderr is not None
    if not any(event["event"] == "connected" for event in json_lines(iter(crowd.child.stderr.readline, ""))):
        raise RuntimeError("the load tool ended before its callers were up")


async def probe(bench: Bench, calls: int, ledger: Path, seconds: float) -> Added:
    """Probe callers, and enough ordinary ones to make `calls`."""
    loop = asyncio.get_running_loop()
    packets = clicks()
    packet = carrier(packets)
    crowd: Process | None = None
    if calls > PROBES:
        words = ["--calls", str(calls - PROBES), "--ramp", str(calls * 0.1), "--settle", "0", "--seconds", str(seconds + 20)]
        crowd = Process(python("-m", "gateway", "loadtest", "--url", bench.url, "--json", *words), OTHER_CORE)
        await asyncio.to_thread(wait_until_connected, crowd)
    identity = Identity()
    probes = [Probe(number, identity, packets, url=bench.url) for number in range(min(calls, PROBES))]
    async with aiohttp.ClientSession() as http:
        for caller in probes:
            caller.listen(packet)
            await caller.connect(http)
            await asyncio.sleep(0.3)  # its model session is open before the next one's
        for caller in probes:
            caller.listen(packet)
        due, end = loop.time(), loop.time() + seconds
        while due < end:
            for caller in probes:
                caller.step(loop.time())
                due += PTIME / len(probes)
                await asyncio.sleep(due - loop.time())
        up: list[float] = []
        down: list[float] = []
        written = Ledger.ask(bench.model.process.pid, ledger)
        wall = time.time() - time.monotonic()
        # The probes were the last to connect, one after the other.
        for caller, entry in zip(probes, written.entries[-len(probes) :], strict=True):
            up += follow(caller.clicked, entry.clicks(onsets))
            down += follow(entry.bursts(), [at - wall for at in caller.began])
        for caller in probes:
            await caller.hang_up(http)
    if crowd is not None:
        crowd.stop()
    return Added(calls, tuple(up), tuple(down))


def measure_latency(calls: int, seconds: float = SECONDS) -> Added:
    """Start everything, probe, stop everything."""
    ledger = Path(tempfile.mkdtemp(prefix="bench-")) / "ledger.json"
    with started("ours", PERSONA, ledger=ledger) as bench:
        return asyncio.run(probe(bench, calls, ledger, seconds))
