"""A gateway in a process of its own, a call going on, and strangers at its two doors.

    udp-noise    datagrams of nothing, from addresses nobody knows
    udp-mutants  what this very caller sends (STUN, DTLS, SRTP), mutated, from strangers and from the caller's own address
    udp-flood    many of both at once
    http         mutated requests over raw connections, nonsense framing, connections that hardly say anything

While it lasts the caller speaks frames that carry their number, and the model talks. Afterwards every number must have reached
the model, no packet of the answer may be missing, the process must answer, and its log must hold no error.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.emulator import Emulator
from gateway.legs.webrtc.sender import Sender
from gateway.media.audio import MODEL_INPUT_RATE, PTIME, AudioFrame
from gateway.media.codec import NATIVE_RATE, Codec, CodecName
from tests.audio import find_chirps, numbered, read_numbers
from tests.e2e.running import Gateway, running_gateway
from tests.fuzz.doors import FRAGMENT, seeds
from tests.fuzz.engine import Finding
from tests.fuzz.mutate import join, mutate_bytes, mutate_lines, split
from tests.legs.caller import Caller

SECONDS = 8.0
"""Of numbered speech in one round."""

QUIET = 1.0
"""Seconds before and after it, in which the call comes up and the last packets arrive."""

WHOLE = 0.99
"""Share of the numbered frames that must be read at the model. All are there when nothing is wrong; one at the edge of a loaded
machine's pause may be hard to read."""

STALL = 0.2
"""Seconds that this process may stand still without a hole in what it sends (the receiver's own limit is 0.25)."""

KEPT = 4_000
"""Datagrams remembered for a finding."""

LORIS = 20
PATIENCE = 20.0
"""Seconds within which the server must have ended a connection that says one byte a second."""

Attack = Callable[["Siege", float], Awaitable[None]]


class Siege:
    """One round: a call, an attack, and what was found."""

    def __init__(self, gateway: Gateway, draw: random.Random) -> None:
        self.gateway = gateway
        self.draw = draw
        self.sent: deque[bytes] = deque(maxlen=KEPT)
        self.faults: list[tuple[bytes, str]] = []
        self.captured: deque[bytes] = deque(maxlen=400)
        self.inputs = 0
        self.late = 0.0
        self.caller = Caller()
        self.remote: tuple[str, int] = ("127.0.0.1", 0)
        self.own: Callable[[bytes, Any], None] = lambda *_: None

    async def call(self) -> str:
        """Bring the call up and tap what the caller puts on the wire."""
        location, answer = await self.gateway.whip(await self.caller.offer(), "plain")
        for protocol in self.caller.dtls.transport._connection._protocols:
            self.own = send = protocol.transport.sendto
            protocol.transport = _Tapped(protocol.transport, self.captured, send)
        await self.caller.answered(answer)
        await self.caller.connected()
        port = next(line for line in answer.split("\r\n") if line.startswith("a=candidate:")).split(" ")[5]
        self.remote = ("127.0.0.1", int(port))
        return location

    async def speak(self, seconds: float) -> None:
        """Numbered frames in real time, silence around them."""
        codec = Codec(CodecName.OPUS, self.caller.payload_type, 48_000, 2)
        rate = NATIVE_RATE[CodecName.OPUS]
        sender = Sender(codec, ssrc=self.caller.ssrc or 1, cname="fuzz", ntp_offset=0.0)
        quiet = bytes(2 * round(QUIET * rate))
        pcm = quiet + numbered(round(seconds / PTIME), rate) + quiet
        step, loop = 2 * round(PTIME * rate), asyncio.get_running_loop()
        start = loop.time()
        for number, offset in enumerate(range(0, len(pcm), step)):
            packet = sender.packet(AudioFrame(pcm[offset : offset + step], rate, 0.0), loop.time())
            if packet is not None:
                await self.caller.dtls._send_rtp(packet)
            ahead = start + (number + 1) * PTIME - loop.time()
            self.late = max(self.late, -ahead)
            await asyncio.sleep(max(0.0, ahead))

    def heard(self, record: Any, seconds: float) -> str:
        """What is wrong with what the model heard; empty: nothing."""
        frames = round(seconds / PTIME)
        pcm = record.received
        delay = find_chirps(pcm, MODEL_INPUT_RATE, frames, longest=len(pcm) / 2 / MODEL_INPUT_RATE - 1.0)
        numbers = read_numbers(pcm, MODEL_INPUT_RATE, delay)[:frames]
        right = sum(number == index % 64 for index, number in enumerate(numbers))
        if right >= WHOLE * frames or self.late > STALL:  # a caller that stood still has itself to blame
            return ""
        return f"{right} of {frames} of the caller's frames are whole at the model; packets left up to {self.late:.3f} s late"

    def answered(self) -> str:
        """What is wrong with what the caller heard."""
        numbers = [packet.sequence for packet in self.caller.packets]
        holes = sum((b - a) % 65_536 != 1 for a, b in itertools.pairwise(numbers))
        return "" if len(numbers) > 50 and not holes else f"{holes} holes in {len(numbers)} packets of the answer"


