"""`gateway serve` in a process of its own, as a user runs it: free ports, its own emulator, its own log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

PATIENCE = 60.0
"""Seconds for what takes one or two on a machine that has nothing else to do."""


@dataclass
class Gateway:
    """A running gateway. `log` grows line by line; `emulator` is the base URL of the one it started, if it did."""

    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession
    url: str = ""
    admin: str = ""
    emulator: str = ""
    ca_file: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Of the serving process."""
        return self.process.pid

    def said(self, message: str) -> list[dict[str, Any]]:
        """The log lines with that message."""
        return [line for line in self.log if line.get("message") == message]

    async def status(self) -> dict[str, Any]:
        """`/status` of the admin port."""
        async with self.http.get(f"{self.admin}/status") as response:
            assert response.status == 200
            return dict(await response.json())

    async def metrics(self) -> str:
        """`/metrics` of the admin port."""
        async with self.http.get(f"{self.admin}/metrics") as response:
            return await response.text()

    async def whip(self, offer: str, profile: str | None = None) -> tuple[str, str]:
        """POST an offer: the call's resource and the answer."""
        query = {"profile": profile} if profile else {}
        headers = {"Content-Type": "application/sdp"}
        async with self.http.post(f"{self.url}/whip", data=offer, headers=headers, params=query) as response:
            assert response.status == 201, await response.text()
            return response.headers["Location"], await response.text()

    async def hang_up(self, location: str) -> None:
        """DELETE a call's resource."""
        async with self.http.delete(f"{self.url}{location}") as response:
            assert response.status == 200, await response.text()

    async def nobody_left(self, seconds: float = PATIENCE) -> None:
        """Wait until the last call is gone."""
        async with asyncio.timeout(seconds):
            while (await self.status())["calls"]:
                await asyncio.sleep(0.05)

    async def baseline(self, seconds: float = PATIENCE) -> tuple[int, int, int]:
        """Tasks, open files and threads of the process, once three looks in a row agree."""
        seen: list[tuple[int, int, int]] = []
        async with asyncio.timeout(seconds):
            while len(seen) < 3 or len(set(seen[-3:])) > 1:
                await asyncio.sleep(0.2)
                seen.append(((await self.status())["tasks"], self.open_files(), self.threads()))
        return seen[-1]

    async def grown_since(self, before: tuple[int, int, int], seconds: float = PATIENCE) -> str:
        """What there is more of than `before`, still after `seconds`. A page's last connection is kept for 30 s: no leak."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (more := grown(before, await self.baseline())) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.5)
        return more

    async def calls(self) -> list[dict[str, Any]]:
        """`GET /v1/calls`."""
        async with self.http.get(f"{self.url}/v1/calls") as response:
            return list((await response.json())["calls"])

    async def emulated(self) -> list[dict[str, Any]]:
        """The sessions of its emulator, oldest first."""
        async with self.http.get(f"{self.emulator}/emu/sessions", ssl=self._ssl()) as response:
            return list((await response.json())["sessions"])

    async def recording(self, session: str, what: str) -> NDArray[np.int16]:
        """`audio` (what the emulator heard, 16 kHz) or `answer` (what it sent, 24 kHz) of one session."""
        async with self.http.get(f"{self.emulator}/emu/sessions/{session}/{what}.wav", ssl=self._ssl()) as response:
            assert response.status == 200, await response.text()
            body = await response.read()
        return np.frombuffer(body[44:], np.int16)  # a plain 44-byte RIFF header

    def _ssl(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def open_files(self) -> int:
        """File descriptors of the process."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        """Threads of the process."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


def grown(before: tuple[int, int, int], after: tuple[int, int, int]) -> str:
    """What there is more of than before: a leak. Less is none (a connection of the page that was kept for a while)."""
    names = ("tasks", "open files", "threads")
    return ", ".join(f"{name}: {a} → {b}" for name, a, b in zip(names, before, after, strict=True) if b > a)


@asynccontextmanager
async def running_gateway(*args: str, **environ: str) -> AsyncIterator[Gateway]:
    """Start `gateway serve ARGS` on free loopback ports and wait until it says it is ready."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "GEMINI_", "GOOGLE_"))}
    env |= {"GATEWAY_PORT": "0", "GATEWAY_ADMIN_PORT": "0", "GATEWAY_UDP_PORT": "0", "GATEWAY_UDP_ADVERTISE": "127.0.0.1"}
    env |= {"GATEWAY_UDP_HOST": "127.0.0.1"} | environ
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", *args, env=env, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stderr is not None
    ready = asyncio.Event()
    # No connection is kept: each would be a socket and a task of the gateway that no call needs.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        gateway = Gateway(process, http)
        reader = asyncio.create_task(_read(process.stderr, gateway, ready))
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait((asyncio.create_task(ready.wait()), reader), return_when=asyncio.FIRST_COMPLETED)
            assert ready.is_set(), f"the gateway ended: {gateway.log}"
            yield gateway
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reader


async def _read(stream: asyncio.StreamReader, gateway: Gateway, ready: asyncio.Event) -> None:
    while line := await stream.readline():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"message": line.decode(errors="replace").rstrip()}
        gateway.log.append(entry)
        fields = entry.get("fields", {})
        if "ca_file" in fields:
            gateway.emulator, gateway.ca_file = fields["emulator"], fields["ca_file"]
        if entry["message"] == "ready":
            gateway.url, gateway.admin = fields["url"], fields["admin"]
            ready.set()
