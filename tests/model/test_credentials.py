"""Google credentials: what is found, and one fault for what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.model.credentials import default_credentials, fixed_token


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"type": "service_account"}',
        '{"type": "martian"}',
        '{"type": "authorized_user", "client_id": "x"}',
        '{"type": "service_account", "client_email": 3, "private_key": "no key", "token_uri": ""}',
        '{"type": "external_account", "audience": 7}',
    ],
)
def test_a_file_that_is_no_use_is_one_fault(tmp_path: Path, content: str) -> None:
    path = tmp_path / "adc.json"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        default_credentials(str(path))
    (fault,) = caught.value.faults
    assert str(path) in fault
    assert "\n" not in fault


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "adc.json"
    path.write_text(json.dumps({"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}))
    assert default_credentials(str(path)).refresh_token == "c"  # type: ignore[attr-defined]


def test_nobody_says_who_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # no machine of Google's is asked
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(ConfigError, match=r"Google credentials: .*not found"):
        default_credentials(None)


def test_a_fixed_token_never_wants_to_be_refreshed() -> None:
    credentials = fixed_token("t")
    assert (credentials.token, credentials.expired) == ("t", False)
