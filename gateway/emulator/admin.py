"""The HTTP side of the emulator: reading the upgrade request, the service's REST, and `/emu` for tests and demonstrations."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections import Counter
from collections.abc import Callable

import orjson
from aiohttp import web

from gateway.emulator import sound
from gateway.emulator.faults import FAULTS, OptionError, Options, merge_options, parse_options
from gateway.emulator.models import MODELS, Backend
from gateway.emulator.schema import WireError
from gateway.emulator.setup_check import OPTION_MARK
from gateway.emulator.world import Upgrade, World

_DEVELOPER_PATH = re.compile(
    r"/+(?:.*/)?ws/google\.ai\.generativelanguage\.(v1|v1beta|v1alpha)\.GenerativeService\.BidiGenerateContent(Constrained)?"
)
_VERTEX_PATH = re.compile(r"/+(?:.*/)?ws/google\.cloud\.aiplatform\.(v1|v1beta1)\.LlmBidiService/BidiGenerateContent")

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}

BreakSession = Callable[[str | None, Options], bool]


def _json(value: object, status: int = 200) -> web.Response:
    body = orjson.dumps(value, default=_readable, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, status=status, content_type="application/json")


def _readable(value: object) -> str:
    return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)


def _refusal(status: int, message: str) -> web.HTTPException:
    error = {"error": {"code": status, "message": message, "status": _STATUS[status]}}
    made: web.HTTPException
    match status:
        case 401:
            made = web.HTTPUnauthorized()
        case 403:
            made = web.HTTPForbidden()
        case 404:
            made = web.HTTPNotFound()
        case 429:
            made = web.HTTPTooManyRequests()
        case 503:
            made = web.HTTPServiceUnavailable()
        case _:
            made = web.HTTPBadRequest()
    made.content_type = "application/json"
    made.body = orjson.dumps(error)
    return made


def _credential(request: web.Request) -> tuple[str, str]:
    """(key, options after the mark)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    written = (
        (token.strip() if scheme in ("Token", "Bearer") else "")
        or request.headers.get("x-goog-api-key", "")
        or request.query.get("access_token", "")
        or request.query.get("key", "")
    )
    key, _, options = written.partition(OPTION_MARK)
    return key, options


def upgrade_of(request: web.Request, world: World, now: float) -> Upgrade:
    """The upgrade request as a value. Raises aiohttp's HTTP errors for what is refused before the upgrade."""
    try:
        upgrade = _upgrade(request, world)
    except web.HTTPException as refused:
        world.upgrades.append((now, refused.status))
        raise
    world.upgrades.append((now, 101))
    return upgrade


def _upgrade(request: web.Request, world: World) -> Upgrade:
    if found := _DEVELOPER_PATH.fullmatch(request.path):
        backend, constrained = Backend.DEVELOPER, found[2] is not None
    elif found := _VERTEX_PATH.fullmatch(request.path):
        backend, constrained = Backend.VERTEX, False
    else:
        raise _refusal(404, "The requested URL was not found on this server.")
    if found[1] not in world.settings.versions:
        raise _refusal(404, f"API version {found[1]} is not served here.")
    key, key_options = _credential(request)
    try:
        headers = [request.headers.get("x-emulator-faults", "")]
        if persona := request.headers.get("x-emulator-persona", ""):
            headers.append(f"persona={persona}")
        options = merge_options(
            (
                world.default_options(),
                world.options(key_options),
                world.options(request.query_string, strict=False),
                *(world.options(words) for words in headers),
            )
        )
    except OptionError as error:
        raise _refusal(400, f"emulator: {error}") from None
    for status in (401, 403, 404, 429, 503):
        if f"http_{status}" in options:
            raise _refusal(status, f"{_STATUS[status]} (on demand)")
    if world.settings.refuse_keys_by_http and key and not world.key_is_valid(key):
        raise _refusal(401, "API key not valid. Please pass a valid API key.")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise _refusal(400, "A WebSocket upgrade is expected here.")
    return Upgrade(request.path, backend, found[1], constrained, key, options, request.headers.get("x-emulator-tag", "")[:200])


