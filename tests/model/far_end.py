"""A scripted far end for one model session: TLS and WebSocket are real, what it says is the test's."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

Script = Callable[["FarEnd", ServerConnection], Awaitable[None]]


@dataclass
class FarEnd:
    """What the far end has seen, and where it is."""

    base_url: str = ""
    ca_file: str = ""
    setups: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    messages: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    close_codes: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue)

    async def record(self, socket: ServerConnection) -> None:
        """Read until the gateway hangs up; every message is decoded into `messages`."""
        async for raw in socket:
            self.messages.put_nowait(json.loads(raw))


def certificate(directory: Path) -> Path:
    """A self-signed P-256 certificate for 127.0.0.1 with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "far end")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "far_end.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + signed.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(pem)
    return path


def pretty(message: object) -> bytes:
    """A message as the service sends it: a binary frame of indented JSON."""
    return (json.dumps(message, indent=2) + "\n").encode()


def speech(pcm: bytes, **content: object) -> dict[str, Any]:
    """A message with audio, 24 kHz."""
    blob = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm).decode()}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}, **content}}


SETUP_COMPLETE = pretty({"setupComplete": {}})


@asynccontextmanager
async def far_end(
    directory: Path, script: Script, *, confirm: bytes | None = SETUP_COMPLETE, status: int = 101
) -> AsyncIterator[FarEnd]:
    """Serve `script`, which runs after the setup has been confirmed with `confirm` (None: it never is)."""
    pem = certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    end = FarEnd(ca_file=str(pem))

    async def converse(socket: ServerConnection) -> None:
        end.setups.append(json.loads(await socket.recv()))
        if confirm is not None:
            await socket.send(confirm)
        await script(end, socket)
        await socket.wait_closed()
        end.close_codes.put_nowait(socket.close_code)

    def process_request(_: ServerConnection, request: Request) -> Response | None:
        end.requests.append(request)
        if status == 101:
            return None
        return Response(status, "No", Headers({"Content-Length": "2"}), b"{}")

    async with serve(
        converse,
        "127.0.0.1",
        0,
        ssl=context,
        compression=None,
        max_size=None,
        ping_interval=None,
        process_request=process_request,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        end.base_url = f"https://127.0.0.1:{port}"
        yield end
