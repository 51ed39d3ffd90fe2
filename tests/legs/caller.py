"""A caller on aiortc's own transports: real ICE, DTLS, SRTP and SCTP, with RTP made and read by hand.

Lighter than a browser engine and closer to the wire: the test sees every packet and may send any.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcdtlstransport import RTCDtlsTransport

from gateway.events import EndReason
from gateway.legs.webrtc.leg import WebRtcLeg, WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import MODEL_INPUT_RATE, PTIME
from gateway.media.opus import Application, OpusDecoder, OpusEncoder
from gateway.wire.rtp import Bye, RtcpPacket, RtpPacket, pack_rtp_header, parse_rtcp, parse_rtp
from gateway.wire.sdp import parse_offer
from tests.legs.contract import DEADLINE, Listener

RATE = 24_000
EVENT_TYPE = 110
KEYS = "0123456789*#ABCD"


async def nothing(_: object) -> None:
    """In place of aiortc's own media tasks and threads."""


class Caller:
    """One RTCPeerConnection whose media is ours."""

    def __init__(self, *, label: str | None = "rtvi", direction: str = "sendrecv") -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.transceiver = self.pc.addTransceiver("audio", direction)
        self.transceiver.sender.send = nothing
        self.transceiver.receiver.receive = nothing
        self.channel = self.pc.createDataChannel(label) if label is not None else None
        self.messages: list[dict[str, object]] = []
        self.opened = asyncio.Event()
        if self.channel is not None:
            self.channel.on("open", self.opened.set)
            self.channel.on("message", self._message)
        self.packets: list[RtpPacket] = []
        self.control: list[RtcpPacket] = []
        self.ssrc = random.getrandbits(32)
        self.payload_type = 96
        self._news = asyncio.Event()
        self._decoder = OpusDecoder(RATE)
        self._encoder = OpusEncoder(MODEL_INPUT_RATE, application=Application.VOIP, bitrate=32_000, complexity=0)
        self._heard = bytearray()
        self._sequence = random.getrandbits(15)
        self._timestamp = random.getrandbits(32)

    @property
    def dtls(self) -> RTCDtlsTransport:
        return self.transceiver.sender.transport

    async def offer(self) -> str:
        """SDP with all candidates, and with the keypad that aiortc does not offer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp = self.pc.localDescription.sdp.replace("SAVPF 96 ", f"SAVPF 96 {EVENT_TYPE} ")
        return sdp.replace("a=rtpmap:96 ", f"a=rtpmap:{EVENT_TYPE} telephone-event/48000\r\na=rtpmap:96 ", 1)

    async def answered(self, sdp: str) -> None:
        """Take the answer, without the codec that aiortc does not know."""
        lines = [line for line in sdp.split("\r\n") if not line.startswith((f"a=rtpmap:{EVENT_TYPE}", f"a=fmtp:{EVENT_TYPE}"))]
        text = "\r\n".join(lines).replace(f" {EVENT_TYPE}", "")
        self.dtls._handle_rtp_data = self._rtp  # type: ignore[method-assign]
        self.dtls._handle_rtcp_data = self._rtcp  # type: ignore[method-assign]
        await self.pc.setRemoteDescription(RTCSessionDescription(text, "answer"))

    async def connected(self) -> None:
        """Until DTLS is up on this side."""
        await self.until(lambda: self.dtls.state == "connected", self.dtls)

    async def until(self, condition: Callable[[], bool], emitter: object = None) -> None:
        """Wait until something that came makes `condition` true."""
        if emitter is not None:
            emitter.on("statechange", self._news.set)  # type: ignore[attr-defined]
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _message(self, text: str) -> None:
        self.messages.append(json.loads(text))
        self._news.set()

    async def message(self, kind: str) -> dict[str, object]:
        """The first message of this type."""
        await self.until(lambda: any(message["type"] == kind for message in self.messages))
        return next(message for message in self.messages if message["type"] == kind)

    def post(self, kind: str, data: object = None) -> None:
        """An RTVI message to the gateway."""
        assert self.channel is not None
        self.channel.send(json.dumps({"id": "c1", "label": "rtvi-ai", "type": kind, "data": data}))

    async def _rtp(self, data: bytes, arrival_time_ms: int) -> None:
        assert arrival_time_ms > 0
        packet = parse_rtp(data)
        self.packets.append(packet)
        self._heard += self._decoder.decode(packet.payload)
        self._news.set()

    async def _rtcp(self, data: bytes) -> None:
        self.control += parse_rtcp(data)
        self._news.set()

    # --- FarEnd ---

    async def send_rtp(self, payload: bytes, *, ticks: int = 960, payload_type: int | None = None, marker: bool = False) -> None:
        """One protected packet."""
        header = pack_rtp_header(payload_type or self.payload_type, marker, self._sequence, self._timestamp, self.ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + ticks) & 0xFFFFFFFF
        await self.dtls._send_rtp(header + payload)

    async def say(self, pcm: bytes) -> None:
        """Speak PCM16 at 16 kHz in real time."""
        loop = asyncio.get_running_loop()
        start, size = loop.time(), 2 * round(MODEL_INPUT_RATE * PTIME)
        for index in range(len(pcm) // size):
            await self.send_rtp(self._encoder.encode(pcm[index * size : (index + 1) * size]))
            await asyncio.sleep(start + (index + 1) * PTIME - loop.time())

    async def heard(self, seconds: float) -> bytes:
        """All audio so far, once it is that much."""
        await self.until(lambda: len(self._heard) >= 2 * RATE * seconds)
        return bytes(self._heard)

    async def press(self, digit: str) -> None:
        """RFC 4733: 60 ms of a key, its end said three times."""
        event = bytes((KEYS.index(digit),))
        for duration, end in ((960, 0), (1920, 0), (2880, 0x80), (2880, 0x80), (2880, 0x80)):
            tail = bytes((end | 10,)) + duration.to_bytes(2, "big")
            await self.send_rtp(event + tail, ticks=0, payload_type=EVENT_TYPE, marker=duration == 960)
        self._timestamp += 4800

    async def hang_up(self) -> None:
        """Close the peer connection: DTLS says so."""
        await self.pc.close()

    async def vanish(self) -> None:
        """Drop the sockets."""
        for protocol in self.dtls.transport._connection._protocols:
            protocol.transport.abort()

    async def saw_hangup(self) -> int:
        """How many times BYE came, after DTLS was closed by the gateway."""
        await self.until(lambda: self.dtls.state == "closed", self.dtls)
        return sum(isinstance(packet, Bye) for packet in self.control)

    async def close(self) -> None:
        """Let go of everything."""
        await self.pc.close()


class WebRtcPair:
    """A leg, its sink and its caller."""

    def __init__(self, mux: UdpMux, caller: Caller, leg: WebRtcLeg, sink: Listener) -> None:
        self.mux = mux
        self.far = caller
        self.leg = leg
        self.sink = sink


@asynccontextmanager
async def webrtc_pair(*, patience: float = 15.0, caller: Caller | None = None, connect: bool = True) -> AsyncIterator[WebRtcPair]:
    """A call over the loopback interface."""
    mux = await UdpMux.open("127.0.0.1", 0)
    caller = caller or Caller()
    offer = parse_offer((await caller.offer()).encode())
    settings = WebRtcSettings(worker="gw1", ice_timeout=5.0, dtls_timeout=5.0, media_timeout=patience)
    leg, sdp = await answer(offer, mux, settings, mux.clock())
    sink = Listener()
    try:
        if connect:
            leg.start(sink)
            await caller.answered(sdp)
            await asyncio.gather(caller.connected(), sink.until(lambda: sink.connections == 1))
        yield WebRtcPair(mux, caller, leg, sink)
    finally:
        await leg.close(EndReason.CALLER_HUNG_UP)
        await caller.close()
        assert len(mux) == 0
        assert mux.transactions == {}
        await mux.close()
