"""Conformance, the other half: the JavaScript SDK. Wants Node and `npm ci --prefix tests/emulator/js`; else nothing is here."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson

from gateway.emulator import Emulator
from tests.emulator.sdk import QUICK

FOLDER = Path(__file__).parent / "js"


async def seen_by_node() -> dict[str, Any]:
    """What conformance.mjs prints."""
    async with Emulator(**QUICK) as emulator, asyncio.timeout(60):
        node = await asyncio.create_subprocess_exec(
            "node",
            str(FOLDER / "conformance.mjs"),
            emulator.base_url,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(emulator.ca_file)},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await node.communicate()
        assert node.returncode == 0
        return orjson.loads(output)  # type: ignore[no-any-return]


if (FOLDER / "node_modules").is_dir():

    def test_the_javascript_sdk_finds_the_service_it_knows() -> None:
        result = asyncio.run(seen_by_node())
        assert result["greeting"].startswith("Hello!")
        assert result["echo"] == "(your own words: 1 second)"
        assert result["understood"] == "(you spoke for 1 second)"
        assert abs(result["echoBytes"] / 48_000 - 1.15) < 0.1
        assert result["tokens"] == 29
        assert result["typed"] == "You typed: typed"
        assert result["resumed"] == "You typed: back again"
        assert result["call"] == {"a": 1}
        assert 'add: {"output":2}' in result["told"]
        assert result["quota"][0] == 1011
        assert result["refused"] == [1007, "Request contains an invalid argument."]
        assert result["byToken"] is True
