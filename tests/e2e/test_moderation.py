"""Every field of a profile's moderation, each in a scenario with the emulator that fails when the field is ignored."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.call import Call
from gateway.dialog.history import Role
from gateway.dialog.moderation import Moderation, Ruling, Who
from gateway.events import CallerSaid, EndReason, ModelHeard, ModelSaid, Moderated
from gateway.profile import Profile
from gateway.toolspec import ToolKind, ToolSpec, Webhook
from tests.audio import silence
from tests.e2e.test_policy import RATE, WORDS, Stage, play

HOOK = ToolSpec("moderation", ToolKind.PYTHON, path="tests.model.tools.judges:judge", timeout=5.0)
ASIDE = " That was all."


def judged(**options: Any) -> Profile:
    return Profile(greeting="Greet.", moderation=Moderation(**({"hook": HOOK} | options)))


def scenario(folder: Path, say: str, understood: str = "Hello.") -> Path:
    """The model says this, and takes the caller to have said that."""
    path = folder / "scenario.json"
    path.write_text(
        json.dumps({"turns": [{"say": say, "tone": 440, "seconds": 0.6}], "otherwise": {"say": "Well.", "input": understood}})
    )
    return path


def words(stage: Stage, kind: type) -> str:
    return "".join(event.text for event in stage.diary.of(kind))  # type: ignore[attr-defined]


def history(call: Call) -> str:
    return "|".join(f"{said.role.value}: {said.text}" for said in call.history.turns)


def rulings(stage: Stage) -> list[tuple[str, str, str, bool]]:
    events: list[Any] = stage.diary.of(Moderated)
    return [(event.who, event.action, event.reason, event.failed) for event in events]


def test_what_the_model_says_is_read_only_as_it_was_judged(tmp_path: Path) -> None:
    profile = judged()

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        await stage.until(lambda: words(stage, ModelHeard).endswith("all."))
        assert words(stage, ModelSaid) == words(stage, ModelHeard) == "Hello. [hidden] You are rude. That was all."
        assert rulings(stage) == [("model", "redact", "a secret", False), ("model", "flag", "rude", False)]
        await stage.until(lambda: history(stage.live) == f"{Role.MODEL.value}: Hello. [hidden] You are rude. That was all.")
        assert stage.leg.heard(), "the sound is as it was"

    play(body, profile, scenario=scenario(tmp_path, "Hello. The secret is 1234. You are rude." + ASIDE))


def test_what_the_caller_says_is_read_only_as_it_was_judged(tmp_path: Path) -> None:
    profile = judged()

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        await stage.until(lambda: stage.leg.heard())
        stage.hear(silence(RATE, 0.3), WORDS, silence(RATE, 1.0))
        await stage.until(lambda: words(stage, CallerSaid))
        assert words(stage, CallerSaid) == "[hidden]"
        await stage.until(lambda: "user: [hidden]" in history(stage.live))

    play(body, profile, scenario=scenario(tmp_path, "Hi.", "My secret is 1234."))


@pytest.mark.parametrize("who", list(Who))
def test_only_those_are_judged_of_whom_the_profile_says_so(who: Who, tmp_path: Path) -> None:
    profile = judged(who=frozenset({who}))

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        await stage.until(lambda: stage.leg.heard())
        stage.hear(silence(RATE, 0.3), WORDS, silence(RATE, 1.0))
        await stage.until(lambda: words(stage, CallerSaid) and "all." in words(stage, ModelHeard))
        assert ("[hidden]" in words(stage, CallerSaid)) == (who is Who.CALLER)
        assert ("[hidden]" in words(stage, ModelHeard)) == (who is Who.MODEL)

    play(body, profile, scenario=scenario(tmp_path, "The secret is 5." + ASIDE, "My secret is 6."))


def test_a_hook_can_hang_up(tmp_path: Path) -> None:
    profile = judged()
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"turns": [{"say": "I have a bomb. " + "And more. " * 9, "tone": 440, "seconds": 12}]}))

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        end = await stage.ended()
        assert (end.reason, end.detail) == (EndReason.MODERATED, "a threat")
        assert len(stage.leg.heard()) < 11 * 48_000, "the model was cut off"
        assert "bomb" not in words(stage, ModelSaid) + words(stage, ModelHeard)

    play(body, profile, scenario=path)


@pytest.mark.parametrize("on_failure", list(Ruling))
def test_a_hook_that_fails(on_failure: Ruling, tmp_path: Path) -> None:
    profile = judged(on_failure=on_failure)

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        if on_failure is Ruling.HANG_UP:
            assert (await stage.ended()).reason is EndReason.MODERATED
        else:
            await stage.until(lambda: words(stage, ModelHeard).endswith("all."))
            assert words(stage, ModelHeard) == ("[redacted]" if on_failure is Ruling.REDACT else "Please raise it.") + ASIDE
        assert ("model", on_failure.value, "error", True) in rulings(stage)

    play(body, profile, scenario=scenario(tmp_path, "Please raise it." + ASIDE))


def test_a_hook_that_takes_too_long(tmp_path: Path) -> None:
    hook = replace(HOOK, path="tests.model.tools.judges:wedged", timeout=0.2)
    profile = judged(hook=hook, on_failure=Ruling.REDACT)

    async def body(stage: Stage) -> None:
        await stage.call(profile)
        await stage.until(lambda: words(stage, ModelHeard))
        assert rulings(stage)[0] == ("model", "redact", "timeout", True)

    play(body, profile, scenario=scenario(tmp_path, "Hello." + ASIDE))


def test_a_webhook(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def judge(request: web.Request) -> web.Response:
        asked.append(await request.json())
        assert request.headers["Authorization"] == "Bearer canary"
        if "secret" in asked[-1]["arguments"]["text"]:
            return web.json_response({"action": "redact", "text": "***"})
        return web.Response(status=204)

    async def body(stage: Stage) -> None:
        app = web.Application()
        app.add_routes([web.post("/judge", judge)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        await stage.call(profile)
        await stage.until(lambda: words(stage, ModelHeard).endswith("all."))
        await runner.cleanup()
        assert words(stage, ModelHeard) == "***" + ASIDE
        assert asked[0]["arguments"] == {"who": "model", "text": "The secret is 5.", "call_id": stage.live.call_id}

    # The port is known before the profile is made.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    where = f"http://127.0.0.1:{listener.getsockname()[1]}/judge"
    webhook = Webhook(where, ("127.0.0.1",), (ip_network("127.0.0.0/8"),), token="canary")
    profile = judged(hook=ToolSpec("moderation", ToolKind.HTTP, webhook=webhook, timeout=5.0))
    play(body, profile, scenario=scenario(tmp_path, "The secret is 5." + ASIDE))
