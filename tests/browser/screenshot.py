"""The README's picture: `python -m tests.browser.screenshot docs/page.png` calls a fresh gateway and takes it while it speaks."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.audio import silence, speech
from tests.browser.chromium import page_until, tab
from tests.browser.test_page import BEFORE, RATE, microphone
from tests.e2e.running import running_gateway


async def take(picture: Path) -> None:
    """A call to the parrot: greeting, a question, its answer, another question, and its answer under way."""
    with tempfile.TemporaryDirectory() as folder:
        voices = speech(RATE)
        first, second = voices[: round(RATE * 4.4) * 2], voices[round(RATE * 4.5) * 2 : round(RATE * 7.0) * 2]
        pcm = silence(RATE, BEFORE) + first + silence(RATE, 8.0) + second + silence(RATE, 15.0)
        words = microphone(Path(folder) / "microphone.wav", pcm)
        async with (
            running_gateway() as gateway,
            tab(f"{gateway.url}/?processing=off", microphone=words, size=(1120, 870)) as opened,
        ):
            await opened.page.click("#call")
            await page_until(opened.page, "document.querySelectorAll('.captions li').length === 5")
            await page_until(opened.page, "document.querySelector('.captions li:last-child .played').textContent.length > 10")
            # Not between two words.
            await page_until(opened.page, "getComputedStyle(document.body).getPropertyValue('--loud') > 0.5")
            await opened.page.screenshot(path=picture)


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
