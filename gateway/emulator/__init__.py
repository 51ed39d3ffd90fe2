"""A Gemini Live server on the real wire protocol, with faults on demand: for demonstrations, tests and load.

It shares no code with the gateway's own client side, so that it can't share its mistakes.
"""

from gateway.emulator.server import Emulator, run_emulator
from gateway.emulator.settings import EmulatorSettings

__all__ = ["Emulator", "EmulatorSettings", "run_emulator"]
