"""Every kind of tool, from the configuration file to the emulator's record: the server in a process, a caller who types."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from gateway.emulator import Emulator
from tests.chrome import ChromePeer
from tests.e2e.running import running_gateway

ROOT = Path(__file__).parents[2]
MODEL = "gemini-2.5-flash-native-audio-latest"


def config(port: int) -> str:
    """A profile with a tool of each kind; the webhook listens on `port`."""
    return f"""
[model]
model = "{MODEL}"

[profiles.default]
greeting = ""

[profiles.default.tools.add]
kind = "python"
description = "Adds two whole numbers."
function = "tests.model.tools.functions:add"
parameters.properties.a.type = "integer"
parameters.properties.b.type = "integer"
parameters.required = ["a"]

[profiles.default.tools.broken]
kind = "python"
description = "Fails."
function = "tests.model.tools.functions:broken"

[profiles.default.tools.order]
kind = "http"
description = "Looks up an order."
url = "http://127.0.0.1:{port}/order"
networks = ["127.0.0.0/8"]
token = "sesame"
parameters.properties.number.type = "string"
parameters.required = ["number"]

[profiles.default.tools.desk]
kind = "mcp"
command = [{json.dumps(sys.executable)}, "-m", "tests.model.tools.mcp_server"]
env.SERVER_SECRET = "from the file"
env.PYTHONPATH = {json.dumps(str(ROOT))}
only = ["where", "fail"]

[profiles.default.tools.show_map]
kind = "browser"
description = "Shows the caller a map."
parameters.properties.city.type = "string"

[profiles.default.tools.hang_up]
kind = "builtin"
"""


class Hook:
    """A webhook that knows one order. `asked`: what came, headers and body."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((dict(request.headers), body))
        return web.json_response({"state": "shipped", "number": body["arguments"]["number"]})


def test_every_kind_of_tool(tmp_path: Path) -> None:
    async def body() -> None:
        hook = Hook()
        app = web.Application()
        app.router.add_post("/order", hook.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        file = tmp_path / "gateway.toml"
        file.write_text(config(runner.addresses[0][1]))
        async with Emulator(port=0, first_chunk=0.05, await_playback=False, speed=0) as emulator:
            service = {
                "GEMINI_API_KEY": "key",
                "GATEWAY_GEMINI_BASE_URL": emulator.base_url,
                "GATEWAY_GEMINI_CA_FILE": str(emulator.ca_file),
            }
            async with running_gateway("--config", str(file), **service) as gateway:
                peer = ChromePeer(np.zeros(0, np.int16))
                try:
                    _, answer = await gateway.whip(await peer.offer())
                    await peer.accept(answer)
                    await peer.introduce()
                    await peer.told("bot-ready")
                    await converse(peer, emulator, hook)
                    # The goodbye is heard out, then the call ends by the model's wish.
                    send(peer, "send-text", {"content": "/call hang_up"})
                    ended = await peer.told("server-message", 30)
                    assert (ended["data"]["type"], ended["data"]["reason"]) == ("call-ended", "model_hung_up")
                    await gateway.nobody_left()
                    metrics = await gateway.metrics()
                    for tool, result in (
                        ("add", "ok"),
                        ("add", "bad_args"),
                        ("broken", "error"),
                        ("order", "ok"),
                        ("fail", "error"),
                    ):
                        assert f'gateway_tool_calls_total{{result="{result}",tool="{tool}"}} 1.0' in metrics
                    assert "gateway_tools_inflight 0.0" in metrics
                    log = json.dumps(gateway.log)
                    assert "secret 4711" in log, "the cause of a failure is in the log"
                    assert "A-17" not in log, "arguments are not"
                    assert await gateway.stop() == 0
                finally:
                    await peer.close()
                    await runner.cleanup()

    asyncio.run(body())


def send(peer: ChromePeer, kind: str, data: dict[str, Any]) -> None:
    assert peer.channel is not None
    peer.channel.send(json.dumps({"id": "1", "label": "rtvi-ai", "type": kind, "data": data}))


async def converse(peer: ChromePeer, emulator: Emulator, hook: Hook) -> None:
    """Have each tool called; look at what the model was answered."""
    (record,) = emulator.sessions
    assert record.setup is not None
    declared = {one["name"]: one for one in record.setup["tools"][0]["functionDeclarations"]}
    assert sorted(declared) == ["add", "broken", "fail", "hang_up", "order", "show_map", "where"]
    assert declared["add"]["parameters"]["properties"]["a"]["type"] == "INTEGER"

    async def call(text: str) -> Any:
        """Type it; the response that the model got for it."""
        before = len(record.tool_results)
        send(peer, "send-text", {"content": f"/call {text}"})
        await emulator.until(lambda: len(record.tool_results) > before, 15)
        assert len(record.tool_results) == before + 1
        return record.tool_results[-1][2]

    assert await call('add {"a": 2, "b": 40}') == {"output": 42}
    assert await call('add {"b": 40, "c": 1}') == {"error": "a: missing; c: unknown"}
    assert await call("broken") == {"error": "the tool failed"}

    assert await call('order {"number": "A-17"}') == {"output": {"state": "shipped", "number": "A-17"}}
    ((headers, sent),) = hook.asked
    assert headers["Authorization"] == "Bearer sesame"
    assert headers["Idempotency-Key"] == sent["tool_call_id"] == record.tool_results[-1][0]
    assert (sent["tool"], sent["profile"]) == ("order", "default")

    found = (await call("where"))["output"]
    assert (found["secret"], found["key"]) == ("from the file", None), "it gets its own environment and none of ours"
    assert (await call("fail"))["error"] == "Error executing tool fail"

    before = len(record.tool_results)
    send(peer, "send-text", {"content": '/call show_map {"city": "Oslo"}'})
    asked = (await peer.told("llm-function-call-in-progress"))["data"]
    assert (asked["function_name"], asked["arguments"]) == ("show_map", {"city": "Oslo"})
    send(peer, "llm-function-call-result", {**asked, "tool_call_id": "forged", "result": "nonsense"})
    send(peer, "llm-function-call-result", {**asked, "result": {"seen": True}})
    await emulator.until(lambda: len(record.tool_results) > before, 15)
    assert record.tool_results[-1][1:] == ("show_map", {"output": {"seen": True}})
    assert (await peer.told("llm-function-call-stopped"))["data"]["cancelled"] is False
    assert record.violations == []
