"""`gateway call`: one call from a terminal, with a recording or a person as the caller.

To a gateway over WHIP, as a client like any other (aiortc, in its own process): it shares no media code with the gateway it
calls. Or straight to the model, with a model session of its own. It waits for the greeting, plays the recording and then silence,
writes down what it hears, and hangs up when the answer is over.
"""

from __future__ import annotations

from gateway.dial.command import DialSettings, dial

__all__ = ["DialSettings", "dial"]
