"""Settings of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from gateway.dial.loopback import loopback_candidates

# A busy machine is no reason to fail: what has a time limit says so itself, as a property of what is tested.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")


@pytest.fixture(autouse=True, scope="session")
def _traffic_stays_on_loopback() -> Iterator[None]:
    """Peers made of stock aiortc would use the machine's other addresses, and only those."""
    with loopback_candidates():
        yield
