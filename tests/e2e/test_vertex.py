"""A gateway on Vertex AI: its process signs in with a service account's file and calls the emulator's Vertex side."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.dial import DialSettings, dial
from gateway.emulator import Emulator
from tests.audio import speech
from tests.e2e.running import running_gateway

MODEL = "gemini-live-2.5-flash-native-audio"


@asynccontextmanager
async def sign_in(tokens: list[str], status: int = 200) -> AsyncIterator[str]:
    """The token endpoint of Google's sign-in (RFC 7523): its URL. What was asked with goes to `tokens`."""

    async def answer(request: web.Request) -> web.Response:
        tokens.append(str((await request.post())["assertion"]))
        said = {"access_token": "ya29.canary", "expires_in": 3600} if status == 200 else {"error": "invalid_grant"}
        return web.json_response(said, status=status)

    app = web.Application()
    app.router.add_post("/token", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/token"
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()


def settings(emulator: Emulator, folder: Path, token_url: str, private_key: str) -> dict[str, str]:
    """The environment of a gateway that is somebody on Google Cloud."""
    account = {"type": "service_account", "client_email": "gw@shop-1.iam.example", "private_key": private_key}
    (folder / "account.json").write_text(json.dumps(account | {"token_uri": token_url, "project_id": "shop-1"}))
    (folder / "gateway.toml").write_text('[profiles.quiet]\ntitle = "No greeting"\n')
    return {
        "GATEWAY_CONFIG": str(folder / "gateway.toml"),
        "GATEWAY_GEMINI_BACKEND": "vertex",
        "GATEWAY_GEMINI_MODEL": MODEL,
        "GATEWAY_GEMINI_BASE_URL": emulator.base_url,
        "GATEWAY_GEMINI_CA_FILE": str(emulator.ca_file),
        "GOOGLE_CLOUD_PROJECT": "shop-1",
        "GOOGLE_CLOUD_LOCATION": "us-central1",
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
    }


async def ring(url: str, folder: Path) -> tuple[int, list[dict[str, object]], str]:
    """A call with a second of speech: exit status, what happened, what was complained about."""
    with wave.open(str(folder / "question.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(speech(16_000, 1.0))
    out, complaints = io.StringIO(), io.StringIO()
    question = DialSettings(url=url, wav=folder / "question.wav", json=True, profile="quiet")
    async with asyncio.timeout(60):
        status = await dial(question, out=out, complaints=complaints)
    return status, [json.loads(line) for line in out.getvalue().splitlines()], complaints.getvalue()


def test_a_call_over_vertex_ai(tmp_path: Path, private_key: str) -> None:
    async def body() -> None:
        asked: list[str] = []
        async with Emulator(port=0) as emulator, sign_in(asked) as token_url:
            environ = settings(emulator, tmp_path, token_url, private_key)
            async with running_gateway(**environ) as gateway:
                assert gateway.emulator == "", "it has started an emulator of its own"
                status, events, complaints = await ring(gateway.url, tmp_path)
                assert (status, complaints) == (0, "")
                assert [event["event"] for event in events] == ["connected", "caller", "model", "turn", "ended"]
                assert "gateway_model_tokens_total" in await gateway.metrics()
                said = json.dumps(gateway.log)
                assert "ya29" not in said
                assert "PRIVATE" not in said
            record = emulator.sessions[-1]
            assert record.path.endswith("/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent")
            assert record.setup is not None
            assert record.setup["model"] == f"projects/shop-1/locations/us-central1/publishers/google/models/{MODEL}"
            assert record.setup["sessionResumption"]["transparent"] is True
            assert record.violations == []
            assert len(asked) == 1

    asyncio.run(body())


def test_refused_credentials_are_told_to_the_caller(tmp_path: Path, private_key: str) -> None:
    async def body() -> None:
        async with Emulator(port=0) as emulator, sign_in([], status=400) as token_url:
            async with running_gateway(**settings(emulator, tmp_path, token_url, private_key)) as gateway:
                status, _, complaints = await ring(gateway.url, tmp_path)
                assert (status, complaints) == (1, "gateway: Google refuses the gateway's credentials\n")
            assert not emulator.sessions

    asyncio.run(body())


def test_the_gateways_own_emulator_speaks_vertex_too(tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "g.toml").write_text(
            '[model]\nbackend = "vertex"\nproject = "shop-1"\nlocation = "us-central1"\n'
            '[backends.key]\nbackend = "developer"\n[profiles.quiet]\nbackend = "key"\n'
        )
        async with running_gateway("--emulator", "--config", str(tmp_path / "g.toml")) as gateway:
            status, _, complaints = await ring(gateway.url, tmp_path)
            assert (status, complaints) == (0, "")

    asyncio.run(body())
