"""Settings of the whole suite."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gateway.dial.loopback import loopback_candidates
from gateway.telemetry.log import QUIET

# A busy machine is no reason to fail: what has a time limit says so itself, as a property of what is tested.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")


REAL_TIME = (
    "browser/",
    "chaos/",
    "dial/",
    "loadtest/",
    "e2e/test_calls",
    "e2e/test_vertex",
    "legs/test_chrome_engine",
    "legs/test_sender_chrome",
    "telemetry/test_promtool",
)
"""Where sound passes in real time between processes. Two such tests at once would measure each other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the tests that run side by side (`-n 2`), only one at a time is a real-time one."""
    here = Path(__file__).parent
    for item in items:
        if str(item.path.relative_to(here)).startswith(REAL_TIME):
            item.add_marker(pytest.mark.xdist_group("real time"))


@pytest.fixture(autouse=True, scope="session")
def _traffic_stays_on_loopback() -> Iterator[None]:
    """Peers made of stock aiortc would use the machine's other addresses, and only those."""
    with loopback_candidates():
        yield


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    """A command run inside a test configures the process's log; the next test must find it as it was."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in QUIET)]
    levels, handlers = [logger.level for logger in loggers], list(root.handlers)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    root.handlers[:] = handlers
