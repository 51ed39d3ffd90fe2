"""How much of a caller's audio reaches the model over bad networks, in fake time: `python -m tests.bench.loss [--json]`.

Frame-numbered chirps go through real Opus, a seeded network and the real receiver. A frame is *whole* when its number can be
read from what comes out. It is *recoverable* when its packet, its RED copy or its FEC copy arrives within `within` of when it
was due: computed from the trace, it is the best any receiver could do. Delay is from a packet's sending to its audio leaving the
receiver, so a packet's own 20 ms are not in it and the network's 20 ms are.

Beside each row stands what the delay could be with 99.5 % of the recoverable frames whole (`tests/bench/bounds.py`): *least*,
which no receiver goes below, even one that knows the future; *patient*, of one that only knows how long packets take. With jitter
of ±50 ms and no copy of anything the least p50 is 77 ms: 75 cannot be had there, because a frame is said after those before it.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.legs.webrtc.receiver import Receiver
from gateway.media.audio import MODEL_INPUT_RATE, AudioFrame
from gateway.media.codec import Codec, CodecName
from gateway.media.opus import Application, OpusDecoder, OpusEncoder, has_fec
from gateway.wire.rtp import pack_rtp_header
from tests.audio import NUMBERS, find, numbered, read_numbers
from tests.bench.bounds import Times, least_delay, may_give_up, patient
from tests.netem import Netem, Outage

PTIME = 0.02
TICKS = 960
OPUS, RED = 111, 63
# Two numbers are left out. When the next packet is lost, a codec's delay cuts 6.5 ms off a frame, and of what is left of their
# second tone, 300 Hz, nobody can tell it from 450 Hz.
LEGIBLE = tuple(number for number in range(NUMBERS) if number not in (12, 24))
CODECS = (Codec(CodecName.OPUS, OPUS, 48_000, 2), Codec(CodecName.RED, RED, 48_000, 2))
LONG = 60.0
DELAY = 0.02
SURE = 0.5
"""Correlation at which a chirp counts as read. Concealment then passes for its frame 1 time in 40; it is lost all the same."""

POLL = 0.02
"""Seconds between the leg's looks at the receiver's deadline: the call's tick. A hole has a timer of its own."""

FEC_LOSS = 20
"""Expected loss in percent that the encoder is told; Chrome tells it what our reports say."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A network and a caller."""

    name: str
    seconds: float = LONG
    seed: int = 1
    net: dict[str, object] = field(default_factory=dict)
    fec: bool = True
    red: int = 0
    """Redundant copies in each packet."""
    within: float = 0.12


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a trace. Shares in 0 … 1, times in seconds."""

    name: str
    frames: int
    lost: float
    recoverable: float
    whole: float
    whole_of_recoverable: float
    duration: float
    p50: float
    p95: float
    worst: float
    returned: float
    """p95 of the delay from 5 s after the last loss on (of everything where there is no loss or no end of it)."""
    longest_silence: float
    restored: float
    concealed: float
    late: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Delays in seconds that 99.5 % of the recoverable frames whole allow."""

    least_p50: float
    least_p95: float
    patient_p50: float
    patient_p95: float


def _who(fec: bool, red: int) -> str:
    return "".join([" fec" if fec else "", f" red{red}" if red else ""]) or " plain"


def traces(seconds: float) -> list[Trace]:
    """Every row of the table."""
    rows: list[Trace] = []
    for fec, red in ((False, 0), (True, 0), (False, 1), (True, 2)):
        who = _who(fec, red)

        def row(name: str, net: dict[str, object], seed: int, within: float = 0.12) -> None:
            rows.append(Trace(name + who, seconds, seed, net, fec, red, within))  # noqa: B023 (called in this turn only)

        for percent in (0, 1, 5, 10, 20):
            row(f"random {percent} %", {"loss": percent / 100}, 100 + percent)
        for burst in (1.5, 2.0, 3.0):
            row(f"bursts of {burst:g}, 10 %", {"loss": 0.1, "burst": burst}, 200 + int(burst * 10))
        row("jitter 50 ms", {"jitter": 0.05}, 300)
        row("jitter 50 ms, in order", {"jitter": 0.05, "in_order": True}, 301)
        row("jitter 50 ms, 10 %", {"jitter": 0.05, "loss": 0.1}, 302)
        row("jitter ±50 ms, 10 %", {"jitter": 0.1, "loss": 0.1}, 303)
        row("jitter 200 ms", {"jitter": 0.2}, 304, 0.25)
        row("jitter 200 ms, in order", {"jitter": 0.2, "in_order": True}, 305, 0.25)
        row("jitter 200 ms, 10 %", {"jitter": 0.2, "loss": 0.1}, 306, 0.25)
        row("reorder 25 %", {"reorder": 0.25}, 400)
        row("duplicates 5 %", {"duplicate": 0.05}, 500)
        row("outage 2 s", {"outages": (Outage(seconds / 2, seconds / 2 + 2.0),)}, 600)
        row("stall 0.2 s", {"outages": (Outage(seconds / 2, seconds / 2 + 0.2, held=True),)}, 601, 0.25)
        row("10 % jitter 50 ms, then clean", {"loss": 0.1, "jitter": 0.05, "clean_after": seconds / 2}, 602)
    return rows