class _Tapped:
    """A datagram transport that shows what is sent."""

    def __init__(self, transport: Any, seen: deque[bytes], send: Callable[[bytes, Any], None]) -> None:
        self._transport, self._seen, self._send = transport, seen, send

    def sendto(self, data: bytes, to: Any) -> None:
        self._seen.append(bytes(data))
        self._send(data, to)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


# --- UDP ---


async def _pour(siege: Siege, seconds: float, rate: int, make: Callable[[], tuple[bytes, bool]]) -> None:
    """`rate` datagrams a second from eight strangers' sockets, or from the caller's own where `make` says so."""
    loop = asyncio.get_running_loop()
    strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    for sock in strangers:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
    try:
        start, sent = loop.time(), 0
        while (now := loop.time()) < start + seconds:
            while sent < (now - start) * rate:
                sent += 1
                data, own = make()
                siege.sent.append(data)
                if own:
                    siege.own(data, siege.remote)
                elif data:
                    with suppress(OSError):
                        strangers[sent % 8].sendto(data[:1_472], siege.remote)
            await asyncio.sleep(0.005)
        siege.inputs += sent
    finally:
        for sock in strangers:
            sock.close()


async def noise(siege: Siege, seconds: float) -> None:
    """Anything, with the first byte of every protocol on this port."""
    draw = siege.draw

    def make() -> tuple[bytes, bool]:
        first = draw.choice((0, 1, 2, 19, 20, 22, 23, 63, 64, 127, 128, 144, 191, 192, 255))
        return bytes((first,)) + draw.randbytes(draw.choice((0, 1, 11, 19, 20, 40, 100, 1_400))), False

    await _pour(siege, seconds, 300, make)


async def mutants(siege: Siege, seconds: float) -> None:
    """Mutated real packets, a third of them with the caller's own address on them."""
    draw = siege.draw
    old = [*seeds("stun"), *seeds("dtls"), *seeds("srtp")]

    def make() -> tuple[bytes, bool]:
        data = draw.choice(siege.captured) if siege.captured and draw.random() < 0.8 else draw.choice(old)
        return mutate_bytes(draw, data)[:1_472], draw.random() < 0.33

    await _pour(siege, seconds, 300, make)


async def flood(siege: Siege, seconds: float) -> None:
    """Both at once, and copies of real packets from the wrong address, 2,000 a second."""
    draw = siege.draw

    def make() -> tuple[bytes, bool]:
        if draw.random() < 0.5 and siege.captured:
            return draw.choice(siege.captured), False
        return bytes((draw.randrange(256),)) + bytes(draw.choice((11, 100, 1_200))), False

    await _pour(siege, seconds, 2_000, make)


# --- HTTP ---


