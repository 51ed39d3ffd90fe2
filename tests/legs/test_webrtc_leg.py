"""The WebRTC leg beyond the contract: how it ends, what strangers and hostile callers can do to it, RTCP, the data channel."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import re
import socket
import time
from collections.abc import AsyncIterator

import pytest
from aioice import Candidate, stun
from aioice.ice import CandidatePair
from aiortc.rtcdtlstransport import SRTP_PROFILES

from gateway.dialog.lifecycle import State
from gateway.errors import Unprocessable
from gateway.events import (
    ClientReady,
    DisconnectBot,
    EndReason,
    MediaReport,
    ModelSaid,
    PathSelected,
    SendText,
    SetupStage,
    StageReached,
    StateChanged,
    Trouble,
)
from gateway.legs.webrtc import chat as chat_module
from gateway.legs.webrtc import leg as leg_module
from gateway.legs.webrtc import speaking
from gateway.legs.webrtc.channel import Channel
from gateway.legs.webrtc.ice import MAX_CANDIDATES, MAX_SIGNALLED, MuxConnection
from gateway.legs.webrtc.leg import WebRtcLeg, WebRtcSettings, answer
from gateway.legs.webrtc.udp_mux import UdpMux
from gateway.media.audio import MODEL_INPUT_RATE, PTIME, AudioFrame
from gateway.wire.rtp import (
    ReceiverReport,
    Remb,
    ReportBlock,
    Sdes,
    SenderReport,
    build_bye,
    build_remb,
    build_rr,
    build_sdes,
    build_sr,
    ntp_timestamp,
)
from gateway.wire.sdp import parse_offer
from gateway.wire.whip import parse_fragment
from tests.audio import tone
from tests.legs.caller import Caller, WebRtcPair, webrtc_pair
from tests.legs.contract import Listener, cut, ticking

QUICK = WebRtcSettings(worker="gw1", ice_timeout=0.3, dtls_timeout=0.3)


@contextlib.asynccontextmanager
async def answered(
    caller: Caller, settings: WebRtcSettings = QUICK, offer: str | None = None
) -> AsyncIterator[tuple[WebRtcLeg, str]]:
    """A started leg that nobody has connected to yet, and its answer."""
    mux = await UdpMux.open("127.0.0.1", 0)
    leg, sdp = await answer(parse_offer((offer or await caller.offer()).encode()), mux, settings, mux.clock())
    try:
        yield leg, sdp
    finally:
        await leg.close(EndReason.CALLER_HUNG_UP)
        await caller.close()
        assert len(mux) == 0
        await mux.close()


# --- coming up ---


def test_nobody_comes() -> None:
    async def body() -> None:
        async with answered(Caller()) as (leg, _):
            sink = Listener()
            leg.start(sink)
            await sink.until(lambda: bool(sink.reasons))
            assert sink.reasons == [EndReason.ICE_TIMEOUT]
            assert sink.connections == 0

    asyncio.run(body())


def test_a_certificate_that_is_not_the_offered_one() -> None:
    async def body() -> None:
        caller = Caller()
        offer = re.sub(r"(a=fingerprint:sha-256 )(..)", r"\g<1>00", await caller.offer())
        async with answered(caller, offer=offer) as (leg, sdp):
            sink = Listener()
            leg.start(sink)
            await caller.answered(sdp)
            await sink.until(lambda: bool(sink.reasons))
            assert sink.reasons == [EndReason.DTLS_FAILED]

    asyncio.run(body())


def test_a_handshake_that_is_never_answered() -> None:
    async def body() -> None:
        caller = Caller()
        async with answered(caller) as (leg, sdp):
            sink = Listener()
            leg.start(sink)

            async def stall(_: object) -> None:
                await asyncio.Event().wait()

            caller.dtls.start = stall  # type: ignore[method-assign]
            await caller.answered(sdp)
            await sink.until(lambda: bool(sink.reasons))
            assert sink.reasons == [EndReason.DTLS_FAILED]

    asyncio.run(body())


def test_close_before_anything_has_happened() -> None:
    async def body() -> None:
        async with answered(Caller()) as (leg, _):
            await leg.close(EndReason.DRAINED)
            sink = Listener()
            leg.start(sink)
            assert (sink.notes, sink.reasons) == ([], [])

    asyncio.run(body())


def test_close_while_connecting() -> None:
    async def body() -> None:
        async with answered(Caller()) as (leg, _):
            sink = Listener()
            leg.start(sink)
            await asyncio.sleep(0)
            await leg.close(EndReason.CALLER_HUNG_UP)
            assert sink.reasons == []

    asyncio.run(body())


def test_a_caller_without_any_candidate_connects_by_its_own_checks() -> None:
    async def body() -> None:
        caller = Caller()
        offer = "\r\n".join(line for line in (await caller.offer()).split("\r\n") if "candidate" not in line)
        async with answered(caller, WebRtcSettings(), offer) as (leg, sdp):
            sink = Listener()
            leg.start(sink)
            await caller.answered(sdp)
            await sink.until(lambda: sink.connections == 1)

    asyncio.run(body())


def test_trickled_candidates_are_tried_and_those_of_another_session_refused() -> None:
    async def body() -> None:
        caller = Caller()
        sdp = await caller.offer()
        offer = parse_offer(sdp.encode())
        candidates = [line for line in sdp.split("\r\n") if line.startswith("a=candidate")]
        without = "\r\n".join(line for line in sdp.split("\r\n") if "candidate" not in line)
        async with answered(caller, WebRtcSettings(), without) as (leg, _):
            fragment = f"a=ice-ufrag:{offer.ice_ufrag}\r\na=ice-pwd:{offer.ice_pwd}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
            await leg.add_candidates(parse_fragment((fragment + "\r\n".join(candidates) + "\r\n").encode()))
            assert len(leg._ice.remote_candidates) == len(candidates) > 0
            with pytest.raises(Unprocessable):
                await leg.add_candidates(parse_fragment(fragment.replace(offer.ice_ufrag, "other").encode()))
            many = "".join(f"a=candidate:1 1 udp 1 192.0.2.{i} 9 typ host\r\n" for i in range(30))
            for _ in range(3):
                await leg.add_candidates(parse_fragment((fragment + many).encode()))
                many = many.replace("192.0.2", "198.51.100")
            assert len(leg._ice.remote_candidates) == MAX_SIGNALLED

    asyncio.run(body())


def test_two_certificates_a_day_not_two_a_call() -> None:
    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        first = mux.identity.certificate(0.0)
        assert mux.identity.certificate(3600.0) is first
        assert first._create_ssl_context(SRTP_PROFILES) is first._create_ssl_context(SRTP_PROFILES)
        second = mux.identity.certificate(24 * 3600.0)
        assert second is not first
        assert second.fingerprint != first.fingerprint
        await mux.close()

    asyncio.run(body())


# --- going down ---


def test_a_bye_alone_is_not_the_end_and_a_bye_with_silence_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leg_module, "QUIET_AFTER_BYE", 0.4)

    async def body() -> None:
        async with webrtc_pair() as pair:
            bye = build_rr(ReceiverReport(pair.far.ssrc)) + build_sdes(pair.far.ssrc, "c") + build_bye((pair.far.ssrc,))
            async with ticking(pair.leg):
                await pair.far.dtls._send_rtp(bye)
                await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 2))
                assert pair.sink.reasons == []
                await pair.sink.until(lambda: bool(pair.sink.reasons))
            assert pair.sink.reasons == [EndReason.CALLER_GONE]

    asyncio.run(body())


def test_the_reason_is_read_before_the_end() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            await pair.far.opened.wait()
            pair.leg.tell(Trouble("The model's quota is used up.", fatal=True))
            await pair.leg.close(EndReason.MODEL_REFUSED)
            assert (await pair.far.message("error"))["data"]["fatal"] is True  # type: ignore[index]
            ended = await pair.far.message("server-message")
            assert ended["data"]["reason"] == "model_refused"  # type: ignore[index]
            assert await pair.far.saw_hangup() == 1

    asyncio.run(body())


def test_a_model_that_refuses_before_the_channel_is_up_is_still_read() -> None:
    async def body() -> None:
        caller = Caller()
        async with answered(caller, WebRtcSettings()) as (leg, sdp):
            sink = Listener()
            leg.start(sink)
            leg.tell(Trouble("The key was refused.", fatal=True))
            closing = asyncio.ensure_future(leg.close(EndReason.MODEL_REFUSED))
            await caller.answered(sdp)
            error = await caller.message("error")
            assert error["data"]["message"] == "The key was refused."  # type: ignore[index]
            await closing
            assert (sink.connections, sink.reasons) == (0, []), "the call itself is over"

    asyncio.run(body())


def test_nobody_waits_long_for_a_caller_who_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "LAST_WORDS", 0.1)

    async def body() -> None:
        async with answered(Caller(), WebRtcSettings()) as (leg, _):
            leg.start(Listener())
            async with asyncio.timeout(2.0):
                await leg.close(EndReason.MODEL_UNAVAILABLE)

    asyncio.run(body())


# --- RTCP and reports ---


class Ahead:
    """The loop's clock, and as much later as a test says."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset


