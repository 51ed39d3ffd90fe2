"""Holes in the speech of a model whose chunks come uneven, but on average in time: `python -m tests.bench.uneven [--json]`.

A session is answers one after another, each of loud words with pauses between them, in chunks of one size; each chunk is up to
`BY` early or late, on its own, and none overtakes another. Everything is in fake time and seeded. *Share* is the silence inside
words over the time of speech, from the end of the session's first hole on (a longer pause between words is no hole).

*Forced* is the share that no playout can do without which waits at most `MAX_WAIT` at an answer's beginning, even one that knows
every arrival in advance and makes the pauses between words as long as it likes: what is then still missing in the first words,
before there is a pause to wait in. An answer that begins 150 ms early and goes on 150 ms late wants 300 ms.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.media.playout import MAX_WAIT, Playout

RATE = 24_000
TICK = 0.02
FRAME = round(RATE * TICK) * 2
BY = 0.15
SEEDS = 20
BAR = 0.001
CHUNKS = (0.02, 0.06, 0.1, 0.2, 0.24)
"""Seconds. The model's own are 0.2 to 0.24."""

LOUD = (8_000).to_bytes(2, "little") * RATE


@dataclass(frozen=True, slots=True)
class Talk:
    """A kind of session: so many answers of `least` to `most` seconds."""

    name: str
    answers: int
    least: float
    most: float


TALKS = (Talk("short answers", 60, 1.0, 5.0), Talk("long answers", 6, 20.0, 60.0))


@dataclass(frozen=True, slots=True)
class Answer:
    """PCM in chunks, and when each comes, from the answer's beginning."""

    chunks: tuple[bytes, ...]
    arrivals: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """What became of one."""

    share: float
    forced: float
    speaking: float
    underruns: int
    wait: float
    stretched: float

    @property
    def kept(self) -> bool:
        """The bar is met, or nobody could meet it."""
        return self.share <= max(BAR, self.forced)


@dataclass(frozen=True, slots=True)
class Row:
    """All seeds of one kind of session."""

    name: str
    mean: float
    worst: float
    forced: float
    """Mean over all sessions."""
    forced_worst: float
    """Of the session with the worst share."""
    over: int
    """Sessions over the bar."""
    could: int
    """Of these, such that a playout which knows the future would be below it."""


def words(rng: random.Random, seconds: float) -> bytes:
    """Loud words of 200 to 450 ms with pauses of 60 to 200 ms between them."""
    speech = bytearray()
    while len(speech) < seconds * RATE * 2:
        speech += LOUD[: round(rng.uniform(0.2, 0.45) * RATE) * 2] + bytes(round(rng.uniform(0.06, 0.2) * RATE) * 2)
    return bytes(speech[: round(seconds * RATE) * 2])


def answer(rng: random.Random, seconds: float, chunk: float, by: float = BY, speed: float = 1.0) -> Answer:
    """One answer of a model that speaks at `speed` times real time."""
    pcm, size = words(rng, seconds), round(chunk * RATE) * 2
    chunks = tuple(pcm[at : at + size] for at in range(0, len(pcm), size))
    arrivals: list[float] = []
    for number in range(len(chunks)):
        at = 1.0 + number * chunk / speed + rng.uniform(-by, by)
        arrivals.append(max(at, arrivals[-1]) if arrivals else at)  # one TCP stream: order is kept
    return Answer(chunks, tuple(arrivals))


def forced_silence(one: Answer) -> float:
    """Seconds inside the first words that nobody can avoid who waits `MAX_WAIT` and does not touch words."""
    pcm = b"".join(one.chunks)
    ends, total = [], 0
    for chunk in one.chunks:
        total += len(chunk)
        ends.append(total)
    last = _tick(one.arrivals[-1])
    start = min(_tick(one.arrivals[0] + MAX_WAIT), last)
    hole = 0
    for number, begin in enumerate(range(0, len(pcm), FRAME)):
        if not pcm[begin : begin + FRAME].strip(b"\0"):
            break  # a pause: from here on it can wait for anything
        complete = min(begin + FRAME, len(pcm))
        came = min(at for end, at in zip(ends, one.arrivals, strict=True) if end >= complete)
        hole = max(hole, _tick(came) - start - number)
    return hole * TICK


def _tick(at: float) -> int:
    return math.ceil(at / TICK - 1e-9)


def hold(answers: Sequence[Answer], playout: Playout) -> Session:
    """A session through this playout."""
    tick = 0
    first: tuple[float, float] | None = None
    forced = 0.0
    for one in answers:
        begin, at, past_first = tick * TICK, 0, first is not None
        while True:
            now = tick * TICK
            while at < len(one.chunks) and begin + one.arrivals[at] <= now:
                playout.push(one.chunks[at], begin + one.arrivals[at])
                at += 1
            if at == len(one.chunks):
                playout.end()
            frame = playout.pull(now)
            tick += 1
            if at == len(one.chunks) and frame is None and not playout.seconds:
                break
            if first is None and playout.underruns and frame is not None:
                first = (playout.underrun_seconds, playout.speaking_seconds)
        if past_first:
            forced += forced_silence(one)
    silence, speech = first or (playout.underrun_seconds, 0.0)
    speaking = playout.speaking_seconds - speech
    return Session(
        share=(playout.underrun_seconds - silence) / speaking,
        forced=forced / speaking,
        speaking=speaking,
        underruns=playout.underruns,
        wait=playout.wait,
        stretched=playout.stretched_seconds,
    )


@functools.cache
def session(talk: Talk, chunk: float, seed: int) -> Session:
    """The session of this seed."""
    rng = random.Random(f"{talk.name} {chunk} {seed}")
    answers = [answer(rng, rng.uniform(talk.least, talk.most), chunk) for _ in range(talk.answers)]
    return hold(answers, Playout(RATE))


def row(talk: Talk, chunk: float, seeds: int = SEEDS) -> Row:
    """All seeds."""
    sessions = [session(talk, chunk, seed) for seed in range(seeds)]
    worst = max(sessions, key=lambda one: one.share)
    return Row(
        name=f"{talk.name} in chunks of {chunk * 1e3:.0f} ms",
        mean=statistics.mean(one.share for one in sessions),
        worst=worst.share,
        forced=statistics.mean(one.forced for one in sessions),
        forced_worst=worst.forced,
        over=sum(one.share > BAR for one in sessions),
        could=sum(one.share > BAR >= one.forced for one in sessions),
    )


HEAD = f"{'sessions':34} {'mean':>7} {'forced':>7} {'worst':>7} {'forced':>7} {'over':>5} {'could':>5}"


def line(of: Row) -> str:
    """A row of the table."""
    return f"{of.name:34} {of.mean:7.3%} {of.forced:7.3%} {of.worst:7.3%} {of.forced_worst:7.3%} {of.over:5d} {of.could:5d}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="sessions a row (default %(default)s)")
    arguments = parser.parse_args()
    rows = []
    if not arguments.json:
        print(HEAD)
    for talk in TALKS:
        for chunk in CHUNKS:
            rows.append(row(talk, chunk, arguments.seeds))
            if not arguments.json:
                print(line(rows[-1]), flush=True)
    if arguments.json:
        json.dump([dataclasses.asdict(one) for one in rows], sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
