"""The import picture of the README holds: `.importlinter` says what may know what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def lint(config: Path) -> tuple[int, str]:
    """The linter's exit status and report.

    In a process of its own: it sets up logging for itself and disables everybody else's.
    """
    code = "import sys; from importlinter.cli import lint_imports as lint; sys.exit(lint(sys.argv[1], no_cache=True))"
    run = [sys.executable, "-c", code, str(config)]
    done = subprocess.run(run, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_imports_follow_the_picture() -> None:
    status, report = lint(ROOT / ".importlinter")
    assert status == 0, report
    assert "0 broken" in report


def test_the_linter_would_notice(tmp_path: Path) -> None:
    upside_down = tmp_path / "importlinter"
    upside_down.write_text(
        "[importlinter]\nroot_package = gateway\n"
        "[importlinter:contract:x]\nname = x\ntype = layers\nlayers =\n    gateway.errors\n    gateway.call\n"
    )
    status, report = lint(upside_down)
    assert status == 1, report
    assert "1 broken" in report
