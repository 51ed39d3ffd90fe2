"""A gateway as the tutorials have it: aiortc for the caller, the google-genai SDK for the model, 100 ms chunks. The yardstick.

It does the same job on the same machine with the same callers and the same emulator, and is written with care within the two
libraries' public ways: one frame in, one frame out, no threads or copies beyond theirs.

`python -m tests.bench.textbook --port 8081 --model-url https://127.0.0.1:1234 --ca FILE`
"""

from __future__ import annotations

import argparse
import asyncio
import fractions
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp.web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from google import genai
from google.genai import types
from google.genai.errors import APIError
from google.genai.live import AsyncSession
from websockets.exceptions import ConnectionClosed

MODEL = "gemini-3.8-live"
CHUNK = 3200
"""Bytes of 16 kHz PCM in 100 ms."""
FRAME = 960
"""Bytes of 24 kHz PCM in 20 ms."""


class Answer(MediaStreamTrack):
    """The model's voice as a track: 24 kHz frames of 20 ms, paced by the wall clock, silence where there is nothing."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._pcm = bytearray()
        self._frames = 0
        self._start = 0.0

    def push(self, pcm: bytes) -> None:
        self._pcm += pcm

    def clear(self) -> None:
        self._pcm.clear()

    async def recv(self) -> AudioFrame:
        if self._frames == 0:
            self._start = time.monotonic()
        await asyncio.sleep(self._start + self._frames * 0.02 - time.monotonic())
        pcm = bytes(self._pcm[:FRAME]).ljust(FRAME, b"\0")
        del self._pcm[:FRAME]
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = 24_000
        frame.pts = self._frames * 480
        frame.time_base = fractions.Fraction(1, 24_000)
        self._frames += 1
        return frame


class Gateway:
    """WHIP in, Live out."""

    def __init__(self, client: genai.Client) -> None:
        self._client = client
        self._calls: dict[str, tuple[RTCPeerConnection, asyncio.Task[None]]] = {}

    async def offer(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        answer = Answer()
        heard: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
        peer.on("track", heard.set_result)
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        peer.addTrack(answer)
        await peer.setLocalDescription(await peer.createAnswer())
        call_id = str(len(self._calls))
        self._calls[call_id] = peer, asyncio.create_task(self._talk(await heard, answer))
        headers = {"Location": f"/whip/{call_id}"}
        text = peer.localDescription.sdp
        return aiohttp.web.Response(status=201, text=text, content_type="application/sdp", headers=headers)

    async def delete(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        peer, task = self._calls[request.match_info["call_id"]]
        task.cancel()
        await peer.close()
        return aiohttp.web.Response()

    async def _talk(self, caller: MediaStreamTrack, answer: Answer) -> None:
        config = types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            input_audio_transcription=types.AudioTranscriptionConfig(),
            output_audio_transcription=types.AudioTranscriptionConfig(),
        )
        async with self._client.aio.live.connect(model=MODEL, config=config) as session:
            with suppress(MediaStreamError, APIError, ConnectionClosed):
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._up(caller, session))
                    pumps.create_task(self._down(session, answer))

    async def _up(self, caller: MediaStreamTrack, session: AsyncSession) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=16_000)
        pcm = bytearray()
        while True:
            frame = await caller.recv()
            for resampled in resampler.resample(frame):
                pcm += bytes(resampled.planes[0])[: resampled.samples * 2]
            if len(pcm) >= CHUNK:
                await session.send_realtime_input(audio=types.Blob(data=bytes(pcm), mime_type="audio/pcm;rate=16000"))
                pcm.clear()

    async def _down(self, session: AsyncSession, answer: Answer) -> None:
        while True:
            async for message in session.receive():
                if message.data:
                    answer.push(message.data)
                if message.server_content and message.server_content.interrupted:
                    answer.clear()


@asynccontextmanager
async def running(port: int, model_url: str, ca: str) -> AsyncIterator[None]:
    """The gateway on 127.0.0.1."""
    context = ssl.create_default_context(cafile=ca)
    options = types.HttpOptions(
        base_url=model_url,
        api_version="v1beta",
        async_client_args={"ssl": context, "compression": None, "ping_interval": None},
    )
    gateway = Gateway(genai.Client(api_key="bench", http_options=options))
    app = aiohttp.web.Application()
    app.router.add_post("/whip", gateway.offer)
    app.router.add_delete("/whip/{call_id}", gateway.delete)

    async def ready(request: aiohttp.web.Request) -> aiohttp.web.Response:
        del request
        return aiohttp.web.Response()

    app.router.add_get("/readyz", ready)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def serve(port: int, model_url: str, ca: str) -> None:
    """Until cancelled."""
    async with running(port, model_url, ca):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-url", required=True)
    parser.add_argument("--ca", required=True)
    args = parser.parse_args()
    asyncio.run(serve(args.port, args.model_url, args.ca))


if __name__ == "__main__":
    main()
