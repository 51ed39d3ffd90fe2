"""The import picture of the README holds: `.importlinter` says what may know what."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_ERROR, EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent


def lint(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The linter's exit status and report."""
    status = lint_imports(config_filename=str(config), no_cache=True)
    return status, capsys.readouterr().out


def test_imports_follow_the_picture(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    status, report = lint(ROOT / ".importlinter", capsys)
    assert status == EXIT_STATUS_SUCCESS, report


def test_the_linter_would_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    upside_down = tmp_path / "importlinter"
    upside_down.write_text(
        "[importlinter]\nroot_package = gateway\n"
        "[importlinter:contract:x]\nname = x\ntype = layers\nlayers =\n    gateway.errors\n    gateway.call\n"
    )
    status, report = lint(upside_down, capsys)
    assert status == EXIT_STATUS_ERROR, report
