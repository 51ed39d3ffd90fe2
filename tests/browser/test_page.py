"""The main job: a real Chromium opens the page of a real gateway, presses Call, speaks, and hears an answer.

The model is the emulator, in this process, so that what it heard and sent can be held against the caller's file and ears.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from playwright.async_api import Page
from scipy.signal import butter, sosfilt

from gateway.emulator import Emulator
from gateway.media.level import peak_dbfs
from gateway.media.opus import OpusDecoder
from tests.audio import floats, pcm16, resampled, segment_correlations, silence, speech
from tests.browser.chromium import page_until, tab
from tests.e2e.running import Gateway, running_gateway
from tests.starved import judged

RATE = 48_000
JUDGED = 16_000
GREETING = "Hello! I am the gateway's parrot. Say something, and I will say it back."
BEFORE = 7.0
"""Seconds of silence at the head of the fake microphone: the greeting's 3.4 s and the time until the call stands."""
LEAST = 0.9
SLACK = 0.3
WARP = 0.03
"""The browser's jitter buffer stretches and shrinks what it plays by some 100 ms when its machine is busy, a few at a time."""
STALE = 0.040
"""Seconds of an answer that may still leave after the gateway has read `interrupted`."""
AUDIBLE = -50.0
"""dBFS."""
LOWEST = 80.0
"""Hz. Voices begin here."""
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

# Every state of the call, and whether words were ever there before they were played: some last too short to be looked for.
WATCH = """(() => {
    window.states = [];
    window.unplayed = '';
    new MutationObserver(() => {
        const state = document.body?.dataset.state;
        if (state && state !== states.at(-1)) states.push(state);
        unplayed ||= document.querySelector('.captions .bot .unplayed')?.textContent;
    }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-state'] });
})()"""
TALKED = "/connecting (listening )?speaking listening (.* )?thinking speaking listening$/.test(states.join(' '))"

FETCH = """() => {
    const all = new Int16Array(played.parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of played.parts) for (const x of part) all[at++] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
    const bytes = new Uint8Array(all.buffer);
    let text = '';
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return [played.rate, btoa(text)];
}"""

# Every audio packet as it arrives, before the browser's jitter buffer, with its own time and ours; and when the news of a
# barge-in came.
TAP = """(() => {
    window.packets = [];
    window.interrupted = null;
    const seconds = () => (performance.timeOrigin + performance.now()) / 1000;
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
        constructor(settings) {
            super({ ...settings, encodedInsertableStreams: true });
            this.addEventListener('track', ({ receiver }) => {
                const { readable, writable } = receiver.createEncodedStreams();
                const tap = new TransformStream({
                    transform(frame, onward) {
                        packets.push([frame.timestamp, seconds(), btoa(String.fromCharCode(...new Uint8Array(frame.data)))]);
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
        createDataChannel(...how) {
            const channel = super.createDataChannel(...how);
            channel.addEventListener('message', ({ data }) => {
                if (data.includes('"bot-interrupted"')) interrupted ??= seconds();
            });
            return channel;
        }
    };
})()"""


class Packet(NamedTuple):
    """An audio packet. `left`: when, by the gateway's own clock; `audible`: so many seconds of it can be heard."""

    left: float
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


class Talk(NamedTuple):
    """What came of one conversation: correlations of what the model heard, and of what the page played; who said what."""

    up: list[float]
    down: list[float]
    lines: list[list[str]]


def understood(talk: Talk | None) -> bool:
    """Both sides were heard as they spoke, and each said what it should."""
    return (
        talk is not None
        and statistics.median(talk.up) >= LEAST
        and statistics.median(talk.down) >= LEAST
        and [who for who, *_ in talk.lines] == ["Model", "You", "Model"]
        and talk.lines[1][1].startswith("(you spoke for 4.")
        and talk.lines[2][1].startswith("(your own words: ")
    )


def test_speak_and_hear_an_answer(tmp_path: Path) -> None:
    words = speech(RATE, 4.4)
    file = microphone(tmp_path / "microphone.wav", silence(RATE, BEFORE) + words + silence(RATE, 30.0))

    async def body() -> None:
        async with gateway_and_model() as (gateway, emulator):
            talk, trials = await judged(lambda: talked(gateway, emulator, file, words, tmp_path), understood)
            if talk is not None:
                print("correlation up", np.round(talk.up, 3), "down", np.round(talk.down, 3), talk.lines)
            assert understood(talk), f"after {trials} trials: {talk}"
            assert not [line for line in gateway.log if line.get("level") in ("warning", "error")]

    asyncio.run(body())


