"""ICE for one call behind the shared port: aioice's agent, its sockets replaced by the mux.

aioice keeps the state machine (checks, triggered checks, nomination, consent per RFC 7675). What changes here: no socket of
its own, no gathering, no name is ever looked up, everything a far end can make grow has a limit, and the nominated
pair is at hand for media that is sent without asking.
"""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import Callable
from typing import cast

from aioice import Candidate, Connection, stun
from aioice.candidate import candidate_priority
from aioice.ice import ICE_COMPLETED, CandidatePair, StunProtocol

from gateway.legs.webrtc.inbox import Inbox
from gateway.legs.webrtc.udp_mux import Address, Port, UdpMux
from gateway.wire.sdp_lines import Candidate as RemoteCandidate

MAX_CANDIDATES = 32
"""Addresses of the far end that are kept: offered, trickled and learned from its checks together. RFC 8445 §6.1.2.5 thinks of
100 pairs; a browser on a laptop has about ten addresses. The longest checked one that is not in use gives way."""

MAX_SIGNALLED = 24
"""Of these, offered and trickled: the rest stays free for what is learned, which alone is known to lead back."""

CHECK_EVERY = 0.02
"""Seconds between two checks we start ourselves (RFC 8445 §14.2: Ta is at least 5 ms)."""

MAX_WAITING = 64
"""DTLS datagrams between the socket and the handshake; more than a handshake and a full SCTP window have. The newest gives
way: DTLS repeats what is lost."""

_ICE_CHARS = string.ascii_letters + string.digits + "+/"


def ice_random(length: int) -> str:
    """`length` characters an ICE user name or password may have, 6 bits of randomness each."""
    return "".join(secrets.choice(_ICE_CHARS) for _ in range(length))


def ice_username(worker: str) -> str:
    """20 characters (aioice's 4 collide among a thousand calls on one port); it begins with the worker's name, so that a relay
    in front of several workers could route by it."""
    prefix = "".join(char for char in worker if char in _ICE_CHARS)[:8]
    return prefix + ice_random(20 - len(prefix))


class MuxProtocol(StunProtocol):
    """What aioice takes for a socket of its own: this call's share of one of the mux's."""

    def __init__(self, connection: MuxConnection, mux: UdpMux, port: Port, host: str) -> None:
        super().__init__(connection)
        self._mux = mux
        self._connection = connection
        self.port = port
        self.transport = port  # type: ignore[assignment]  # it needs no more than sendto
        self.local_candidate = Candidate(
            foundation=str(port.version),
            component=1,
            transport="udp",
            priority=candidate_priority(1, "host"),
            host=host,
            port=mux.port,
            type="host",
        )

    async def request(
        self,
        request: stun.Message,
        addr: tuple[str, int],
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, tuple[str, int]]:
        """A STUN transaction; the mux finds it by its id. Raises stun.TransactionError."""
        self._mux.transactions[request.transaction_id] = self
        try:
            return await super().request(request, addr, integrity_key, retransmissions)
        finally:
            self._mux.transactions.pop(request.transaction_id, None)

    def answered(self, message: stun.Message, source: Address) -> None:
        """The mux found a response to a request of ours."""
        transaction = self.transactions.get(message.transaction_id)
        if transaction is not None:
            transaction.response_received(message, source)

    def fail(self, exc: Exception) -> None:
        """A bug surfaced in `answered`."""
        self._connection.fail(exc)

    async def close(self) -> None:
        """Nothing of ours to close: the socket is the mux's."""