@functools.cache
def payloads(count: int, fec: bool) -> tuple[list[bytes], float]:
    """Opus packets of numbered frames, as Chrome's encoder makes them, and the codec's delay in seconds."""
    rate = MODEL_INPUT_RATE
    # At the 32 kb/s that browsers use, one chirp in ten can't be read even without loss; at 64 kb/s all can, FEC copies too.
    encoder = OpusEncoder(rate, application=Application.VOIP, bitrate=64_000, complexity=10, fec=fec, loss=FEC_LOSS)
    pcm = b"".join(numbered(1, rate, LEGIBLE[number % len(LEGIBLE)]) for number in range(count))
    size = rate // 50 * 2
    encoded = [encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm), size)]
    decoder = OpusDecoder(MODEL_INPUT_RATE)
    heard = b"".join(map(decoder.decode, encoded[:200]))
    return encoded, find(pcm[: rate * 2], heard, rate, 0.02)


def red_payload(payloads: Sequence[bytes], number: int, copies: int, opus: int = OPUS) -> bytes:
    """RFC 2198: up to `copies` older frames and frame `number`."""
    older = [back for back in range(copies, 0, -1) if number >= back and len(payloads[number - back]) < 1024]
    headers = b"".join(
        struct.pack(
            "!BHB", 0x80 | opus, (back * TICKS) << 2 | len(payloads[number - back]) >> 8, len(payloads[number - back]) & 255
        )
        for back in older
    )
    return headers + bytes((opus,)) + b"".join(payloads[number - back] for back in older) + payloads[number]


def packets(trace: Trace, first_sequence: int = 65_000, first_timestamp: int = 0xFFFF0000) -> list[bytes]:
    """RTP packets of the whole trace; sequence and timestamp wrap on the way."""
    frames, _ = payloads(round(trace.seconds / PTIME), trace.fec)
    result = []
    for number, frame in enumerate(frames):
        header = pack_rtp_header(
            RED if trace.red else OPUS,
            number == 0,
            (first_sequence + number) & 0xFFFF,
            (first_timestamp + number * TICKS) & 0xFFFFFFFF,
            0x1234,
        )
        result.append(header + (red_payload(frames, number, trace.red) if trace.red else frame))
    return result


def arrivals(trace: Trace) -> list[tuple[float, int]]:
    """(arrival, frame number), in the order of arrival."""
    net = Netem(trace.seed, delay=DELAY, **trace.net)  # type: ignore[arg-type]
    return net.deliver((number * PTIME, number) for number in range(round(trace.seconds / PTIME)))


def first_had(trace: Trace, came: Sequence[tuple[float, int]]) -> Times:
    """For each frame, when a receiver first could have it: by its packet, a copy, or a copy's FEC; inf is never."""
    frames, _ = payloads(round(trace.seconds / PTIME), trace.fec)
    first_at = np.full(len(frames), np.inf)
    for at, number in came:
        first_at[number] = min(first_at[number], at)
    best = first_at.copy()
    for number in range(len(frames)):
        if number + 1 < len(frames) and has_fec(frames[number + 1]):
            best[number] = min(best[number], first_at[number + 1])
        for back in range(1, trace.red + 1):
            if number + back < len(frames):
                best[number] = min(best[number], first_at[number + back])
        if trace.red and number + 1 < len(frames) and has_fec(frames[number + 1]):
            # A copy of the next packet carries this one's FEC.
            for back in range(1, trace.red + 1):
                if number + 1 + back < len(frames):
                    best[number] = min(best[number], first_at[number + 1 + back])
    return best


def _due(trace: Trace) -> Times:
    """When each frame would come over the fastest path."""
    return np.arange(round(trace.seconds / PTIME)) * PTIME + DELAY


def recoverable(trace: Trace, came: Sequence[tuple[float, int]]) -> np.ndarray:
    """For each frame, whether a receiver could have it in time."""
    return first_had(trace, came) <= _due(trace) + trace.within


def limits(trace: Trace) -> Limits:
    """What the delay could be on this trace."""
    came = arrivals(trace)
    first = came[0][1]  # as in `run`, the line begins with the first packet that came
    had, due = first_had(trace, came)[first:], _due(trace)[first:]
    sent, within = due - DELAY, due + trace.within
    spare = may_give_up(had, within)
    delays, _ = patient(sent, due, had, within, spare)
    return Limits(
        least_p50=least_delay(sent, due, had, within, 0.5, spare),
        least_p95=least_delay(sent, due, had, within, 0.95, spare),
        patient_p50=float(np.percentile(delays, 50)),
        patient_p95=float(np.percentile(delays, 95)),
    )


