"""Making the call: WHIP (RFC 9725) over HTTP, then WebRTC by aiortc."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import aiohttp
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from yarl import URL

from gateway.dial.caller import CLIENT_READY, CONNECT_TIMEOUT, Caller, Report
from gateway.dial.card import SoundCard
from gateway.dial.errors import DialError
from gateway.dial.loopback import is_loopback, loopback_candidates
from gateway.dial.sound import MAX_SECONDS, Recording, read_speech
from gateway.dial.straight import OpenHouse, connected


@dataclass(frozen=True, slots=True)
class DialSettings:
    """Whom to call and what to say."""

    url: str
    """Of the gateway (`http://127.0.0.1:8080`) or of its WHIP endpoint."""
    wav: Path | None
    """What the caller says: any audio file FFmpeg reads, any rate. None: what the microphone hears."""
    save: Path | None = None
    """WAV file for what the caller heard: 24 kHz mono, from the first packet on."""
    json: bool = False
    """One JSON object a line instead of text."""
    key: str = ""
    """API key, sent as a bearer token."""
    profile: str = ""
    seconds: float | None = None
    """Length of the call. None: until the answer is over."""


async def dial(
    settings: DialSettings,
    *,
    house: OpenHouse | None = None,
    card: Callable[[], SoundCard] = SoundCard,
    out: TextIO | None = None,
    complaints: TextIO | None = None,
) -> int:
    """Make the call. Returns 0 on a normal end, 1 after one line about what went wrong on `complaints` (stderr).

    `house`: go straight to the model of that house, in place of the gateway at `settings.url`; opening it may raise ConfigError.
    `card`: microphone and speaker, when there is no recording.
    """
    report = Report(out or sys.stdout, as_json=settings.json)
    try:
        if settings.wav is not None:
            speech = await asyncio.to_thread(read_speech, settings.wav)
            await _call(settings, report, Caller(speech, report), Recording(), house, lambda: None)
        else:
            with card() as opened:
                caller = Caller(b"", report, opened.take)
                with _until_interrupted(caller):
                    await _call(settings, report, caller, Recording(opened.play), house, opened.hush)
    except DialError as exc:
        print(f"gateway: {exc}", file=complaints or sys.stderr)
        return 1
    return 0


@contextmanager
def _until_interrupted(caller: Caller) -> Iterator[None]:
    """Ctrl-C is how a person hangs up."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, caller.hang_up)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _call(
    settings: DialSettings, report: Report, caller: Caller, ears: Recording, house: OpenHouse | None, hush: Callable[[], None]
) -> None:
    line = _connected(settings, caller, ears) if house is None else connected(house, settings.profile, caller, ears, hush)
    async with line as (where, call_id):
        report.say("connected", f"connected to {where}", call=call_id)
        limit = min(settings.seconds, MAX_SECONDS) if settings.seconds is not None else None
        try:
            async with asyncio.timeout(limit if limit is not None else MAX_SECONDS):
                await caller.converse()
                if limit is not None:
                    await caller.over.wait()
        except TimeoutError:
            if limit is None:
                raise DialError(f"the call did not end within {MAX_SECONDS:g} s") from None
    report.turn_over()
    if settings.save is not None:
        try:
            await asyncio.to_thread(ears.save, settings.save)
        except OSError as exc:
            raise DialError(f"{settings.save}: {exc.strerror or exc}") from None
    reason = caller.ended_by or "caller_hung_up"
    words = f"ended after {report.turns} {'answer' if report.turns == 1 else 'answers'}"
    if reason != "caller_hung_up":  # not by us: the person wants to know by what
        words += f" by {reason}"
    report.say(
        "ended",
        words + (f", {ears.seconds:.1f} s saved" if settings.save else ""),
        reason=reason,
        turns=report.turns,
        heard=round(ears.seconds, 3),
    )


