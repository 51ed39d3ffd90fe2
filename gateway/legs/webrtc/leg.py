"""The caller's side over WebRTC.

    mux ▶ Inbox ▶ srtp ▶ Receiver ▶ sink.hear            send ◀ the call's tick
    ╰──── Hearing ─────────────────╯                      Sender ▶ srtp ▶ sink.ahead ▶ socket
                                                          ╰──── Speaking ──────────────────╯

aiortc does DTLS and SCTP, aioice does ICE; no packet of audio passes through either, nor through a queue or a task. What has
to happen now and then (RTCP, reports, the silence watchdog) happens on the call's tick. The one timer of a leg runs only while a
hole holds the caller's words back: waiting for the next tick would keep them 20 ms longer. The mux calls for what waits in the
inbox when nothing follows it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pylibsrtp
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from gateway.errors import LegError, PacketError, Unprocessable
from gateway.events import CallEvent, EndReason, LegKind, PacketsWithheld, PathSelected, SetupStage, StageReached
from gateway.legs.base import Ability, LegSink
from gateway.legs.webrtc.answer import FarEnd, NearEnd, choose, far_end, write_answer
from gateway.legs.webrtc.chat import Chat
from gateway.legs.webrtc.hearing import Hearing
from gateway.legs.webrtc.ice import MuxConnection
from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.report import MediaReports, Tally
from gateway.legs.webrtc.rough import Rough
from gateway.legs.webrtc.sender import Sender
from gateway.legs.webrtc.speaking import ROUND, Speaking
from gateway.legs.webrtc.srtp import Srtp
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import PTIME, AudioFrame
from gateway.media.codec import SPEECH, CodecName
from gateway.media.voice import OpusSettings
from gateway.wire.rtp import NTP_EPOCH, Bye, ReceiverReport, Remb, ReportBlock, SenderReport, parse_rtcp
from gateway.wire.sdp import Offer
from gateway.wire.whip import Fragment

log = logging.getLogger(__name__)

RTCP_EVERY = 5.0
"""Seconds between our reports, spread over half to one and a half of it (RFC 3550 §6.2); the first comes early."""

REPORT_EVERY = 5.0
"""Seconds between MediaReports."""

QUIET_AFTER_BYE = 6.0
"""Seconds of complete silence after a BYE that mean the caller is gone. A BYE alone does not: browsers send one when the
microphone is taken away, and go on."""

MAX_EARLY = 64
"""Media datagrams kept that came before the keys: a caller whose side of the handshake is done speaks at once, and those are the
first words. More than a second of them is no overlap of two handshakes."""

LOOK_EVERY, LOOK_SELDOM = 1.5 * PTIME, (ROUND - 0.5) * PTIME
"""Seconds between two looks at all that is not this tick's packet: on every second tick, for a patient sink more seldom, and
once in a round of prepared frames while an answer is spoken to one as patient as `PATIENT`. What is known to be due earlier is
looked at when it is. What becomes due meanwhile is not due so soon: a pause goes on 60 ms after its last packet, and during an
answer nobody waits for that; a hole has a timer of its own."""

PATIENT = 3.5 * PTIME
"""Seconds: near capacity, where a look at a call costs as much as three of its packets."""

_CAN = frozenset({Ability.CONTINUOUS})
_CAN_WITH_CHAT = _CAN | {Ability.TELL}
_MUST_BE_READ = frozenset({EndReason.MODEL_REFUSED, EndReason.MODEL_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class WebRtcSettings:
    """What every WebRTC leg of a worker has in common. Times in seconds."""

    worker: str = ""
    """Its name begins our ICE user names."""
    ice_timeout: float = 15.0
    """From the answer to a network path."""
    dtls_timeout: float = 10.0
    """From the path to keys. DTLS repeats after 1, 2, 4 s."""
    media_timeout: float = 15.0
    """Without any packet: the caller is gone."""
    opus: OpusSettings | None = None
    """How we encode Opus; None: the measured default."""


class WebRtcLeg:
    """One caller over WebRTC; made by `answer`. Implements `Leg`."""

    kind = LegKind.WEBRTC
    _look_at = 0.0  # when to look after everything that is not this tick's packet
    _answering = False  # the last tick had speech

    def __init__(self, offer: Offer, far: FarEnd, mux: UdpMux, settings: WebRtcSettings, offered_at: float) -> None:
        self.etag = secrets.token_urlsafe(12)
        self.codecs = choose(offer.codecs)
        self.tally = Tally()
        self._settings = settings
        self._far = far
        self._offered_at = self._stage_at = offered_at
        self._clock = mux.clock
        self._remote_ufrag, self._remote_pwd = offer.ice_ufrag, offer.ice_pwd
        self._certificate = mux.identity.certificate(mux.clock())
        self._ice = MuxConnection(mux, settings.worker, self._media, self.fail)
        self._ice.on_path = self._path_selected
        self._dtls = RTCDtlsTransport(self._ice, [self._certificate])  # type: ignore[arg-type]  # it only sends and receives
        self._dtls._set_role("server" if far.setup == "active" else "client")
        self._chat: Chat | None = None
        if offer.data_mid is not None:
            self._chat = Chat(self._dtls, self._listening, self.fail, self.tally, self._clock)
        speech = next(codec for codec in self.codecs if codec.name in SPEECH)
        cname = base64.b64encode(secrets.token_bytes(12)).decode()
        offset = time.time() + NTP_EPOCH - self._clock()
        noise = next((codec.payload_type for codec in self.codecs if codec.name is CodecName.CN), None)
        self._sender = Sender(
            speech, ssrc=random.getrandbits(32) or 1, cname=cname, ntp_offset=offset, opus=settings.opus, comfort_noise=noise
        )
        self._receiver = Receiver(self.codecs, offer.audio_level_id)
        self._hearing = Hearing(
            self._receiver,
            self._ice.inbox,
            mux.waiting,
            self._unprotect,
            self._clock,
            self._listening,
            self.fail,
            self._first_heard,
            place=random.random(),
        )
        self._speaking = Speaking(self._sender, self._ice, to_somebody=offer.can_hear, place=random.randrange(ROUND))
        self._sink: LegSink | None = None  # None before start, and again when nothing more may be told
        self._early: list[tuple[bytes, float]] = []  # came before the keys, with the time; the newest of more give way
        self._rx: Srtp | None = None
        self._media_at = 0.0
        self._quiet_limit = settings.media_timeout
        self._rtcp_due = self._report_due = 0.0
        self._reports = MediaReports(offered_at)
        self._rough: Rough | None = None
        self._bringing_up: asyncio.Task[None] | None = None
        self._pump: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        for candidate in offer.candidates:
            self._ice.add(candidate)

    @property
    def rate(self) -> int:
        """Hz of the frames `send` takes: the codec's own, so that only G.711 and G.722 need a resampler."""
        return self._sender.rate

    @property
    def can(self) -> frozenset[Ability]:
        """A packet every tick; captions when there is a data channel."""
        return _CAN if self._chat is None else _CAN_WITH_CHAT

    @property
    def ice_ufrag(self) -> str:
        """Our user name: what the caller's checks carry."""
        return self._ice.local_username

    def answer_to(self, offer: Offer, mux: UdpMux) -> str:
        """The SDP answer."""
        near = NearEnd(
            ice_ufrag=self._ice.local_username,
            ice_pwd=self._ice.local_password,
            fingerprint=self._certificate.fingerprint,
            candidates=tuple(mux.candidates()),
            ssrc=self._sender.ssrc,
            cname=self._sender.cname,
            session_id=random.getrandbits(62),
        )
        return write_answer(offer, self._far, near, self.codecs)

    # --- Leg ---

    def start(self, sink: LegSink) -> None:
        """Deliver to `sink`, and begin to connect."""
        if self._closing is not None:
            return
        self._sink = sink
        self._bringing_up = asyncio.ensure_future(self._bring_up())
        self._bringing_up.add_done_callback(self._brought_up)

    async def add_candidates(self, fragment: Fragment) -> None:
        """Trickled addresses of the caller. Raises Unprocessable when they belong to another ICE session (a restart)."""
        if fragment.ice_ufrag not in (None, self._remote_ufrag):
            raise Unprocessable("ICE restart is not supported: make a new call", code="ice_restart_unsupported")
        for candidate in fragment.all:
            self._ice.add(candidate)

    def send(self, frame: AudioFrame | None) -> None:
        """One frame to the caller, encoded, protected and sent before this returns."""
        now = self._clock()
        if frame is None and self._answering:
            self._look_at = now  # it was planned for an answer that would go on
        self._answering = frame is not None
        if looked := now >= self._look_at:
            self._look_after(now)
        sink = self._sink
        if sink is None:
            return
        self._speaking.send(frame, now, self._rough)
        if looked or frame is None:  # when nothing is left to say, all that was heard must have been told
            self._settle(now, sink)

    @property
    def room(self) -> int:
        """A few frames of Opus; none while the loss of every packet is decided on its tick."""
        return self._speaking.room(self._clock()) if self._rough is None and self._sink is not None else 0

    def prepare(self, frames: Sequence[AudioFrame]) -> None:
        """The frames of the coming ticks: encoded and protected in a row, sent by the clock."""
        sink = self._sink
        if sink is None:
            return
        at = self._clock()
        look_at, between = self._look_at, self._between_looks(sink)
        for send in self._speaking.prepare(frames, at):
            at += PTIME
            if at >= look_at:
                look_at = at + between
                sink.ahead.append(partial(self._send_and_look, send))
            else:
                sink.ahead.append(send)

    def _send_and_look(self, send: Callable[[], None]) -> None:
        now = self._clock()
        send()
        self._look_after(now)
        if (sink := self._sink) is not None:
            self._settle(now, sink)

    def resynced(self) -> None:
        """Prepared frames get the timestamps of the ticks that they will really leave on, as if they had not been prepared.

        Otherwise a far end that has long played silence would wait for what the timestamps of those behind them leave out.
        """
        sink = self._sink
        if sink is not None:
            self.prepare(self._take_back(sink, len(sink.ahead) + 1))

    def _take_back(self, sink: LegSink, unsent: int) -> list[AudioFrame]:
        """The last `unsent` that were prepared, which have not left and will not."""
        sink.ahead.clear()
        return self._speaking.take_back(unsent)

    def _settle(self, now: float, sink: LegSink) -> None:
        """Tell what the caller has heard by now of what was sent."""
        if seconds := self._speaking.heard(now, len(sink.ahead)):
            sink.played(seconds)

    def clear(self) -> float:
        """What is prepared is taken back. What has left can't be: it counts as heard."""
        sink = self._sink
        if sink is None:
            return 0.0
        unsent = len(self._take_back(sink, len(sink.ahead))) * PTIME
        if on_the_way := self._speaking.forget():
            sink.played(on_the_way)
        return unsent

    def tell(self, event: CallEvent) -> None:
        """News for the client on the data channel."""
        if self._chat is not None:
            self._chat.tell(event)

    def send_digits(self, digits: str) -> None:
        """A browser has no keypad to hear them: not among our abilities. Raises LegError."""
        raise LegError(f"webrtc legs do not send digits: {len(digits)} not sent")

    async def transfer(self, target: str) -> None:
        """Not among our abilities. Raises LegError."""
        del target
        raise LegError("webrtc legs are not transferred")

    async def close(self, reason: EndReason) -> None:
        """Say why on the data channel and BYE on the media, then let go of everything."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._hang_up(reason))
        await asyncio.shield(self._closing)

    def lose(self, share: float, seconds: float, seed: int) -> None:
        """For demonstrations: throw away `share` (0 to 1) of the media packets of both directions for so long, from now on.

        How that went is told at the end, as PacketsWithheld. A loss under way gives way to the new one.
        """
        heard = self._receiver
        self._rough = Rough(share, self._clock(), seconds, seed, restored=heard.fec_seconds, concealed=heard.plc_seconds)

    # --- up ---

    async def _bring_up(self) -> None:
        ice, dtls = self._ice, self._dtls
        ice.remote_username, ice.remote_password = self._remote_ufrag, self._remote_pwd
        ice.remote_is_lite = ice.ice_controlling = self._far.ice_lite
        try:
            # The offer's own end of candidates is not believed: the caller's checks may still come from addresses nobody named.
            async with asyncio.timeout(self._settings.ice_timeout):
                await ice.gather_candidates()
                await ice.connect()
        except (TimeoutError, ConnectionError):
            self._gone(EndReason.ICE_TIMEOUT)
            return
        self._reached(SetupStage.ICE)
        prints = [RTCDtlsFingerprint("sha-256", value) for value in self._far.fingerprints]
        try:
            async with asyncio.timeout(self._settings.dtls_timeout):
                await dtls.start(RTCDtlsParameters(prints))
        except TimeoutError:
            self._gone(EndReason.DTLS_FAILED)
            return
        pump = dtls._task
        if dtls.state != "connected" or pump is None:
            self._gone(EndReason.DTLS_FAILED)
            return
        self._pump = pump
        pump.add_done_callback(self._pump_ended)
        self._connected()
        if self._chat is not None:
            await self._chat.channel.begin(self._far.sctp_port, self._far.max_message_bytes)

    def _connected(self) -> None:
        now = self._clock()
        self._rx, self._speaking.tx = Srtp(self._dtls._rx_srtp), Srtp(self._dtls._tx_srtp)
        self._media_at = now
        self._rtcp_due = now + RTCP_EVERY * random.uniform(0.1, 0.3)
        self._report_due = now + REPORT_EVERY
        self._reports = MediaReports(now)
        self._reached(SetupStage.DTLS)
        if self._sink is not None:  # not closed meanwhile, with last words still to be said
            self._sink.connected()
        early, self._early = self._early, []
        for data, at in early:
            self._media(data, at)

    def _path_selected(self, local: str, remote: str, again: bool) -> None:
        if self._sink is not None:
            self._sink.note(PathSelected(local, remote, again))

    def _brought_up(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and isinstance(exc := task.exception(), Exception):
            self.fail(exc)

    def _reached(self, stage: SetupStage) -> None:
        now = self._clock()
        if self._sink is not None:
            self._sink.note(StageReached(stage, now - self._stage_at, now - self._offered_at))
        self._stage_at = now

    # --- from the mux ---

    def _media(self, data: bytes, now: float) -> None:
        """An SRTP or SRTCP datagram of this caller."""
        sink = self._sink
        if sink is None:
            return  # after the end nobody wants it
        if self._rx is None:
            if len(self._early) < MAX_EARLY:
                self._early.append((data, now))
            return
        self._hearing.receive(data, now, sink)

    def _unprotect(self, data: bytes, now: float) -> bytes | None:
        """The RTP packet in a datagram that came at `now`; None: none of this caller's is in it. RTCP is dealt with here."""
        rx = self._rx
        if rx is None or len(data) < 12 or (self._rough is not None and self._rough.loses_in(now)):
            return None
        control = 191 < data[1] < 224
        try:
            packet = rx.unprotect_rtcp(data) if control else rx.unprotect(data)
        except pylibsrtp.Error as exc:
            if "replay" in str(exc):
                self.tally.repeated += 1
            else:
                self.tally.srtp_failed += 1
            return None
        self._media_at = now
        if control:
            self._control(packet, now)
            return None
        return packet

    def _first_heard(self) -> None:
        self._reached(SetupStage.FIRST_RTP_IN)

    def _listening(self) -> LegSink | None:
        return self._sink

    def _control(self, data: bytes, now: float) -> None:
        try:
            packets = parse_rtcp(data)
        except PacketError:
            self.tally.malformed += 1
            return
        for packet in packets:
            match packet:
                case SenderReport(reports=reports):
                    self._receiver.on_sender_report(packet, now)
                    self._reported(reports, now)
                case ReceiverReport(reports=reports):
                    self._reported(reports, now)
                case Remb(bitrate=bitrate):
                    self._sender.on_remb(bitrate)
                case Bye():
                    self._quiet_limit = QUIET_AFTER_BYE

    def _reported(self, reports: tuple[ReportBlock, ...], now: float) -> None:
        for block in reports:
            if block.ssrc == self._sender.ssrc:
                self._sender.on_report(block, now)

    def fail(self, exc: Exception) -> None:
        """A bug surfaced while something was delivered for this call."""
        if self._sink is not None:
            self._sink.fail(exc)
        else:
            log.error("! leg crashed outside of a call", exc_info=exc)

    # --- on the call's tick ---

    def _look_after(self, now: float) -> None:
        sink = self._sink
        if sink is None:
            return
        hearing = self._hearing
        if (deadline := hearing.deadline) is not None and now >= deadline:
            hearing.look(now, sink)
            deadline = hearing.deadline
        look_at = now + self._between_looks(sink)
        self._look_at = look_at if deadline is None else min(deadline, look_at)
        if now >= self._rtcp_due:
            self._rtcp_due = now + RTCP_EVERY * random.uniform(0.5, 1.5)
            self._speaking.control(self._sender.report(now, self._receiver.report_block(now), len(sink.ahead)))
        rough = self._rough
        if rough is not None and rough.over(now):
            self._rough = None
            self._tell_losses(rough, sink)
        if now >= self._report_due:
            self._report_due = now + REPORT_EVERY
            self._report(sink, now)
        if now - self._media_at > self._quiet_limit and now - self._ice.heard_at > self._quiet_limit:
            bye = self._quiet_limit is not self._settings.media_timeout
            self._gone(EndReason.CALLER_GONE if bye else EndReason.MEDIA_TIMEOUT)

    def _between_looks(self, sink: LegSink) -> float:
        patience = sink.patience
        return LOOK_SELDOM if self._answering and patience >= PATIENT else max(LOOK_EVERY, patience - PTIME / 2)

    def _report(self, sink: LegSink, now: float) -> None:
        sink.note(self._reports.make(self._receiver, self._sender, self.tally, now, len(sink.ahead)))

    def _tell_losses(self, rough: Rough, sink: LegSink) -> None:
        restored, concealed = self._receiver.fec_seconds, self._receiver.plc_seconds
        sink.note(
            PacketsWithheld(
                rough.until - rough.began,
                rough.lost_in,
                rough.lost_out,
                restored - rough.restored,
                concealed - rough.concealed,
            )
        )

    def _last_report(self, sink: LegSink) -> None:
        """What happened since the last one would be missing from the call's account."""
        if self._rx is not None:
            self._report(sink, self._clock())

    # --- down ---

    def _pump_ended(self, pump: asyncio.Future[None]) -> None:
        if pump.cancelled():
            return
        exc = pump.exception()
        if isinstance(exc, Exception):
            self.fail(exc)
        else:
            # Consent expired (RFC 7675), or the caller closed its side with an alert.
            self._gone(EndReason.MEDIA_TIMEOUT if self._ice.closed else EndReason.CALLER_GONE)

    def _gone(self, reason: EndReason) -> None:
        sink, self._sink = self._sink, None
        self._hearing.forget()
        if sink is None:
            return
        self._last_report(sink)
        self._settle(math.inf, sink)  # what has left counts as heard
        sink.gone(reason)
        self._take_back(sink, len(sink.ahead))
        # Whoever holds us may wait for it with close(); if nobody does, it is done all the same.
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._hang_up(reason))

    async def _hang_up(self, reason: EndReason) -> None:
        sink, self._sink = self._sink, None
        self._hearing.forget()
        if sink is not None:
            self._take_back(sink, len(sink.ahead))
            self._last_report(sink)
        if self._chat is not None:
            await self._chat.end(reason, patient=reason in _MUST_BE_READ and self._bringing_up is not None)
        if self._bringing_up is not None:
            self._bringing_up.cancel()
            await asyncio.wait([self._bringing_up])
        if self._chat is not None:
            await self._chat.close()
        self._speaking.control(self._sender.goodbye())
        self._rx = self._speaking.tx = None
        await self._dtls.stop()
        if self._pump is not None:
            await asyncio.wait([self._pump])
        await self._ice.close()
        self._speaking.forget()


async def answer(offer: Offer, mux: UdpMux, settings: WebRtcSettings, offered_at: float) -> tuple[WebRtcLeg, str]:
    """A leg for `offer`, and the SDP answer with all our candidates. It connects once it is started; close it if it never is.

    Raises NotAcceptable without a common codec. `offered_at`: loop time when the offer came in.
    """
    leg = WebRtcLeg(offer, far_end(offer), mux, settings, offered_at)
    return leg, leg.answer_to(offer, mux)
