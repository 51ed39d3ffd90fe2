"""Put the configuration table that the code tells into the README, between its markers (`make readme`)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Rewrites README.md in place."""
    table = subprocess.run(
        [sys.executable, "-m", "gateway", "config", "--markdown"], check=True, capture_output=True, text=True
    ).stdout
    text = README.read_text()
    pattern = re.compile(r"(<!-- configuration -->\n).*?(<!-- /configuration -->)", re.DOTALL)
    README.write_text(pattern.sub(lambda match: f"{match[1]}{table.strip()}\n{match[2]}", text))


if __name__ == "__main__":
    main()