@asynccontextmanager
async def _connected(settings: DialSettings, caller: Caller, ears: Recording) -> AsyncIterator[tuple[str, str]]:
    """Media flows inside the block: the gateway's address and the call's id. The gateway is told when it is left. Raises
    DialError.
    """
    whip = whip_url(settings.url, settings.profile)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    listening: list[asyncio.Task[None]] = []
    peer.addTrack(caller.mouth)
    channel = peer.createDataChannel("rtvi")
    peer.on("track", lambda track: listening.append(asyncio.ensure_future(_listen(track, ears))))
    peer.on("connectionstatechange", lambda: caller.state(peer.connectionState))
    channel.on("open", lambda: channel.send(CLIENT_READY))
    channel.on("message", caller.message)
    headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(CONNECT_TIMEOUT)) as http:
            with loopback_candidates() if is_loopback(whip.host) else nullcontext():
                await peer.setLocalDescription(await peer.createOffer())
            answer, call_url = await _offer(http, settings.url, whip, peer.localDescription.sdp)
            try:
                await _accept(peer, answer)
                await caller.media()
                yield settings.url, call_url.name
            finally:
                await _hang_up(http, call_url)
    finally:
        await peer.close()
        caller.mouth.stop()
        for task in listening:
            task.cancel()
        if listening:
            await asyncio.wait(listening)


async def _listen(track: MediaStreamTrack, ears: Recording) -> None:
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:  # the track has ended
            return
        assert isinstance(frame, av.AudioFrame), "only audio was offered"
        ears.add(frame)


def whip_url(url: str, profile: str) -> URL:
    """The WHIP endpoint of a gateway. Raises DialError."""
    try:
        parsed = URL(url)
    except ValueError:
        raise DialError(f"{url}: not an address") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise DialError(f"{url}: not an http or https address")
    if parsed.path.rstrip("/").rpartition("/")[2] != "whip":
        parsed = parsed / "whip"
    return parsed.update_query(profile=profile) if profile else parsed


async def _offer(http: aiohttp.ClientSession, gateway: str, url: URL, sdp: str) -> tuple[str, URL]:
    try:
        async with http.post(url, data=sdp, headers={"Content-Type": "application/sdp"}, allow_redirects=False) as response:
            body = await response.text(errors="replace")
            if response.status != 201:
                raise DialError(refusal(response.status, body, response.headers.get("Retry-After", "")))
            if "Location" not in response.headers:
                raise DialError(f"{gateway}: answered without naming the call; is it a WHIP server?")
            return body, url.join(URL(response.headers["Location"]))
    except aiohttp.ClientConnectorError as exc:
        raise DialError(f"{gateway}: {_what(exc.os_error)}") from None
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise DialError(f"{gateway}: {str(exc) or 'no answer'}") from None


def _what(error: OSError) -> str:
    """The system's words for `error`: event loops put their own in its place."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or "cannot connect"


def refusal(status: int, body: str, retry_after: str) -> str:
    """One line for a call that was not taken; `body` may be a problem document (RFC 9457)."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = None
    said = problem.get("detail") or problem.get("title") if isinstance(problem, dict) else None
    reasons = {401: "the API key is missing or wrong", 404: "no WHIP endpoint there", 503: "the gateway takes no call now"}
    text = " ".join(str(said or reasons.get(status, "the call was not taken")).split())
    again = f"; try again in {retry_after} s" if status == 503 and retry_after.isdigit() else ""
    return f"{text} ({status}){again}"


async def _accept(peer: RTCPeerConnection, sdp: str) -> None:
    try:
        await peer.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="answer"))
    except (ValueError, KeyError, IndexError, AttributeError, AssertionError) as exc:  # what aiortc's parser throws
        raise DialError(f"the answer can't be used: {exc}") from None


async def _hang_up(http: aiohttp.ClientSession, call_url: URL) -> None:
    try:
        async with http.delete(call_url):
            pass
    except (aiohttp.ClientError, TimeoutError):
        pass  # the gateway notices by itself that its caller is gone
