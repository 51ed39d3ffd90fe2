"""Where a webhook may go: which hosts, and which addresses they may resolve to. Pure; the SSRF rules of this house.

Only addresses of the public Internet are asked, unless the operator names others: everything that IANA lists for special use is
refused, in IPv6 everything outside global unicast (RFC 6890 and the two special-purpose registries). What counts is the address
that is connected to, looked at after every resolution: a name that resolves to something else than yesterday changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_4 = tuple(
    IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")
# Protocol assignments with Teredo, documentation, 6to4: the last ones carry an IPv4 address that would need a look of its own.
_SPECIAL_6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


def allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether this address may be connected to: it is public, or in one of `networks`."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in networks):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    return address in _GLOBAL_6 and not any(address in network for network in _SPECIAL_6)


def host_allowed(host: str, hosts: Sequence[str]) -> bool:
    """Whether the allow-list holds this host; `*.example.com` holds every name below it, not itself."""
    host = host.lower().rstrip(".")
    return any(host == item or (item.startswith("*.") and host.endswith(item[1:])) for item in hosts)


def literal(host: str) -> Address | None:
    """The address that a URL's host is, if it is one."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def host_of(url: str) -> str:
    """The host in a URL, in its canonical spelling; empty when there is none."""
    try:
        return URL(url).raw_host or ""
    except ValueError:
        return ""


def fault(url: str, hosts: Sequence[str], networks: Sequence[Network]) -> str | None:
    """Why a webhook can't have this URL; None: it can, as far as can be told before its name is resolved."""
    if not url.isascii() or not url.isprintable() or any(char in url for char in " \\<>\"'`{}|^"):
        return "holds characters that belong into no URL"
    try:
        parsed = URL(url)
    except ValueError:
        return "is not a URL"
    host = parsed.raw_host
    if parsed.scheme not in ("https", "http") or not host:
        return "must be https://HOST/…"
    if parsed.user is not None or parsed.password is not None or parsed.fragment:
        return "must have no user, password or fragment"
    if not host_allowed(host, hosts):
        return f"names a host that is not in hosts: {host}"
    address = literal(host)
    if address is not None and not allowed(address, networks):
        return f'names an address that is not public: {host}; networks = ["{host}/{address.max_prefixlen}"] would allow it'
    if parsed.scheme == "http" and not networks:
        return "must be https:// (http:// only into networks of your own)"
    return None
