"""All that the gateway asks of a store: accounts that many calls, and many workers, draw from.

A call's share of an account is its *lease*: what it has used in all so far, and what it holds back for its next minute.
Because a lease says what it has used *in all*, saying it twice changes nothing: an answer that got lost may be asked for again.
What a crashed worker held is free again when its lease runs out; what it used stays used.

Amounts are whole numbers: tokens, or millionths of a dollar. Values are JSON wherever they are kept, never pickle. Nothing on a
packet or turn path asks a store: one task per worker keeps what calls need to know up to date.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Claim(NamedTuple):
    """What a lease says about one account."""

    account: str
    used: int
    """By this lease, in all, since it was first settled. Never less than the time before."""
    hold: int = 0
    """Wanted for what comes next."""
    limit: int = 0
    """Of the whole account: no more than this is ever granted; 0: whatever is wanted."""


class Standing(NamedTuple):
    """How an account stands."""

    used: int
    """By everybody."""
    held: int
    """By the other leases."""
    granted: int
    """To this lease: what it wanted, or as much as the limit leaves."""


class Store(Protocol):
    """One per worker. Every method raises StoreError when the store can't be reached in time."""

    async def settle(self, lease: str, claims: Sequence[Claim], *, lease_ttl: float, account_ttl: float) -> list[Standing]:
        """Take the claims of one lease, all at once, and answer each in its order.

        What the lease held before is replaced. Holds lapse after `lease_ttl` seconds, an account that nobody has settled for
        `account_ttl` seconds is forgotten.
        """

    async def release(self, lease: str, accounts: Sequence[str]) -> None:
        """The lease is over: nothing is held for it any more. What it has used stays. Harmless when it is not there."""

    async def used(self, accounts: Sequence[str]) -> list[int]:
        """What has been used of each account; 0 for one that is not there."""

    async def close(self) -> None:
        """Let go of connections. Idempotent."""
