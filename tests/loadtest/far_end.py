"""A WHIP far end that is not ours: stock aiortc, playing a tone and counting what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
from collections.abc import AsyncIterator

import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError
from av.audio.frame import AudioFrame


class Tone(AudioStreamTrack):
    """440 Hz at a quarter of full scale, 20 ms frames on aiortc's own clock."""

    async def recv(self) -> AudioFrame:
        silence = await super().recv()
        at = np.arange(silence.pts, silence.pts + silence.samples) / silence.sample_rate
        pcm = (8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = silence.sample_rate, silence.pts
        frame.time_base = fractions.Fraction(1, silence.sample_rate)
        return frame


class FarEnd:
    """`url` takes offers; `heard` is the audio of each call so far, seconds; `ended` counts DELETEs."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[float] = []
        self.loudest: list[int] = []
        self.ended = 0
        self.keys: list[str | None] = []
        self._peers: dict[str, RTCPeerConnection] = {}
        self._listening: set[asyncio.Task[None]] = set()

    async def offer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Authorization"))
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        number = len(self._peers)
        self.heard.append(0.0)
        self.loudest.append(0)

        @peer.on("track")
        def listen(track: MediaStreamTrack) -> None:
            task = asyncio.get_running_loop().create_task(self._listen(track, number))
            self._listening.add(task)

        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        peer.addTrack(Tone())
        await peer.setLocalDescription(await peer.createAnswer())
        self._peers[str(number)] = peer
        headers = {"Location": f"/whip/{number}"}
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp", headers=headers)

    async def _listen(self, track: MediaStreamTrack, number: int) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.heard[number] += frame.samples / frame.sample_rate
                self.loudest[number] = max(self.loudest[number], int(np.abs(frame.to_ndarray()).max()))

    async def delete(self, request: web.Request) -> web.Response:
        self.ended += 1
        await self._peers[request.match_info["number"]].close()
        return web.Response()

    async def close(self) -> None:
        for peer in self._peers.values():
            await peer.close()
        if self._listening:
            await asyncio.wait(self._listening)


@contextlib.asynccontextmanager
async def far_end() -> AsyncIterator[FarEnd]:
    """A running far end on a free port of 127.0.0.1."""
    end = FarEnd()
    app = web.Application()
    app.router.add_post("/whip", end.offer)
    app.router.add_delete("/whip/{number}", end.delete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    end.url = f"http://{host}:{port}/whip"
    try:
        yield end
    finally:
        await end.close()
        await runner.cleanup()
