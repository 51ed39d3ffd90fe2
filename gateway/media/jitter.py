"""From packets as the network delivers them to one continuous line of audio: what to play, restore, conceal, and when.

The model is not a player. Audio in order goes on at once, so there is no prefetch and no standing delay to grow, shrink or
drift. Only a hole waits, and only while waiting can help:

* a redundant copy (RFC 2198) that is here fills it at once, with the very frame that was lost;
* in-band FEC of the next packet fills it at once, unless missing packets of this call usually turn up after all: then these
  have a little time, and more on a very uneven network;
* else it waits as long as a missing packet has been seen to come behind a later one (0 on a network that keeps order), or
  until the redundancy this sender uses can have come; never longer than `MAX_WAIT` after the packet was due;
* then it is concealed.

The line is kept in the sender's own time, its RTP timestamps, so nothing is ever filled twice. A packet whose time has been
filled is late: counted and dropped, because saying it now would either say something twice or push everything after it back
for good. When packets stop, silence goes on in real time, `STALL` behind: a stall shorter than that loses nothing.

Positions are unwrapped RTP timestamps (clock ticks); sequences are extended. `now` is the loop's clock in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.media.path import UNEVEN, Path

MAX_WAIT = 0.25
"""Seconds after it was due that a hole waits at most, and only on a network that has been that uneven."""

STALL = 0.25
"""Seconds without any packet before silence goes on in real time. It costs nothing while packets come."""

QUIET_STALL = 0.06
"""The same when the sender has said that it pauses (comfort noise, DTX, a key press): the model's endpointing waits for this
silence. A pause filled too far is taken back from the next one (`_owed`), so no word is cut."""

COPY_WAIT = 0.052
"""Seconds after it was due that a missing packet is waited for although its in-band copy is here: the packet sounds better, but
not so much better that it is worth much delay. A packet that something on its way held back for just 50 ms makes it. Each ms by
which the network is more uneven than `UNEVEN` adds two, so that from 160 ms on the copy is for lost packets alone: the line is
behind there anyway, and copies of a third of all frames cost 0.28 PESQ."""

ALIVE = 0.06
"""Seconds for which a packet, even a late one, proves that the stream goes on: nothing is filled ahead of it."""

MAX_JUMP = 1.0
"""Seconds a timestamp may be ahead of real time before it is taken for a new origin."""

MAX_FILL = 0.5
"""Seconds of silence at most between two origins (a source that changed): what real time has not already filled."""

LATE_RUN = 5
"""So many late packets in a row, at the pace of real time, are a path that became slower for good: they are the new origin."""

MAX_COPIES = 8
"""Packets after a lost one that are waited for because they may carry its copy."""

MAX_STORED = 128
"""Packets held back by holes; over it the oldest hole gives way."""

MAX_REMEMBERED = 256
"""Missing packets and concealed frames remembered, to tell late from duplicate."""

OVERSLEPT = 0.1
"""Seconds of lateness of `poll` that show that we, not the network, stood still: what waits in the socket is read first. A worker
near capacity looks at a call that is being answered so seldom that this happens in a pause of the caller's: 20 ms then."""

SECOND_LOOK = 0.02
"""Seconds until the next `poll` then."""


class Play(NamedTuple):
    """Decode this. Its first `skip` ticks are already filled; `at`: when it came; `restored`: it is a redundant copy."""

    payload: bytes
    duration: int
    skip: int
    at: float
    restored: bool = False


class Restore(NamedTuple):
    """`duration` ticks were lost; the payload that follows them carries an in-band copy."""

    payload: bytes
    duration: int
    at: float


class Conceal(NamedTuple):
    """`duration` ticks were lost."""

    duration: int
    at: float


class Quiet(NamedTuple):
    """`duration` ticks in which the sender meant to send nothing."""

    duration: int
    at: float


Step = Play | Restore | Conceal | Quiet


class Copy(NamedTuple):
    """An older frame that came along with a packet; `timestamp` as it was on its own packet."""

    timestamp: int
    payload: bytes
    duration: int


class _Stored(NamedTuple):
    payload: bytes
    duration: int
    sequence: int
    at: float
    restored: bool
    pauses: bool


def never(_: bytes) -> bool:
    """No packet of this codec carries a copy of the one before."""
    return False


