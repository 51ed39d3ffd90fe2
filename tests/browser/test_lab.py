"""The drawer that breaks things: a real gateway with its own emulator, a real Chromium, one call that outlives all of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Page

from tests.audio import silence
from tests.browser.chromium import page_until, tab
from tests.browser.far_end import far_end
from tests.browser.test_client import answered
from tests.browser.test_page import GREETING, RATE, microphone
from tests.e2e.running import running_gateway

SMALL = (360, 780)


async def press(page: Page, what: str) -> None:
    """With the keyboard."""
    await page.focus(f"[data-trouble={what}]")
    await page.keyboard.press("Enter")


async def lines(page: Page) -> list[str]:
    """What the drawer has told so far."""
    return await page.locator("#happened li span").all_inner_texts()


async def told(page: Page, words: str, times: int = 1) -> None:
    """Wait until the drawer has said so that often."""
    script = "[...document.querySelectorAll('#happened li')].filter((line) => line.textContent.includes({})).length >= {}"
    await page_until(page, script.format(repr(words), times))


async def heard_back(page: Page, text: str) -> None:
    """Type something; the model answers it aloud, captions say so."""
    await page.fill("#text", text)
    await page.press("#text", "Enter")
    played = "[...document.querySelectorAll('.captions .bot .played')].some((line) => line.textContent.includes({}))"
    await page_until(page, played.format(repr(f"You typed: {text}")))


def test_whatever_breaks_the_call_goes_on(tmp_path: Path) -> None:
    file = microphone(tmp_path / "microphone.wav", silence(RATE, 90.0))

    async def body() -> None:
        async with running_gateway() as gateway, tab(f"{gateway.url}/", microphone=file, size=SMALL) as opened:
            page = opened.page
            await page.wait_for_selector("#lab:visible")
            await page.focus("#lab-drawer summary")
            await page.keyboard.press("Enter")
            assert await page.is_visible("#lab-first")
            assert await page.is_disabled("[data-trouble=close]")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await page.click("#call")
            await page_until(page, f"document.querySelector('.captions .bot .played')?.textContent === {GREETING!r}")
            (call,) = await gateway.calls()
            assert await page.is_hidden("#lab-first")

            await press(page, "loss")
            await told(page, "10 % of the packets are lost")
            await press(page, "close")
            await told(page, "Recovered: the session was resumed", 1)
            await heard_back(page, "one")
            await page.select_option("#lead", "2")
            await press(page, "goaway")
            await told(page, "goAway: the service will close")
            await told(page, "Recovered: the session was resumed", 2)
            await press(page, "slow")
            await page.wait_for_selector("[data-trouble=slow][aria-pressed=true]")
            await heard_back(page, "two")
            await press(page, "slow")
            await page.wait_for_selector("[data-trouble=slow][aria-pressed=false]")
            await press(page, "half_open")
            await heard_back(page, "three")
            await told(page, "Recovered: the session was resumed", 3)
            await told(page, "Over: ")
            over = next(line for line in await lines(page) if line.startswith("Over: "))
            assert "came back from redundancy" in over
            assert "your browser made up" in over
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await page.screenshot(path=tmp_path / "lab.png", full_page=True)

            assert [one["call_id"] for one in await gateway.calls()] == [call["call_id"]], "still the same call"
            await page.click("#hangup")
            await page_until(page, "document.body.dataset.state === 'ended'")
            assert await page.is_disabled("[data-trouble=close]")
            assert await lines(page), "what happened can still be read"
            await gateway.nobody_left()
            tags = [session["tag"] for session in await gateway.emulated()]
            assert tags == [call["call_id"]] * 4, "one socket and three more"
            (end,) = gateway.said("call ended")
            assert end["fields"]["cause"] == "caller_hung_up"
            assert opened.faults == []

    asyncio.run(body())


def test_the_drawer_says_it_in_words() -> None:
    """Every result of a swap; a far end that will not do what it is asked; and nothing where no emulator answers."""

    async def body() -> None:
        async with far_end(emulator=True) as end, tab(f"{end.url}/") as opened:
            page = opened.page
            await page.click("#lab-drawer summary")
            await page.click("#call")
            peer = await answered(end)
            await page.wait_for_selector("[data-trouble=close]:enabled")
            assert await page.get_attribute("#happened", "role") == "log"
            swap = {"type": "model-swapped", "kind": "error", "gap": 0.04, "replayed": 1.26, "lost": 0}
            for result in ("ok", "context_replayed", "no_handle", "stale_handle", "refused", "<b>new</b>"):
                peer.tell("server-message", {**swap, "result": result})
            peer.tell("server-message", {"type": "budget"})
            losses = {"seconds": 10.0, "lost_in": 1, "lost_out": 51, "restored": 0.92, "concealed": 0.04}
            peer.tell("server-message", {"type": "packets-withheld", **losses})
            await told(page, "Over: ")
            said = await lines(page)
            cost = "40 ms without the model, 1.3 s of your words played to it again, 0 ms lost."
            assert said[0] == f"Recovered: the session was resumed on another socket. {cost}"
            assert said[4] == f"Given up: the service could not be had again. {cost}"
            assert said[5] == f"Recovered: {cost}"
            assert said[6:] == [
                "Over: 1 packet of yours and 51 of the model’s were lost. "
                "Of your words 920 ms came back from redundancy and 40 ms were made up."
            ]
            assert len(set(said)) == len(said)
            await page.click("[data-trouble=close]")
            await told(page, "The gateway would not do that.")
            assert opened.faults == []

        async with far_end() as end, tab(f"{end.url}/") as opened:
            await opened.page.wait_for_selector("#profile-field:visible")
            assert await opened.page.is_hidden("#lab")

    asyncio.run(body())
