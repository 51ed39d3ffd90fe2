"""A caller on Chrome's own engine (the `wrtc` wheel), in this process: speaks PCM, records what it hears, has a data channel."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence

import webrtc

RATE = 48_000
STEP = RATE // 100  # the engine's own 10 ms
PATIENCE = 60.0  # seconds for what should come at once, on a machine with ten other things to do

with contextlib.suppress(webrtc.InvalidStateError):  # once per process, before the first connection
    webrtc.allow_loopback()


class ChromeCaller:
    """One RTCPeerConnection. `codecs`: MIME subtypes to offer, in order (None: what Chrome offers)."""

    def __init__(self, *, codecs: Sequence[str] | None = None, label: str | None = "rtvi", direction: str = "sendrecv") -> None:
        self.pc = webrtc.RTCPeerConnection()
        self.generator = webrtc.MediaStreamTrackGenerator("audio")
        init = webrtc.RTCRtpTransceiverInit(direction=direction)
        self.transceiver = self.pc.add_transceiver(self.generator, init)
        if codecs is not None:
            offered = webrtc.RTCRtpSender.get_capabilities("audio").codecs
            wanted = [c for name in codecs for c in offered if c.mime_type.lower() == f"audio/{name.lower()}"]
            self.transceiver.set_codec_preferences(wanted)
        self.heard = bytearray()
        """PCM16 mono at `rate`, as the engine plays it."""
        self.rate = RATE
        self.messages: list[dict[str, object]] = []
        self.opened = asyncio.Event()
        self.arrived = asyncio.Event()
        self.played = asyncio.Event()
        self.channel = None
        if label is not None:
            self.channel = self.pc.create_data_channel(label)
            self.channel.on("open", lambda _: self.opened.set())
            self.channel.on("message", self._message)
        self.pc.on("track", self._track)
        self._tasks: list[asyncio.Task[None]] = []
        self._writer = self.generator.writable.get_writer()
        self._given = 0  # blocks

    def _message(self, event: object) -> None:
        self.messages.append(json.loads(event.data))
        self.arrived.set()

    def _track(self, event: object) -> None:
        self._tasks.append(asyncio.ensure_future(self._listen(event.track)))

    async def _listen(self, track: object) -> None:
        processor = webrtc.MediaStreamTrackProcessor(webrtc.MediaStreamTrackProcessorInit(track, 100))
        async for data in processor.readable:
            with data:
                pcm = bytearray(data.allocation_size(webrtc.AudioDataCopyToOptions(plane_index=0, format="s16")))
                data.copy_to(pcm, webrtc.AudioDataCopyToOptions(plane_index=0, format="s16"))
                step = 2 * data.number_of_channels
                left = b"".join(pcm[i : i + 2] for i in range(0, len(pcm), step)) if step > 2 else bytes(pcm)
                self.rate = data.sample_rate
                self.heard += left
                self.played.set()

    async def offer(self) -> bytes:
        """The SDP offer with all candidates."""
        done = asyncio.Event()
        self.pc.on("icegatheringstatechange", lambda _: self.pc.ice_gathering_state == "complete" and done.set())
        await self.pc.set_local_description(await self.pc.create_offer())
        if self.pc.ice_gathering_state != "complete":
            await asyncio.wait_for(done.wait(), PATIENCE)
        return self.pc.local_description.sdp.encode()

    async def answered(self, sdp: str) -> None:
        """Take the answer."""
        await self.pc.set_remote_description(webrtc.RTCSessionDescriptionInit("answer", sdp))

    async def connected(self) -> None:
        """Wait until media can flow."""
        up = asyncio.Event()
        self.pc.on("connectionstatechange", lambda _: self.pc.connection_state == "connected" and up.set())
        if self.pc.connection_state != "connected":
            await asyncio.wait_for(up.wait(), PATIENCE)

    async def say(self, pcm: bytes) -> None:
        """Speak PCM16 mono at 48 kHz in real time, on a 10 ms grid; before the first words, silence until a packet has left.

        The sender starts a moment after the connection stands, and drops what comes before.
        """
        loop = asyncio.get_running_loop()
        start, due = loop.time(), 0
        async with asyncio.timeout(PATIENCE):
            while not await self._sends():
                await self._give(bytes(2 * STEP))
                due += 1
                await asyncio.sleep(max(0.0, start + 0.01 * due - loop.time()))
        start = loop.time()
        for index in range(len(pcm) // (2 * STEP)):
            await self._give(pcm[2 * STEP * index : 2 * STEP * (index + 1)])
            await asyncio.sleep(max(0.0, start + 0.01 * (index + 1) - loop.time()))

    async def _give(self, block: bytes) -> None:
        """10 ms to the engine."""
        data = webrtc.AudioDataInit(
            format="s16",
            sample_rate=RATE,
            number_of_frames=STEP,
            number_of_channels=1,
            timestamp=self._given * 10_000,
            data=block,
        )
        self._given += 1
        await self._writer.write(webrtc.AudioData(data))

    async def _sends(self) -> bool:
        report = await self.transceiver.sender.get_stats()
        return any(stats.type == "outbound-rtp" and stats.packets_sent > 0 for stats in report.values())

    def post(self, kind: str, data: object = None) -> None:
        """An RTVI message to the gateway."""
        self.channel.send(json.dumps({"id": "c1", "label": "rtvi-ai", "type": kind, "data": data}))

    async def heard_seconds(self, seconds: float, deadline: float = PATIENCE) -> None:
        """Wait until so much has been played, silence included."""
        async with asyncio.timeout(deadline):
            while len(self.heard) < 2 * self.rate * seconds:
                self.played.clear()
                await self.played.wait()

    async def message(self, kind: str, deadline: float = PATIENCE) -> dict[str, object]:
        """The first message of this type, waiting for it."""
        async with asyncio.timeout(deadline):
            while True:
                for message in self.messages:
                    if message["type"] == kind:
                        return message
                self.arrived.clear()
                await self.arrived.wait()

    async def close(self) -> None:
        """Hang up."""
        self.pc.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
