"""What a caller can do to the data channel: every limit, and every chunk that makes aiortc's SCTP stumble."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest
from aiortc.rtcsctptransport import (
    WEBRTC_BINARY,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    CookieAckChunk,
    DataChunk,
    InitChunk,
    ReconfigChunk,
    SackChunk,
    serialize_packet,
)

from gateway.events import ClientReady, EndReason, ModelSaid
from gateway.legs.webrtc.channel import MAX_MESSAGE_BYTES, MAX_MISORDERED, MAX_STREAMS, MAX_WAITING, USER_DATA_BYTES, Channel
from gateway.media.audio import MODEL_INPUT_RATE
from tests.audio import tone
from tests.legs.caller import WebRtcPair, webrtc_pair
from tests.legs.contract import ticking


def on_pair(body: Callable[[WebRtcPair, Channel], Awaitable[None]]) -> None:
    async def run() -> None:
        async with webrtc_pair() as pair:
            await pair.far.opened.wait()
            channel = pair.leg._chat and pair.leg._chat.channel
            assert channel is not None
            await body(pair, channel)
            assert pair.sink.failed == []
            assert pair.sink.reasons == []

    asyncio.run(run())


async def arrived(pair: WebRtcPair) -> None:
    """Wait until the leg has read all that was sent before: DTLS and audio take the same way, so audio that is heard tells."""
    before = pair.sink.seconds
    async with ticking(pair.leg):
        await pair.far.say(tone(440, MODEL_INPUT_RATE, 0.1))
        await pair.sink.until(lambda: pair.sink.seconds > before + 0.05)


async def send(pair: WebRtcPair, *chunks: object, tag: int | None = None) -> None:
    """Chunks in one packet, in the caller's name."""
    sctp = pair.far.pc.sctp
    tag = sctp._remote_verification_tag if tag is None else tag
    packet = serialize_packet(sctp.port, sctp._remote_port, tag, chunks[0])
    for chunk in chunks[1:]:
        packet += bytes(chunk)  # type: ignore[call-overload]
    if len(chunks) > 1:
        from google_crc32c import value as crc32c

        packet = packet[:8] + struct.pack("<L", crc32c(packet[:8] + bytes(4) + packet[12:])) + packet[12:]
    await pair.far.dtls._send_data(packet)


def data_chunk(pair: WebRtcPair, *, tsn: int, stream: int, protocol: int, data: bytes, flags: int = 3) -> DataChunk:
    chunk = DataChunk(flags=flags)
    chunk.tsn = (pair.far.pc.sctp._local_tsn + tsn) % 2**32
    chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = stream, 0, protocol, data
    return chunk


def opening(label: bytes) -> bytes:
    return struct.pack("!BBHLHH", 3, 0, 0, 0, len(label), 0) + label


def test_chunks_that_make_no_sense_are_counted() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        assert channel.is_open
        before = pair.leg.tally.channel_malformed
        await send(pair, InitChunk(), CookieAckChunk(), tag=0)  # an INIT must be alone
        await send(pair, data_chunk(pair, tsn=0, stream=50, protocol=WEBRTC_DCEP, data=opening(b"\xff\xfe")))  # label is no UTF-8
        broken = ReconfigChunk()
        broken.params.append((13, b"\0"))  # a parameter cut short
        await send(pair, broken)
        await arrived(pair)
        assert pair.leg.tally.channel_malformed >= before + 3

    on_pair(body)


def test_an_open_channel_cannot_be_opened_again_and_an_ack_needs_an_open() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        ours = pair.far.channel.id
        for tsn, stream, data in ((0, ours, opening(b"rtvi")), (1, 77, b"\x02"), (2, 78, b"\x03short")):
            await send(pair, data_chunk(pair, tsn=tsn, stream=stream, protocol=WEBRTC_DCEP, data=data))
        await arrived(pair)
        assert pair.leg.tally.channel_malformed >= 2
        assert channel.is_open

    on_pair(body)


def test_messages_on_streams_without_a_channel_go_nowhere() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        text = b'{"label":"rtvi-ai","type":"client-ready"}'
        await send(pair, data_chunk(pair, tsn=0, stream=99, protocol=WEBRTC_STRING, data=text))
        await send(pair, data_chunk(pair, tsn=1, stream=pair.far.channel.id, protocol=12345, data=text))
        await arrived(pair)
        assert pair.sink.messages == []
        assert pair.leg.tally.channel_malformed == 2
        assert channel.received == 0

    on_pair(body)


