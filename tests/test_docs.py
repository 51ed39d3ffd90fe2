"""What README and docs show works as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.tables import PROFILE_FIELDS, SUBTABLES

ROOT = Path(__file__).parent.parent
SECRET = re.compile(r"/run/secrets/(\w+)")


def example(text: str, folder: Path) -> Path:
    """The TOML of a document as one file, its secrets and the module it names beside it."""
    toml = "\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    for name in SECRET.findall(toml):
        (folder / name).write_text(f"secret-{name}\n")
    (folder / "hotel").mkdir()
    (folder / "hotel" / "tools.py").write_text("def weather(city: str) -> str:\n    return f'{city}: sun'\n")
    (folder / "hotel" / "rules.py").write_text("def judge(who: str, text: str, call_id: str) -> None:\n    return None\n")
    file = folder / "gateway.toml"
    file.write_text(SECRET.sub(lambda match: str(folder / match[1]), toml))
    return file


@pytest.mark.parametrize("document", ["README.md", "docs/profiles.md"])
def test_every_example_of_the_configuration_is_accepted(document: str, tmp_path: Path) -> None:
    file = example((ROOT / document).read_text(), tmp_path)
    config = load({"config": str(file)}, {"GEMINI_API_KEY": "a-key"})
    assert config.profiles["default"].voice == "Kore"
    assert [key.secret for key in config.http.api_keys] == ["secret-website"]


def test_every_option_of_a_profile_is_explained() -> None:
    told = (ROOT / "docs" / "profiles.md").read_text()
    missing = {name for name in PROFILE_FIELDS if re.search(rf"^{name} = ", told, re.MULTILINE) is None}
    assert not missing
    assert not {name for name in SUBTABLES if f"[profiles.default.{name}" not in told}


def test_the_file_to_start_from_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key\n")
    secrets = {name: str(tmp_path / "key") for name in ("GEMINI_API_KEY_FILE", "GATEWAY_API_KEYS_FILE")}
    unit = (ROOT / "deploy" / "gateway.service").read_text()
    assert all(f"{name}=%d/" in unit for name in secrets)  # the unit gives the same two
    config = load({"config": str(ROOT / "deploy" / "gateway.toml")}, secrets)
    assert config.profiles["default"].budget.day.usd == 50.0
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > config.calls.drain_timeout
