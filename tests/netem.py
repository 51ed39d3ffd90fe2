"""A bad network in fake time: seeded loss, delay, disorder. Packets and the times they were sent in, arrivals out.

    net = Netem(7, loss=0.1, jitter=0.05)
    for arrival, packet in net.deliver((n * 0.02, packet) for n, packet in enumerate(packets)): ...

Every kind of trouble draws from its own generator, so adding one leaves the others as they were.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outage:
    """Seconds of sending time. Packets are lost, or (`held`) all delivered at its end, in order: a stall."""

    begin: float
    end: float
    held: bool = False


class Netem:
    """One direction of a path. Shares are 0 … 1, times in seconds.

    `loss`: mean share lost. `burst`: mean length of a run of losses; over 1 a Gilbert-Elliott chain (Gilbert's: the bad state
    loses everything). `delay` is that of the fastest packet; each takes up to `jitter` more, evenly spread, on its own, so
    packets overtake each other; with `in_order` they queue behind the slow one instead. `reorder`: share of packets held back
    by `reorder_by`. `duplicate`: share that comes twice, the second up to 20 ms later. Losses stop at `clean_after`.
    """

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        burst: float = 1.0,
        delay: float = 0.02,
        jitter: float = 0.0,
        in_order: bool = False,
        reorder: float = 0.0,
        reorder_by: float = 0.05,
        duplicate: float = 0.0,
        outages: tuple[Outage, ...] = (),
        clean_after: float = float("inf"),
    ) -> None:
        self.delay = delay
        self._loss = loss
        # Mean run 1 / to_good, stationary share of the bad state `loss`.
        self._to_good = 1.0 / burst
        self._to_bad = loss * self._to_good / (1.0 - loss) if loss < 1.0 else 1.0
        self._bursts = burst > 1.0
        self._bad = False
        self._jitter = jitter
        self._in_order = in_order
        self._reorder = reorder
        self._reorder_by = reorder_by
        self._duplicate = duplicate
        self._outages = outages
        self._clean_after = clean_after
        self._last = 0.0
        self._lose, self._vary, self._hold, self._double = (random.Random(f"{seed}:{what}") for what in range(4))

    def send(self, at: float) -> tuple[float, ...]:
        """When a packet sent `at` arrives: never, once or twice. Call in the order of sending."""
        if self._is_lost(at):
            return ()
        arrival = at + self.delay + self._vary.uniform(0.0, self._jitter)
        if self._hold.random() < self._reorder:
            arrival += self._reorder_by
        for outage in self._outages:
            if outage.begin <= at < outage.end:
                arrival = max(arrival, outage.end + self.delay)
        if self._in_order:
            arrival = self._last = max(arrival, self._last)
        if self._double.random() < self._duplicate:
            return arrival, arrival + self._double.uniform(0.0, 0.02)
        return (arrival,)

    def deliver(self, packets: Iterable[tuple[float, T]]) -> list[tuple[float, T]]:
        """(time sent, packet) to (arrival, packet), in the order of arrival."""
        arrivals = [(arrival, packet) for at, packet in packets for arrival in self.send(at)]
        arrivals.sort(key=lambda one: one[0])
        return arrivals

    def _is_lost(self, at: float) -> bool:
        # The chain goes on through outages and the clean end, so that the rest of a trace does not depend on them.
        if self._bursts:
            self._bad = self._lose.random() < (1.0 - self._to_good if self._bad else self._to_bad)
            lost = self._bad
        else:
            lost = self._lose.random() < self._loss
        if any(outage.begin <= at < outage.end and not outage.held for outage in self._outages):
            return True
        return lost and at < self._clean_after
