"""Functions of the page that the model may call: `call.tool`, in a real Chromium, against a far end."""

from __future__ import annotations

import asyncio
from typing import Any

from playwright.async_api import Page

from tests.browser.chromium import tab
from tests.browser.far_end import Peer, far_end, until
from tests.browser.test_client import answered, connect

TOOLS = """() => {
    window.asked = [];
    call.tool('add', ({ a, b }) => { asked.push([a, b]); return a + b; });
    call.tool('later', async ({ n }) => ({ doubled: await Promise.resolve(2 * n) }));
    call.tool('nothing', () => {});
    call.tool('fails', () => { throw new Error('no such thing'); });
    call.tool('endless', () => { const ring = {}; ring.ring = ring; return ring; });
    call.tool('add', ({ a, b }) => { asked.push([a, b]); return `${a}+${b}`; });
}"""


async def result_of(end: Peer, name: str, args: dict[str, Any]) -> dict[str, Any]:
    """What the page answers a call of that function."""
    before = len(end.messages)
    end.tell("llm-function-call-in-progress", {"function_name": name, "tool_call_id": f"fc-{name}", "arguments": args})
    await until(lambda: len(end.messages) > before)
    message = end.messages[before]
    assert message["type"] == "llm-function-call-result"
    data = message["data"]
    assert (data["function_name"], data["tool_call_id"], data["arguments"]) == (name, f"fc-{name}", args)
    return dict(data)


def test_functions_of_the_page() -> None:
    async def body() -> None:
        async with far_end() as end, tab(f"{end.url}/") as opened:
            page: Page = opened.page
            assert await connect(page) == "connected"
            peer = await answered(end)
            await page.evaluate(TOOLS)
            assert (await result_of(peer, "add", {"a": 1, "b": 2}))["result"] == "1+2", "the last one named counts"
            assert await page.evaluate("asked") == [[1, 2]]
            assert (await result_of(peer, "later", {"n": 4}))["result"] == {"doubled": 8}
            assert "result" not in await result_of(peer, "nothing", {})
            assert (await result_of(peer, "fails", {}))["result"] == {"error": "no such thing"}
            assert "error" in (await result_of(peer, "endless", {}))["result"], "what is no JSON is an error"
            assert "error" in (await result_of(peer, "unheard_of", {}))["result"]
            assert "error" in (await result_of(peer, "toString", {}))["result"], "only what was offered"
            assert opened.faults == []

    asyncio.run(body())
