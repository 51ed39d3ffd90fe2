"""Write the lock files: what the package and its test extra need, at the versions installed in this environment.

`python .ci/lock.py` after `pip install -e .[test]` in a fresh environment (`make lock` does both). Names, versions and
environment markers only.
"""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = "gemini-voice-gateway"
BUILD = "setuptools"  # builds the package itself, without build isolation


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(name: str, extras: frozenset[str]) -> dict[str, str]:
    """Every distribution reachable from `name` with `extras` in this environment, and its version."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(name, extras)]
    while todo:
        step = todo.pop()
        if step in seen:
            continue
        seen.add(step)
        name, extras = step
        dist = distribution(name)
        if canonical(name) != ROOT:
            found[canonical(name)] = dist.version
        for line in dist.requires or ():
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                todo.append((need.name, frozenset(need.extras)))
    return found


def write(path: Path, what: str, pins: dict[str, str]) -> None:
    """One pin a line, sorted."""
    lines = [f"# {what}. Made by `make lock`; every version is one the tests ran with."]
    for name in sorted(pins):
        marker = ' ; platform_python_implementation == "CPython" and sys_platform != "win32"' if name == "uvloop" else ""
        lines.append(f"{name}=={pins[name]}{marker}")
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Both files, in the current directory."""
    run = closure(ROOT, frozenset())
    run[BUILD] = distribution(BUILD).version
    test = closure(ROOT, frozenset({"test"})) | run
    write(Path("requirements.lock"), "What `make run` installs", run)
    write(Path("requirements-test.lock"), "What `make test` installs", test)


if __name__ == "__main__":
    main()
