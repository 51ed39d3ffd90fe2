"""The emulator for a bench run: `python -m tests.bench.model --persona talker [--ledger FILE]`.

Prints its URL and the file of its certificate on one line, then serves until SIGTERM. With a ledger it records everything, and
writes it down on SIGUSR1: without, it keeps nothing a test would want.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from gateway.emulator import Emulator, EmulatorSettings

Pcm = np.ndarray[Any, np.dtype[np.int16]]

BURST = 0.3
"""Seconds without a message that part two bursts."""


@dataclass(frozen=True)
class Entry:
    """One session: when each message with audio came (and how many PCM bytes it held) and went, in monotonic seconds."""

    came: list[float]
    sizes: list[int]
    went: list[float]
    pcm: Pcm

    def clicks(self, onsets: Callable[[Pcm], Sequence[int]]) -> list[float]:
        """When each click's first sample arrived."""
        ends = np.array(list(accumulate(self.sizes))) // 2
        return [self.came[int(np.searchsorted(ends, onset, side="right"))] for onset in onsets(self.pcm)]

    def bursts(self) -> list[float]:
        """When the first message of each burst went out."""
        return [at for before, at in zip([-1e9, *self.went], self.went, strict=False) if at - before > BURST]


class Ledger:
    """What an emulator wrote down, oldest session first."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = list(entries)

    @classmethod
    def ask(cls, pid: int, path: Path, patience: float = 60.0) -> Ledger:
        """Have the emulator with process id `pid` write, and read it. Blocks. Raises TimeoutError."""
        os.kill(pid, signal.SIGUSR1)
        done = path.with_suffix(".done")
        deadline = time.monotonic() + patience
        waiting = os.open(path.parent, os.O_RDONLY)
        try:
            while not done.exists():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path}: not written in {patience:.0f} s")
                os.fsync(waiting)
        finally:
            os.close(waiting)
        return cls([read(row) for row in json.loads(path.read_text())])


def read(row: dict[str, Any]) -> Entry:
    """A row of the file. Raises ValueError when its sizes don't add up."""
    pcm = np.frombuffer(base64.b64decode(row["pcm"]), np.int16)
    return Entry(row["came"], pcm_sizes(row["bytes"], 2 * len(pcm)), row["went"], pcm)


def pcm_sizes(message_bytes: Sequence[int], total: int, unit: int = 320) -> list[int]:
    """PCM bytes in each message, from the sizes of the messages: JSON of one unknown but constant length around base64.

    Raises ValueError when no such length makes every message a multiple of `unit` and the sum `total`.
    """
    for around in range(20, 200):
        sizes = [round((size - around) * 0.75 / unit) * unit for size in message_bytes]
        fits = all(4 * -(-pcm // 3) + around == size for pcm, size in zip(sizes, message_bytes, strict=True))
        if fits and sum(sizes) == total:
            return sizes
    raise ValueError(f"{len(message_bytes)} messages do not add up to {total} bytes")


def write(emulator: Emulator, path: Path) -> None:
    """Everything about the open sessions."""
    rows = []
    for record in emulator.sessions:
        if record.ended is not None:
            continue
        came = [message for message in record.messages if message.incoming and message.kind == "Audio"]
        rows.append(
            {
                "came": [message.at for message in came],
                "bytes": [message.size_bytes for message in came],
                "went": [message.at for message in record.messages if not message.incoming and message.kind == "audio"],
                "pcm": base64.b64encode(record.received).decode(),
            }
        )
    path.write_text(json.dumps(rows))
    path.with_suffix(".done").touch()


async def serve(persona: str, ledger: Path | None) -> None:
    """Until SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Lives longer than any run: a goAway in the middle of a window would measure something else.
    lasting = {"lifetime": 7200.0, "session_limit": 7200.0}
    keeping = (
        {"record_seconds": 1.0, "record_messages": 10} if ledger is None else {"record_seconds": 600.0, "record_messages": 10**6}
    )
    async with Emulator(EmulatorSettings(persona=persona, **lasting, **keeping)) as emulator:  # type: ignore[arg-type]
        if ledger is not None:
            loop.add_signal_handler(signal.SIGUSR1, write, emulator, ledger)
        print(emulator.base_url, emulator.ca_file, flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--persona", default="talker")
    parser.add_argument("--ledger", type=Path)
    args = parser.parse_args()
    # uvloop's clock stands still during a round of the loop and counts whole milliseconds: too coarse for a ledger.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if args.ledger is None else None) as runner:
        runner.run(serve(args.persona, args.ledger))


if __name__ == "__main__":
    main()