def test_reports_go_out_with_a_name_and_come_in_with_loss_and_round_trip() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, far = pair.leg, pair.far
            clock = Ahead()
            leg._clock = pair.mux.clock = clock
            for frame in cut(tone(500, leg.rate, 0.4), leg.rate):
                leg.send(frame)
            await far.say(tone(500, MODEL_INPUT_RATE, 0.1))
            clock.offset = 2.0
            leg.send(None)
            await far.until(lambda: any(isinstance(packet, SenderReport) for packet in far.control))
            report = next(packet for packet in far.control if isinstance(packet, SenderReport))
            ours = report.ssrc
            assert report.packets >= 20
            assert abs(report.ntp / 2**32 - (time.time() + 2_208_988_800 + 2.0)) < 1.0
            assert [block.ssrc for block in report.reports] == [far.ssrc]
            assert [name for packet in far.control if isinstance(packet, Sdes) for _, name in packet.cnames] == [
                leg._sender.cname.encode()
            ]
            assert {packet.ssrc for packet in far.packets} == {ours}

            lost = ReportBlock(ours, 64, 5, far.packets[-1].sequence, 480, report.ntp >> 16 & 0xFFFFFFFF, 0)
            sr = build_sr(SenderReport(far.ssrc, ntp_timestamp(time.time()), 1, 2, 3, (lost,)))
            await far.dtls._send_rtp(sr + build_sdes(far.ssrc, "caller"))
            await far.dtls._send_rtp(build_remb(Remb(far.ssrc, 40_000, (ours,))) + build_sdes(far.ssrc, "caller"))
            await pair.far.say(bytes(640))
            await pair.sink.until(lambda: leg._sender.rtt is not None)
            assert leg._sender.lost == 5
            assert leg._sender.loss == 0.25
            assert leg._sender.jitter == 0.01

            clock.offset = 20.0
            leg._media_at = clock()
            leg.send(None)
            (media,) = [note for note in pair.sink.notes if isinstance(note, MediaReport)]
            assert media.packets_out >= 20
            assert media.bytes_out > 400
            assert media.packets_in >= 5
            assert media.loss_ratio_in == 0.0
            assert (media.lost_out, media.loss_ratio_out, media.srtp_failed) == (5, 0.25, 0)
            assert media.rtt is not None
            assert media.window > 15
            await far.until(lambda: sum(isinstance(packet, SenderReport) for packet in far.control) > 1)
            answer_block = [packet for packet in far.control if isinstance(packet, SenderReport)][-1].reports[0]
            assert answer_block.last_sr != 0, "their SR is answered, so that they can tell the round trip"

    asyncio.run(body())


