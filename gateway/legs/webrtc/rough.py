"""A bad network on demand: throws packets of one call away for a while, so that a visitor of the demo hears what becomes of them.

Only media is lost (SRTP and SRTCP), as if on the way: what is thrown away outbound has been counted as sent, what is thrown
away inbound was never seen. The data channel goes on, and tells about it.
"""

from __future__ import annotations

import random

AFTERMATH = 0.5
"""Seconds after the end until the account is made: longer than the jitter buffer holds a packet back."""


class Rough:
    """Loses `share` (0 to 1) of the packets of either direction until `until`. The same seed loses the same packets.

    `restored`, `concealed`: what the receiver had mended before, seconds.
    """

    def __init__(self, share: float, began: float, seconds: float, seed: int, *, restored: float, concealed: float) -> None:
        self.share = share
        self.began = began
        self.until = began + seconds
        self.restored = restored
        self.concealed = concealed
        self.lost_in = self.lost_out = 0
        # A generator per direction: how much comes in must not decide which packets are lost on the way out.
        self._in, self._out = (random.Random(f"{seed}:{way}") for way in ("in", "out"))

    def loses_in(self, now: float) -> bool:
        """The next packet from the caller never arrives."""
        lost = now < self.until and self._in.random() < self.share
        self.lost_in += lost
        return lost

    def loses_out(self, now: float) -> bool:
        """The next packet to the caller is lost on the way."""
        lost = now < self.until and self._out.random() < self.share
        self.lost_out += lost
        return lost

    def over(self, now: float) -> bool:
        """The account can be made."""
        return now >= self.until + AFTERMATH
