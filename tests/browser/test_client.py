"""The client modules and the page, in a real Chromium, against a far end that does what a gateway should not have to.

Signaling, RTVI, what the caller reads when something is wrong. The gateway itself is called in test_page.py.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page, Route

from gateway.wire.whip import parse_fragment
from tests.browser.chromium import PHONE, page_until, tab
from tests.browser.far_end import WEB, FarEnd, Peer, far_end, problem, until

MODULES = ("call.js", "state.js", "whip.js", "rtvi.js", "stats.js")

CONNECT = """async (options) => {
    const { connect } = await import('./call.js');
    window.seen = { state: [], transcript: [], turn: [], error: [], message: [], stats: [] };
    const on = Object.fromEntries(Object.keys(seen).map((name) => [name, (value, detail) => {
        seen[name].push(name === 'error' ? { code: value.code, message: value.message, retryAfter: value.retryAfter }
            : name === 'state' ? [value, detail] : value);
    }]));
    try {
        window.call = await connect({ on, ...options });
        return 'connected';
    } catch (error) {
        return { code: error.code, status: error.status, retryAfter: error.retryAfter, message: error.message };
    }
}"""


async def connect(page: Page, **options: Any) -> Any:
    return await page.evaluate(CONNECT, options)


async def seen(page: Page, name: str) -> list[Any]:
    return await page.evaluate("(name) => seen[name]", name)


async def seen_until(page: Page, name: str, script: str) -> list[Any]:
    """Wait until `script` (of `all`) holds for what the call has told of `name`."""
    await page_until(page, f"((all) => {script})(seen.{name})")
    return await seen(page, name)


async def answered(end: FarEnd, number: int = 1) -> Peer:
    await until(lambda: len(end.peers) >= number and end.peers[number - 1].ready.is_set())
    return end.peers[number - 1]


def test_client_is_small() -> None:
    assert sum((WEB / name).stat().st_size for name in MODULES) < 15_000


def test_types_name_what_is_there() -> None:
    types = (WEB / "call.d.ts").read_text()
    code = "".join((WEB / name).read_text() for name in MODULES)
    codes = set(re.findall(r"^  \| '([a-z-]+)'", types.split("CallErrorCode")[1].split("class")[0], re.M))
    thrown = set(re.findall(r"(?:CallError\(|: |= |\?\? )'([a-z-]+)'", code)) & codes
    assert codes == thrown
    interface = types.split("export interface Call {")[1].split("\n}")[0]
    methods = set(re.findall(r"^  (?:readonly )?(\w+)[<(:]", interface, re.M))
    returned = code.split("\treturn {\n\t\ton,")[1].split("\n\t};\n}")[0]
    assert methods == {"on", *re.findall(r"^\t\t(?:get )?(\w+)[,:(]", returned, re.M)}


def test_modules() -> None:
    """The pure ones: table, captions, envelopes, figures."""

    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            page = opened.page
            states = await page.evaluate(
                """async () => {
                    const { next } = await import('./state.js');
                    const walk = (...steps) => steps.reduce(next, 'idle');
                    const user = ['user-started-speaking', 'user-stopped-speaking'];
                    const answer = ['dial', 'bot-ready', ...user, 'bot-started-speaking'];
                    return [
                        walk('bot-ready'), walk('dial'), walk(...answer.slice(0, 3)), walk(...answer.slice(0, 4)),
                        walk(...answer),
                        walk(...answer, 'user-started-speaking'), walk(...answer, 'bot-interrupted'),
                        walk(...answer, 'bot-stopped-speaking'), walk(...answer.slice(0, 4), 'no-answer'),
                        walk(...answer, 'hang-up'), walk(...answer, 'hang-up', 'bot-ready'), walk('dial', 'nonsense', 'toString'),
                    ];
                }"""
            )
            assert states == [
                "idle", "connecting", "listening", "thinking", "speaking",
                "speaking", "listening", "listening", "listening", "ended", "ended", "connecting",
            ]  # fmt: skip
            parsed = await page.evaluate(
                """async () => {
                    const { parse, envelope } = await import('./rtvi.js');
                    const bad = ['', 'x', 'null', '7', '[]', '{}', '{"label":"rtvi-ai"}', '{"label":"rtvi-ai","type":7}',
                        '{"label":"x","type":"metrics"}'];
                    const bare = '{"label":"rtvi-ai","type":"error","data":null}';
                    return [bad.map(parse), parse(bare), parse(envelope('a', { b: 1 }))];
                }"""
            )
            assert parsed == [[None] * 9, {"type": "error", "data": {}}, {"type": "a", "data": {"b": 1}}]
            stats = await page.evaluate(
                """async () => {
                    const { summarise } = await import('./stats.js');
                    const report = (lost, received, delay, played, made = 0, silent = 0) => new Map(Object.entries({
                        in: { type: 'inbound-rtp', kind: 'audio', packetsLost: lost, packetsReceived: received, jitter: 0.004,
                            jitterBufferDelay: delay, jitterBufferEmittedCount: played, codecId: 'c',
                            totalSamplesReceived: played, concealedSamples: made, silentConcealedSamples: silent },
                        c: { type: 'codec', mimeType: 'audio/opus' },
                        dead: { type: 'candidate-pair', nominated: false, currentRoundTripTime: 9 },
                        pair: { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.03 },
                        far: { type: 'remote-inbound-rtp', kind: 'audio', fractionLost: 0.25, roundTripTime: 5 },
                    }));
                    const first = summarise(report(0, 100, 4800 * 0.05, 4800));
                    return [first.view, summarise(report(10, 190, 4800 * 0.05 + 480 * 0.1, 5280, 72, 24), first.totals).view,
                        summarise(new Map()).view];
                }"""
            )
            first, second, nothing = stats
            assert first == {
                "rtt": 0.03, "lossIn": 0, "lossOut": 0.25, "jitter": 0.004, "playback": 0.05, "concealed": 0, "codec": "opus",
            }  # fmt: skip
            assert second["lossIn"] == pytest.approx(0.1)
            assert second["playback"] == pytest.approx(0.1)
            assert second["concealed"] == pytest.approx(0.1)
            still = ("lossIn", "lossOut", "jitter", "playback", "concealed")
            assert nothing == {"rtt": None, "codec": None} | dict.fromkeys(still, 0)
            assert opened.faults == []

    asyncio.run(body())


def test_captions() -> None:
    """Who said what, in the order of speaking, however late the words come; what was played, and what never will be."""

    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            lines = await opened.page.evaluate(
                """async () => {
                    const { Captions } = await import('./state.js');
                    const captions = new Captions();
                    const lines = new Map();
                    const take = (type, data = {}) => {
                        const line = captions.take(type, data);
                        if (line) lines.set(line.id, line);
                        return line;
                    };
                    const say = (segment, text) => take('bot-output', { text, segment_id: segment, spoken_status: 'new' });
                    const play = (segment, text) => take('bot-output', { text: 'part', segment_id: segment,
                        spoken_status: 'in-progress', spoken_progress: { accumulated_text: text } });
                    take('user-started-speaking');
                    take('user-stopped-speaking');
                    say(1, 'It is '); say(2, 'mild.'); play(1, 'It is ');
                    const half = play(2, 'mi').spoken;
                    take('user-transcription', { text: 'The wea', final: false });
                    take('user-transcription', { text: 'The weather?', final: true });
                    take('user-transcription', { text: ' Now', final: false });
                    take('bot-stopped-speaking');
                    const late = play(2, 'mild.').id;
                    take('user-started-speaking');
                    take('user-started-speaking');
                    take('user-transcription', { text: 'And tomorrow?', final: true });
                    say(3, 'Tomorrow it will rain.'); play(3, 'Tomorrow');
                    take('bot-interrupted');
                    const again = take('bot-stopped-speaking');
                    say(4, 'Yes?');
                    const typed = captions.typed('typed').id;
                    return [half, late, again ?? null, typed, [...lines.values()].sort((a, b) => a.id - b.id)];
                }"""
            )
            half, late, again, typed, told = lines
            assert (half, late, again, typed) == (8, 2, None, 6)
            brief = [(one["role"], one["text"], one["spoken"], one["final"], one["interrupted"]) for one in told]
            assert brief == [
                ("user", "The weather? Now", 16, False, False),
                ("bot", "It is mild.", 11, True, False),
                ("user", "And tomorrow?", 13, True, False),
                ("bot", "Tomorrow it will rain.", 8, True, True),
                ("bot", "Yes?", 0, False, False),
            ]

    asyncio.run(body())


def test_trickled_candidates_are_a_fragment() -> None:
    """Late candidates go out as RFC 8840 asks, with the ETag, one request after another, none after the goodbye."""

    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            script = """async (url) => {
                const { offer } = await import('./whip.js');
                const pc = new RTCPeerConnection();
                pc.addTransceiver('audio');
                pc.createDataChannel('rtvi');
                await pc.setLocalDescription();
                window.whip = await offer(url, pc.localDescription.sdp, {});
                window.one = (port) => ({ candidate: `candidate:1 1 udp 2122260223 127.0.0.1 ${port} typ host generation 0` });
                whip.trickle([one(5000), one(5001)], pc.localDescription.sdp);
                whip.trickle([one(5002)], pc.localDescription.sdp);
                return pc.localDescription.sdp;
            }"""
            sdp = await opened.page.evaluate(script, end.url)
            peer = end.peers[0]
            await until(lambda: len(peer.fragments) == 2)
            await opened.page.evaluate(
                "async (sdp) => { await whip.close(); whip.trickle([one(5003)], sdp); await whip.close(); }", sdp
            )
            assert peer.closed.is_set()
            fragments = [parse_fragment(raw.encode()) for raw in peer.fragments]
            assert [[(mid, one.port) for mid, many in each.candidates.items() for one in many] for each in fragments] == [
                [("0", 5000), ("0", 5001)],
                [("0", 5002)],
            ]
            assert all(f"a=ice-ufrag:{one.ice_ufrag}" in sdp and f"a=ice-pwd:{one.ice_pwd}" in sdp for one in fragments)

    asyncio.run(body())


def test_call_from_offer_to_goodbye() -> None:
    async def body() -> None:
        async with far_end(key="secret word") as end, tab(f"{end.url}/") as opened:
            page = opened.page
            assert await connect(page, token="secret word", profile="tutor & co", processing=False) == "connected"
            peer = await answered(end)
            assert end.offers[0].query["profile"] == "tutor & co"
            assert await page.evaluate("call.id") == "0"
            assert end.offers[0].content_type == "application/sdp"
            hello = peer.messages[0]
            assert (hello["label"], hello["type"], hello["data"]["version"]) == ("rtvi-ai", "client-ready", "2.0.0")
            await seen_until(page, "state", "all.length === 2")

            peer.tell("user-started-speaking")
            peer.tell("user-stopped-speaking")
            peer.tell("bot-started-speaking")
            peer.tell("metrics", {"turn": {"response": 0.5, "end": "completed", "kind": "speech"}})
            peer.tell("metrics", {"ttfb": []})
            peer.tell("server-message", {"type": "custom", "n": 1})
            assert await seen_until(page, "message", "all.length") == [{"type": "custom", "n": 1}]
            (turn,) = await seen(page, "turn")
            assert turn["response"] == 0.5
            assert await page.evaluate("call.sendText('  Good evening ') && !call.sendText(' ')")
            await until(lambda: len(peer.messages) == 2)
            assert peer.messages[1]["type"] == "send-text"
            assert peer.messages[1]["data"] == {"content": "Good evening"}
            assert (
                await page.evaluate("(() => { try { call.sendText('x'.repeat(10001)) } catch (e) { return e.name } })()")
                == "RangeError"
            )
            assert (await seen(page, "transcript"))[-1]["text"] == "Good evening"
            stats = await seen_until(page, "stats", "all.length > 1 && all.at(-1).rtt !== undefined")
            assert stats[-1]["codec"] == "opus"
            assert stats[-1]["lossIn"] == 0

            track = await page.evaluate_handle("call.microphone")
            assert await page.evaluate("(t) => t.getSettings().echoCancellation", track) is False
            await page.evaluate("call.hangup()")
            assert peer.closed.is_set()
            assert await page.evaluate("(t) => t.readyState", track) == "ended"
            states = [state for state, _ in await seen(page, "state")]
            assert states == ["connecting", "listening", "thinking", "speaking", "ended"]
            assert await seen(page, "error") == []
            await page.evaluate("call.hangup()")
            assert opened.faults == []

    asyncio.run(body())


def test_mute_is_silence_and_the_microphone_can_be_changed() -> None:
    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            page = opened.page
            assert await connect(page) == "connected"
            peer = await answered(end)

            def loud() -> bool:
                return len(peer.heard) > 25 and int(np.abs(np.concatenate(peer.heard[-25:])).max()) > 300

            def quiet() -> bool:
                return len(peer.heard) > 25 and int(np.abs(np.concatenate(peer.heard[-25:])).max()) < 30

            await until(loud)
            await page.evaluate("call.mute()")
            await until(quiet)
            old = await page.evaluate_handle("call.microphone")
            device = await page.evaluate(
                "navigator.mediaDevices.enumerateDevices().then((all) => all.findLast((d) => d.kind === 'audioinput').deviceId)"
            )
            await page.evaluate("(id) => call.setMic(id)", device)
            assert await page.evaluate("(t) => t.readyState", old) == "ended"
            assert await page.evaluate("call.muted && !call.microphone.enabled")
            peer.heard.clear()
            await until(quiet)
            await page.evaluate("call.mute(false)")
            await until(loud)
            await page.evaluate("call.setMic(false)")
            assert await page.evaluate("call.microphone") is None
            assert (await page.evaluate("call.setMic('no such device').catch((e) => e.code)")) == "no-microphone"

    asyncio.run(body())


def test_full_gateway_is_tried_again_when_it_says_so() -> None:
    async def body() -> None:
        busy = [problem(503, "full", **{"Retry-After": "1"}), problem(503, "full", **{"Retry-After": "1"})]
        async with far_end(refuse=busy) as end, tab(f"{end.url}/") as opened:
            assert await connect(opened.page) == "connected"
            assert len(end.offers) == 3
            states = await seen(opened.page, "state")
            assert states[:3] == [["connecting", {}], *[["connecting", {"retryIn": 1, "code": "full"}]] * 2]

            end.refuse = [problem(503, "full", **{"Retry-After": "60"})]
            fault = await connect(opened.page)
            assert (fault["code"], fault["status"], fault["retryAfter"]) == ("full", 503, 60)
            assert len(end.offers) == 4

            end.refuse = [problem(502, "gone") for _ in range(9)]
            assert (await connect(opened.page, retries=1))["code"] == "unreachable"
            assert len(end.offers) == 6

            end.refuse = [problem(406, "no codec in common")]
            fault = await connect(opened.page)
            assert (fault["code"], fault["message"]) == ("refused", "no codec in common")
            assert [one["code"] for one in await seen(opened.page, "error")] == ["refused"]
            assert (await seen(opened.page, "state"))[-1] == ["ended", {"code": "refused"}]

    asyncio.run(body())


def test_hanging_up_while_connecting_leaves_nothing() -> None:
    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            posted = asyncio.Event()

            async def slowly(route: Route) -> None:
                posted.set()
                await aborted.wait()
                await route.continue_()

            aborted = asyncio.Event()
            await opened.page.route("**/whip*", slowly)
            await opened.page.evaluate("window.aborter = new AbortController()")
            calling = asyncio.ensure_future(opened.page.evaluate(f"({CONNECT})({{ signal: aborter.signal }})"))
            await asyncio.wait_for(posted.wait(), 15)
            await opened.page.evaluate("aborter.abort()")
            aborted.set()
            fault = await calling
            assert fault["code"] == "cancelled"
            # The answer came after the hang-up: the far end is told even so.
            await until(lambda: len(end.peers) == 1 and end.peers[0].closed.is_set())

    asyncio.run(body())


def test_far_end_ends_the_call() -> None:
    """By a fatal error, by saying why, and by just going away."""

    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            page = opened.page
            await connect(page)
            peer = await answered(end)
            peer.tell("error", {"message": "slow today", "fatal": False})
            peer.tell("error", {"message": "The model refused the call.", "fatal": True})
            await seen_until(page, "state", "all.at(-1)[0] === 'ended'")
            assert [(one["code"], one["message"]) for one in await seen(page, "error")] == [
                ("model", "slow today"),
                ("model", "The model refused the call."),
            ]
            await until(peer.closed.is_set)

            await connect(page)
            peer = await answered(end, 2)
            peer.tell("server-message", {"type": "call-ended", "reason": "max_duration", "message": "Time is up."})
            await seen_until(page, "message", "all.length")
            await peer.pc.close()
            _, detail = (await seen_until(page, "state", "all.at(-1)[0] === 'ended'"))[-1]
            assert (detail["reason"], detail["message"]) == ("max_duration", "Time is up.")
            assert await seen(page, "error") == []

    asyncio.run(body())


def test_leaving_the_page_hangs_up() -> None:
    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            await connect(opened.page)
            peer = await answered(end)
            await opened.page.goto("about:blank")
            await until(peer.closed.is_set)

    asyncio.run(body())


# --- the page ---


def test_page_call_with_the_keyboard() -> None:
    """Call, mute, type and hang up without a mouse; captions are text, whatever the model says."""

    async def body() -> None:
        async with far_end(emulator=True) as end, tab(f"{end.url}/?processing=off", size=PHONE, scheme="dark") as opened:
            page = opened.page
            await page.wait_for_selector("#emulator:visible")
            assert await page.inner_text("#model") == "gemini-3.8-live"
            assert await page.locator("#profile option").all_inner_texts() == ["Friendly assistant", "Language tutor"]
            await page.select_option("#profile", "tutor")
            await page.focus("#call")
            await page.keyboard.press("Enter")
            peer = await answered(end)
            assert end.offers[0].query["profile"] == "tutor"
            await page.wait_for_selector("body[data-state=listening]")
            focus = "[document.activeElement.id, document.activeElement.getAttribute('aria-disabled')]"
            assert await page.evaluate(focus) == ["call", "true"], "the keyboard is not thrown off its place"
            assert await page.inner_text("#state") == "Listening"
            assert await page.get_attribute("#state", "role") == "status"

            evil = "<img src=x onerror=document.title='owned'> & <b>bold</b>"
            peer.say(evil)
            peer.played(evil[:10])
            peer.tell("bot-started-speaking")
            await page.wait_for_selector("body[data-state=speaking]")
            assert await page.inner_text(".captions .bot .played") == evil[:10]
            assert await page.inner_text(".captions .bot .unplayed") == evil[10:]
            assert await page.locator(".captions img, .captions b").count() == 0
            peer.tell("bot-interrupted")
            await page.wait_for_selector(".captions .bot.interrupted")
            assert (await page.text_content("#spoken")) == f"Model: {evil[:10]}", "nobody is read what was never heard"

            await page.focus("#text")
            await page.keyboard.type("A typed <i>question</i>")
            await page.keyboard.press("Enter")
            await page.wait_for_selector("body[data-state=thinking]")
            await until(lambda: peer.messages[-1]["type"] == "send-text")
            assert peer.messages[-1]["data"]["content"] == "A typed <i>question</i>"
            assert await page.inner_text(".captions .user:last-child .played") == "A typed <i>question</i>"

            parts = {"response": 0.9, "model_first_audio": 0.6, "leading_silence": 0.2, "out": 0.1}
            peer.tell("metrics", {"turn": {**parts, "end": "completed", "kind": "speech"}})
            await page.wait_for_selector("#turns li")
            widths = await page.eval_on_selector_all(
                "#turns .bar > span", "(all) => all.map((e) => [e.className, e.offsetWidth])"
            )
            by_part = dict(widths)
            assert by_part["model"] / by_part["silence"] == pytest.approx(3, rel=0.1)
            peer.tell("metrics", {"turn": {"response": None, "end": "no_response", "kind": "speech"}})
            await page.wait_for_selector("body[data-state=listening]")
            assert await page.locator("#turns li").count() == 1

            await page.evaluate("document.activeElement.blur()")
            await page.keyboard.press("m")
            assert await page.get_attribute("#mute", "aria-pressed") == "true"
            await page.keyboard.press("m")
            assert await page.get_attribute("#mute", "aria-pressed") == "false"
            await page.keyboard.press("Escape")
            await until(peer.closed.is_set)
            await page.wait_for_selector("body[data-state=ended]")
            assert await page.evaluate("document.activeElement.id") == "call"
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert opened.faults == []

    asyncio.run(body())


def test_captions_follow_unless_somebody_reads_back() -> None:
    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/", size=PHONE) as opened:
            page = opened.page
            await page.click("#call")
            peer = await answered(end)

            async def line(number: int) -> None:
                peer.say(f"Line {number} of a long story.")
                peer.tell("bot-stopped-speaking")
                await page_until(page, f"document.querySelectorAll('.captions li').length === {number}")

            for number in range(1, 11):
                await line(number)
            at_end = "(({ scrollTop, scrollHeight, clientHeight }) => scrollHeight - scrollTop - clientHeight < 2)"
            await page_until(page, f"{at_end}(document.querySelector('.captions'))")
            await page.evaluate("document.querySelector('.captions').scrollTop = 20")
            await page_until(page, "document.querySelector('.captions').scrollTop === 20")
            await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            await line(11)
            assert await page.evaluate("document.querySelector('.captions').scrollTop") == 20
            await page.evaluate("document.querySelector('.captions').scrollTop = 1e6")
            await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            await line(12)
            await page_until(page, f"{at_end}(document.querySelector('.captions'))")

    asyncio.run(body())


def test_page_plays_without_an_autoplay_permit() -> None:
    """The element is begun in the tap, inline, as phones want it: sound comes although autoplay is forbidden."""

    async def body() -> None:
        async with (
            far_end() as end,
            tab(f"{end.url}/", flags=("--autoplay-policy=user-gesture-required",)) as opened,
        ):
            page = opened.page
            await page.click("#call")
            await answered(end)
            await page_until(page, "document.querySelector('audio').currentTime > 0.2")
            assert await page.evaluate("document.querySelector('audio').playsInline && !document.querySelector('audio').paused")
            assert await page.is_hidden("#trouble")

    asyncio.run(body())


def test_page_asks_for_the_key() -> None:
    async def body() -> None:
        async with far_end(key="right") as end, tab(f"{end.url}/") as opened:
            page = opened.page
            await page.wait_for_selector("#key:visible")
            await page.fill("#key-value", "wrong")
            await page.keyboard.press("Enter")
            await page_until(page, "document.querySelector('#key-value').value === ''")
            assert await page.is_visible("#key")
            await page.fill("#key-value", "right")
            await page.keyboard.press("Enter")
            await page.wait_for_selector("#key", state="hidden")
            assert await page.locator("#profile option").count() == 2
            await page.reload()
            await page.wait_for_selector("#profile-field:visible")
            assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 1, ""]
            await page.click("#call")
            await answered(end)
            assert end.offers[-1].headers["Authorization"] == "Bearer right"

    asyncio.run(body())


def test_page_says_what_is_wrong() -> None:
    """A full server, no server, a far end that leaves without a word: each in its own words, and calling again is possible."""

    async def body() -> None:
        async with far_end(refuse=[problem(503, "full", **{"Retry-After": "30"})]) as end, tab(f"{end.url}/") as opened:
            page = opened.page
            await page.click("#call")
            await page.wait_for_selector("#trouble:visible")
            assert await page.get_attribute("#trouble", "role") == "alert"
            assert await page.inner_text("#trouble-title") == "All lines are busy"
            assert "30 seconds" in await page.inner_text("#trouble-text")
            await page.click("#trouble-again")
            peer = await answered(end)
            assert await page.is_hidden("#trouble")
            peer.tell("server-message", {"type": "call-ended", "reason": "idle", "message": "Nobody spoke for a while."})
            await peer.pc.close()
            await page.wait_for_selector("body[data-state=ended]")
            assert await page.inner_text("#hint") == "Nobody spoke for a while."
            await page.route("**/whip**", lambda route: route.abort())
            await page.click("#call")
            await page_until(page, "document.querySelector('#hint').textContent.startsWith('No answer. Trying again')")
            await page.click("#hangup")
            await page.wait_for_selector("body[data-state=ended]")
            assert await page.is_hidden("#trouble")
            await page.unroute("**/whip**")  # which is also the name of a module
            await page.goto(f"{end.url}/?profile=nobody")
            await page.wait_for_selector("#trouble:visible")
            assert await page.inner_text("#trouble-title") == "No such choice"
            assert await page.locator("#trouble button:visible").count() == 0
            assert opened.faults == []

    asyncio.run(body())


def test_page_without_a_microphone() -> None:
    """Denied: said in plain words, and the call can go on in writing."""

    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/", deny=True) as opened:
            page = opened.page
            await page.click("#call")
            await page.wait_for_selector("#trouble:visible")
            assert await page.inner_text("#trouble-title") == "The microphone is blocked"
            assert end.offers == []
            await page.click("#trouble-quiet")
            peer = await answered(end)
            await page.wait_for_selector("body[data-state=listening]")
            await page.fill("#text", "hello")
            await page.press("#text", "Enter")
            await until(lambda: peer.messages[-1]["type"] == "send-text")

    asyncio.run(body())


def test_page_on_an_insecure_origin() -> None:
    async def body() -> None:
        flags = ("--host-resolver-rules=MAP gateway.test 127.0.0.1",)
        async with far_end() as end:
            url = end.url.replace("127.0.0.1", "gateway.test")
            async with tab(f"{url}/", flags=flags) as opened:
                await opened.page.click("#call")
                await opened.page.wait_for_selector("#trouble:visible")
                assert "https://" in await opened.page.inner_text("#trouble-text")
                await opened.page.click("#trouble-quiet")
                await answered(end)

    asyncio.run(body())


def test_lost_network() -> None:
    """The far end falls silent without a goodbye: the caller is told at once that something is wrong, then that it is over."""

    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            page = opened.page
            await page.click("#call")
            peer = await answered(end)
            await page.wait_for_selector("body[data-state=listening]")
            transport = peer.pc.getTransceivers()[0].receiver.transport.transport
            await transport._connection.close()  # no datagram any more, and no DTLS goodbye
            await page.wait_for_selector("body[data-state=reconnecting]", timeout=15_000)
            assert "network" in (await page.inner_text("#hint")).lower()
            await page.wait_for_selector("body[data-state=ended]", timeout=40_000)
            assert await page.inner_text("#trouble-title") == "The network was lost"

    asyncio.run(body())
