"""The model's side is made to fail, over and over: what callers lose by it. `tests.chaos.session` runs these rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from gateway.emulator import Emulator
from gateway.emulator.faults import FAULTS
from gateway.events import (
    EndReason,
    Interrupted,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelSwapped,
    TurnEnded,
)
from gateway.profile import Profile
from gateway.wire.gemini_pulse import MAX_IN_FLIGHT
from tests.chaos.house import Caller, House, draw, house, open_files, percentile, talking, tape

log = logging.getLogger(__name__)

CHUNK = 0.1
"""Seconds of caller audio per message."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a row is run."""

    calls: int
    rounds: int
    outage: float
    """Seconds that the service is away."""
    seed: int = 0
    vertex: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One measured number against its bar: `value` must not be above it."""

    what: str
    value: float
    bar: float
    unit: str = ""
    timing: bool = False
    """A busy machine makes it worse."""

    def good(self, slack: float = 1.0) -> bool:
        """Not above the bar; timing may be so many times worse."""
        return self.value <= self.bar * (slack if self.timing else 1.0)


def _ms(what: str, seconds: float, bar: float, *, timing: bool = True) -> Finding:
    return Finding(what, seconds * 1000, bar * 1000, "ms", timing)


# --- rows ---


async def planned(scale: Scale, lead: float) -> list[Finding]:
    """goAway at any moment, in the middle of answers too."""
    async with house(persona="counter:1.5", vertex=scale.vertex, seed=scale.seed) as place:

        async def live(caller: Caller) -> None:
            chance = draw("planned", scale.seed, lead, caller.number)
            await caller.until(ModelConnected, 1, 10)
            for number in range(scale.rounds):
                await asyncio.sleep(chance.uniform(0.1, 3.0))
                if not await place.break_line(caller, f"goaway=0,{lead}"):
                    return
                await caller.until(ModelSwapped, number + 1, lead + 5)

        await _all(place, scale, live)
        swaps = [swap for caller in place.callers for swap in caller.of(ModelSwapped)]
        gaps = [swap.gap for swap in swaps]
        lost, doubled = _losses(place)
        wanted = scale.calls * scale.rounds
        limit = 0.0 if lead >= 1 else CHUNK
        return [
            Finding("swaps missing", wanted - len(swaps), 0, f"of {wanted}"),
            Finding("calls lost", _fallen(place), 0),
            Finding("sockets closed by the service", _closed_by_service(place) if lead >= 1 else 0, 0),
            _ms("lost, most in one swap", max(lost, default=0.0), limit, timing=lead < 1),
            _ms("doubled, most in one swap", max(doubled, default=0.0), limit, timing=lead < 1),
            _doubled_for_nothing(doubled),
            _ms("silence, p95", percentile(gaps, 0.95), 0.3),
            _ms("silence, max", max(gaps, default=0.0), 1.0),
        ]


async def abrupt(scale: Scale) -> list[Finding]:
    """Connections that end without a word, or with a wrong one."""
    async with house(persona="counter:1.5", vertex=scale.vertex, seed=scale.seed) as place:

        async def live(caller: Caller) -> None:
            chance = draw("abrupt", scale.seed, caller.number)
            await caller.until(ModelConnected, 1, 10)
            for number in range(scale.rounds):
                await asyncio.sleep(chance.uniform(0.2, 3.0))
                how = chance.choice(("abrupt_1006", "close_1011", "close_1000"))
                if not await place.break_line(caller, f"{how}=0"):
                    return
                await caller.until(ModelSwapped, number + 1, 10)

        await _all(place, scale, live)
        lost, doubled = _losses(place)
        swaps = sum(len(caller.of(ModelSwapped)) for caller in place.callers)
        wanted = scale.calls * scale.rounds
        return [
            Finding("swaps missing", wanted - swaps, 0, f"of {wanted}"),
            Finding("calls lost", _fallen(place), 0),
            _ms("lost, p95", percentile(_filled(lost, swaps), 0.95), 0.2),
            _ms("doubled, p95", percentile(_filled(doubled, swaps), 0.95), 0.4),
            _doubled_for_nothing(doubled),
            _ms("heard again after, p95", percentile(_heard_again(place), 0.95), 1.5),
        ]


async def half_open_answering(scale: Scale) -> list[Finding]:
    """A service that reads and writes nothing any more, in the middle of an answer."""
    async with house(persona="counter:6", vertex=scale.vertex, seed=scale.seed, speed=1.0) as place:

        async def live(caller: Caller) -> None:
            chance = draw("half_open", scale.seed, caller.number)
            await caller.until(ModelConnected, 1, 10)
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            await place.break_line(caller, "half_open=0")
            await caller.until(ModelSwapped, 1, 15)

        await _all(place, scale, live)
        lost, _ = _losses(place)
        # In an answer the next message is due at once.
        frozen = [(caller, place.records(caller)[0].ended) for caller in place.callers]
        noticed = [at - froze for caller, froze in frozen if froze is not None for at in caller.when(ModelClosed)[:1]]
        return [
            Finding("not noticed", scale.calls - len(noticed), 0, f"of {scale.calls}"),
            Finding("calls lost", _fallen(place), 0),
            _ms("noticed after a message was due, max", max(noticed, default=0.0), 6.0),
            _ms("lost", max(lost, default=0.0), 0.0, timing=False),
        ]


async def half_open_listening(scale: Scale) -> list[Finding]:
    """The same while it is spoken to, in the middle of a question."""
    async with house(persona="parrot", vertex=scale.vertex, seed=scale.seed) as place:

        async def live(caller: Caller) -> None:
            await caller.until(ModelConnected, 1, 10)
            await caller.until(ModelSwapped, 1, 20)
            await caller.until(TurnEnded, 1, 15)

        # A second or more of silence, then 3 s of speech; the service stops in the middle of it, on everybody's first connection.
        first = [1.0 + 0.1 * number for number in range(scale.calls)]
        place.emulator.world.set_defaults(f"half_open=heard:{2.0 + 0.05 * scale.calls}&times={scale.calls}")
        await _all(place, scale, live, sounds=[talking(3.0, 30.0, first=seconds) for seconds in first])
        late, answered = [], 0
        for caller, seconds in zip(place.callers, first, strict=True):
            # The service finds the end of speech after half a second and answers 0.1 s later.
            due = caller.when(ModelConnected)[0] + seconds + 3.0 + 0.6
            late += [at - due for at in caller.when(ModelClosed)[:1]]
            answered += any(ended.turn.heard > 2.5 for ended in caller.of(TurnEnded))
        return [
            Finding("not noticed", scale.calls - len(late), 0, f"of {scale.calls}"),
            Finding("calls lost", _fallen(place), 0),
            _ms("noticed after the answer was due, max", max(late, default=0.0), 6.0),
            Finding("questions not answered whole afterwards", scale.calls - answered, 0, f"of {scale.calls}"),
        ]


async def handles(scale: Scale, fault: str) -> list[Finding]:
    """Handles that are refused or poisoned: the call goes on, with what was said."""
    async with house(persona="tone:440,1", vertex=scale.vertex, seed=scale.seed, faults=fault) as place:

        async def live(caller: Caller) -> None:
            await caller.until(ModelConnected, 1, 10)
            await caller.until(TurnEnded, 1, 10)
            record = next(item for item in place.emulator.sessions if item.ended is None and not item.tag)
            record.tag = "taken"
            place.fault(record, "abrupt_1006=0.5")
            await caller.until(ModelSwapped, 1, 15)
            await caller.until(TurnEnded, 2, 15)

        await _all(place, scale, live, sounds=[talking(1.0, 3.0, first=0.3) for _ in range(scale.calls)])
        told = [record for record in place.emulator.sessions if not record.resumed and record.context]
        results = [swap.result for caller in place.callers for swap in caller.of(ModelSwapped)[-1:]]
        return [
            Finding("calls lost", _fallen(place), 0, f"of {scale.calls}"),
            Finding("without their history", scale.calls - len(told), 0, f"of {scale.calls}"),
            Finding("not reported as such", scale.calls - results.count("context_replayed"), 0),
            Finding("not answered again", _unanswered(place, 2), 0),
        ]


async def outage(scale: Scale) -> list[Finding]:
    """The service is away: how often it is asked, and who is still there when it comes back."""
    seconds = scale.outage
    async with house(persona="counter:1", vertex=scale.vertex, seed=scale.seed, patience=seconds + 15) as place:
        callers = [place.call() for _ in range(scale.calls)]
        await asyncio.gather(*(caller.until(ModelConnected, 1, 15) for caller in callers))
        await asyncio.sleep(1.0)
        began = place.loop.time()
        async with place.emulator.outage():
            await asyncio.sleep(seconds)
        await asyncio.gather(*(caller.until(ModelSwapped, 1, 15) for caller in callers))
        tries = [at for caller in callers for at in caller.when(ModelConnectFailed)]
        early = [at for at in tries if at < began + 1.0]
        probes = sorted(at for at in tries if at >= began + 1.0)
        # One call may by chance carry both probes that the breaker makes in a second.
        of_each = [sum(at < began + 1.0 for at in caller.when(ModelConnectFailed)) for caller in callers]
        beyond = sum(max(0, made - 2) for made in of_each)
        close = sum(after - before < 0.05 for before, after in pairwise(probes))
        await place.hang_up()
        return [
            Finding(f"away for {seconds:g} s: connects in the first second", len(early), 2 * scale.calls),
            Finding("beyond two of one call, which only the breaker's probes may be", beyond, 2),
            Finding("connects afterwards", len(probes), 2 + seconds / 3, timing=True),
            Finding("at the same time as another", close, 0),
            Finding("calls lost", _fallen(place), 0, f"of {scale.calls}"),
        ]


async def unwilling(scale: Scale, fault: str, reason: EndReason) -> list[Finding]:
    """A service that is there and wants nobody: how often it is asked before calls give up."""
    async with house(persona="counter:1", vertex=scale.vertex, seed=scale.seed, patience=8.0) as place:
        callers = [place.call() for _ in range(scale.calls)]
        await asyncio.gather(*(caller.until(ModelConnected, 1, 15) for caller in callers))
        await asyncio.sleep(0.5)
        before = len(place.emulator.world.upgrades)
        place.emulator.world.set_defaults(fault)
        for record in place.emulator.sessions:
            place.fault(record, "abrupt_1006=0")
        await asyncio.gather(*(_over(caller, 45.0) for caller in callers))
        asked = len(place.emulator.world.upgrades) - before
        await place.hang_up()
        return [
            # Two a call, then the breaker's probes after 1, 2 and 4 s.
            Finding(f"connects of {scale.calls} calls", asked, 2 * scale.calls + 3),
            Finding(f"other endings than {reason.value}", sum(caller.end is not reason for caller in callers), 0),
        ]


async def barge_in(scale: Scale) -> list[Finding]:
    """The service says `interrupted` in the middle of answers: what is still played of them."""
    stale, after, count = [], 0, 0
    async with house(persona="tone:440,8", vertex=scale.vertex, seed=scale.seed, faults="interrupt_mid=0.6") as place:

        async def live(caller: Caller) -> None:
            await caller.until(ModelConnected, 1, 10)
            await caller.until(Interrupted, scale.rounds, 20 + 4 * scale.rounds)
            await asyncio.sleep(0.3)  # what is left of the answer would leave now: its ticks are due before this

        sounds = [talking(0.6, 1.6, first=0.2) for _ in range(scale.calls)]
        await _all(place, scale, live, sounds=sounds)
        for caller in place.callers:
            for at, event in zip(caller.when(Interrupted), caller.of(Interrupted), strict=True):
                count += 1
                read_at = at - event.stop
                old = [sent for sent, read in caller.leg.frames if read <= read_at]
                stale.append(max(0.0, max(old, default=read_at) - read_at))
                after += sum(sent > at for sent in old)
    return [
        Finding("interruptions missing", scale.calls * scale.rounds - count, 0, f"of {scale.calls * scale.rounds}"),
        _ms("last stale packet after, p99", percentile(stale, 0.99), 0.04),
        Finding("stale packets after the caller was told", after, 0),
    ]


REFUSED = frozenset({"http_401", "http_403", "http_404", "bad_key", "bad_model", "invalid_arg", "quota_connect", "quota_mid"})
UNAVAILABLE = frozenset({"http_429", "http_503", "setup_hang", "setup_goaway", "setup_error", "concurrency"})


async def every_fault(scale: Scale) -> list[Finding]:
    """Each row of the fault table, with `rounds` seeds: nobody crashes, nothing is left, every ending has its reason."""
    crashed = unexplained = 0
    wrong: list[str] = []
    async with Emulator(persona="parrot") as emulator:
        await _suffer(emulator, "close_1011=0.5", 0, scale.vertex, wrong)  # whatever is opened once is open now
    files, tasks = open_files(), len(asyncio.all_tasks())
    for seed in range(scale.seed, scale.seed + scale.rounds):
        async with Emulator(persona="parrot", seed=seed, first_chunk=0.1, setup_delay=0.02, keep_sessions=20) as emulator:
            names = list(FAULTS)
            for begin in range(0, len(names), scale.calls):
                await asyncio.gather(
                    *(_suffer(emulator, name, seed, scale.vertex, wrong) for name in names[begin : begin + scale.calls])
                )
    for line in wrong:
        crashed += "crashed" in line
        unexplained += 1
        log.warning("%s", line)
    for _ in range(100):
        if len(asyncio.all_tasks()) <= tasks and open_files() <= files:
            break
        await asyncio.sleep(0.1)
    return [
        Finding("calls crashed", crashed, 0),
        Finding("unexplained endings", unexplained, 0),
        Finding("tasks left", len(asyncio.all_tasks()) - tasks, 0),
        Finding("sockets and files left", open_files() - files, 0),
    ]


async def _suffer(emulator: Emulator, fault: str, seed: int, vertex: bool, wrong: list[str]) -> None:
    async with house(vertex=vertex, key=f"KEY~{fault}", emulator=emulator) as place:
        caller = place.call(talking(1.0, 2.0, first=0.3), Profile(greeting="Greet the caller."))
        want = EndReason.MODEL_REFUSED if fault in REFUSED else EndReason.MODEL_UNAVAILABLE if fault in UNAVAILABLE else None
        # What is to end ends, on a busy machine later; what is not has seven seconds for a reason to.
        await _over(caller, 7.0 if want is None else 45.0)
        end = caller.end
        await place.hang_up()
    if end is not want:
        said = caller.of(ModelClosed)
        wrong.append(f"{fault}, seed {seed}: {end.value if end else 'still on'}, not {want.value if want else 'still on'} {said}")


# --- parts ---


async def _all(place: House, scale: Scale, live: Callable[[Caller], Awaitable[None]], sounds: list[object] | None = None) -> None:
    """Everybody calls, lives, and hangs up."""
    async with asyncio.TaskGroup() as lives:
        for number in range(scale.calls):
            caller = place.call(None if sounds is None else sounds[number])  # type: ignore[arg-type]
            lives.create_task(live(caller))  # type: ignore[arg-type]
    await place.heard_out()
    await place.hang_up()


async def _over(caller: Caller, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            while caller.end is None:
                caller.news.clear()
                await caller.news.wait()
    except TimeoutError:
        return


def _fallen(place: House) -> int:
    return sum(caller.end not in (None, EndReason.CALLER_HUNG_UP) for caller in place.callers)


def _unanswered(place: House, turns: int) -> int:
    return sum(len(caller.of(TurnEnded)) < turns for caller in place.callers)


def _closed_by_service(place: House) -> int:
    return sum(record.close is not None and record.close[0] == "server" for record in place.emulator.sessions)


def _losses(place: House) -> tuple[list[float], list[float]]:
    lost: list[float] = []
    doubled: list[float] = []
    for caller in place.callers:
        account = tape(place, caller)
        lost += account.lost
        doubled += account.doubled
        assert not account.foreign, "what was heard is what was said"
        # The last chunk may not have been full when the caller fell silent.
        if account.missing > CHUNK:
            lost.append(account.missing)
    return lost, doubled


def _doubled_for_nothing(doubled: list[float]) -> Finding:
    """However slow the machine, more than may be on its way, and a chunk, is not said twice."""
    most = max(doubled, default=0.0) - MAX_IN_FLIGHT - CHUNK
    return _ms("doubled beyond what may have been on its way", max(0.0, most), 0.0, timing=False)


def _filled(values: list[float], count: int) -> list[float]:
    """With a zero for everyone to whom it did not happen."""
    return values + [0.0] * max(0, count - len(values))


def _heard_again(place: House) -> list[float]:
    found = []
    for caller in place.callers:
        records = place.records(caller)
        for before, after in pairwise(records):
            if before.ended is not None and after.arrivals.first_at is not None:
                found.append(after.arrivals.first_at - before.ended)
    return found


ROWS: dict[str, Callable[[Scale], Awaitable[list[Finding]]]] = {
    "planned-60": partial(planned, lead=60.0),
    "planned-10": partial(planned, lead=10.0),
    "planned-0": partial(planned, lead=0.0),
    "abrupt": abrupt,
    "half-open-answering": half_open_answering,
    "half-open-listening": half_open_listening,
    "stale-handles": partial(handles, fault="stale_handle"),
    "poisoned-handles": partial(handles, fault="poison_handle=0.2"),
    "poisoned-at-once": partial(handles, fault="poison_handle=0"),
    "outage": outage,
    "429": partial(unwilling, fault="http_429", reason=EndReason.MODEL_UNAVAILABLE),
    "quota": partial(unwilling, fault="quota_connect", reason=EndReason.MODEL_REFUSED),
    "barge-in": barge_in,
    "every-fault": every_fault,
}
