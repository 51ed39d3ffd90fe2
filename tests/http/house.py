"""A gateway's HTTP side with a leg and a model that answer at once, and an API description to hold it to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import yaml
from aiohttp import web

from gateway.clock import Clock
from gateway.events import LegKind
from gateway.http.app import make_app
from gateway.http.listen import listen
from gateway.http.whip import WhipLeg
from gateway.profile import Profile
from gateway.registry import Registry
from gateway.wire.sdp import Offer
from gateway.wire.whip import Fragment
from tests.fakes import Diary, FakeLeg, FakeModel

OFFERS = Path(__file__).parent.parent / "wire" / "offers"
OFFER = (OFFERS / "chrome-engine.sdp").read_bytes()
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
ANSWER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n"
API: dict[str, Any] = yaml.safe_load(files("gateway.http").joinpath("openapi.yaml").read_bytes())
PROFILES = {
    "default": Profile(title="Assistant"),
    "sales": Profile(name="sales", public=False),
    "help": Profile(name="help", title="Help desk"),
}


class FakeWhipLeg(FakeLeg):
    """A FakeLeg that takes candidates."""

    def __init__(self, offer: Offer) -> None:
        super().__init__()
        self.etag = "ice-1"
        self.offer = offer
        self.fragments: list[Fragment] = []
        self.losses: list[tuple[float, float, int]] = []

    async def add_candidates(self, fragment: Fragment) -> None:
        self.fragments.append(fragment)

    def lose(self, share: float, seconds: float, seed: int) -> None:
        self.losses.append((share, seconds, seed))


@dataclass
class Counted:
    """A Watch that remembers."""

    seen: list[tuple[object, ...]] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def call_attempted(self, leg: str, *, eligible: bool) -> None:
        assert leg == LegKind.WEBRTC
        self.seen.append(("attempt", eligible))

    def admission_refused(self, reason: str) -> None:
        self.seen.append(("refused", reason))

    def auth_failed(self, surface: str, reason: str) -> None:
        self.seen.append(("auth", surface, reason))

    def sdp_rejected(self, reason: str) -> None:
        self.seen.append(("sdp", reason))

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.requests.append((route, method, status))


@dataclass
class House:
    """What a test holds in its hands."""

    http: aiohttp.ClientSession
    registry: Registry
    diary: Diary
    watch: Counted
    app: web.Application
    legs: list[FakeWhipLeg] = field(default_factory=list)
    model: FakeModel = field(default_factory=lambda: FakeModel(delay=0.0))
    fail: Exception | None = None
    """Raised instead of an answer."""
    broken: list[tuple[str, str]] = field(default_factory=list)
    has_session: bool = True

    def break_model(self, call_id: str, words: str) -> bool:
        self.broken.append((call_id, words))
        return self.has_session

    async def answer(self, offer: Offer, offered_at: float) -> tuple[WhipLeg, str]:
        assert 0 <= time.monotonic() - offered_at < 60
        if self.fail is not None:
            raise self.fail
        self.legs.append(FakeWhipLeg(offer))
        return self.legs[-1], ANSWER

    async def call(self, **headers: str) -> aiohttp.ClientResponse:
        """POST a good offer."""
        return await self.http.post("/whip", data=OFFER, headers=SDP | headers)


@asynccontextmanager
async def house(max_calls: int = 3, **options: Any) -> AsyncIterator[House]:
    """A gateway that listens on a free port of this machine."""
    loop = asyncio.get_running_loop()
    diary, watch, model = Diary(), Counted(), FakeModel(delay=0.0)
    registry = Registry(
        worker="w0",
        max_calls=max_calls,
        model=model,
        model_alias="fake",
        clock=Clock(loop),
        observe=diary,
        loop=loop,
    )
    made = House(None, registry, diary, watch, None, model=model)  # type: ignore[arg-type]  # the two are filled in below
    options = {"model": "gemini-3.8-live", "emulator": True, "watch": watch, "break_model": made.break_model} | options
    made.app = make_app(registry, made.answer, options.pop("profiles", PROFILES), **options)
    listener = await listen(made.app, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(listener.url) as made.http:
            yield made
    finally:
        await registry.drain(0.0)
        await listener.close()


def run(body: Callable[[House], Awaitable[None]], **options: Any) -> None:
    """One test against a fresh gateway."""

    async def main() -> None:
        async with asyncio.timeout(20.0), house(**options) as gateway:
            await body(gateway)

    asyncio.run(main())


async def problem(response: aiohttp.ClientResponse, status: int, code: str) -> Mapping[str, Any]:
    """The problem in the response, which must be of that status and code, and as described."""
    assert (response.status, response.content_type) == (status, "application/problem+json"), await response.text()
    found: Mapping[str, Any] = await response.json()
    assert (found["status"], found["code"]) == (status, code), found
    await described(response)
    return found


async def described(response: aiohttp.ClientResponse) -> None:
    """The response is one that the API description tells of: status, type, body and headers."""
    template = next((path for path in API["paths"] if _fits(path, response.url.path)), None)
    assert template is not None, f"{response.url.path} is not described"
    operation = API["paths"][template].get(response.method.lower())
    assert operation is not None, f"{response.method} {template} is not described"
    answer = _resolve(operation["responses"].get(str(response.status)))
    assert answer is not None, f"{response.method} {template} does not tell of {response.status}"
    for name, header in answer.get("headers", {}).items():
        header = _resolve(header)
        assert name in response.headers or not header.get("required"), f"{name} is missing"
        if name in response.headers:
            _validate(response.headers[name], header["schema"])
    if "content" not in answer:
        assert not await response.read()
        return
    assert response.content_type in answer["content"], response.content_type
    if response.content_type.endswith("json"):
        _validate(await response.json(), answer["content"][response.content_type]["schema"])


def _fits(template: str, path: str) -> bool:
    parts, given = template.split("/"), path.split("/")
    return len(parts) == len(given) and all(
        want == got or (want.startswith("{") and got) for want, got in zip(parts, given, strict=True)
    )


def _resolve(value: Any) -> Any:
    if isinstance(value, dict) and "$ref" in value:
        found: Any = API
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return _resolve(found)
    return value


def _validate(value: Any, schema: dict[str, Any]) -> None:
    whole = {"components": API["components"], **schema}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)
