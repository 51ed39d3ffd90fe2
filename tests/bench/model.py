"""The emulator for a bench run, without the recordings a test wants: `python -m tests.bench.model --persona talker`.

Prints its URL and the file of its certificate on one line, then serves until it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from gateway.emulator import Emulator, EmulatorSettings


async def serve(persona: str) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Lives longer than any run: a goAway in the middle of a window would measure something else.
    settings = EmulatorSettings(persona=persona, record_seconds=1.0, record_messages=10, lifetime=7200.0, session_limit=7200.0)
    async with Emulator(settings) as emulator:
        print(emulator.base_url, emulator.ca_file, flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--persona", default="talker")
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(args.persona))


if __name__ == "__main__":
    main()