def _request(draw: random.Random, host: str) -> bytes:
    """A good request, mutated or badly framed."""
    offer = draw.choice(seeds("offer"))
    body = draw.choice((offer, FRAGMENT, b"", b"{}"))
    if draw.random() < 0.5:
        body = mutate_lines(draw, body)
    kind = draw.choice((b"application/sdp", b"application/trickle-ice-sdpfrag", b"application/json", b"text/plain"))
    path = draw.choice(
        (
            b"/whip",
            b"/whip",
            b"/whip?profile=plain",
            b"/whip/gw-0",
            b"/v1/calls",
            b"/v1/calls/x/hangup",
            b"/v1/profiles",
            b"/",
            b"/livez",
        )
    )
    method = draw.choice(
        (b"POST", b"POST", b"GET", b"PATCH", b"DELETE", b"OPTIONS", b"PUT", b"HEAD", b"TRACE", b"CONNECT", b"post")
    )
    head = [method + b" " + path + b" HTTP/1.1", b"Host: " + host.encode(), b"Content-Type: " + kind]
    if draw.random() < 0.4:
        extra = (
            *(
                b'If-Match: "x"',
                b"Authorization: Bearer \xff\xfe",
                b"Origin: null",
                b"Expect: 100-continue",
                b"Connection: close",
            ),
            *(b"Upgrade: websocket", b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: br", b"Range: bytes=0-"),
        )
        head.append(draw.choice(extra))
    if draw.random() < 0.3:
        sizes = (b"%x" % len(body), b"0", b"-1", b"FFFFFFFFFFFFFFFFF", b"zz", b"1;a=b", b"")
        head.append(b"Transfer-Encoding: chunked")
        body = draw.choice(sizes) + b"\r\n" + body + b"\r\n" + draw.choice((b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b""))
    else:
        sizes = (b"%d" % len(body),) * 6 + (b"0", b"-1", b"999999", b"1e3", b"5, 5", b"+4")
        head.append(b"Content-Length: " + draw.choice(sizes))
    raw = b"\r\n".join(head)
    if draw.random() < 0.4:
        raw = mutate_lines(draw, raw)
    raw += b"\r\n\r\n" + body
    return raw * draw.choice((1, 1, 1, 1, 2, 20)) if len(raw) < 2_000 else raw


async def strike(gateway: Gateway, raw: bytes, patience: float = 1.0) -> str:
    """One raw connection; what is wrong with the response, empty: nothing."""
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        with suppress(ConnectionError):
            writer.write(raw)
            await writer.drain()
        answer = b""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(patience):
                while chunk := await reader.read(65_536):
                    answer += chunk
                    if b"\r\n\r\n" in answer and len(answer) > 200:
                        break
    finally:
        writer.close()
    status = answer.split(b"\r\n", 1)[0]
    # A request line without a version is one of HTTP/0.9 (RFC 1945 §4.1), and answered in kind.
    if answer and not status.startswith((b"HTTP/1.", b"HTTP/0.9 ")):
        return f"no HTTP: {answer[:80]!r}"
    if b" 500 " in status or b" 502 " in status or b"Traceback" in answer:
        return answer[:600].decode("utf-8", "replace")
    return ""


async def http(siege: Siege, seconds: float) -> None:
    """Eight at a time, and beside them those who hardly say anything."""
    until = time.monotonic() + seconds
    lorises = [asyncio.ensure_future(_loris(siege.gateway)) for _ in range(LORIS)]

    async def one() -> None:
        while time.monotonic() < until:
            raw = _request(siege.draw, "127.0.0.1")
            siege.inputs += 1
            siege.sent.append(raw)
            if wrong := await strike(siege.gateway, raw):
                siege.faults.append((raw, wrong))

    await asyncio.gather(*(one() for _ in range(8)))
    slow = [took for took in await asyncio.gather(*lorises) if took > PATIENCE]
    if slow:
        siege.faults.append((b"GET / HTTP/1.1\r\nX", f"{len(slow)} of {LORIS} slow connections were kept for {PATIENCE:g} s"))


async def _loris(gateway: Gateway) -> float:
    """A byte of a request a second, until the server has had enough: seconds that took."""
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()
    try:
        ended = asyncio.ensure_future(reader.read())
        for byte in itertools.cycle(b"GET /livez HTTP/1.1\r\nX-Slow: y"):
            if ended.done() or time.monotonic() - began > PATIENCE + 1.0:
                break
            with suppress(ConnectionError):
                writer.write(bytes((byte,)))
            await asyncio.wait([ended], timeout=1.0)
        ended.cancel()
        await asyncio.wait([ended])
    finally:
        writer.close()
    return time.monotonic() - began


LIVE: dict[str, Attack] = {"udp-noise": noise, "udp-mutants": mutants, "udp-flood": flood, "http": http}


# --- the rounds ---


async def besiege(names: Sequence[str], seed: int, seconds: float) -> list[Finding]:
    """Rounds of these attacks, each at least once, until the time is over."""
    findings: list[Finding] = []
    done = dict.fromkeys(names, 0)
    async with Emulator(port=0, persona="talker", silence_duration=0.5) as emulator:
        service = {"GEMINI_API_KEY": "key", "GATEWAY_GEMINI_BASE_URL": emulator.base_url}
        service |= {"GATEWAY_GEMINI_CA_FILE": str(emulator.ca_file), "GATEWAY_MAX_CALLS": "20"}
        config = str(Path(__file__).parent / "plain.toml")
        async with running_gateway("--config", config, **service) as gateway:
            until = time.monotonic() + seconds
            for number in itertools.count():
                if number >= len(names) and time.monotonic() + SECONDS + 2 * QUIET > until:
                    break
                name = names[number % len(names)]
                siege = Siege(gateway, random.Random(f"{seed}:{name}:{number}"))
                faults = await _round(siege, emulator, LIVE[name])
                done[name] += siege.inputs
                findings += [Finding(name, number, data, why) for data, why in faults]
            await gateway.nobody_left(40.0)
            if (code := await gateway.stop()) != 0:
                findings.append(Finding("exit", 0, b"", f"exit code {code}"))
    for name, inputs in done.items():
        print(f"{name:12} {inputs:8,} inputs, a call going on", flush=True)
    return findings


async def _round(siege: Siege, emulator: Emulator, attack: Attack) -> list[tuple[bytes, str]]:
    gateway = siege.gateway
    await gateway.nobody_left(40.0)  # what mutated offers began is over when nobody checks it
    errors = len(_errors(gateway))
    location = await siege.call()
    record = list(emulator.sessions)[-1]
    attacking = asyncio.ensure_future(attack(siege, SECONDS))
    await siege.speak(SECONDS)
    await attacking
    async with asyncio.timeout(10):
        while len(record.received) < 2 * MODEL_INPUT_RATE * (SECONDS + QUIET):
            await asyncio.sleep(0.05)
    await gateway.hang_up(location)
    await siege.caller.close()
    everything = join(list(siege.sent))
    faults = list(siege.faults)
    faults += [(everything, why) for why in (siege.heard(record, SECONDS), siege.answered()) if why]
    said = {f"{line.get('message')} {line.get('error')}": line for line in _errors(gateway)[errors:]}
    faults += [(everything, str(line)[:3_000]) for line in said.values()]
    async with gateway.http.get(f"{gateway.url}/livez") as response:
        if response.status != 200:
            faults.append((everything, f"/livez: {response.status}"))
    return faults


def _errors(gateway: Gateway) -> list[dict[str, Any]]:
    """Log lines that no stranger may cause: errors, and what is no line of the log at all."""
    return [line for line in gateway.log if line.get("level", "error") in ("error", "critical")]


async def replayed(name: str, data: bytes) -> str:
    """Play what the live attack `name` left behind to a fresh gateway; what is wrong, empty: it holds."""
    async with running_gateway("--emulator") as gateway:
        if name == "http":
            wrong = [await strike(gateway, raw) for raw in ([data] if data[:1].isalpha() else split(data))]
        else:
            port = int(gateway.said("ready")[0]["fields"]["udp_port"])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for datagram in split(data):
                    sock.sendto(datagram[:1_472], ("127.0.0.1", port))
                    await asyncio.sleep(0)
            wrong = []
        async with gateway.http.get(f"{gateway.url}/livez") as response:
            wrong.append("" if response.status == 200 else f"/livez: {response.status}")
        wrong += [str(line) for line in _errors(gateway)]
    return "\n".join(each for each in wrong if each)