def test_a_binary_message_is_text_too() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        text = b'{"label":"rtvi-ai","type":"client-ready"}'
        await send(pair, data_chunk(pair, tsn=0, stream=pair.far.channel.id, protocol=WEBRTC_BINARY, data=text))
        await pair.sink.until(lambda: pair.sink.messages == [ClientReady()])
        assert channel.received == 1

    on_pair(body)


def test_streams_are_limited() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        for index in range(2 * MAX_STREAMS):
            await send(pair, data_chunk(pair, tsn=index, stream=1000 + index, protocol=WEBRTC_STRING, data=b"x"))
        await arrived(pair)
        assert len(channel._inbound_streams) <= MAX_STREAMS
        assert pair.leg.tally.malformed == 0, "that is for RTCP"

    on_pair(body)


def test_holes_are_limited() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        for index in range(2 * MAX_MISORDERED):
            await send(pair, data_chunk(pair, tsn=2 + 2 * index, stream=1, protocol=WEBRTC_STRING, data=b"x"))
            if index % 100 == 99:
                await arrived(pair)
        assert len(channel._sack_misordered) <= MAX_MISORDERED

    on_pair(body)


def test_a_message_without_an_end_is_limited() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        for index in range(300):
            flags = 2 if index == 0 else 0  # first, then middle for ever
            chunk = data_chunk(pair, tsn=index, stream=1, protocol=WEBRTC_STRING, data=bytes(1000), flags=flags)
            await send(pair, chunk)
            if index % 30 == 29:
                await arrived(pair)
        held = sum(len(chunk.user_data) for stream in channel._inbound_streams.values() for chunk in stream.reassembly)
        assert held < 200_000
        assert pair.leg.tally.channel_excess > 100

    on_pair(body)


def test_a_message_too_long_is_refused_and_the_longest_is_not() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        channel_ = pair.far.channel
        pair.far.pc.sctp._remote_max_message_size = 0  # a caller that does not care what we said
        channel_.send("x" * (MAX_MESSAGE_BYTES + 1))
        padding = " " * (MAX_MESSAGE_BYTES - len('{"label":"rtvi-ai","type":"client-ready"}'))
        channel_.send('{"label":"rtvi-ai","type":"client-ready"}' + padding)
        await pair.sink.until(lambda: pair.sink.messages == [ClientReady()])
        assert (pair.leg.tally.channel_excess, pair.leg.tally.channel_malformed) == (1, 0)
        assert channel.received == 1

    on_pair(body)


def test_a_long_message_of_ours_leaves_in_small_chunks() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        sizes: list[int] = []
        receive = pair.far.pc.sctp._receive_data_chunk

        async def measure(chunk: DataChunk) -> None:
            sizes.append(len(chunk.user_data))
            await receive(chunk)

        pair.far.pc.sctp._receive_data_chunk = measure  # type: ignore[method-assign]
        text = '{"type":"long","label":"rtvi-ai","text":"' + "é" * 4000 + '"}'
        channel.post(text)
        message = await pair.far.message("long")
        assert message["text"] == "é" * 4000
        assert max(sizes) == USER_DATA_BYTES
        channel.post("é" * MAX_MESSAGE_BYTES)
        assert channel.dropped == 1

    on_pair(body)


def test_what_waits_for_the_channel_is_bounded_and_in_order() -> None:
    async def body() -> None:
        async with webrtc_pair(connect=False) as pair:
            channel = pair.leg._chat and pair.leg._chat.channel
            assert channel is not None
            for number in range(MAX_WAITING + 10):
                channel.post(f'{{"type":"n{number}"}}')
            assert channel.dropped == 10
            assert channel._unsent[0] == '{"type":"n10"}'

    asyncio.run(body())


def test_a_reader_that_never_reads_costs_little() -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        async def deaf(_: bytes) -> None:
            """The caller's SCTP acknowledges nothing more."""

        pair.far.pc.sctp._handle_data = deaf  # type: ignore[method-assign]
        pair.far.dtls._data_receiver = type("Deaf", (), {"_handle_data": staticmethod(deaf)})()
        for _ in range(1000):
            channel.post('{"type":"x","text":"' + "x" * 1000 + '"}')
            await asyncio.sleep(0)
        assert channel.dropped > 500
        await pair.leg.close(EndReason.CALLER_HUNG_UP)

    on_pair(body)


@pytest.mark.parametrize("count", [1, 500])
def test_sacks_that_lie(count: int) -> None:
    async def body(pair: WebRtcPair, channel: Channel) -> None:
        sack = SackChunk()
        sack.cumulative_tsn = 0xFFFF_FFFF
        sack.gaps = [(1, 60_000)] * count
        await send(pair, sack)
        pair.leg.tell(ModelSaid("still there"))
        await arrived(pair)
        assert channel.is_open

    on_pair(body)