class JitterBuffer:
    """One source's line of audio. `push` every packet, `poll` when `deadline` has come; do the steps in order."""

    __slots__ = (
        "_alive_until",
        "_carries_previous",
        "_concealed",
        "_duration",
        "_highest",
        "_inband",
        "_late_count",
        "_late_from",
        "_late_since",
        "_missing",
        "_next",
        "_origin",
        "_owed",
        "_path",
        "_pausing",
        "_played",
        "_position",
        "_quiet_from",
        "_redundancy",
        "_returns",
        "_second_look",
        "_started",
        "_store",
        "_tick",
        "_timestamp",
        "clock_rate",
        "deadline",
        "duplicates",
        "filled_until",
        "late",
        "reordered",
        "waited",
    )

    def __init__(
        self, clock_rate: int, carries_previous: Callable[[bytes], bool] = never, filled_until: float | None = None
    ) -> None:
        """`carries_previous`: has this payload an in-band copy of the frame before it? `filled_until`: that of the buffer of
        the source before this one, whose line this one goes on with."""
        self.clock_rate = clock_rate
        self.filled_until = filled_until
        """Loop time up to which the line is filled; None before the first packet."""
        self.deadline: float | None = None
        self.late = 0
        self.reordered = 0
        self.duplicates = 0
        self.waited = 0.0
        """Seconds that packets were held back by holes, in total."""
        self._carries_previous = carries_previous
        self._tick = 1.0 / clock_rate
        self._started = False
        self._origin = 0
        self._next = 0  # everything before this position is filled
        self._played = 0  # sequence of the packet played last
        self._highest = 0
        self._duration = clock_rate // 50
        self._position = 0  # of the last packet, to unwrap the next one's timestamp
        self._timestamp = 0
        self._store: dict[int, _Stored] = {}
        self._missing: dict[int, float] = {}  # sequence: when a later one showed that it is missing
        self._concealed: deque[int] = deque(maxlen=MAX_REMEMBERED)  # positions
        self._path = Path()
        self._returns = 0.0  # share of missing packets that came after all, over about the last 16
        self._redundancy = 0  # ticks by which this sender's copies lag
        self._inband = False  # the packets before holes have lately been carried by those after
        self._alive_until = 0.0
        self._pausing = False
        self._quiet_from: int | None = None  # begin of the pause that ends at `_next`
        self._owed = 0  # ticks of pause filled too much
        self._late_count = 0
        self._late_since = 0.0
        self._late_from = 0
        self._second_look = -1.0  # the deadline that was put off because we overslept

    @property
    def gives_up_at(self) -> float | None:
        """Loop time at which audio that a hole holds back goes on; None while nothing is held back. A `deadline` that is worth a
        timer: looking at the next tick would add up to 20 ms to everything behind the hole."""
        return self.deadline if self._store else None

    @property
    def held(self) -> int:
        """Packets and copies held back by a hole."""
        return len(self._store)

    def push(
        self,
        sequence: int,
        timestamp: int,
        payload: bytes,
        duration: int,
        now: float,
        copies: Sequence[Copy] = (),
        pauses: bool = False,
    ) -> list[Step]:
        """An audio packet of `duration` ticks, with `copies` of the frames just before it, oldest first. `pauses`: the sender
        says that it may now send nothing for a while."""
        ticks = (timestamp - self._timestamp) & 0xFFFFFFFF
        position = self._position + (ticks if ticks < 0x80000000 else ticks - 0x100000000)
        self._position, self._timestamp = position, timestamp
        transit = now - position * self._tick
        steps: list[Step] = []
        if not self._started or transit < self._path.transit - MAX_JUMP:
            steps = self._begin(position, sequence, duration, now)
        self._path.arrived(transit, now)
        if sequence == self._highest + 1 and position == self._next and not self._store:
            # In order and nothing waits: the usual case, kept short.
            self._highest = self._played = sequence
            self._next = position + duration
            self._duration = duration
            self._pausing = pauses
            self._quiet_from = None
            self._late_count = 0
            self.filled_until = now
            self.deadline = now + (QUIET_STALL if pauses else STALL)
            if copies:
                self._redundancy = (timestamp - copies[0].timestamp) & 0xFFFFFFFF
            steps.append(Play(payload, duration, 0, now))
            return steps
        if sequence > self._highest:
            self._jump(sequence, now)
            if position < self._next and not self._take_back(position):
                if self._slower_for_good(position, now):
                    steps += self.flush()  # it belongs to the old origin, and may lie hours from the new one
                    self._start_at(position, sequence, now)
                else:
                    self._alive_until = now + ALIVE
        elif (since := self._missing.pop(sequence, None)) is not None:
            self._came_after_all(now - since)
        else:
            self.duplicates += 1
            return steps
        if position + duration <= self._next:
            self.late += position in self._concealed or position < self._origin
        else:
            self._keep_copies(copies, timestamp, position, sequence, now)
            self._store[position] = _Stored(payload, duration, sequence, now, False, pauses)
        steps += self._advance(now)
        return steps

    def follow(self, sequence: int, timestamp: int, duration: int, now: float, lag: int = 0) -> bool:
        """`push` in short for a packet that simply follows the one before, and after which no pause is to be expected.

        `lag`: ticks by which the oldest of the copies that came with it lags, 0 without any; they are not needed.
        True: it is pushed, and the one step is to play it whole. False: `push` must see it, nothing has been done.
        """
        ticks = (timestamp - self._timestamp) & 0xFFFFFFFF
        position = self._next
        if sequence != self._highest + 1 or self._position + ticks != position or self._store or not self._started:
            return False
        path = self._path
        transit = now - position * self._tick
        if ticks >= 0x80000000 or transit < path.transit - MAX_JUMP:
            return False
        if transit < path.fastest or transit - path.transit > path.latest or now >= path.window_ends:
            path.arrived(transit, now)
        self._position, self._timestamp = position, timestamp
        self._highest = self._played = sequence
        self._next = position + duration
        self._duration = duration
        self._pausing = False
        self._quiet_from = None
        self._late_count = 0
        self.filled_until = now
        self.deadline = now + STALL
        if lag:
            self._redundancy = lag
        return True

    def skip(self, sequence: int, now: float) -> list[Step]:
        """A packet of the same source that carries no audio of its own (a key press, comfort noise): the sender pauses, and
        nothing is missing at this number."""
        if not self._started:
            return []
        if sequence > self._highest:
            self._jump(sequence, now)
        elif (since := self._missing.pop(sequence, None)) is not None:
            self._came_after_all(now - since)
        else:
            self.duplicates += 1
            return []
        self._pausing = True
        return self._advance(now)

    def poll(self, now: float) -> list[Step]:
        """What is due without any packet: holes given up, silence where nothing comes."""
        if self.deadline is None or now < self.deadline:
            return []
        if now - self.deadline > OVERSLEPT and self.deadline != self._second_look:
            self.deadline = self._second_look = now + SECOND_LOOK
            return []
        steps = self._advance(now)
        while not self._store and (deadline := self._stall_deadline()) is not None and deadline <= now:
            self._fill_stall(deadline, steps)
        self.deadline = self._stall_deadline() if not self._store else self.deadline
        return steps

    def flush(self) -> list[Step]:
        """All that is held back, holes passed over: the source has ended."""
        steps: list[Step] = []
        for position in sorted(self._store):
            stored = self._store.pop(position)
            if position >= self._next:
                steps.append(Play(stored.payload, stored.duration, 0, stored.at, stored.restored))
                self._next = position + stored.duration
        return steps

    # --- the line ---

    def _advance(self, now: float) -> list[Step]:
        """Everything that can go on now; sets the deadline."""
        steps: list[Step] = []
        store = self._store
        while store:
            first = self._next if self._next in store else min(store)
            stored = store[first]
            if first > self._next and not self._fill(first, stored, now, steps):
                return steps
            del store[first]
            end = first + stored.duration
            if end <= self._next:
                continue
            steps.append(Play(stored.payload, stored.duration, self._next - first, stored.at, stored.restored))
            self.waited += now - stored.at
            self._next = end
            self._played = stored.sequence
            self._duration = stored.duration
            self._pausing = stored.pauses
            self._quiet_from = None
            self._late_count = 0
            self.filled_until = now
        self.deadline = self._stall_deadline()
        return steps

    def _fill(self, first: int, stored: _Stored, now: float, steps: list[Step]) -> bool:
        """Fill the hole before the first stored packet. False when waiting is better; then the deadline is set."""
        restorable = False
        while (hole := first - self._next) > 0:
            if not self._lost_before(stored.sequence):
                repaid = min(self._owed, hole)
                self._owed -= repaid
                if hole > repaid:
                    steps.append(Quiet(hole - repaid, stored.at))
                self._next = first
                return True
            if hole <= stored.duration:
                self._inband = self._carries_previous(stored.payload)
                restorable = self._inband
            if not (restorable and self._returns < 0.5) and len(self._store) <= MAX_STORED:
                copies = 0 if restorable else max(self._redundancy // self._duration, self._inband)
                until = self._give_up_at(first, stored, copies)
                if restorable:
                    patience = COPY_WAIT + max(0.0, self._path.lateness - UNEVEN) * 2
                    until = min(until, self._path.transit + self._next * self._tick + patience)
                if now < until:
                    self.deadline = until
                    return False
            size = min(hole, self._duration)
            self._returns -= self._returns / 16
            if restorable:
                steps.append(Restore(stored.payload, hole, stored.at))
                self._next = first
                return True
            steps.append(Conceal(size, stored.at))
            self._concealed.append(self._next)
            self._next += size
        return True

    def _lost_before(self, sequence: int) -> bool:
        """Whether any packet between the one played last and this one has not come."""
        between = range(self._played + 1, sequence)
        return len(between) > MAX_REMEMBERED or any(number in self._missing for number in between)

    def _give_up_at(self, first: int, stored: _Stored, copies: int) -> float:
        """Loop time until which the frame at `_next` may still come, by itself or as one of `copies` in the packets after it."""
        ahead = max(1, round((first - self._next) / self._duration))
        sequence = max(self._played + 1, stored.sequence - ahead)
        until = max(
            self._may_come(sequence + back, self._next + back * self._duration) for back in range(min(copies, MAX_COPIES) + 1)
        )
        return min(until, self._path.transit + self._next * self._tick + MAX_WAIT)

    def _may_come(self, sequence: int, position: int) -> float:
        """Loop time until which this packet may still come; 0 when it has come, or has no chance."""
        shown = self._missing.get(sequence)
        if shown is None and sequence <= self._highest:
            return 0.0
        return self._path.may_come(position * self._tick, shown)

    def _stall_deadline(self) -> float | None:
        if self.filled_until is None:
            return None
        return max(self.filled_until + (QUIET_STALL if self._pausing else STALL), self._alive_until)

    def _fill_stall(self, at: float, steps: list[Step]) -> None:
        """20 ms of nothing. Called only when the line has begun and nothing is stored."""
        assert self.filled_until is not None, "a stall deadline needs a line that has begun"
        size = self.clock_rate // 50
        if not self._pausing:
            steps.append(Conceal(size, at))
        elif self._owed >= size:
            self._owed -= size
        else:
            steps.append(Quiet(size, at))
        if self._pausing and self._quiet_from is None:
            self._quiet_from = self._next
        self._concealed.append(self._next)
        self._next += size
        self.filled_until += size * self._tick

    # --- where the line begins, or begins again ---

    def _begin(self, position: int, sequence: int, duration: int, now: float) -> list[Step]:
        """The first packet, or one so far ahead that its timestamps must have a new origin."""
        steps = self.flush()
        if self.filled_until is not None:
            behind = now - self.filled_until - duration * self._tick
            if behind > 0.0:
                steps.append(Quiet(int(min(behind, MAX_FILL) * self.clock_rate), now))
        self._started = True
        self._missing.clear()
        # The first packet to come need not be the first that was sent: these may still come, and are late.
        self._missing.update((number, now) for number in range(sequence - 3, sequence))
        self._highest = sequence - 1
        self._start_at(position, sequence, now)
        return steps

    def _start_at(self, position: int, sequence: int, now: float) -> None:
        self._origin = self._next = position
        self._played = sequence - 1
        self._path.begin(now - position * self._tick, now)
        self._quiet_from = None
        self._owed = 0

    def _take_back(self, position: int) -> bool:
        """A pause was filled past the word that follows it: say the word whole, and take the surplus from the next pause."""
        if self._quiet_from is None or position < self._quiet_from:
            return False
        self._owed += self._next - position
        self._next = position
        self._quiet_from = None
        return True

    def _slower_for_good(self, position: int, now: float) -> bool:
        """A new packet whose time is filled. Several in a row at the pace of real time: every packet of this path will be so
        late from now on, and dropping them all would be deafness. A burst after a stall is not: it catches up by itself."""
        if not self._late_count or position < self._late_from:
            self._late_count, self._late_since, self._late_from = 0, now, position
        self._late_count += 1
        paced = now - self._late_since >= 0.7 * (position - self._late_from) * self._tick
        behind = (self._next - position) * self._tick
        return self._late_count >= LATE_RUN and paced and behind > LATE_RUN * self._duration * self._tick

    # --- what is missing ---

    def _jump(self, sequence: int, now: float) -> None:
        """A new highest sequence; those between are missing."""
        for number in range(max(self._highest + 1, sequence - MAX_REMEMBERED), sequence):
            self._missing[number] = now
        while len(self._missing) > MAX_REMEMBERED:
            del self._missing[next(iter(self._missing))]
        self._highest = sequence

    def _came_after_all(self, behind: float) -> None:
        """A missing packet came `behind` seconds after a later one."""
        self.reordered += 1
        self._returns += (1.0 - self._returns) / 16
        self._path.overtaken(behind)

    def _keep_copies(self, copies: Sequence[Copy], timestamp: int, position: int, sequence: int, now: float) -> None:
        """Redundant frames fill holes; their sequence numbers are inferred, as senders repeat consecutive packets."""
        if copies:
            self._redundancy = (timestamp - copies[0].timestamp) & 0xFFFFFFFF
        for back, copy in enumerate(reversed(copies), 1):
            start = position - ((timestamp - copy.timestamp) & 0xFFFFFFFF)
            if start >= self._next and start not in self._store:
                self._store[start] = _Stored(copy.payload, copy.duration, sequence - back, now, True, False)
