"""Does Firefox connect too? By hand: `python -m tests.browser.firefox` calls a fresh gateway and prints what the page says.

Needs an installed `firefox` or `firefox-esr`, driven headless over WebDriver BiDi, with its own fake microphone (a tone).
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.running import running_gateway

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
LOOK = """JSON.stringify({
    state: document.body.dataset.state,
    captions: [...document.querySelectorAll('.captions li')].map((e) => e.innerText),
    turns: [...document.querySelectorAll('#turns li')].map((e) => e.title),
    stats: [...document.querySelectorAll('dd')].map((e) => e.textContent),
    played: document.querySelector('audio').currentTime,
    trouble: document.querySelector('#trouble').hidden ? '' : document.querySelector('#trouble').innerText,
})"""


async def call(seconds: float = 12.0) -> None:
    """Start Firefox, press Call, look once a second."""
    path = shutil.which("firefox") or shutil.which("firefox-esr")
    assert path, "no Firefox on this machine"
    with tempfile.TemporaryDirectory(prefix="firefox-") as profile:
        lines = [f'user_pref("{name}", {str(value).lower()});' for name, value in PREFERENCES.items()]
        (Path(profile) / "user.js").write_text("\n".join(lines))
        args = ("--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank")
        firefox = await asyncio.create_subprocess_exec(path, *args, stderr=asyncio.subprocess.PIPE)
        try:
            assert firefox.stderr is not None
            address = ""
            async with asyncio.timeout(30):
                while "WebDriver BiDi listening on" not in address:
                    address = (await firefox.stderr.readline()).decode()
            url = address.split("listening on ")[1].strip()
            async with running_gateway() as gateway, aiohttp.ClientSession() as http, http.ws_connect(f"{url}/session") as socket:
                numbers = itertools.count(1)

                async def ask(method: str, **params: Any) -> Any:
                    number = next(numbers)
                    await socket.send_json({"id": number, "method": method, "params": params})
                    while True:
                        answer = await socket.receive_json(timeout=30)
                        if answer.get("id") == number:
                            assert answer["type"] == "success", answer
                            return answer["result"]

                await ask("session.new", capabilities={})
                context = (await ask("browsingContext.getTree"))["contexts"][0]["context"]
                await ask("browsingContext.navigate", context=context, url=f"{gateway.url}/?processing=off", wait="complete")

                async def run(expression: str) -> Any:
                    answer = await ask(
                        "script.evaluate",
                        expression=expression,
                        target={"context": context},
                        awaitPromise=True,
                        userActivation=True,
                    )
                    return answer["result"].get("value")

                await run("document.querySelector('#call').click()")
                for second in range(round(seconds)):
                    await asyncio.sleep(1)
                    print(await run(LOOK))
                    if second == 3:  # a tone never falls silent by itself
                        await run("document.querySelector('#mute').click()")
                await run("document.querySelector('#hangup').click()")
                await gateway.nobody_left()
                print(gateway.said("call ended")[0]["fields"])
        finally:
            firefox.terminate()
            await firefox.wait()


if __name__ == "__main__":
    asyncio.run(call(*map(float, sys.argv[1:])))
