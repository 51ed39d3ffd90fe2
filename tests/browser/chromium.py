"""A real Chromium with a WAV file for a microphone, driven by playwright."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.async_api import BrowserContext, Page, async_playwright

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
DESK = (1120, 860)
PHONE = (390, 844)


def executable() -> str:
    """The installed Chromium. The suite needs one: without it this is a failure, not a skip."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise AssertionError("no Chromium on this machine: install the package chromium")


@dataclass
class Tab:
    """One page and everything it complained about."""

    page: Page
    context: BrowserContext
    faults: list[str] = field(default_factory=list)
    """Uncaught exceptions and refusals by the content security policy."""


async def page_until(page: Page, expression: str, deadline: float = 30.0) -> None:
    """Wait until a JavaScript expression holds. Playwright's own wait_for_function evaluates text in the page, which our content
    security policy rightly refuses."""
    async with asyncio.timeout(deadline):
        while True:
            if await page.evaluate(f"Boolean({expression})"):
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def tab(
    url: str,
    *,
    microphone: Path | None = None,
    deny: bool = False,
    size: tuple[int, int] = DESK,
    scheme: Literal["light", "dark"] = "light",
    flags: tuple[str, ...] = (),
) -> AsyncIterator[Tab]:
    """Open `url`. `microphone`: a WAV played once as the fake microphone (None: Chromium's beeps); `deny`: no permission."""
    args = [*FLAGS, *flags]
    if microphone is not None:
        args.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    if deny:
        args.remove("--use-fake-ui-for-media-stream")
        args.append("--deny-permission-prompts")
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=executable(),
                args=args,
                viewport={"width": size[0], "height": size[1]},
                color_scheme=scheme,
                permissions=[],
            )
            try:
                page = context.pages[0]
                opened = Tab(page, context)
                page.on("pageerror", lambda error: opened.faults.append(str(error)))
                page.on(
                    "console",
                    lambda line: opened.faults.append(line.text) if "Content Security Policy" in line.text else None,
                )
                await page.goto(url)
                yield opened
            finally:
                await context.close()
