"""`gateway call`: one call to a gateway from a terminal, over WHIP, with a recording as the caller.

A client like any other (aiortc, in its own process): it shares no media code with the gateway it calls. It waits for the
greeting, plays the recording and then silence, writes down what it hears, and hangs up when the answer is over.
"""

from __future__ import annotations

from gateway.dial.command import DialSettings, dial

__all__ = ["DialSettings", "dial"]
