"""The data channel of one call: aiortc's SCTP with limits, and one text channel on it.

aiortc's SCTP trusts what it has decrypted: it asserts, and keeps whatever it is sent. A caller may be anybody, so what it can
make grow has a limit here, and what does not parse is counted and dropped.

SCTP: RFC 9260; data channels: RFC 8831, 8832.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Callable

from aiortc import rtcsctptransport
from aiortc.rtcdatachannel import RTCDataChannel
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcsctptransport import (
    WEBRTC_BINARY,
    WEBRTC_BINARY_EMPTY,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    WEBRTC_STRING_EMPTY,
    Chunk,
    DataChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
)

from gateway.legs.webrtc.report import Tally
from gateway.legs.webrtc.udp_mux import guarded

LABELS = frozenset({"rtvi", "chat"})
"""Ours, and the one existing RTVI clients open."""

MAX_MESSAGE_BYTES = 16 * 1024
"""Either way. What every browser can send without fragments interleaving (RFC 8831 §6.6)."""

MAX_RATE = 20
"""Messages a second from the caller; what is more is dropped and counted."""

MAX_WAITING = 128
"""Messages of ours before the channel is open; the oldest gives way. A minute of captions."""

MAX_UNSENT_BYTES = 256 * 1024
"""Of ours, waiting for a slow network; beyond it the newest gives way."""

MAX_STREAMS = 32
MAX_MISORDERED = 512
RECEIVE_WINDOW = 128 * 1024

USER_DATA_BYTES = 1100
"""Of one DATA chunk, so that DTLS, UDP and IPv6 headers still fit an MTU of 1,280. aiortc's 1,160 is tight, and what does not
fit stalls without a word."""

_DATA_CHANNEL_OPEN = 3

# A constant of aiortc's module, read whenever a message is cut into chunks; this is the only module that sends any.
rtcsctptransport.USERDATA_MAX_LENGTH = USER_DATA_BYTES

# What aiortc raises on a chunk or a handshake that makes no sense. ConnectionError is not among them: DTLS is gone then.
_NONSENSE = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error)


class Channel(RTCSctpTransport):
    """Text messages to and from one caller, over `dtls`.

    `on_open` is called when a text channel is there, `on_message` with each text, `fail` with what either raised. What makes no
    sense or is too much goes into `tally`.
    """

    def __init__(
        self,
        dtls: RTCDtlsTransport,
        *,
        on_open: Callable[[], None],
        on_message: Callable[[str], None],
        fail: Callable[[Exception], None],
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(dtls)
        self._advertised_rwnd = RECEIVE_WINDOW
        self.fail = fail
        self._on_open = on_open
        self._on_message = on_message
        self._clock = clock
        self._open: RTCDataChannel | None = None
        self._unsent: deque[str] = deque(maxlen=MAX_WAITING)
        self._tokens = float(MAX_RATE)
        self._refilled_at = clock()
        self.received = 0
        self.sent = 0
        self._tally = tally
        self.dropped = 0
        """Our own messages that found no room."""

    async def begin(self, port: int, max_message_bytes: int) -> None:
        """Open the association to the far end's SCTP port. DTLS must be connected."""
        await self.start(RTCSctpCapabilities(maxMessageSize=max_message_bytes), port)

    @property
    def is_open(self) -> bool:
        """A text channel is there."""
        return self._open is not None and self._open.readyState == "open"

    def post(self, text: str) -> None:
        """Send `text`, now or when the channel opens. Never waits."""
        size = len(text.encode())
        limit = self._remote_max_message_size or MAX_MESSAGE_BYTES
        if size > min(limit, MAX_MESSAGE_BYTES):
            self.dropped += 1
            return
        channel = self._open
        if channel is None or channel.readyState != "open":
            self.dropped += len(self._unsent) == MAX_WAITING
            self._unsent.append(text)
        elif channel.bufferedAmount + size > MAX_UNSENT_BYTES or self.transport.state != "connected":
            self.dropped += 1
        else:
            self.sent += 1
            channel.send(text)

    async def flush(self) -> None:
        """Put what was posted on the wire as far as the window allows, before a goodbye."""
        await self._data_channel_flush()

    # --- aiortc's own methods, with limits ---

    async def _handle_data(self, data: bytes) -> None:
        try:
            await super()._handle_data(data)
        except _NONSENSE:
            self._tally.channel_malformed += 1

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        known = chunk.stream_id in self._inbound_streams
        if (
            (not known and len(self._inbound_streams) >= MAX_STREAMS)
            or len(self._sack_misordered) >= MAX_MISORDERED
            or self._advertised_rwnd + MAX_MESSAGE_BYTES < 0  # it was told to wait, long ago
        ):
            self._tally.channel_excess += 1
            return
        await super()._receive_data_chunk(chunk)

    async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        channel = self._data_channels.get(stream_id)
        if pp_id == WEBRTC_DCEP:
            await super()._receive(stream_id, pp_id, data)
            if data[:1] == bytes((_DATA_CHANNEL_OPEN,)):
                self._opened(self._data_channels[stream_id])
        elif channel is None or channel is not self._open:
            self._tally.channel_malformed += 1
        elif pp_id in (WEBRTC_STRING, WEBRTC_BINARY):
            self._message(data)
        elif pp_id not in (WEBRTC_STRING_EMPTY, WEBRTC_BINARY_EMPTY):
            self._tally.channel_malformed += 1

    def _opened(self, channel: RTCDataChannel) -> None:
        if channel.label not in LABELS or self.is_open:
            channel.close()
            return
        self._open = channel
        while self._unsent:
            self.post(self._unsent.popleft())
        guarded(self, self._on_open)

    def _message(self, data: bytes) -> None:
        now = self._clock()
        self._tokens = min(MAX_RATE, self._tokens + (now - self._refilled_at) * MAX_RATE)
        self._refilled_at = now
        if len(data) > MAX_MESSAGE_BYTES or self._tokens < 1.0:
            self._tally.channel_excess += 1
            return
        self._tokens -= 1.0
        self.received += 1
        # Guarded here, because above us it would pass for nonsense of the caller's.
        guarded(self, self._on_message, data.decode("utf-8", "replace"))

    async def _send_chunk(self, chunk: Chunk) -> None:
        with contextlib.suppress(ConnectionError):  # DTLS is gone and the leg with it; aiortc's timers do not know yet
            await super()._send_chunk(chunk)
