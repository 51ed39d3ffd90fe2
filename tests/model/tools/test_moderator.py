"""A moderation hook that is asked, and one that fails."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.dialog.moderation import Moderation, Ruling, Verdict, Who
from gateway.model.tools.moderator import Moderator
from gateway.model.tools.python import PythonTools, find
from gateway.toolspec import ToolKind, ToolSpec
from tests.model.tools import judges

HERE = "tests.model.tools.judges"


def moderator(name: str, *, timeout: float = 5.0, on_failure: Ruling = Ruling.REDACT) -> Moderator:
    path = f"{HERE}:{name}"
    hook = ToolSpec("moderation", ToolKind.PYTHON, timeout=timeout, path=path)
    return Moderator(Moderation(hook, on_failure=on_failure), PythonTools({path: find(path)}), call_id="w-1", profile="p")


def judge(name: str, text: str, **options: object) -> Verdict:
    return asyncio.run(moderator(name, **options).judge(Who.CALLER, text))  # type: ignore[arg-type]


def test_a_function_is_asked_off_the_loop() -> None:
    judges.ASKED.clear()
    judges.THREADS.clear()
    assert judge("judge", "You are rude.") == Verdict(Ruling.FLAG, "rude")
    assert judges.ASKED == [("caller", "You are rude.", "w-1")]
    assert threading.current_thread().name not in judges.THREADS
    assert judge("kind", "Hello.") == Verdict()


@pytest.mark.parametrize(("name", "why"), [("nonsense", "bad answer"), ("judge", "error")])
def test_a_hook_that_fails_gives_what_the_profile_says(name: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    assert judge(name, "raise: my card is 1234") == Verdict(Ruling.REDACT, why, failed=True)
    assert judge(name, "raise", on_failure=Ruling.ALLOW).ruling is Ruling.ALLOW
    told = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "moderation failed" in told
    assert "1234" not in told, "no transcript in the log"


def test_nobody_waits_longer_than_the_time_out() -> None:
    async def body() -> None:
        found = await moderator("wedged", timeout=0.1).judge(Who.MODEL, "Hello.")
        assert found == Verdict(Ruling.REDACT, "timeout", failed=True)

    asyncio.run(body())


def test_a_call_that_ends_takes_its_question_back() -> None:
    async def body() -> None:
        asked = asyncio.create_task(moderator("wedged").judge(Who.MODEL, "Hello."))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait((asked,))
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(body())