def test_a_receive_only_gateway_sends_reports_and_no_audio() -> None:
    async def body() -> None:
        async with webrtc_pair(caller=Caller(direction="sendonly")) as pair:
            clock = Ahead()
            pair.leg._clock = clock
            async with ticking(pair.leg, cut(tone(500, pair.leg.rate, 0.2), pair.leg.rate)):
                await pair.far.say(tone(500, MODEL_INPUT_RATE, 0.3))
                clock.offset = 2.0
                await pair.far.until(lambda: any(isinstance(packet, ReceiverReport) for packet in pair.far.control))
            assert pair.far.packets == []
            assert pair.sink.seconds > 0.2

    asyncio.run(body())


def test_a_listener_who_never_speaks_is_not_taken_for_gone() -> None:
    async def body() -> None:
        async with webrtc_pair(caller=Caller(direction="recvonly"), patience=0.5) as pair:
            async with ticking(pair.leg, cut(tone(500, pair.leg.rate, 1.0), pair.leg.rate)):
                report = build_rr(ReceiverReport(pair.far.ssrc)) + build_sdes(pair.far.ssrc, "caller")
                for seconds in (0.3, 0.6, 0.9):
                    await pair.far.heard(seconds)
                    await pair.far.dtls._send_rtp(report)
            assert pair.sink.reasons == []

    asyncio.run(body())


# --- data channel ---


def test_the_handshake_and_every_message() -> None:
    async def body() -> None:
        async with webrtc_pair(caller=Caller(label="chat")) as pair:
            await pair.far.opened.wait()
            pair.leg.tell(StateChanged(State.ACTIVE))
            pair.leg.tell(ModelSaid("Hello"))
            pair.far.post("client-ready", {"version": "2.1.0"})
            ready = await pair.far.message("bot-ready")
            assert ready == pair.far.messages[0]
            assert (await pair.far.message("bot-output"))["data"]["text"] == "Hello"  # type: ignore[index]
            pair.far.post("send-text", {"content": "hi"})
            pair.far.post("disconnect-bot")
            await pair.sink.until(lambda: len(pair.sink.messages) == 3)
            assert pair.sink.messages == [ClientReady("2.1.0"), SendText("hi"), DisconnectBot()]

    asyncio.run(body())


