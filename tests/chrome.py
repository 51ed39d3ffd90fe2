"""Chrome's own WebRTC engine (the `wrtc` wheel) as the far end: an implementation that shares nothing with ours.

A `ChromePeer` speaks the samples it is given, in real time, and records what it hears, whatever the signaling is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import numpy as np
import webrtc
from numpy.typing import NDArray

webrtc.allow_loopback()

RATE = 48_000
BLOCK = RATE // 100
"""The engine takes and gives 10 ms blocks."""

AHEAD = 0.05
"""Seconds of speech that the engine is given in advance: its own 10 ms clock must never run dry."""

BEHIND = 0.2
"""Seconds beyond which lost time is not made up for: speech goes on where it stopped. Who runs after the clock on a machine that
has no time to spare only ever falls further behind."""

PATIENCE = 60.0
"""Seconds for what should come at once. A machine with ten other things to do is no reason to fail."""

Samples = NDArray[np.int16]


class ChromePeer:
    """One peer connection with one audio transceiver and, if wanted, a data channel.

    `speech`: int16 mono 48 kHz, spoken once from the moment the engine sends, then silence. `codec`: the only one offered
    (None: the engine's own list). `heard`: int16 mono 48 kHz.
    """

    def __init__(self, speech: Samples, codec: str | None = None, *, channel: str | None = "rtvi") -> None:
        self.connection = webrtc.RTCPeerConnection()
        self._speech = speech
        self._generator = webrtc.MediaStreamTrackGenerator("audio")
        self._blocks: list[Samples] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.connected = asyncio.Event()
        self.messages: list[str] = []
        self._last: dict[str, dict[str, Any]] = {}  # the last message of each type
        self._news = asyncio.Event()
        self.opened = asyncio.Event()
        transceiver = self.connection.add_transceiver(self._generator, webrtc.RTCRtpTransceiverInit(direction="sendrecv"))
        if codec is not None:
            codecs = webrtc.RTCRtpSender.get_capabilities("audio").codecs
            transceiver.set_codec_preferences([c for c in codecs if c.mime_type.lower() == f"audio/{codec.lower()}"])
        self._transceiver = transceiver
        self.connection.on("connectionstatechange", self._on_state)
        self.connection.on("track", self._on_track)
        self.channel = self.connection.create_data_channel(channel) if channel else None
        if self.channel is not None:
            self.channel.on("message", lambda event: self._on_message(event.data))
            self.channel.on("open", lambda _: self.opened.set())

    async def offer(self) -> str:
        """The offer with its candidates on 127.0.0.1: tests use no other address of the machine."""
        await self.connection.set_local_description(await self.connection.create_offer())
        async with asyncio.timeout(PATIENCE):
            while self.connection.ice_gathering_state != "complete":
                await asyncio.sleep(0.01)
        lines = str(self.connection.local_description.sdp).splitlines()
        here = [line for line in lines if not line.startswith("a=candidate") or (" udp " in line and " 127.0.0.1 " in line)]
        return "\r\n".join(here) + "\r\n"

    async def accept(self, answer: str) -> None:
        """Take the answer and wait until the connection stands."""
        await self.connection.set_remote_description(webrtc.RTCSessionDescriptionInit(type="answer", sdp=answer))
        async with asyncio.timeout(PATIENCE):
            await self.connected.wait()

    async def introduce(self) -> None:
        """Wait for the data channel and say `client-ready`, as RTVI clients do."""
        assert self.channel is not None
        async with asyncio.timeout(PATIENCE):
            await self.opened.wait()
        ready = {"label": "rtvi-ai", "id": "1", "type": "client-ready", "data": {"version": "2.0.0"}}
        self.channel.send(json.dumps(ready))

    async def told(self, kind: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for an RTVI message of this type; the last one."""
        async with asyncio.timeout(seconds):
            while kind not in self._last:
                self._news.clear()
                await self._news.wait()
        return self._last[kind]

    @property
    def heard(self) -> Samples:
        """All that has come so far."""
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)

    async def close(self) -> None:
        """Hang up and wait for its tasks."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._generator.stop()
        self.connection.close()

    def _on_message(self, text: str) -> None:
        self.messages.append(text)
        message = json.loads(text)
        self._last[message["type"]] = message
        self._news.set()

    def _on_state(self, _: object) -> None:
        if self.connection.connection_state == "connected" and not self.connected.is_set():
            self.connected.set()
            self._tasks.append(asyncio.ensure_future(self._speak()))

    def _on_track(self, event: webrtc.RTCTrackEvent) -> None:
        self._tasks.append(asyncio.ensure_future(self._listen(event.track)))

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        writer = self._generator.writable.get_writer()
        start = loop.time()
        block, first = 0, -1  # of them all, and of the speech
        while True:
            if first < 0 and await self._sends():
                first = block
            start = max(start, loop.time() - BEHIND - block * 0.01)
            while block * 0.01 < loop.time() - start + AHEAD:
                samples = np.zeros(BLOCK, np.int16)
                if first >= 0:
                    piece = self._speech[(block - first) * BLOCK : (block - first + 1) * BLOCK]
                    samples[: len(piece)] = piece
                data = webrtc.AudioDataInit(
                    format="s16",
                    sample_rate=RATE,
                    number_of_frames=BLOCK,
                    number_of_channels=1,
                    timestamp=block * 10_000,
                    data=samples.tobytes(),
                )
                await writer.write(webrtc.AudioData(data))
                block += 1
            await asyncio.sleep(0.01)

    async def _sends(self) -> bool:
        """Whether a packet has left: the sender starts a moment after the connection stands, and drops what comes before."""
        report = await self._transceiver.sender.get_stats()
        return any(stats.type == "outbound-rtp" and stats.packets_sent > 0 for stats in report.values())

    async def _listen(self, track: webrtc.MediaStreamTrack) -> None:
        init = webrtc.MediaStreamTrackProcessorInit(track=track, max_buffer_size=1000)
        reader = webrtc.MediaStreamTrackProcessor(init).readable.get_reader()
        while True:
            result = await reader.read()
            if result.done:
                return
            with result.value as data:
                raw = bytearray(data.allocation_size(webrtc.AudioDataCopyToOptions(plane_index=0)))
                data.copy_to(raw, webrtc.AudioDataCopyToOptions(plane_index=0))
                samples = np.frombuffer(bytes(raw), np.int16).reshape(-1, data.number_of_channels)[:, 0]
                step = RATE // int(data.sample_rate)
                self._blocks.append(np.repeat(samples, step) if step > 1 else samples)