async def talked(gateway: Gateway, emulator: Emulator, file: Path, words: bytes, folder: Path) -> Talk | None:
    """One call: the greeting, the caller's words, the answer. None: they came into each other's way, or did not come."""
    before = await gateway.baseline()
    async with tab("about:blank", microphone=file) as opened:
        page = opened.page
        await page.add_init_script(RECORD)
        await page.add_init_script(WATCH)
        await page.goto(f"{gateway.url}/?processing=off")
        await page.click("#call")
        try:
            # The model greets; what is played is in full ink, and all of it is in the end.
            await page_until(page, f"document.querySelector('.captions .bot .played')?.textContent === {GREETING!r}")
            assert await page.evaluate("unplayed")

            # The caller speaks, falls silent, and hears the own words; captions of both sides.
            await page_until(page, "document.querySelectorAll('.captions li').length === 3")
            await looks_right(page)
            await page.screenshot(path=folder / "page.png")
            await page_until(page, TALKED)

            # The latency bar and the network's figures are there and sane.
            await page_until(page, "document.querySelectorAll('#turns li').length === 2")
        except TimeoutError:
            return None
        total, *_ = [float(text.split()[0]) for text in await page.locator("#turns .figure").all_inner_texts()]
        assert 0.3 < total < 10.0, "seconds; how fast it is says the bench"
        assert await page.inner_text("#codec") == "opus"
        for way in ("in", "out"):
            assert float((await page.inner_text(f"#loss-{way}")).removesuffix(" %")) < 5.0
        lines = [text.split("\n") for text in await page.locator(".captions li").all_inner_texts()]
        heard = await played(page)
        await page.click("#hangup")
        await page_until(page, "document.body.dataset.state === 'ended'")
        assert opened.faults == []
        await gateway.nobody_left()
    assert not await gateway.grown_since(before)
    assert gateway.said("call ended")[-1]["fields"]["cause"] == "caller_hung_up"
    record = emulator.sessions[-1]
    assert record.violations == []
    up = segment_correlations(resampled(words, RATE, JUDGED), record.received, JUDGED, slack=SLACK, warp=WARP)
    answer = resampled(record.sent, 24_000, JUDGED)
    down = []
    for said in (answer[: 3 * JUDGED * 2], answer[-4 * JUDGED * 2 :]):  # the greeting, and the caller's own words
        down += segment_correlations(said, heard, JUDGED, slack=SLACK, warp=WARP)
    return Talk(up, down, lines)


async def looks_right(page: Page) -> None:
    """The parts of the page stand inside it and beside one another, and no words are cut off."""
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [await part.bounding_box() for part in await page.locator("header, .banner:visible, section:visible").all()]
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
    """The caller speaks into the greeting.

    By the gateway's own clock, so that a busy machine does not spoil it: the gateway measures from `interrupted` read to the
    playout flushed; what left after that is seen in the browser, before its jitter buffer, in the order of RTP timestamps,
    which are the gateway's ticks. The news of the barge-in leaves at the flush and can only come later.
    """
    file = microphone(tmp_path / "microphone.wav", silence(RATE, 2.0) + speech(RATE, 3.0) + silence(RATE, 30.0))

    async def body() -> None:
        async with gateway_and_model() as (gateway, _):
            stale, trials = await judged(lambda: interrupted(gateway, file), lambda stale: stale is not None and stale <= STALE)
            assert stale is not None, f"nothing was interrupted in {trials} trials"
            assert stale <= STALE

    asyncio.run(body())


async def interrupted(gateway: Gateway, file: Path) -> float | None:
    """One call: seconds of the old answer that left after `interrupted` was read. None: the caller did not speak into one."""
    said = stopped = 0.0
    async with tab("about:blank", microphone=file) as opened:
        page = opened.page
        await page.add_init_script(TAP)
        await page.goto(f"{gateway.url}/?processing=off")
        said, stopped = barge_ins(await gateway.metrics())
        await page.click("#call")
        try:
            await page_until(page, "document.querySelector('.captions .bot.interrupted')")
            await page_until(page, "packets.length && packets.at(-1)[1] > interrupted + 0.4")
        except TimeoutError:
            return None
        flushed = await page.evaluate("interrupted")
        packets = left_at(await page.evaluate("packets"))
        unsaid, stop = barge_ins(await gateway.metrics())
        await page.click("#hangup")
        await gateway.nobody_left()
    begun = sum(one.audible for one in packets if one.left <= flushed)
    if begun < 0.1 or unsaid - said < 0.1:
        return None  # spoken before it, or after it
    after = sum(one.audible for one in packets if flushed < one.left < flushed + 0.4)
    print(f"stale: flushed after {(stop - stopped) * 1000:.1f} ms, {after * 1000:.0f} ms audible after that")
    return stop - stopped + after


def barge_ins(metrics: str) -> tuple[float, float]:
    """Of all barge-ins so far: seconds thrown away, and seconds from `interrupted` read to the flush."""
    thrown = value(metrics, "gateway_playout_discarded_seconds_total", 'reason="barge_in"')
    return thrown, value(metrics, "gateway_barge_in_stop_seconds_sum", 'trigger="model_interrupted"')


def left_at(arrivals: list[tuple[int, float, str]]) -> list[Packet]:
    """(RTP timestamp at 48 kHz, arrival, Opus payload) as packets with the time they left: the quickest of them has told how
    far the two clocks are apart."""
    first = arrivals[0][0]
    ticks = [((stamp - first + 2**31) % 2**32 - 2**31) / RATE for stamp, _, _ in arrivals]
    apart = min(at - tick for tick, (_, at, _) in zip(ticks, arrivals, strict=True))
    decoder = OpusDecoder(JUDGED)
    decoded = [decoder.decode(base64.b64decode(payload)) for _, _, payload in arrivals]
    voice = high_passed(b"".join(decoded))
    packets, begin = [], 0
    for tick, pcm in zip(ticks, decoded, strict=True):
        parts = [voice[at : at + PART] for at in range(begin, begin + len(pcm), PART)]
        begin += len(pcm)
        packets.append(Packet(tick + apart, sum(peak_dbfs(part) > AUDIBLE for part in parts) * PART / (2 * JUDGED)))
    return packets


def high_passed(pcm: bytes) -> bytes:
    """What is heard of PCM16 at `JUDGED` Hz: nothing below `LOWEST`. The cut of a word leaves a step in libopus's own high pass
    of 3 Hz, which decays for a tenth of a second: nobody hears it, and it is no part of the answer."""
    above = butter(2, LOWEST, "highpass", fs=JUDGED, output="sos")
    return pcm16(sosfilt(above, floats(pcm)))


def value(metrics: str, name: str, label: str) -> float:
    """One sample of the Prometheus text format; 0 while there is none."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(f"{name}{{") and label in line)
