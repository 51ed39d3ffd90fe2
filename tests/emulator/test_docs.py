"""docs/emulator.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.emulator.faults import FAULTS

TEXT = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()


def test_every_fault_is_described_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", TEXT, re.MULTILINE)
    described = {name: (takes, does) for name, takes, does in rows}
    assert described == {
        name: (kind.takes.value + (f" ({kind.default:g})" if kind.default else ""), kind.does) for name, kind in FAULTS.items()
    }