def test_no_channel_no_captions() -> None:
    async def body() -> None:
        async with webrtc_pair(caller=Caller(label=None)) as pair:
            assert "TELL" not in {ability.name for ability in pair.leg.can}
            pair.leg.tell(ModelSaid("to nobody"))

    asyncio.run(body())


def test_twenty_messages_a_second_and_no_more() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            await pair.far.opened.wait()
            for _ in range(60):
                pair.far.post("send-text", {"content": "spam"})
            pair.far.channel.send("not json")
            await pair.far.say(bytes(2 * MODEL_INPUT_RATE // 5))  # 0.2 s later there is room for four more
            pair.far.post("client-ready")
            await pair.sink.until(lambda: ClientReady() in pair.sink.messages)
            assert 20 <= len(pair.sink.messages) <= 25
            assert pair.leg.tally.channel_excess >= 35
            assert pair.sink.failed == []

    asyncio.run(body())


def test_a_message_that_makes_no_sense_is_counted() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            await pair.far.opened.wait()
            for text in ("", "ping: 1", "{", "[]", '{"label":"rtvi-ai","type":"nonsense"}', b"\xff\xfe\x00", b""):
                pair.far.channel.send(text)
            pair.far.post("client-ready")
            await pair.sink.until(lambda: bool(pair.sink.messages))
            assert (pair.leg.tally.channel_malformed, pair.leg.tally.malformed) == (4, 0)
            assert pair.sink.messages == [ClientReady()]

    asyncio.run(body())


def test_other_channels_are_nobodys_business() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            await pair.far.opened.wait()
            other = pair.far.pc.createDataChannel("files")
            closed = asyncio.Event()
            other.on("close", closed.set)
            await asyncio.wait_for(closed.wait(), 5)
            pair.far.post("client-ready")
            await pair.sink.until(lambda: bool(pair.sink.messages))

    asyncio.run(body())


def test_a_bug_in_a_message_is_the_calls_and_the_channel_goes_on() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            await pair.far.opened.wait()
            take = pair.sink.message

            def stumble(value: object) -> None:
                raise ZeroDivisionError(value)

            pair.sink.message = stumble  # type: ignore[method-assign, assignment]
            pair.far.post("disconnect-bot")
            await pair.sink.until(lambda: bool(pair.sink.failed))
            pair.sink.message = take  # type: ignore[method-assign]
            pair.far.post("client-ready")
            await pair.sink.until(lambda: bool(pair.sink.messages))

    asyncio.run(body())


# --- strangers and hostile callers ---


def test_strangers_can_do_nothing() -> None:
    """Random datagrams, a DTLS alert, DTLS and SRTP look-alikes, forged checks: at any moment of a call's life."""

    async def body() -> None:
        caller = Caller()
        async with answered(caller, WebRtcSettings()) as (leg, sdp):
            sink = Listener()
            leg.start(sink)
            address = ("127.0.0.1", leg._ice._mux.port)
            stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            stranger.setblocking(False)
            seed = random.Random(5)
            forged = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            forged.attributes["USERNAME"] = f"{leg.ice_ufrag}:x"
            forged.attributes["PRIORITY"] = 1
            forged.add_message_integrity(b"wrong")
            alert = bytes.fromhex("15fefd000000000000000000020228")

            def flood() -> None:
                for _ in range(40):
                    stranger.sendto(seed.randbytes(seed.randrange(1, 200)), address)
                for datagram in (alert, bytes(forged), b"\x80\x60" + bytes(40), b"\x16\xfe\xfd" + bytes(60), b""):
                    stranger.sendto(datagram, address)

            flood()
            await caller.answered(sdp)
            flood()
            await sink.until(lambda: sink.connections == 1)
            flood()
            async with ticking(leg):
                await caller.say(tone(440, MODEL_INPUT_RATE, 0.3))
                await sink.until(lambda: sink.seconds > 0.2)
            with pytest.raises(BlockingIOError):
                stranger.recv(2048)  # nothing was answered
            stranger.close()
            assert sink.failed == []
            assert sink.reasons == []
            dropped = leg._ice._mux.dropped
            assert dropped["unknown_source"] > 20
            assert dropped["bad_stun"] >= 3

    asyncio.run(body())


def wire(pair: WebRtcPair) -> tuple[object, tuple[str, int]]:
    """The caller's own socket and where it leads: a source that has proven itself."""
    connection = pair.far.dtls.transport._connection
    active = connection._nominated[1]
    return active.protocol.transport, active.remote_addr


def test_the_path_is_told_once_and_told_again_when_the_caller_moves() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            told = [note for note in pair.sink.notes if isinstance(note, PathSelected)]
            assert [(note.local, note.again) for note in told] == [("host", False)]
            assert told[0].remote in ("host", "prflx")
            ice = pair.leg._ice
            pair_in_use = ice._nominated[1]
            ice.remote = ("127.0.0.9", 9)  # as if it had come from elsewhere so far
            ice.check_complete(pair_in_use)
            assert [note.again for note in pair.sink.notes if isinstance(note, PathSelected)] == [False, True]
            ice.check_complete(pair_in_use)
            assert len([note for note in pair.sink.notes if isinstance(note, PathSelected)]) == 2

    asyncio.run(body())


def test_garbage_from_the_callers_own_address_is_counted() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            transport, remote = wire(pair)
            seed = random.Random(6)
            for size in range(1, 300):
                transport.sendto(b"\x80" + seed.randbytes(size), remote)  # type: ignore[attr-defined]
                transport.sendto(seed.randbytes(size), remote)  # type: ignore[attr-defined]
            async with ticking(pair.leg):
                await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.3))
                await pair.sink.until(lambda: pair.sink.seconds > 0.2)
            assert pair.sink.failed == []
            assert pair.sink.reasons == []
            assert pair.leg.tally.srtp_failed > 200

    asyncio.run(body())


