"""Sound made of numbers: proves that nothing was lost, doubled or reordered, and says where it was.

Samples come in pairs. The pair with number n is `n & 0x7fff` followed by `(n >> 15) | 0x8000`: the sign tells first from
second, so a reader finds its place after any damage, and numbers last 2³⁰ pairs (12 hours at 24 kHz). It survives
only lossless paths: no codec, no resampler, no gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.emulator.sound import samples_of


def count(first: int, samples: int) -> bytes:
    """PCM of `samples` samples, beginning with sample number `first`."""
    numbers = np.arange(first, first + samples, dtype=np.int64)
    pairs = numbers >> 1
    values = np.where(numbers & 1, (pairs >> 15) | 0x8000, pairs & 0x7FFF)
    return values.astype("<u2").tobytes()


@dataclass(frozen=True, slots=True)
class Jump:
    """A place where the count does not go on: `at` (sample of the recording) the number `expected` was due, `found` came.

    found > expected: `found − expected` samples were lost; found < expected: repeated or reordered.
    """

    at: int
    expected: int
    found: int

    @property
    def lost(self) -> int:
        """Samples left out here; negative: samples given again."""
        return self.found - self.expected


@dataclass(frozen=True, slots=True)
class CountReport:
    """What a recording holds of the count."""

    samples: int
    """Length of the recording."""
    counted: int
    """Samples that carry a number."""
    foreign: int
    """Samples that carry none: silence, comfort noise, damage."""
    first: int | None
    """Number of the first counted sample."""
    last: int | None
    jumps: tuple[Jump, ...]

    @property
    def whole(self) -> bool:
        """Nothing lost, doubled, reordered or put in between."""
        return self.counted > 0 and not self.jumps and not self.foreign

    @property
    def lost(self) -> int:
        """Samples between first and last that never came."""
        return sum(jump.lost for jump in self.jumps if jump.lost > 0)

    @property
    def doubled(self) -> int:
        """Samples that came again (or late: a reordered block counts both as lost and as doubled)."""
        return -sum(jump.lost for jump in self.jumps if jump.lost < 0)


def read_count(pcm: bytes) -> CountReport:
    """Read a recording of `count`. Foreign samples before, after and in between are counted, not fatal."""
    words = samples_of(pcm).view("<u2").astype(np.int64)
    total = len(words)
    none = CountReport(total, 0, total, None, None, ())
    if total < 2:
        return none
    second = words >= 0x8000
    starts = np.flatnonzero(~second[:-1] & second[1:])
    if not len(starts):
        return none
    numbers = 2 * (words[starts] | ((words[starts + 1] & 0x7FFF) << 15))
    # A pair is believed when a neighbouring pair agrees with it: noise makes pairs too, but not consecutive ones.
    follows = (np.diff(starts) == 2) & (np.diff(numbers) == 2)
    believed = np.zeros(len(starts), dtype=bool)
    believed[:-1] |= follows
    believed[1:] |= follows
    starts, numbers = starts[believed], numbers[believed]
    if not len(starts):
        return none
    # A run that was cut between the samples of a pair has half a pair at its edges: they count, too.
    covered = np.zeros(total, dtype=bool)
    covered[starts] = covered[starts + 1] = True
    runs = np.flatnonzero(np.concatenate(([True], (np.diff(starts) != 2) | (np.diff(numbers) != 2))))
    ends = np.concatenate((runs[1:], [len(starts)])) - 1
    jumps: list[Jump] = []
    first = expected = -1
    for begin, end in zip(runs, ends, strict=True):
        at, number = int(starts[begin]), int(numbers[begin])
        if at > 0 and not covered[at - 1] and number > 0 and words[at - 1] == (((number - 1) >> 1) >> 15 | 0x8000):
            at, number = at - 1, number - 1
            covered[at] = True
        if first < 0:
            first = number
        elif number != expected:
            jumps.append(Jump(at, expected, number))
        after, expected = int(starts[end]) + 2, int(numbers[end]) + 2
        if after < total and not covered[after] and words[after] == ((expected >> 1) & 0x7FFF):
            covered[after] = True
            expected += 1
    counted = int(covered.sum())
    return CountReport(total, counted, total - counted, first, expected - 1, tuple(jumps))
