"""What the whole worker does once a second, on real sockets of the loopback interface and uvloop."""

from __future__ import annotations

import asyncio
import socket

import uvloop
from prometheus_client import CollectorRegistry

from gateway.clock import Clock
from gateway.events import EndReason, LegKind
from gateway.garbage import Rounds
from gateway.ledger import Ledger
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.server import _each_second
from gateway.store.memory import MemoryStore
from gateway.telemetry.metrics import Metrics
from tests import clock
from tests.fakes import Diary, FakeLeg, FakeModel

ROUNDS_OF_THE_LOOP = 20


def test_near_capacity_the_clock_alone_reads_while_there_are_calls() -> None:
    async def body(mux: UdpMux) -> None:
        loop = asyncio.get_running_loop()
        ticking = Clock(loop, before=mux.read, idle=mux.listen)
        calls = Registry(
            worker="w0", max_calls=3, model=FakeModel(), model_alias="fake", clock=ticking, observe=Diary(), loop=loop
        )
        ledger, metrics, rounds = Ledger(MemoryStore(), []), Metrics(CollectorRegistry()), Rounds()
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        def second(load: float) -> None:
            _each_second(calls, mux, ledger, metrics, rounds, load)

        async def is_read() -> bool:
            before = mux.received
            sender.sendto(b"?", ("127.0.0.1", mux.port))
            for _ in range(ROUNDS_OF_THE_LOOP):
                await asyncio.sleep(0.0)
            return mux.received > before

        with sender:
            second(1.0)
            assert await is_read(), "nobody calls, so the clock sleeps"
            call = calls.start(calls.admit(LegKind.WEBRTC), FakeLeg(), Profile())
            await clock.until(lambda: len(ticking) == 1)
            second(1.0)
            ticking.stop()  # by itself it would read any moment
            assert not await is_read()
            second(0.0)
            assert await is_read(), "there is room again"
            second(1.0)
            assert not await is_read()
            last = calls.start(calls.admit(LegKind.WEBRTC), FakeLeg(), Profile())
            received = mux.received
            await clock.until(lambda: mux.received > received)  # which wakes the clock
            for each in (call, last):
                each.hang_up(EndReason.HUNG_UP_BY_API)
            await clock.until(lambda: len(calls) == 0 and ticking._timer is None)
            assert await is_read(), "before the next second"

    async def run() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        try:
            await body(mux)
        finally:
            await mux.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