def test_garbage_inside_the_encryption_is_counted() -> None:
    """RTP and RTCP of random content, correctly protected; then SCTP and data channel messages of random content."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            dtls = pair.far.dtls
            seed = random.Random(7)
            for _ in range(300):
                body_ = seed.randbytes(seed.randrange(0, 80))
                rtp = bytes((0x80 | seed.choice((0, 0x10, 0x20, 5)), seed.choice((96, 110, 0, 77)))) + seed.randbytes(10) + body_
                rtcp = bytes((0x80 | seed.randrange(64), seed.randrange(192, 224))) + seed.randbytes(6) + body_
                for data, protect in ((rtp, dtls._tx_srtp.protect), (rtcp, dtls._tx_srtp.protect_rtcp)):
                    with contextlib.suppress(Exception):  # libsrtp refuses to protect some of it
                        await dtls.transport._send(protect(data))
                sctp = pair.far.pc.sctp
                chunk = bytes((seed.randrange(16), seed.randrange(256))) + seed.choice((4, 8, 20, 60)).to_bytes(2, "big")
                await dtls._send_data(sctp_packet(sctp._remote_verification_tag, chunk + seed.randbytes(60)))
            await pair.far.opened.wait()
            async with ticking(pair.leg):
                await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.3))
                await pair.sink.until(lambda: pair.leg.tally.malformed > 0)
            assert pair.sink.failed == []
            assert pair.sink.reasons == []

    asyncio.run(body())


def sctp_packet(tag: int, chunks: bytes) -> bytes:
    """A packet with a right checksum."""
    from google_crc32c import value as crc32c

    header = (5000).to_bytes(2, "big") * 2 + tag.to_bytes(4, "big")
    return header + crc32c(header + bytes(4) + chunks).to_bytes(4, "little") + chunks


def test_a_caller_with_many_addresses_is_limited() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            leg = pair.leg
            sockets = []
            for _ in range(MAX_CANDIDATES + 8):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sockets.append(sock)
                request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
                request.attributes["USERNAME"] = f"{leg._ice.local_username}:{leg._ice.remote_username}"
                request.attributes["PRIORITY"] = 1
                request.attributes["ICE-CONTROLLING"] = 1
                request.add_message_integrity(leg._ice.local_password.encode())
                sock.sendto(bytes(request), ("127.0.0.1", pair.mux.port))
            async with ticking(leg):
                await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.2))
                await pair.sink.until(lambda: pair.sink.seconds > 0.1)
            assert len(leg._ice._remote_candidates) == MAX_CANDIDATES
            assert pair.mux.dropped["pair_cap"] >= 8
            for sock in sockets:
                sock.close()

    asyncio.run(body())


def test_a_repeated_packet_is_a_duplicate_and_no_failure() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            transport, remote = wire(pair)
            sent: list[bytes] = []
            send = pair.far.dtls.transport._send

            async def record(data: bytes) -> None:
                sent.append(data)
                await send(data)

            pair.far.dtls.transport._send = record  # type: ignore[method-assign]
            await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
            for datagram in sent:
                transport.sendto(datagram, remote)  # type: ignore[attr-defined]
            await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
            await pair.sink.until(lambda: pair.sink.seconds > 0.15)
            assert pair.leg.tally.repeated == 5
            assert pair.leg.tally.srtp_failed == 0

    asyncio.run(body())


def test_the_first_words_may_come_before_the_keys() -> None:
    """A caller's side of the handshake may be done first, and speaks at once; what came early is heard, from its beginning."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            leg = pair.leg
            leg._rx = None
            await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
            async with asyncio.timeout(30):
                while len(leg._early) < 5:
                    await asyncio.sleep(0.001)
            assert pair.sink.seconds == 0.0
            pair.sink.connections = 0
            leg._connected()
            assert leg._rx is not None
            await pair.sink.until(lambda: pair.sink.seconds >= 0.1)
            assert leg.tally.srtp_failed == 0
            leg._rx = None
            for _ in range(2 * leg_module.MAX_EARLY):
                leg._media(bytes(40), 0.0)
            assert len(leg._early) == leg_module.MAX_EARLY

    asyncio.run(body())


