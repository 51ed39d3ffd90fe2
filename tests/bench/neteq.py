"""Our ears beside Chrome's: the same packets at the same moments into our receiver and into NetEq, judged by STOI and PESQ.

`python -m tests.bench.neteq [--json] [--seconds 63] [--only NAME] [--at-once 6]`, after `pip install '.[bench]'`; all rows take
about six minutes. NetEq is the `wrtc` wheel's and runs in real time, a few calls at once: first everything is played, then
everything is judged, so that judging steals no time from playing.

On a busy machine NetEq looks worse than it is. So a row is void when the 99th percentile of how late our packets left is over
10 ms, or when other processes had over a tenth of the machine while it played. A void row is named with its reason and without
figures. The exit code is 0 when all rows count and none is behind (by 0.02 STOI or 0.1 PESQ; with RED, at all), 1 when one that
counts is behind, and 2 when none is but some are void: play these again when the machine is quiet.

NetEq is a player: it stretches and shrinks time, most of all at the beginning. So the first voice is left out, and before judging
each half second of either output is moved to where it fits the clean speech best. Ours needs none of that, but gets the same.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from pesq import pesq
from pystoi import stoi

from gateway.events import EndReason
from gateway.legs.webrtc.leg import WebRtcLeg, WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import MODEL_INPUT_RATE
from gateway.media.opus import Application, OpusEncoder
from gateway.wire.rtp import pack_rtp_header
from gateway.wire.sdp import parse_offer
from tests.audio import Floats, find, floats, frames, pcm16, resampled, speech
from tests.bench.beside import Row, others_share, verdict
from tests.bench.loss import OPUS, RED, TICKS, Trace, arrivals, hear, red_payload, traces
from tests.bench.process import core_times
from tests.legs.chrome import ChromeCaller
from tests.legs.contract import Listener

RATE = MODEL_INPUT_RATE
VOICE = 4.5
"""Seconds of one voice in `speech`: what is judged at once."""

SHORTEST = 4 * VOICE
"""Seconds of a trace at least: the first voice is left out, and the next three say where the rest lies."""

SENT_RATE = 48_000
BITRATE = 32_000
"""Chrome's own for a voice."""

AT_ONCE = 6
LEAD = 0.2
"""Seconds of the first packet's way that are left for scheduling."""

ROWS = (
    "random 0 % plain",
    "random 1 % fec",
    "random 5 % fec",
    "random 10 % plain",
    "random 10 % fec",
    "random 20 % fec",
    "bursts of 1.5, 10 % fec",
    "bursts of 2, 10 % fec",
    "bursts of 3, 10 % fec",
    "jitter 50 ms fec",
    "jitter 50 ms, 10 % fec",
    "jitter 200 ms fec",
    "reorder 25 % fec",
    "duplicates 5 % fec",
    "random 10 % red1",
    "random 20 % red1",
    "bursts of 2, 10 % fec red2",
    "bursts of 3, 10 % fec red2",
)


@functools.cache
def _encoded(seconds: float, fec: bool) -> list[bytes]:
    encoder = OpusEncoder(SENT_RATE, application=Application.VOIP, bitrate=BITRATE, complexity=9, fec=fec, loss=20 if fec else 0)
    return [encoder.encode(frame) for frame in frames(speech(SENT_RATE, seconds), SENT_RATE)]


def payloads(trace: Trace) -> list[bytes]:
    """Speech as Chrome sends it."""
    return _encoded(trace.seconds, trace.fec)


def packets(trace: Trace, *, opus: int = OPUS, red: int = RED, ssrc: int = 7) -> list[bytes]:
    """The trace's RTP packets."""
    coded = payloads(trace)
    return [
        pack_rtp_header(red if trace.red else opus, number == 0, number & 0xFFFF, number * TICKS, ssrc)
        + (red_payload(coded, number, trace.red, opus) if trace.red else payload)
        for number, payload in enumerate(coded)
    ]


def ours(trace: Trace) -> bytes:
    """What our receiver gives the model."""
    _, heard = hear(trace, arrivals(trace), sent=packets(trace))
    return b"".join(frame.pcm for _, frame in heard)


async def neteq(trace: Trace) -> tuple[bytes, float]:
    """What Chrome plays, at 16 kHz, and how late its packets left. Takes as long as the trace."""
    mux = await UdpMux.open("127.0.0.1", 0)
    caller, sink = ChromeCaller(codecs=["red", "opus"] if trace.red else ["opus"], label=None), Listener()
    leg, sdp = await answer(parse_offer(await caller.offer()), mux, WebRtcSettings(worker="bench"), mux.clock())
    try:
        leg.start(sink)
        await caller.answered(sdp)
        await sink.until(lambda: sink.connections == 1)
        types = {name.lower(): int(number) for number, name in re.findall(r"a=rtpmap:(\d+) (\w+)/48000", sdp)}
        late = await _send(leg, trace, packets(trace, opus=types["opus"], red=types.get("red", 0), ssrc=leg._sender.ssrc))
        return resampled(bytes(caller.heard), caller.rate, RATE), late
    finally:
        await leg.close(EndReason.CALLER_HUNG_UP)
        await caller.close()
        await mux.close()


