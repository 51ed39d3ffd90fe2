"""The arithmetic of an account: whatever is asked, in any order, nothing used is lost and no more promised than is left."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.accounts import Account
from gateway.store.base import Claim

STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["settle", "release", "wait"]),
        st.integers(0, 500),  # used since last time
        st.integers(0, 2000),  # wanted
    ),
    max_size=40,
)


@given(STEPS)
def test_no_more_is_promised_than_is_left_and_use_is_never_lost(steps: list[tuple[str, str, int, int]]) -> None:
    limit, now = 3000, 0.0
    text = b""
    used: dict[str, int] = {}
    promised: dict[str, tuple[int, float]] = {}
    total = 0
    for lease, what, more, wanted in steps:
        account = Account(text)
        if what == "wait":
            now += more / 100
        elif what == "release":
            account.release(lease)
            used.pop(lease, None)
            promised.pop(lease, None)
        else:
            used[lease] = used.get(lease, 0) + more
            total += more
            standing = account.settle(lease, Claim("x", used[lease], wanted, limit), now, 2.0)
            others = sum(held for name, (held, until) in promised.items() if name != lease and until > now)
            assert standing.used == total
            assert standing.held == others
            assert standing.granted == max(0, min(wanted, limit - total - others))
            promised[lease] = (standing.granted, now + 2.0)
        text = account.text()
        assert json.loads(text)["used"] == total