def test_one_calls_bug_leaves_nine_neighbours_alone() -> None:
    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        callers, legs, sinks = [], [], []
        for _ in range(10):
            caller, sink = Caller(label=None), Listener()
            leg, sdp = await answer(parse_offer((await caller.offer()).encode()), mux, WebRtcSettings(), mux.clock())
            leg.start(sink)
            await caller.answered(sdp)
            callers.append(caller)
            legs.append(leg)
            sinks.append(sink)
        await asyncio.gather(*[caller.connected() for caller in callers])
        await asyncio.gather(*[sink.until(lambda s=sink: s.connections == 1) for sink in sinks])
        sinks[4].bug = ZeroDivisionError("a bug")
        await asyncio.gather(*[caller.say(tone(440, MODEL_INPUT_RATE, 0.3)) for caller in callers])
        await asyncio.gather(*[sink.until(lambda s=sink: s.seconds > 0.2 or bool(s.failed)) for sink in sinks])
        assert [bool(sink.failed) for sink in sinks] == [index == 4 for index in range(10)]
        await asyncio.gather(*[leg.close(EndReason.CALLER_HUNG_UP) for leg in legs])
        await asyncio.gather(*[caller.close() for caller in callers])
        assert len(mux) == 0
        await mux.close()

    asyncio.run(body())


def test_a_bug_while_connecting_is_reported() -> None:
    async def body() -> None:
        caller = Caller()
        async with answered(caller, WebRtcSettings()) as (leg, sdp):
            sink = Listener()

            def stumble() -> None:
                raise ZeroDivisionError("in connected")

            sink.connected = stumble  # type: ignore[method-assign]
            leg.start(sink)
            await caller.answered(sdp)
            await sink.until(lambda: bool(sink.failed))
            assert isinstance(sink.failed[0], ZeroDivisionError)

    asyncio.run(body())


def test_a_finished_call_is_forgotten() -> None:
    async def body() -> None:
        for _ in range(3):
            async with webrtc_pair() as pair:
                await pair.far.opened.wait()
                await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
        del pair
        await asyncio.sleep(0)
        gc.collect()
        assert [thing for thing in gc.get_objects() if isinstance(thing, (WebRtcLeg, MuxConnection, Channel))] == []

    asyncio.run(body())


def test_a_caller_on_the_move_never_runs_out_of_addresses() -> None:
    """Each change of network adds an address; those that are over give way, the one in use does not."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            ice = pair.leg._ice
            for number in range(3 * MAX_CANDIDATES):
                assert ice._has_room()
                ice._add_remote_candidate(Candidate.from_sdp(f"1 1 udp 1 192.0.2.1 {1000 + number} typ host"), "192.0.2.1")
                ice._check_list[-1].state = CandidatePair.State.FAILED
            assert len(ice._remote_candidates) == MAX_CANDIDATES
            assert ice._nominated[1] in ice._check_list
            for pair_ in ice._check_list:
                pair_.state = CandidatePair.State.IN_PROGRESS
            assert not ice._has_room()
            async with ticking(pair.leg):
                await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
                await pair.sink.until(lambda: bool(pair.sink.frames))

    asyncio.run(body())


def test_setup_stages_in_order() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
            await pair.sink.until(lambda: bool(pair.sink.frames))
            stages = [note.stage for note in pair.sink.notes if isinstance(note, StageReached)]
            assert stages == [SetupStage.ICE, SetupStage.DTLS, SetupStage.FIRST_RTP_IN]

    asyncio.run(body())


def test_a_packet_leaves_in_the_call_that_sends_it() -> None:
    """No queue, no task: the datagram is in the far end's socket when send returns."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            transport, _ = wire(pair)
            sock = transport.get_extra_info("socket")  # type: ignore[attr-defined]
            before = len(asyncio.all_tasks())
            for frame in cut(tone(500, pair.leg.rate, 0.1), pair.leg.rate):
                assert isinstance(frame, AudioFrame)
                pair.leg.send(frame)
            waiting = socket.socket(fileno=sock.fileno())
            got = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += 127 < waiting.recv(2048)[0] < 192
            waiting.detach()
            assert got >= 5
            assert len(asyncio.all_tasks()) == before

    asyncio.run(body())