async def _send(leg: WebRtcLeg, trace: Trace, sent: Sequence[bytes]) -> float:
    """Protect in the order of sending, deliver when the trace says. Seconds of our own lateness, 99th percentile."""
    transmit, remote, port = leg._speaking.tx, leg._ice.remote, leg._ice.port
    assert transmit is not None, "connected"
    assert remote is not None, "connected"
    assert port is not None, "connected"
    protected = [transmit.protect(packet) for packet in sent]
    loop = asyncio.get_running_loop()
    start = loop.time() + LEAD
    done = loop.create_future()
    plan = arrivals(trace)
    lateness: list[float] = []

    def send(at: float, packet: bytes) -> None:
        port.sendto(packet, remote)
        lateness.append(loop.time() - at)

    for at, number in plan:
        loop.call_at(start + at, send, start + at, protected[number])
    loop.call_at(start + plan[-1][0] + 1.0, done.set_result, None)
    await done
    return float(np.percentile(lateness, 99))


def fitted(clean: Floats, heard: Floats, lag: int) -> Floats:
    """`heard`, each half second moved to where it fits `clean` best, within 200 ms of `lag`."""
    size, reach = RATE // 2, RATE // 5
    heard = np.concatenate([np.zeros(reach), heard, np.zeros(max(0, len(clean) + lag - len(heard)) + size + 2 * reach)])
    last = reach
    parts = []
    for begin in range(0, len(clean), size):
        cut = clean[begin : begin + size]
        window = heard[begin + lag : begin + lag + len(cut) + 2 * reach]
        products = np.correlate(window, cut, "valid")
        best = int(products.argmax())
        power = float(np.sqrt((cut**2).sum() * (window[best : best + len(cut)] ** 2).sum()))
        # A silent stretch, or a mangled one, fits anywhere: it stays where its neighbour was.
        if power > 0 and products[best] > 0.3 * power:
            last = best
        parts.append(window[last : last + len(cut)])
    return np.concatenate(parts)


def judge(trace: Trace, heard: bytes) -> tuple[float, float]:
    """STOI and PESQ-WB against the clean speech, means over all voices but the first."""
    clean = floats(speech(RATE, trace.seconds))
    size = round(VOICE * RATE)
    # Chrome's track may begin a second after the first packet: then the lag is negative without this.
    samples = np.concatenate([np.zeros(3 * RATE), floats(heard)])
    lag = round(find(pcm16(clean[size : 4 * size]), pcm16(samples[size:]), RATE, 6.0) * RATE)
    aligned = fitted(clean, samples, lag)
    pairs = [(clean[at : at + size], aligned[at : at + size]) for at in range(size, len(clean) - size + 1, size)]
    return (
        statistics.mean(float(stoi(a, b, RATE)) for a, b in pairs),
        statistics.mean(float(pesq(RATE, a.astype(np.int16), b.astype(np.int16), "wb")) for a, b in pairs),
    )


async def play(rows: Sequence[Trace], at_once: int) -> list[tuple[bytes, float, float]]:
    """NetEq's side of all rows: what it played, how late our packets left, the share that others had of the machine."""
    played: list[tuple[bytes, float, float]] = []
    for begin in range(0, len(rows), at_once):
        some = rows[begin : begin + at_once]
        print(f"playing {begin + 1} to {begin + len(some)} of {len(rows)}", file=sys.stderr, flush=True)
        # All packets are made before the first call begins: encoding would make the others late.
        for trace in some:
            payloads(trace)
        before, own = core_times(), time.process_time()
        batch = await asyncio.gather(*map(neteq, some))
        others = others_share(before, core_times(), time.process_time() - own)
        played += [(pcm, late, others) for pcm, late in batch]
    return played


def _row(trace: Trace, theirs: bytes, late: float, others: float) -> Row:
    our_stoi, our_pesq = judge(trace, ours(trace))
    their_stoi, their_pesq = judge(trace, theirs)
    return Row(trace.name, our_stoi, their_stoi, our_pesq, their_pesq, late, others)


def measure(rows: Sequence[Trace], at_once: int) -> list[Row]:
    """All rows: played in real time, then judged on all cores."""
    played = asyncio.run(play(rows, at_once))
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_row, rows, *zip(*played, strict=True)))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--seconds", type=float, default=14 * VOICE, help=f"of each trace; at least {SHORTEST:g} (default %(default)s)"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="rows whose name contains this")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="calls played together (default %(default)s)")
    arguments = parser.parse_args()
    chosen = {trace.name: trace for trace in traces(arguments.seconds)}
    some = [chosen[name] for name in ROWS if arguments.only in name]
    if arguments.seconds < SHORTEST:
        parser.error(f"--seconds {arguments.seconds:g}: less than {SHORTEST:g} leave nothing to judge")
    if not some:
        parser.error(f"no row has {arguments.only!r} in its name; there are: {'; '.join(ROWS)}")
    rows = measure(some, arguments.at_once)
    if arguments.json:
        json.dump([row.as_json() for row in rows], sys.stdout, indent=1)
    else:
        print(f"{'trace':32} {'STOI':>6} {'NetEq':>6} {'PESQ':>6} {'NetEq':>6} {'late':>5}")
        for row in rows:
            print(row.line())
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