def admin_routes(world: World, break_session: BreakSession) -> list[web.RouteDef]:
    """Every route but the WebSocket's."""

    async def sessions(request: web.Request) -> web.Response:
        del request
        upgrades = Counter(str(status) for _, status in world.upgrades)
        now = asyncio.get_running_loop().time()  # of the counts below, for whoever compares two looks
        return _json({"at": now, "sessions": [record.brief() for record in world.records], "upgrades": upgrades})

    async def session(request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        if wanted == "latest" and len(world.records):
            wanted = world.records[-1].session_id
        if wanted not in world.records:
            raise _refusal(404, "no such session")
        record = world.records[wanted]
        match request.match_info.get("file"):
            case "audio.wav":
                return web.Response(body=sound.wav(record.received, record.heard.rate), content_type="audio/wav")
            case "answer.wav":
                return web.Response(body=sound.wav(record.sent, sound.OUTPUT_RATE), content_type="audio/wav")
            case _:
                return _json(record.view(asyncio.get_running_loop().time()))

    async def list_faults(request: web.Request) -> web.Response:
        del request
        rows = [{"name": name, "takes": kind.takes.value, "does": kind.does} for name, kind in FAULTS.items()]
        return _json({"faults": rows})

    async def order_faults(request: web.Request) -> web.Response:
        """`{"session": id | tag | "latest" | "all" | "next" | "every", "faults": "goaway=0,5"}`.

        `all` are those that run now, `next` the next `count` (1) to come, `every` is every one to come until ordered otherwise.
        """
        try:
            body = orjson.loads(await request.read())
            target, count = body.get("session", "latest"), int(body.get("count", 1))
            options = parse_options(body["faults"], seed=world.settings.seed)
        except (orjson.JSONDecodeError, OptionError, KeyError, AttributeError, TypeError, ValueError) as error:
            raise _refusal(400, f"emulator: {error}") from None
        if target == "every":
            world.set_defaults(str(body["faults"]))
            return _json({"sessions": 0})
        if target == "next":
            done = sum(break_session(None, options) for _ in range(min(count, 1000)))
        elif target == "all":
            done = sum(break_session(session_id, options) for session_id in list(world.running))
        else:
            if target == "latest":
                target = next(reversed(world.running), "")
            done = int(break_session(str(target), options))
        if not done and target != "all":
            raise _refusal(404, "no such session runs")
        return _json({"sessions": done})

    async def create_token(request: web.Request) -> web.Response:
        if request.match_info["version"] not in ("v1alpha", "v1beta"):
            raise _refusal(404, "Method not found.")
        key, _ = _credential(request)
        if not key:
            raise _refusal(403, "Method doesn't allow unregistered callers.")
        if not world.key_is_valid(key):
            raise _refusal(400, "API key not valid. Please pass a valid API key.")
        raw = await request.read()
        try:
            body = orjson.loads(raw) if raw else None
            name = f"auth_tokens/{world.opaque()}"
            return _json(world.tokens.create(name, body, datetime.datetime.now(datetime.UTC)))
        except (orjson.JSONDecodeError, WireError) as error:
            raise _refusal(400, str(error)) from None

    async def models(request: web.Request) -> web.Response:
        rows = [
            {
                "name": f"models/{model.name}",
                "displayName": model.name,
                "supportedGenerationMethods": ["bidiGenerateContent"],
                "inputTokenLimit": world.settings.context_window,
            }
            for model in MODELS.values()
            if Backend.DEVELOPER in model.backends
        ]
        if (wanted := request.match_info.get("name")) is None:
            return _json({"models": rows})
        for row in rows:
            if row["name"] == f"models/{wanted}":
                return _json(row)
        raise _refusal(404, f"models/{wanted} is not found for API version {request.match_info['version']}.")

    return [
        web.get("/emu/sessions", sessions),
        web.get("/emu/sessions/{id}", session),
        web.get("/emu/sessions/{id}/{file:audio\\.wav|answer\\.wav}", session),
        web.get("/emu/faults", list_faults),
        web.post("/emu/faults", order_faults),
        web.post("/{version:v[0-9a-z]+}/auth_tokens", create_token),
        web.get("/{version:v1|v1beta|v1alpha}/models", models),
        web.get("/{version:v1|v1beta|v1alpha}/models/{name}", models),
    ]
