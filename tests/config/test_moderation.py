"""`[profiles.NAME.moderation]`: what it gives, and its faults."""

from __future__ import annotations

import pytest

from gateway.config import describe
from gateway.dialog.moderation import Moderation, Ruling, Who
from gateway.toolspec import ToolKind
from tests.config.test_policies import configured, faults

FUNCTION = 'function = "tests.model.tools.judges:judge"'
URL = 'url = "https://rules.example.com/judge"'


def moderation(*lines: str) -> Moderation:
    found = configured("[profiles.default.moderation]\n" + "\n".join(lines)).profiles["default"].moderation
    assert found is not None
    return found


def test_a_function() -> None:
    found = moderation(FUNCTION)
    assert (found.hook.kind, found.hook.path, found.hook.timeout) == (ToolKind.PYTHON, "tests.model.tools.judges:judge", 2.0)
    assert (found.who, found.on_failure) == (frozenset(Who), Ruling.ALLOW)


def test_a_webhook() -> None:
    found = moderation(URL, 'token = "canary-1234"', "timeout = 0.5", 'who = ["model"]', 'on_failure = "hang_up"')
    assert found.hook.webhook is not None
    assert (found.hook.webhook.url, found.hook.webhook.hosts) == ("https://rules.example.com/judge", ("rules.example.com",))
    assert (found.who, found.on_failure, found.hook.timeout) == (frozenset({Who.MODEL}), Ruling.HANG_UP, 0.5)


@pytest.mark.parametrize("lines", [(FUNCTION, 'who = ["caller"]'), (URL, 'on_failure = "redact"', 'token = "canary-1234"')])
def test_what_is_described_can_be_loaded_again(lines: tuple[str, ...]) -> None:
    config = configured("[profiles.default.moderation]\n" + "\n".join(lines))
    told = describe(config)
    assert "canary" not in told
    told = told.replace('api_key = "***"', 'api_key = "AIza-again"').replace('token = "***"', 'token = "canary-1234"')
    assert configured(told).profiles == config.profiles


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ("", "has a function or a url, one of the two"),
        (f"{FUNCTION}\n{URL}", "has a function or a url, one of the two"),
        ('function = "tests.model.tools.judges:nobody"', "moderation.function: tests.model.tools.judges has no nobody"),
        ('function = "tests.model.tools.judges:forgetful"', "does not fit the parameters"),
        ('url = "http://127.0.0.1/judge"', "names an address that is not public"),
        (f'{FUNCTION}\ntoken = "abc123456"', "moderation.token: only for a url"),
        (f"{FUNCTION}\ntimeout = 60", "moderation.timeout: must be 0.1 to 10"),
        (f'{FUNCTION}\nwho = ["browser"]', "moderation.who: must be a list of caller, model"),
        (f'{FUNCTION}\non_failure = "retry"', "moderation.on_failure: must be one of allow, flag, redact, hang_up"),
        (f'{FUNCTION}\non_fail = "allow"', "meant on_failure?"),
    ],
)
def test_what_it_may_not_say(lines: str, part: str) -> None:
    (fault,) = faults(f"[profiles.default.moderation]\n{lines}")
    assert part in fault


def test_it_is_a_table() -> None:
    (fault,) = faults("[profiles.default]\nmoderation = 5")
    assert "must be a table" in fault
