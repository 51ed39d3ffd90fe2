"""Habits of this repository that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

GUARDED = {
    "gateway/registry.py",  # around a call's whole run
    "gateway/clock.py",  # around one call's tick
    "gateway/legs/webrtc/udp_mux.py",  # around one datagram
}
"""Where a bug in one call is kept from its neighbours: the only broad excepts, one each."""

BROAD = {"Exception", "BaseException"}
LOCKS = ("requirements.lock", "requirements-test.lock")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broad_excepts(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    """Handlers that would catch a bug."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(t is None or (isinstance(t, ast.Name) and t.id in BROAD) for t in types):
                yield node


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_broad_excepts_only_at_the_three_guards(path: Path) -> None:
    found = [node.lineno for node in broad_excepts(ast.parse(path.read_text()))]
    assert len(found) <= (1 if name(path) in GUARDED else 0), f"{name(path)}: broad except in line {found}"


def test_every_guard_is_there() -> None:
    assert {name(p) for p in SOURCES if list(broad_excepts(ast.parse(p.read_text())))} == GUARDED


def test_the_search_for_broad_excepts_finds_them() -> None:
    text = "try: pass\nexcept (ValueError, Exception): pass\ntry: pass\nexcept: pass\ntry: pass\nexcept OSError: pass\n"
    assert [node.lineno for node in broad_excepts(ast.parse(text))] == [2, 4]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_and_public_class_explains_itself(path: Path) -> None:
    tree = ast.parse(path.read_text())
    silent = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            silent += [] if ast.get_docstring(node) else [node.name]
    assert not silent, f"{name(path)}: no docstring on {', '.join(silent)}"


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_tests_neither_sleep_nor_skip(path: Path) -> None:
    banned = ("time.sleep(", "mark.skip", "pytest.skip(", "mark.xfail", "unittest.mock", "monkeypatch.setattr(gateway")
    text = path.read_text()
    # Without a key there is no service to look at.
    excused = (Path(__file__), ROOT / "tests/smoke/test_real.py")
    found = [] if path in excused else [word for word in banned if word in text]
    assert not found, f"{name(path)}: {found}"


def test_the_configuration_table_is_the_codes_own() -> None:
    shown = re.search(r"<!-- configuration -->\n(.*?)<!-- /configuration -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    ask = [sys.executable, "-m", "gateway", "config", "--markdown"]
    told = subprocess.run(ask, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert shown[1].strip() == told.stdout.strip(), "run: make readme"


def test_the_changelog_has_a_section_in_progress() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    _, _, unreleased = text.partition("## Unreleased")
    assert unreleased.strip().startswith("- ")
    repeated = [line for line, n in Counter(unreleased.splitlines()).items() if n > 1 and line.startswith("- ")]
    assert not repeated


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_pins_and_nothing_else(lock: str) -> None:
    for line in (ROOT / lock).read_text().splitlines()[1:]:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.+!]*( ; [a-z_ =\"!A-Z0-9]+)?", line), line


def test_the_test_lock_agrees_with_the_runtime_lock() -> None:
    run, test = (set((ROOT / lock).read_text().splitlines()[1:]) for lock in LOCKS)
    assert run <= test


def test_everything_the_project_names_is_there() -> None:
    readme = (ROOT / "README.md").read_text()
    links = {link for link in re.findall(r"\]\(([^)#\s]+)\)", readme) if "://" not in link}
    assert links, "the README links to nothing"
    assert not {link for link in links if not (ROOT / link).exists()}
