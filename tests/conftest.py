"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no reason to fail: what has a time limit says so itself, as a property of what is tested.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")
