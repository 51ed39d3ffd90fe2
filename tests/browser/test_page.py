"""The main job: a real Chromium opens the page of a real gateway, presses Call, speaks, and hears an answer.

The model is the emulator, in this process, so that what it heard and sent can be held against the caller's file and ears.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from playwright.async_api import Page

from gateway.emulator import Emulator
from gateway.media.level import peak_dbfs
from gateway.media.opus import OpusDecoder
from tests.audio import resampled, segment_correlations, silence, speech
from tests.browser.chromium import page_until, tab
from tests.e2e.running import Gateway, grown, running_gateway

RATE = 48_000
JUDGED = 16_000
GREETING = "Hello! I am the gateway's parrot. Say something, and I will say it back."
BEFORE = 5.5
"""Seconds of silence at the head of the fake microphone: the greeting's 3.4 s and the time until the call stands."""
LEAST = 0.9
SLACK = 0.3
"""The browser's jitter buffer stretches and shrinks what it plays by some 100 ms when its machine is busy."""
STALE = 0.040
"""Seconds of an answer that may still leave after the model has said `interrupted`."""
AUDIBLE = -50.0
"""dBFS."""
PART = 64
"""Bytes: 2 ms at 16 kHz, the grain in which audible time is counted."""

# What the page plays, tapped behind the browser's jitter buffer, from the first moment on.
RECORD = """(() => {
    window.played = { rate: 0, parts: [] };
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
        constructor(settings) {
            super(settings);
            this.addEventListener('track', async ({ track }) => {
                const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 500 }).readable.getReader();
                for (;;) {
                    const { done, value } = await reader.read();
                    if (done) return;
                    const samples = new Float32Array(value.numberOfFrames);
                    value.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
                    played.rate = value.sampleRate;
                    played.parts.push(samples);
                    value.close();
                }
            });
        }
    };
})()"""

FETCH = """() => {
    const all = new Int16Array(played.parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of played.parts) for (const x of part) all[at++] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
    const bytes = new Uint8Array(all.buffer);
    let text = '';
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return [played.rate, btoa(text)];
}"""

# Every audio packet as it arrives, before the browser's jitter buffer, with its time; and when the news of a barge-in came.
TAP = """(() => {
    window.packets = [];
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
        constructor(settings) {
            super({ ...settings, encodedInsertableStreams: true });
            this.addEventListener('track', ({ receiver }) => {
                const { readable, writable } = receiver.createEncodedStreams();
                const tap = new TransformStream({
                    transform(frame, onward) {
                        const now = performance.timeOrigin + performance.now();
                        packets.push([now / 1000, btoa(String.fromCharCode(...new Uint8Array(frame.data)))]);
                        onward.enqueue(frame);
                    },
                });
                readable.pipeThrough(tap).pipeTo(writable).catch(() => {});
            });
        }
        addTransceiver(...how) {
            const transceiver = super.addTransceiver(...how);
            const { readable, writable } = transceiver.sender.createEncodedStreams();
            readable.pipeTo(writable).catch(() => {});
            return transceiver;
        }
    };
})()"""


class Arrival(NamedTuple):
    """An audio packet at the browser. `at`: seconds of the monotonic clock; `audible`: so many seconds of it can be heard."""

    at: float
    audible: float