class MuxConnection(Connection):
    """One call's ICE agent, and its membership in the mux."""

    def __init__(
        self,
        mux: UdpMux,
        worker: str,
        on_media: Callable[[bytes, float], None],
        on_crash: Callable[[Exception], None],
    ) -> None:
        super().__init__(ice_controlling=False, local_username=ice_username(worker), local_password=ice_random(24))
        self._mux = mux
        self.inbox = Inbox()
        self.media = on_media
        self.fail = on_crash
        self.remote: Address | None = None
        """Where the nominated pair leads, and None before; `port` is the socket it uses."""
        self.port: Port | None = None
        self.on_path: Callable[[str, str, bool], None] = lambda *_: None
        """Told of each path: its types on our side and on the caller's, and whether there was another before."""
        self.heard_at = 0.0
        """When the far end last proved that it is there (a STUN check or DTLS; media has its own count)."""
        for port in mux.ports:
            self._protocols.append(MuxProtocol(self, mux, port, "::" if port.version == 6 else "0.0.0.0"))
        mux.join(self)

    # --- from the mux ---

    def checked(self, message: stun.Message, source: Address, port: Port, now: float) -> None:
        """An authenticated Binding request came from `source`."""
        self.heard_at = now
        if self._is_new(source) and not self._has_room():
            self._mux.dropped["pair_cap"] += 1
            return
        for protocol in self._protocols:
            if cast(MuxProtocol, protocol).port is port:
                self.request_received(message, source, protocol)
                return

    def _is_new(self, source: Address) -> bool:
        return all((each._network_host, each.port) != source for each in self._remote_candidates)

    def _has_room(self) -> bool:
        """For one more address; a caller on the move must not run out of them in a long call."""
        if len(self._remote_candidates) < MAX_CANDIDATES:
            return True
        over = (CandidatePair.State.SUCCEEDED, CandidatePair.State.FAILED)
        for pair in self._check_list:
            if pair.state in over and pair.remote_addr != self.remote:
                self._check_list.remove(pair)
                self._remote_candidates.remove(pair.remote_candidate)
                return True
        return False

    def handshake(self, data: bytes, now: float) -> None:
        """A DTLS datagram from a proven source."""
        if self._queue.qsize() >= MAX_WAITING:
            self._mux.dropped["queue_full"] += 1
            return
        self.heard_at = now
        self._queue.put_nowait((data, 1))

    # --- aioice's own methods, as the mux needs them ---

    async def gather_candidates(self) -> None:
        """The mux has done it. The answer names its addresses; here one per socket is enough to form pairs."""
        self._local_candidates_start = True
        self._local_candidates = [protocol.local_candidate for protocol in self._protocols]
        self._local_candidates_end = True

    async def connect(self) -> None:
        """Find a path. As aioice does it, without its wait for the next 20 ms beat when the path is found, and without an end:
        the caller's own checks may come from addresses that nobody named. The owner sets the deadline.

        Raises ConnectionError when the agent is closed meanwhile.
        """
        for candidate in self._remote_candidates:
            self._pair_remote_candidate(candidate)
        self.sort_check_list()
        self._unfreeze_initial()
        for early in self._early_checks:
            self.check_incoming(*early)
        self._early_checks.clear()
        self._early_checks_done = True
        found = asyncio.ensure_future(self._check_list_state.get())
        try:
            while not found.done():
                self._check_periodic()
                await asyncio.wait([found], timeout=CHECK_EVERY)
        finally:
            found.cancel()
        for pair in self._check_list:
            if pair.task is not None:
                pair.task.cancel()
        if found.result() != ICE_COMPLETED:
            raise ConnectionError("the ICE agent was closed")
        self._query_consent_task = asyncio.create_task(self.query_consent())

    def add(self, candidate: RemoteCandidate) -> None:
        """An address of the far end, offered or trickled. Over the limit it is dropped and counted."""
        if self._closing:
            return
        if len(self._remote_candidates) >= MAX_SIGNALLED:
            self._mux.dropped["pair_cap"] += 1
        else:
            kind = "host" if candidate.type == "prflx" else candidate.type  # aioice takes no signalled prflx
            copy = Candidate(candidate.foundation, 1, "udp", candidate.priority, candidate.ip, candidate.port, kind)
            self._add_remote_candidate(copy, candidate.ip)

    def check_complete(self, pair: CandidatePair) -> None:
        """A check is over, one way or the other."""
        super().check_complete(pair)
        if pair.state is CandidatePair.State.SUCCEEDED:
            self._mux.admit(self, pair.remote_addr, returned=True)
        active = self._nominated.get(1)
        if active is not None and self.remote != active.remote_addr:
            again = self.remote is not None
            self.remote = active.remote_addr
            self.port = cast(MuxProtocol, active.protocol).port
            self.on_path(active.local_candidate.type, active.remote_candidate.type, again)

    async def close(self) -> None:
        """Leave the mux and stop every task of the agent. Idempotent; also what happens by itself when consent expires."""
        self._mux.leave(self)
        self.remote = self.port = None
        await super().close()

    @property
    def closed(self) -> bool:
        """Nothing can be sent or received any more."""
        return self._closing

    # --- what aiortc's DTLS transport asks of its ICE transport ---

    @property
    def role(self) -> str:
        """`controlling` or `controlled`."""
        return "controlling" if self.ice_controlling else "controlled"

    async def _recv(self) -> bytes:
        return await self.recv()

    async def _send(self, data: bytes) -> None:
        await self.send(data)