@pytest.mark.parametrize(("patience", "most"), [(0.0, 1), (0.02, 1), (0.06, 2), (0.1, 9)])
def test_what_was_heard_is_told_soon_and_in_silence_at_once(patience: float, most: int) -> None:
    """Within a tick, within its patience for a sink that has some, and near capacity within a round."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, now = pair.leg, time.monotonic()
            pair.sink.patience = patience
            leg._clock = lambda: now
            leg._sender.rtt = None
            heard_at: list[float] = []
            furthest = 0
            speech = cut(tone(500, leg.rate, 0.6), leg.rate)
            for number, frame in enumerate([*speech, *[None] * 3, *speech[:7], None]):
                leg.send(frame)
                if frame is not None:
                    heard_at.append(now + speaking.FAR_BUFFER)
                told = round(pair.sink.played_seconds / PTIME)
                behind = sum(at <= now for at in heard_at) - told
                assert behind == 0 if frame is None else 0 <= behind <= most, number
                furthest = max(furthest, behind)
                now += PTIME
            assert furthest == most

    asyncio.run(body())


def speak(leg: WebRtcLeg, row: int) -> None:
    """A tick with a frame of speech, and `row` frames for those after it."""
    frame, *ahead = [frame for frame in cut(tone(500, leg.rate, 1.0), leg.rate)[: 1 + row] if frame is not None]
    leg.send(frame)
    leg.prepare(ahead)


def test_prepared_packets_that_were_taken_back_leave_no_trace() -> None:
    """Three of nine leave; what is sent next has the number and the time of the fourth, and the far end can read it."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, sink, now = pair.leg, pair.sink, time.monotonic()
            leg._clock = lambda: now
            rooms = []
            for _ in range(2 * speaking.ROUND):
                now += PTIME
                rooms.append(leg.room)
            assert rooms[: speaking.ROUND] == rooms[speaking.ROUND :]
            assert set(rooms) == set(range(speaking.ROUND)), "up to its own place in the round"
            speak(leg, 9)
            assert len(sink.ahead) == 9
            for _ in range(3):
                now += PTIME
                sink.ahead.popleft()()
            assert leg.clear() == pytest.approx(6 * PTIME)
            assert not sink.ahead
            for _ in range(3):
                now += PTIME
                leg.send(None)
            await pair.far.until(lambda: len(pair.far.packets) >= 7)
            first = pair.far.packets[0]
            told = [(packet.sequence, packet.timestamp) for packet in pair.far.packets]
            assert told == [(first.sequence + n & 0xFFFF, first.timestamp + n * 960 & 0xFFFFFFFF) for n in range(7)]
            assert leg._sender.packets == 7

    asyncio.run(body())


