"""Calling a gateway on this machine: aioice leaves loopback addresses out, and other addresses of the machine are no way to them.

A gateway whose media socket is bound to 127.0.0.1 neither hears nor answers any other address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

import aioice.ice


def is_loopback(host: str | None) -> bool:
    """`host` of a URL: localhost or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


@contextmanager
def loopback_candidates() -> Iterator[None]:
    """Inside the block aioice gathers 127.0.0.1 and nothing else (the name is pinned by the leg's contract test)."""

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        del use_ipv6
        return ["127.0.0.1"] if use_ipv4 else []

    before = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = addresses
    try:
        yield
    finally:
        aioice.ice.get_host_addresses = before