def hear(
    trace: Trace, came: Sequence[tuple[float, int]], poll_phase: float = 0.007, sent: Sequence[bytes] | None = None
) -> tuple[Receiver, list[tuple[float, AudioFrame]]]:
    """Let the receiver hear a trace: (when it came out, frame). `sent`: other packets than numbered chirps."""
    sent = packets(trace) if sent is None else sent
    receiver = Receiver(CODECS)
    heard: list[tuple[float, AudioFrame]] = []
    tick = poll_phase
    end = trace.seconds + 1.0
    for at, number in itertools.chain(came, [(end, -1)]):
        while (look := min(tick, receiver.gives_up_at or tick)) < at:
            # The caller has hung up when the last packet could have come.
            if number < 0 and look > trace.seconds + DELAY:
                return receiver, heard
            heard += [(look, frame) for frame in receiver.poll(look) if isinstance(frame, AudioFrame)]
            if look == tick:
                tick += POLL
        if number >= 0:
            heard += [(at, frame) for frame in receiver.receive(sent[number], at) if isinstance(frame, AudioFrame)]
    return receiver, heard


def run(trace: Trace) -> Result:
    """Everything about one trace."""
    count = round(trace.seconds / PTIME)
    came = arrivals(trace)
    receiver, heard = hear(trace, came)
    pcm = b"".join(frame.pcm for _, frame in heard)
    first = came[0][1]  # the line begins with the first packet that came
    _, lookahead = payloads(count, trace.fec)
    numbers = read_numbers(pcm + bytes(1_280), MODEL_INPUT_RATE, lookahead, sure=SURE)
    numbers += [None] * (count - len(numbers))
    whole = np.array([False] * first + [numbers[at] == LEGIBLE[(first + at) % len(LEGIBLE)] for at in range(count - first)])
    can = recoverable(trace, came)
    # When each frame's last sample left.
    ends = np.cumsum([frame.samples for _, frame in heard])
    left = np.array([at for at, _ in heard])
    sizes = np.arange(1, count - first + 1) * (MODEL_INPUT_RATE // 50)
    index = np.searchsorted(ends, sizes)
    spoken = index < len(left)
    delay = left[index[spoken]] - (np.arange(first, count)[spoken] * PTIME)
    lost = set(range(count)) - {number for _, number in came}
    after = (max(lost) + 1) * PTIME + 5.0 if lost and max(lost) * PTIME < trace.seconds - 6.0 else 0.0
    tail = delay[int(after / PTIME) :]
    return Result(
        name=trace.name,
        frames=count,
        lost=len(lost) / count,
        recoverable=float(can.mean()),
        whole=float(whole.mean()),
        whole_of_recoverable=float(whole[can].mean()),
        duration=len(pcm) / 2 / MODEL_INPUT_RATE / trace.seconds,
        p50=float(np.percentile(delay, 50)),
        p95=float(np.percentile(delay, 95)),
        worst=float(delay.max()),
        returned=float(np.percentile(tail, 95)),
        longest_silence=longest_silence(pcm),
        restored=receiver.fec_seconds,
        concealed=receiver.plc_seconds + receiver.silence_seconds,
        late=receiver.late,
    )


def longest_silence(pcm: bytes) -> float:
    """Seconds of the longest run of digital zeros: a hole nothing was put into."""
    silent = np.concatenate([[0], (np.frombuffer(pcm, np.int16) == 0).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(silent)).reshape(-1, 2)
    return float((edges[:, 1] - edges[:, 0]).max() / MODEL_INPUT_RATE) if len(edges) else 0.0


HEAD = (
    f"{'trace':40} {'lost':>6} {'could':>7} {'whole':>7} {'of could':>8} {'length':>8} {'p50':>5} {'p95':>5} {'max':>5} "
    f"{'after':>5} {'hole':>5} {'fec s':>6} {'plc s':>6} {'late':>5} {'least':>8} {'patient':>8}"
)


def line(result: Result, could: Limits) -> str:
    """A row of the table; delays and holes in ms, p50/p95 of what could be."""
    r = result
    return (
        f"{r.name:40} {r.lost:6.1%} {r.recoverable:7.2%} {r.whole:7.2%} {r.whole_of_recoverable:8.2%} {r.duration:8.2%} "
        f"{r.p50 * 1e3:5.0f} {r.p95 * 1e3:5.0f} {r.worst * 1e3:5.0f} {r.returned * 1e3:5.0f} {r.longest_silence * 1e3:5.1f} "
        f"{r.restored:6.2f} {r.concealed:6.2f} {r.late:5d} "
        f"{f'{could.least_p50 * 1e3:.0f}/{could.least_p95 * 1e3:.0f}':>8} "
        f"{f'{could.patient_p50 * 1e3:.0f}/{could.patient_p95 * 1e3:.0f}':>8}"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=LONG, help="of each trace (default %(default)s)")
    parser.add_argument("--only", default="", metavar="NAME", help="rows whose name contains this")
    arguments = parser.parse_args()
    rows = [trace for trace in traces(arguments.seconds) if arguments.only in trace.name]
    if not arguments.json:
        print(HEAD)
    results = []
    for trace in rows:
        result, could = run(trace), limits(trace)
        results.append(dataclasses.asdict(result) | dataclasses.asdict(could))
        if not arguments.json:
            print(line(result, could), flush=True)
    if arguments.json:
        json.dump(results, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