def test_what_was_prepared_before_a_stall_is_heard_after_it_in_the_time_it_is_then() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, sink, now = pair.leg, pair.sink, time.monotonic()
            leg._clock = lambda: now
            speak(leg, 4)
            now += PTIME
            sink.ahead.popleft()()
            now += 3.0
            sink.ahead.popleft()  # the clock does this instead
            leg.resynced()
            assert len(sink.ahead) == 3
            while sink.ahead:
                now += PTIME
                sink.ahead.popleft()()
            now += PTIME
            leg.send(None)
            await pair.far.until(lambda: len(pair.far.packets) >= 6)
            first = pair.far.packets[0]
            told = [(packet.sequence - first.sequence, packet.timestamp - first.timestamp) for packet in pair.far.packets]
            times = [(number & 0xFFFF, (ticks & 0xFFFFFFFF) // 960) for number, ticks in told]
            assert times == [(0, 0), (1, 1), (2, 152), (3, 153), (4, 154), (5, 155)]
            now += 1.0
            leg.send(None)
            assert sink.played_seconds == pytest.approx(5 * PTIME)

    asyncio.run(body())


def test_there_is_no_room_ahead_where_packets_are_lost_on_purpose_or_nobody_hears() -> None:
    def rooms(leg: WebRtcLeg) -> set[int]:
        """Of every place in a round."""
        found, now = set(), time.monotonic()
        for tick in range(speaking.ROUND):
            leg._clock = lambda at=now + tick * PTIME: at
            found.add(leg.room)
        return found

    async def body() -> None:
        async with webrtc_pair() as pair:
            assert rooms(pair.leg) == set(range(speaking.ROUND))
            pair.leg.lose(0.5, 5.0, seed=1)
            assert rooms(pair.leg) == {0}
        async with webrtc_pair(caller=Caller(direction="sendonly")) as pair:
            assert rooms(pair.leg) == {0}

    asyncio.run(body())


def test_what_is_ready_and_overdue_has_not_been_heard() -> None:
    """The clock is 0.3 s behind without having given up: of nine frames two leave, and a barge-in takes seven back."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, sink, now = pair.leg, pair.sink, time.monotonic()
            leg._clock = lambda: now
            speak(leg, 9)
            now += 0.3
            sink.ahead.popleft()()
            sink.ahead.popleft()()
            assert sink.played_seconds == pytest.approx(3 * PTIME), "looked at with the second"
            assert leg.clear() == pytest.approx(7 * PTIME)
            assert sink.played_seconds == pytest.approx(3 * PTIME)

    asyncio.run(body())


@pytest.mark.parametrize(("patience", "looks"), [(0.02, 3), (0.1, 0)])
def test_near_capacity_a_call_that_is_answered_is_looked_at_once_in_a_round(patience: float, looks: int) -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, sink, now = pair.leg, pair.sink, time.monotonic()
            leg._clock = lambda: now
            sink.patience = patience
            speak(leg, 9)
            told = sink.played_seconds
            found = 0
            while sink.ahead:
                now += PTIME
                sink.ahead.popleft()()
                found += sink.played_seconds > told
                told = sink.played_seconds
            assert found == looks
            now += PTIME
            leg.send(None)
            assert leg._look_at - now <= 0.09, "in silence somebody may wait for the end of a pause"
            now += 1.0
            speak(leg, 0)
            now += PTIME
            leg.send(None)
            assert leg._look_at - now <= 0.09, "and no longer than that after an answer that went on for less than a round"
            now += 1.0
            leg.send(None)
            assert sink.played_seconds == pytest.approx(11 * PTIME)

    asyncio.run(body())


@pytest.mark.parametrize("end", ["clear", "close", "hang up"])
def test_reports_count_what_has_left_and_never_less_than_before(end: str) -> None:
    """Of ten packets four have left when a report is made; then the others are taken back."""

    async def body() -> None:
        async with webrtc_pair() as pair:
            leg, sink, now = pair.leg, pair.sink, time.monotonic()
            leg._clock = lambda: now
            speak(leg, 9)
            for _ in range(3):
                sink.ahead.popleft()()
            leg._report(sink, now)  # type: ignore[arg-type]
            if end == "clear":
                leg.clear()
                leg._report(sink, now)  # type: ignore[arg-type]
            elif end == "close":
                await leg.close(EndReason.HUNG_UP_BY_API)
            else:
                await pair.far.hang_up()
                await sink.until(lambda: bool(sink.reasons))
            first, second = (note for note in sink.notes if isinstance(note, MediaReport))
            assert (first.packets_out, second.packets_out) == (4, 0)
            assert first.bytes_out > 100
            assert second.bytes_out == 0

    asyncio.run(body())


def test_what_was_prepared_does_not_outlive_the_leg() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            speak(pair.leg, 9)
            await pair.leg.close(EndReason.HUNG_UP_BY_API)
            assert not pair.sink.ahead
        async with webrtc_pair() as pair:
            speak(pair.leg, 9)
            await pair.far.hang_up()
            await pair.sink.until(lambda: bool(pair.sink.reasons))
            assert not pair.sink.ahead
            assert pair.sink.played_seconds == pytest.approx(PTIME), "what has left counts as heard"

    asyncio.run(body())


def test_words_behind_a_hole_do_not_wait_for_a_tick() -> None:
    async def body() -> None:
        async with webrtc_pair() as pair:
            far = pair.far
            sequence, timestamp = far._sequence, far._timestamp
            # Packet 3 comes behind 4, so the hole at 7 waits; nothing comes after 8, and nobody ticks the leg.
            for number in (0, 1, 2, 4, 3, 5, 6, 8):
                far._sequence, far._timestamp = sequence + number & 0xFFFF, timestamp + number * 960 & 0xFFFFFFFF
                await far.say(tone(500, MODEL_INPUT_RATE, 0.02))
            await pair.sink.until(lambda: pair.sink.seconds >= 9 * 0.02)
            assert pair.sink.seconds == pytest.approx(9 * 0.02)
            assert pair.leg._hearing.timer is None, "it runs only while something is held back"

    asyncio.run(body())
