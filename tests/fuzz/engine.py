"""Knocking: input number n at a door depends on the seed, the door and n alone, so any of them can be had again."""

from __future__ import annotations

import hashlib
import random
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.doors import DOORS, Door

HERE = Path(__file__).parent
FOUND = HERE / "found"
"""Inputs that once broke something, `<door>-<hash>.bin`: each is played back by `make test`."""

SLOW = 1.0
"""Seconds of CPU that one input may cost. The largest legitimate ones cost milliseconds; the rest is for a busy machine."""


@dataclass(frozen=True)
class Finding:
    """An input that broke a promise."""

    door: str
    number: int
    data: bytes
    why: str

    def save(self, folder: Path) -> Path:
        """Keep the input for a replay; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.door}-{hashlib.sha256(self.data).hexdigest()[:12]}.bin"
        path.write_bytes(self.data)
        return path


def make(door: Door, seed: int, number: int) -> bytes:
    """Input `number` of this seed at this door."""
    return door.make(random.Random(f"{seed}:{door.name}:{number}"))


def knock(door: Door, data: bytes, number: int = -1, *, cpu: Callable[[], float] = time.process_time) -> Finding | None:
    """One input; what it broke, if anything."""
    began = cpu()
    try:
        door.knock(data)
    except Exception:  # whatever comes out of a door is the finding
        return Finding(door.name, number, data, traceback.format_exc(limit=-6))
    if (took := cpu() - began) > SLOW:
        return Finding(door.name, number, data, f"took {took:.1f} s of CPU")
    return None


def batch(door: Door, seed: int, numbers: Iterable[int]) -> tuple[int, list[Finding]]:
    """Knock with these inputs: how many they were, and what they broke. One finding a place in the code is enough."""
    count, found, places = 0, list[Finding](), set[str]()
    for number in numbers:
        count += 1
        finding = knock(door, make(door, seed, number), number)
        if finding is not None and (place := finding.why.strip().splitlines()[-2:][0]) not in places:
            places.add(place)
            found.append(finding)
    return count, found


def replay(path: Path) -> Finding | None:
    """Play a saved input back at the door its name begins with."""
    return knock(DOORS[path.stem.rpartition("-")[0]], path.read_bytes())
