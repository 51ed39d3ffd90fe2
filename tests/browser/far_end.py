"""A small WHIP far end on stock aiortc: what the page and the client are tested against when the gateway itself could not be
made to do the thing (to refuse, to be silent, to speak RTVI in another dialect). It shares no code with the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack

WEB = Path(__file__).parents[2] / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass
class Peer:
    """One caller as the far end sees it."""

    pc: RTCPeerConnection
    fragments: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    channel: RTCDataChannel | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """The client introduced itself."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[np.ndarray] = field(default_factory=list)
    """PCM16 mono 48 kHz as stock aiortc gives it."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at every message."""
    segments: list[str] = field(default_factory=list)

    def tell(self, kind: str, data: Mapping[str, Any] | None = None) -> None:
        """Send one RTVI message."""
        assert self.channel is not None
        self.channel.send(json.dumps({"id": "s", "label": "rtvi-ai", "type": kind, "data": data}))

    def say(self, text: str) -> int:
        """A new piece of an answer, as RTVI 2 tells it; its segment id."""
        self.segments.append(text)
        number = len(self.segments)
        about = {"aggregated_by": "token", "segment_id": number, "will_be_spoken": True, "spoken_status": "new"}
        self.tell("bot-output", {"text": text, **about})
        return number

    def played(self, heard: str, segment: int = 1) -> None:
        """`heard` of that piece has been played."""
        rest = self.segments[segment - 1].removeprefix(heard)
        about = {"aggregated_by": "token", "segment_id": segment, "will_be_spoken": True}
        progress = {"accumulated_text": heard, "remaining_text": rest}
        status = "in-progress" if rest else "completed"
        self.tell("bot-output", {"text": heard, "spoken_status": status, "spoken_progress": progress, **about})


@dataclass
class FarEnd:
    """What the far end answers, and who called."""

    url: str = ""
    refuse: list[web.Response] = field(default_factory=list)
    """Given to the next offers, in order, before any is answered."""
    key: str = ""
    emulator: bool = False
    play: Path | None = None
    etag: str | None = '"one"'
    offers: list[web.Request] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)


def problem(status: int, detail: str, **headers: str) -> web.Response:
    """An RFC 9457 refusal."""
    body = json.dumps({"title": "refused", "status": status, "detail": detail})
    return web.Response(status=status, text=body, content_type="application/problem+json", headers=headers)


async def _listen(peer: Peer, track: MediaStreamTrack) -> None:
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))  # type: ignore[union-attr]
        peer.heard.append(samples[:, 0].copy())


@asynccontextmanager
async def far_end(**options: Any) -> AsyncIterator[FarEnd]:
    """Serve web/ and WHIP on a free port of 127.0.0.1."""
    end = FarEnd(**options)
    tasks: set[asyncio.Task[None]] = set()

    def allowed(request: web.Request) -> bool:
        return not end.key or request.headers.get("Authorization") == f"Bearer {end.key}"

    async def profiles(request: web.Request) -> web.Response:
        if not allowed(request):
            return problem(401, "wrong key")
        names = [{"name": "default", "title": "Friendly assistant"}, {"name": "tutor", "title": "Language tutor"}]
        return web.json_response({"profiles": names, "emulator": end.emulator, "model": "gemini-3.8-live"})

    async def whip(request: web.Request) -> web.Response:
        end.offers.append(request)
        if not allowed(request):
            return problem(401, "wrong key")
        if end.refuse:
            return end.refuse.pop(0)
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer = Peer(pc)

        @pc.on("datachannel")
        def on_channel(channel: RTCDataChannel) -> None:
            peer.channel = channel

            @channel.on("message")
            def on_message(raw: str) -> None:
                message = json.loads(raw)
                peer.messages.append(message)
                peer.arrived.set()
                if message["type"] == "client-ready":
                    peer.tell("bot-ready", {"version": "2.0.0"})
                    peer.ready.set()

        @pc.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            task = asyncio.ensure_future(_listen(peer, track))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        # aioice would look mDNS names up, under a lock that belongs to the first event loop of the process.
        lines = [line for line in (await request.text()).splitlines() if ".local " not in line]
        await pc.setRemoteDescription(RTCSessionDescription("\r\n".join([*lines, ""]), "offer"))
        pc.addTrack(MediaPlayer(str(end.play)).audio if end.play else AudioStreamTrack())
        await pc.setLocalDescription(await pc.createAnswer())
        end.peers.append(peer)
        end.called.set()
        headers = {"Location": f"/whip/{len(end.peers) - 1}"}
        if end.etag:
            headers["ETag"] = end.etag
        return web.Response(status=201, text=pc.localDescription.sdp, content_type="application/sdp", headers=headers)

    async def patch(request: web.Request) -> web.Response:
        if request.headers.get("If-Match") != end.etag:
            return problem(412, "wrong ETag")
        end.peers[int(request.match_info["id"])].fragments.append(await request.text())
        return web.Response(status=204)

    async def delete(request: web.Request) -> web.Response:
        peer = end.peers[int(request.match_info["id"])]
        peer.closed.set()
        await peer.pc.close()
        return web.Response(status=200)

    async def page(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(WEB / (request.match_info["name"] or "index.html"), headers={"Content-Security-Policy": POLICY})

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/profiles", profiles),
            web.post("/whip", whip),
            web.patch("/whip/{id}", patch),
            web.delete("/whip/{id}", delete),
            web.get("/{name:[a-z.]*}", page),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    end.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield end
    finally:
        for peer in end.peers:
            await peer.pc.close()
        for task in tasks:
            task.cancel()  # a track that never carried anything does not end by itself
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()


async def until(test: Callable[[], bool], deadline: float = 30.0) -> None:
    """Wait until `test` holds, at most `deadline` seconds."""
    async with asyncio.timeout(deadline):
        while True:
            if test():
                return
            await asyncio.sleep(0.02)
