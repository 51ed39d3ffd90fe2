"""The store of a worker that is alone: everything is gone with the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gateway.store.accounts import Account
from gateway.store.base import Claim, Standing


class MemoryStore:
    """Implements `Store`. Never waits and never fails. Keeps JSON like every other, so that nothing else can creep in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, tuple[float, bytes]] = {}  # name → (forgotten at, JSON)

    def __len__(self) -> int:
        return len(self._accounts)

    async def settle(self, lease: str, claims: Sequence[Claim], *, lease_ttl: float, account_ttl: float) -> list[Standing]:
        """See `Store`."""
        now = self._clock()
        answers = []
        for claim in claims:
            account = self._read(claim.account, now)
            answers.append(account.settle(lease, claim, now, lease_ttl))
            self._accounts[claim.account] = (now + account_ttl, account.text())
        return answers

    async def release(self, lease: str, accounts: Sequence[str]) -> None:
        """See `Store`."""
        now = self._clock()
        for name in accounts:
            if name in self._accounts:
                account = self._read(name, now)
                account.release(lease)
                self._accounts[name] = (self._accounts[name][0], account.text())

    async def used(self, accounts: Sequence[str]) -> list[int]:
        """See `Store`."""
        now = self._clock()
        return [self._read(name, now).used for name in accounts]

    async def close(self) -> None:
        """See `Store`."""

    def _read(self, name: str, now: float) -> Account:
        until, text = self._accounts.get(name, (0.0, b""))
        if text and until > now:
            return Account(text)
        # A new account, which happens about once a day and key: the time to look for old ones.
        for old in [old for old, (until, _) in self._accounts.items() if until <= now]:
            del self._accounts[old]
        return Account()