def microphone(path: Path, pcm: bytes) -> Path:
    """PCM16 mono 48 kHz as the file of Chromium's fake microphone."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm)
    return path


@asynccontextmanager
async def gateway_and_model() -> AsyncIterator[tuple[Gateway, Emulator]]:
    async with Emulator(port=0) as emulator:
        service = {
            "GEMINI_API_KEY": "key",
            "GATEWAY_GEMINI_BASE_URL": emulator.base_url,
            "GATEWAY_GEMINI_CA_FILE": str(emulator.ca_file),
        }
        async with running_gateway(**service) as gateway:
            yield gateway, emulator


async def played(page: Page) -> bytes:
    """What `RECORD` has recorded so far: PCM16 mono 16 kHz, as everything is compared."""
    rate, text = await page.evaluate(FETCH)
    return resampled(base64.b64decode(text), rate, JUDGED)


def test_speak_and_hear_an_answer(tmp_path: Path) -> None:
    words = speech(RATE, 4.4)
    file = microphone(tmp_path / "microphone.wav", silence(RATE, BEFORE) + words + silence(RATE, 15.0))

    async def body() -> None:
        async with gateway_and_model() as (gateway, emulator):
            before = await gateway.baseline()
            async with tab("about:blank", microphone=file) as opened:
                page = opened.page
                await page.add_init_script(RECORD)
                await page.goto(f"{gateway.url}/?processing=off")
                await page.click("#call")

                # The model greets; what is played is in full ink, and all of it is in the end.
                await page_until(page, "document.body.dataset.state === 'speaking'")
                await page_until(page, "document.querySelector('.captions .bot .unplayed')?.textContent")
                await page_until(page, f"document.querySelector('.captions .bot .played')?.textContent === {GREETING!r}")
                await page_until(page, "document.body.dataset.state === 'listening'")

                # The caller speaks, falls silent, and hears the own words; captions of both sides.
                await page_until(page, "document.body.dataset.state === 'thinking'")
                await page_until(page, "document.body.dataset.state === 'speaking'")
                await page_until(page, "document.querySelectorAll('.captions li').length === 3")
                await looks_right(page)
                await page.screenshot(path=tmp_path / "page.png")
                await page_until(page, "document.body.dataset.state === 'listening'")
                lines = [text.split("\n") for text in await page.locator(".captions li").all_inner_texts()]
                assert [who for who, _ in lines] == ["Model", "You", "Model"]
                assert lines[1][1].startswith("(you spoke for 4.")
                assert lines[2][1].startswith("(your own words: ")

                # The latency bar and the network's figures are there and sane.
                await page_until(page, "document.querySelectorAll('#turns li').length === 2")
                total, *_ = [float(text.split()[0]) for text in await page.locator("#turns .figure").all_inner_texts()]
                assert 0.5 < total < 2.0
                assert await page.inner_text("#codec") == "opus"
                assert await page.inner_text("#loss-in") == await page.inner_text("#loss-out") == "0.0 %"

                heard = await played(page)
                await page.click("#hangup")
                await page_until(page, "document.body.dataset.state === 'ended'")
                assert opened.faults == []
                await gateway.nobody_left()
            assert not grown(before, await gateway.baseline())
            record = emulator.sessions[0]
            up = segment_correlations(resampled(words, RATE, JUDGED), record.received, JUDGED, slack=SLACK)
            answer = resampled(record.sent, 24_000, JUDGED)
            greeting, own = answer[: 3 * JUDGED * 2], answer[-4 * JUDGED * 2 :]
            down = [one for said in (greeting, own) for one in segment_correlations(said, heard, JUDGED, slack=SLACK)]
            print("correlation up", np.round(up, 3), "down", np.round(down, 3))
            assert statistics.median(up) >= LEAST
            assert statistics.median(down) >= LEAST
            assert record.violations == []
            (end,) = gateway.said("call ended")
            assert end["fields"]["cause"] == "caller_hung_up"
            assert not [line for line in gateway.log if line.get("level") in ("warning", "error")]

    asyncio.run(body())


async def looks_right(page: Page) -> None:
    """The parts of the page stand inside it and beside one another, and no words are cut off."""
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [await part.bounding_box() for part in await page.locator("header, .banner:visible, section").all()]
    for number, a in enumerate(boxes):
        assert a
        assert a["width"] > 200
        for b in boxes[:number]:
            assert b
            apart = a["x"] >= b["x"] + b["width"] or b["x"] >= a["x"] + a["width"]
            assert apart or a["y"] >= b["y"] + b["height"] or b["y"] >= a["y"] + a["height"]
    words = "[...document.querySelectorAll('button, h2, label:not(.hidden), #state, #hint, .kind, .figure, dd')]"
    assert await page.evaluate(f"{words}.filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1).length") == 0
    assert await page.is_visible("#mute")
    assert await page.is_visible("#hangup")


def test_barge_in_stops_the_answer(tmp_path: Path) -> None:
    """The caller speaks into the greeting. Measured where packets arrive, not where they are played."""
    file = microphone(tmp_path / "microphone.wav", silence(RATE, 2.0) + speech(RATE, 3.0) + silence(RATE, 10.0))

    async def body() -> None:
        async with gateway_and_model() as (gateway, emulator):
            # From the emulator's `interrupted` to the browser's ears lie three processes: a busy machine only ever adds to it.
            tries = []
            while len(tries) < 3 and min(tries, default=1.0) > STALE:
                tries.append(await stale_after_barge_in(gateway, emulator, file))
            print("stale seconds", [round(one, 3) for one in tries])
            assert min(tries) <= STALE

    asyncio.run(body())


async def stale_after_barge_in(gateway: Gateway, emulator: Emulator, file: Path) -> float:
    """One call, one barge-in: audible seconds of the old answer that arrive after the model has said `interrupted`."""
    async with tab("about:blank", microphone=file) as opened:
        page = opened.page
        await page.add_init_script(TAP)
        await page.goto(f"{gateway.url}/?processing=off")
        await page.click("#call")
        await page_until(page, "document.querySelector('.captions .bot.interrupted')")
        told = next(message.at for message in emulator.sessions[-1].messages if message.kind == "interrupted")
        await page_until(page, f"packets.length && packets.at(-1)[0] > {on_the_wall(told) + 0.4}")
        packets = await page.evaluate("packets")
        await page.click("#hangup")
        await gateway.nobody_left()
    decoder = OpusDecoder(16_000)
    arrivals = []
    for at, payload in packets:
        pcm = decoder.decode(base64.b64decode(payload))
        parts = [pcm[begin : begin + PART] for begin in range(0, len(pcm), PART)]
        loud = sum(peak_dbfs(part) > AUDIBLE for part in parts)
        arrivals.append(Arrival(at - on_the_wall(0.0), loud * PART / 32_000))
    before = sum(one.audible for one in arrivals if told - 0.5 < one.at <= told)
    assert before > 0.1, "the answer was running when the caller spoke"
    return sum(one.audible for one in arrivals if told < one.at < told + 0.4)


def on_the_wall(at: float) -> float:
    """A time of the monotonic clock as seconds since the epoch: the browser knows no other."""
    return at + time.time() - time.monotonic()
