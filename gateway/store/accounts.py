"""The arithmetic of an account as every back-end does it: one JSON text in, one out; `now` is the store's own clock.

`{"used": 9000, "leases": {"w0-1f": [1200, 3000, 1717171717.5]}}`: per lease what it has used, what it holds, and until when.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from gateway.store.base import Claim, Standing


class Lease(NamedTuple):
    """One lease's row."""

    used: int
    held: int
    until: float

    def holds(self, now: float) -> int:
        """What it still holds."""
        return self.held if self.until > now else 0


class Account:
    """One account, out of its text and back."""

    def __init__(self, text: bytes = b"") -> None:
        value: dict[str, Any] = orjson.loads(text) if text else {"used": 0, "leases": {}}
        self.used: int = value["used"]
        self.leases: dict[str, Lease] = {name: Lease(*row) for name, row in value["leases"].items()}

    def text(self) -> bytes:
        """As it is kept."""
        return orjson.dumps({"used": self.used, "leases": {name: list(row) for name, row in self.leases.items()}})

    def settle(self, lease: str, claim: Claim, now: float, ttl: float) -> Standing:
        """Take a claim. A lease that says less than before is a late message: its use stays where it was."""
        before = self.leases.get(lease, Lease(0, 0, 0.0)).used
        self.used += max(0, claim.used - before)
        held = sum(row.holds(now) for name, row in self.leases.items() if name != lease)
        granted = claim.hold
        if claim.limit:
            granted = max(0, min(claim.hold, claim.limit - self.used - held))
        self.leases[lease] = Lease(max(before, claim.used), granted, now + ttl)
        return Standing(self.used, held, granted)

    def release(self, lease: str) -> None:
        """Forget the lease, not what it has used."""
        self.leases.pop(lease, None)
