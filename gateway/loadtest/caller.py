"""One caller: a UDP socket, ICE, DTLS, SRTP, and a loop of speech. Media is driven from outside, 20 ms a step.

While it connects, the caller reads its socket as soon as anything comes. Once media flows it is emptied only on the caller's own
step: the kernel stamps every packet with its arrival, so reading late costs no precision and a wake-up per packet is saved.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import aiohttp
import numpy as np
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session
from yarl import URL

from gateway.errors import GatewayError, LegError, PacketError, SignalingError
from gateway.loadtest.dtls import DtlsCaller, Identity, SrtpPair
from gateway.loadtest.ice import IceCaller, is_stun
from gateway.loadtest.meter import TICKS, StreamMeter
from gateway.loadtest.offer import AUDIO_LEVEL, Answer, build_offer, parse_answer
from gateway.loadtest.speech import SpeechPacket
from gateway.media.opus import OpusDecoder
from gateway.wire.rtp import ReportBlock, SenderReport, build_sdes, build_sr, middle, ntp_timestamp, parse_rtcp, parse_rtp

PTIME = 0.02
SETUP_TIMEOUT = 15.0
REPORT_EVERY = 250
"""Packets between our RTCP reports: 5 s."""
PROVE_EVERY = 50
"""Every so many packets one is decrypted, to prove that the stream is what it claims to be."""
AUDIBLE = 0.003
"""RMS of full scale (-50 dBFS) from which a packet counts as audio."""

# Linux's number; the socket module does not name it. Elsewhere packets are stamped when they are read.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_RTP = struct.Struct("!BBHII")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)


@dataclass(slots=True)
class CallerResult:
    """What one caller saw. Times in seconds since its offer left; None where it never came."""

    number: int
    error: str | None = None
    answered: float | None = None
    connected: float | None = None
    """DTLS done."""
    first_packet: float | None = None
    first_audio: float | None = None
    sent: int = 0
    proved: int = 0
    forged: int = 0
    reports: int = 0
    meter: StreamMeter = field(default_factory=StreamMeter)


class Caller:
    """One call. `connect` it, call `step` every 20 ms, `hang_up`."""

    def __init__(self, number: int, identity: Identity, speech: Sequence[SpeechPacket], *, url: str, key: str = "") -> None:
        self.result = CallerResult(number)
        self.media = False
        """Both ways: `step` sends and hears."""
        self._identity = identity
        self._speech = speech
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._location: str | None = None
        self._socket: socket.socket | None = None
        self._reading = False
        self._ice: IceCaller | None = None
        self._dtls: DtlsCaller | None = None
        self._changed = asyncio.Event()
        self._failure: GatewayError | None = None
        self._started_wall = 0.0
        self._ufrag = secrets.token_hex(4)
        self._password = secrets.token_hex(12)
        # A caller starts its loop somewhere of its own, so that a hundred callers do not fall silent in chorus.
        self._at = secrets.randbelow(len(speech))
        self._sequence = secrets.randbelow(0x8000)
        self._timestamp = secrets.randbelow(0x80000000)
        self._ssrc = secrets.randbits(32)
        self._their_ssrc = 0
        self._last_report: tuple[int, float] | None = None  # middle bits of their SR's NTP time, when it came
        self._octets = 0
        self._payload_type = 111
        self._with_level = False
        self._decoder: OpusDecoder | None = None

    # --- setup ---

    async def connect(self, http: aiohttp.ClientSession) -> None:
        """Offer, answer, ICE, DTLS. Raises LegError or SignalingError; `result.error` then says why."""
        try:
            async with asyncio.timeout(SETUP_TIMEOUT):
                answer = await self._signal(http)
                await self._open_media(answer)
        except TimeoutError:
            self.result.error = f"no media after {SETUP_TIMEOUT:.0f} s"
            raise LegError(self.result.error) from None
        except (GatewayError, aiohttp.ClientError, OSError) as exc:
            self.result.error = f"{type(exc).__name__}: {exc}"
            raise LegError(self.result.error) from exc

    async def _signal(self, http: aiohttp.ClientSession) -> Answer:
        self._socket = sock = _open_socket(self._url)
        host, port = sock.getsockname()[:2]
        offer = build_offer(
            ufrag=self._ufrag,
            password=self._password,
            fingerprint=self._identity.fingerprint,
            host=host,
            port=port,
            ssrc=self._ssrc,
        )
        self._started_wall = time.time()
        headers = self._headers | {"Content-Type": "application/sdp"}
        async with http.post(self._url, data=offer.encode(), headers=headers) as response:
            body = await response.text()
            if response.status != 201:
                raise SignalingError(f"{response.status} {body[:200]}")
            location = response.headers.get("Location")
            self._location = str(response.url.join(URL(location))) if location else None
        self.result.answered = time.time() - self._started_wall
        return parse_answer(body)

    async def _open_media(self, answer: Answer) -> None:
        sock = self._socket
        assert sock is not None, "signalled first"
        self._payload_type, self._with_level = answer.opus, answer.audio_level
        self._ice = IceCaller(answer.ufrag, answer.password, self._ufrag, self._password)
        self._dtls = DtlsCaller(self._identity, client=answer.client, remote_fingerprint=answer.fingerprint)
        remotes = _reachable(answer.candidates, sock.family)
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), self._drain)
        self._reading = True
        while not self.media:
            if self._failure is not None:
                raise self._failure
            if self._ice.connected_at is None:
                for remote in remotes:
                    sock.sendto(self._ice.check(loop.time()), remote)
            else:
                self._send(self._dtls.timeout())
            self._changed.clear()
            try:
                async with asyncio.timeout(max(0.05, self._dtls.timer or 0.0)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        loop.remove_reader(sock.fileno())
        self._reading = False

    def _handshake(self, datagram: bytes) -> None:
        assert self._dtls is not None, "reading begins after the answer"
        try:
            self._send(self._dtls.receive(datagram))
        except GatewayError as exc:
            self._failure = exc
        if self._dtls.done and not self.media:
            self.result.connected = time.time() - self._started_wall
            self.media = True
        self._changed.set()

    def _send(self, datagrams: Sequence[bytes]) -> None:
        assert self._socket is not None, "open until close()"
        for datagram in datagrams:
            try:
                self._socket.send(datagram)
            except (BlockingIOError, ConnectionRefusedError):
                continue  # as on any network: the packet is lost

    # --- media ---

    @property
    def _keys(self) -> SrtpPair:
        assert self._dtls is not None, "media begins when the handshake is done"
        assert self._dtls.keys is not None, "media begins when the handshake is done"
        return self._dtls.keys

    def step(self, now: float) -> None:
        """20 ms: say the next packet, take what came. `now`: the loop's clock."""
        if not self.media:
            return
        self._speak(self._keys.sent)
        self._drain()
        if self._ice is not None and now >= self._ice.next_check:
            self._send([self._ice.check(now)])

    def _speak(self, session: Session) -> None:
        speech = self._speech
        spoken = speech[self._at]
        self._at = (self._at + 1) % len(speech)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + TICKS) & 0xFFFFFFFF
        starts = spoken.voice and not speech[self._at - 2].voice
        head = _RTP.pack(
            0x90 if self._with_level else 0x80,
            self._payload_type | (0x80 if starts else 0),
            self._sequence,
            self._timestamp,
            self._ssrc,
        )
        if self._with_level:
            head += bytes((0xBE, 0xDE, 0, 1, AUDIO_LEVEL << 4, spoken.level | (0x80 if spoken.voice else 0), 0, 0))
        self._send([session.protect(head + spoken.payload)])
        self.result.sent += 1
        self._octets += len(spoken.payload)
        if self.result.sent % REPORT_EVERY == 1:
            self._report(session)

    def _report(self, session: Session) -> None:
        now, meter = time.time(), self.result.meter
        blocks: tuple[ReportBlock, ...] = ()
        if self._their_ssrc:
            last, came = self._last_report or (0, now)
            blocks = (ReportBlock(self._their_ssrc, 0, meter.lost, meter.highest, 0, last, int((now - came) * 65536)),)
        report = SenderReport(self._ssrc, ntp_timestamp(now), self._timestamp, self.result.sent, self._octets, blocks)
        self._send([session.protect_rtcp(build_sr(report) + build_sdes(self._ssrc, "load"))])

    def _drain(self) -> None:
        sock = self._socket
        if sock is None:
            return
        while True:
            try:
                data, ancillary, _, source = sock.recvmsg(2048, _ANCILLARY)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # an ICMP answer to something we sent
            first = data[0] if data else 0
            if 128 <= first < 192 and self.media:
                seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2]) if ancillary else (time.time(), 0)
                self._hear(data, seconds + nanoseconds * 1e-9)
            elif 20 <= first < 64:
                self._handshake(data)
            elif self._ice is not None and is_stun(data):
                self._check(self._ice, data, source)

    def _check(self, ice: IceCaller, data: bytes, source: tuple[str, int]) -> None:
        assert self._socket is not None, "something was read from it"
        assert self._dtls is not None, "made with the answer, as ICE was"
        was = ice.connected_at
        reply = ice.receive(data, source[:2], asyncio.get_running_loop().time())
        if reply is not None:
            self._socket.sendto(reply, source)
        if was is None and ice.connected_at is not None:
            # From here on the kernel throws away what comes from anybody else.
            self._socket.connect(source)
            self._send(self._dtls.start())
            self._changed.set()

    def _hear(self, data: bytes, at: float) -> None:
        result = self.result
        if len(data) < 12:
            return
        if 192 <= data[1] < 224:
            self._hear_report(data, at)
            return
        _, _, sequence, timestamp, ssrc = _RTP.unpack_from(data)
        self._their_ssrc = ssrc
        meter = result.meter
        meter.arrived(at, sequence, timestamp)
        if result.first_packet is None:
            result.first_packet = at - self._started_wall
        if result.first_audio is None or meter.packets % PROVE_EVERY == 0:
            self._prove(data, at)

    def _hear_report(self, data: bytes, at: float) -> None:
        try:
            reports = parse_rtcp(self._keys.heard.unprotect_rtcp(data))
        except (SrtpError, PacketError):
            self.result.forged += 1
            return
        self.result.reports += 1
        for report in reports:
            if isinstance(report, SenderReport):
                self._last_report = middle(report.ntp), at

    def _prove(self, data: bytes, at: float) -> None:
        result = self.result
        try:
            payload = parse_rtp(self._keys.heard.unprotect(data)).payload
        except (SrtpError, PacketError):
            result.forged += 1
            return
        result.proved += 1
        if result.first_audio is not None:
            return
        if self._decoder is None:
            self._decoder = OpusDecoder()
        try:
            pcm = np.frombuffer(self._decoder.decode(payload), np.int16)
        except PacketError:
            result.forged += 1
            return
        if pcm.size and math.sqrt(float(np.mean(np.square(pcm.astype(np.float64))))) > AUDIBLE * 32768:
            result.first_audio = at - self._started_wall
            self._decoder = None

    def forget(self) -> None:
        """Begin a new window: what was heard so far (the setup of other callers) does not count."""
        self.result.meter = StreamMeter()

    # --- end ---

    async def hang_up(self, http: aiohttp.ClientSession) -> None:
        """DELETE the call and close the socket. Never raises for a gateway that is already gone."""
        self.media = False
        if self._location is not None:
            try:
                async with http.delete(self._location, headers=self._headers) as response:
                    await response.read()
            except (aiohttp.ClientError, TimeoutError) as exc:
                self.result.error = self.result.error or f"hang-up: {type(exc).__name__}: {exc}"
        self.close()

    def close(self) -> None:
        """Let go of the socket. Idempotent."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        if self._reading:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            self._reading = False
        sock.close()


def _open_socket(url: str) -> socket.socket:
    """A socket on the address from which the gateway's host is reached."""
    parts = URL(url)
    try:
        found = socket.getaddrinfo(parts.host, parts.port, type=socket.SOCK_DGRAM)[0]
    except OSError as exc:
        raise SignalingError(f"{parts.host}: {exc}") from exc
    family, address = found[0], found[4]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing; picks the route
        local = probe.getsockname()[0]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if sys.platform == "linux":
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((local, 0))
    return sock


def _reachable(candidates: Sequence[tuple[str, int]], family: int) -> list[tuple[str, int]]:
    """The candidates of our address family; with any loopback among ours, loopback first."""
    wanted = []
    for host, port in candidates:
        try:
            address = ip_address(host)
        except ValueError:  # an mDNS name
            continue
        if (address.version == 6) == (family == socket.AF_INET6):
            wanted.append((host, port))
    if not wanted:
        raise SignalingError("the answer has no candidate of our address family")
    return wanted
