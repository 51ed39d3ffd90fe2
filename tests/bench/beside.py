"""Rows of the NetEq table: which count, and which are behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

LATE = 0.01
"""Seconds: with packets later than that, the row says more about this machine than about NetEq."""

OTHERS = 0.1
"""Share of the machine that others may use: NetEq's own threads would wait for them unseen."""


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the voices of a trace; the PESQ is wide-band."""

    name: str
    stoi: float
    stoi_neteq: float
    pesq: float
    pesq_neteq: float
    late: float
    """Seconds by which our packets to NetEq left late, 99th percentile."""
    others: float
    """Share of the machine's time that other processes had meanwhile."""

    @property
    def void(self) -> str:
        """Why it does not count; empty when the machine was quiet enough."""
        if self.late > LATE:
            return f"void: packets left {self.late * 1e3:.0f} ms late"
        return f"void: others had {self.others:.0%} of the machine" if self.others > OTHERS else ""

    @property
    def behind(self) -> bool:
        """It counts, and is further behind NetEq than 0.02 STOI or 0.1 PESQ; with RED, at all."""
        red = " red" in self.name
        less = self.stoi < self.stoi_neteq - (0.0 if red else 0.02) or self.pesq < self.pesq_neteq - (0.0 if red else 0.1)
        return less and not self.void

    def as_json(self) -> dict[str, object]:
        """Without figures when it is void."""
        if self.void:
            return {"name": self.name, "void": self.void, "late": self.late, "others": self.others}
        return dataclasses.asdict(self) | {"behind": self.behind}

    def line(self) -> str:
        """A row of the table."""
        if self.void:
            return f"{self.name:32} {self.void}"
        return (
            f"{self.name:32} {self.stoi:6.3f} {self.stoi_neteq:6.3f} {self.pesq:6.2f} {self.pesq_neteq:6.2f} "
            f"{self.late * 1e3:5.1f} {'behind' if self.behind else ''}"
        ).rstrip()


def others_share(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]], own: float) -> float:
    """Share of the machine's time that others had; `own`: seconds of CPU this process had, all its threads together."""
    busy = sum(b[0] - a[0] for a, b in zip(before, after, strict=True))
    whole = sum(b[1] - a[1] for a, b in zip(before, after, strict=True))
    return max(0.0, busy - own) / max(whole, 1e-9)


def verdict(rows: Sequence[Row]) -> int:
    """1: one that counts is behind. 2: none is, but some are void. 0: all count and none is behind."""
    return 1 if any(row.behind for row in rows) else 2 if any(row.void for row in rows) else 0
