"""The figures of one call: what its reports tell is what was added since the one before."""

from __future__ import annotations

from gateway.account import Account
from gateway.events import CallReport
from gateway.media.playout import Playout
from gateway.media.uplink import Uplink

TOTALS = {
    "underruns": "playout_underruns",
    "underrun_seconds": "playout_underrun_seconds",
    "speaking_seconds": "playout_speaking_seconds",
    "stretched_seconds": "playout_stretched_seconds",
    "overflow_seconds": "playout_overflow_seconds",
}


def test_reports_tell_differences() -> None:
    account, uplink, playout = Account(10.0), Uplink(), Playout(24_000)
    for number, total in enumerate(TOTALS, 1):
        setattr(playout, total, number)
    first = account.report(15.0, uplink, playout)
    assert [getattr(first, name) for name in TOTALS.values()] == [1, 2, 3, 4, 5]
    for number, total in enumerate(TOTALS, 1):
        setattr(playout, total, 3 * number)
    second = account.report(20.5, uplink, playout)
    assert [getattr(second, name) for name in TOTALS.values()] == [2, 4, 6, 8, 10]
    assert second.window == 5.5
    assert account.report(21.0, uplink, playout) == CallReport(0.5, uplink_chunk=uplink.chunk)
