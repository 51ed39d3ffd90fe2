"""From text to values. Each function takes what an operator wrote and returns the value, or raises ValueError saying what it
should have been; the caller knows where it stood.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from gateway.wire.gemini_setup import Backend

# RFC 6750 §2.1: what a Bearer header can carry.
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ICE_URL = re.compile(r"(?:stuns?|turns?):[A-Za-z0-9.:\[\]_-]+(?:\?transport=(?:udp|tcp))?")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:-]{0,199}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,31}")
_API_VERSION = re.compile(r"v[0-9][a-z0-9]{0,15}")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LEVELS = ("debug", "info", "warning", "error")


def argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser of this module as the `type` of a command line's option."""

    def check(value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return check


def text(value: str) -> str:
    return value


def path(value: str) -> str | None:
    return value or None


def name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError("must be 1 to 32 letters, digits, - or _")
    return value


def flag(value: str) -> bool:
    try:
        return _BOOLEANS[value.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def port(value: str) -> int:
    """0 means any free one."""
    if value.startswith("tcp://"):
        # A Service called "gateway" in the same namespace makes Kubernetes set GATEWAY_PORT.
        raise ValueError("must be a port, 0 to 65535; Kubernetes wrote this: set enableServiceLinks: false")
    return whole(0, 65_535, "a port, 0 to 65535")(value)


def whole(least: int, most: int, what: str | None = None) -> Callable[[str], int]:
    """Whole numbers from `least` to `most`."""

    def parse(value: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,12}", value.strip()) is None or not least <= int(value) <= most:
            raise ValueError(f"must be {what or f'a whole number, {least} to {most}'}")
        return int(value)

    return parse


def number(least: float, most: float, what: str = "a number") -> Callable[[str], float]:
    """Numbers from `least` to `most`, none of them negative. As many decimals as a double prints."""

    def parse(value: str) -> float:
        if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,25})?", value.strip()) is None or not least <= float(value) <= most:
            raise ValueError(f"must be {what}, {least:g} to {most:g}")
        return float(value)

    return parse


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Durations from `least` to `most`."""
    return number(least, most, "seconds")


def host(value: str) -> str:
    """An address or name to listen on."""
    if is_address(value) or _HOST_NAME.fullmatch(value):
        return value
    raise ValueError("must be an IP address or a host name, without port")


def address(value: str) -> str:
    if not is_address(value):
        raise ValueError("must be an IP address")
    return value


def advertised(value: str) -> tuple[str, ...]:
    """A comma list of `ip`, `ip:port` or `[ip]:port`."""
    found = items(value)
    for item in found:
        bare, number = item, ""
        if item.startswith("["):
            bare, _, number = item[1:].partition("]")
            if number and not number.startswith(":"):
                raise ValueError(f"{item} must be ip, ip:port or [ip]:port")
            number = number.removeprefix(":")
        elif item.count(":") == 1:
            bare, _, number = item.partition(":")
        if not is_address(bare):
            raise ValueError(f"{item} must be ip, ip:port or [ip]:port")
        if ipaddress.ip_address(bare).is_unspecified or ipaddress.ip_address(bare).is_multicast:
            raise ValueError(f"{item} is an address that nobody can reach")
        if number:
            whole(1, 65_535, "a port, 1 to 65535")(number)
    return found


def origins(value: str) -> frozenset[str]:
    """A comma list of web origins, compared exactly as browsers send them (RFC 6454 §6.2)."""
    found = set()
    for item in items(value):
        origin = item.rstrip("/").lower()
        parts = _split(origin)
        if parts is None or parts.scheme not in ("http", "https") or parts.path or parts.query or parts.fragment or "@" in origin:
            raise ValueError(f"{item} must be an origin such as https://app.example.com; a wildcard is not taken")
        found.add(origin)
    return frozenset(found)


def items(value: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in value.split(",") if item.strip())


def https_url(value: str) -> str:
    """Always TLS: the SDK would turn anything else into wss without a word."""
    parts = _split(value)
    if parts is None or parts.scheme != "https" or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an https:// URL of a host, without user, query or fragment")
    return value


def web_url(value: str) -> str:
    """Where a client finds a gateway."""
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an http:// or https:// URL of a host")
    return value


def model(value: str) -> str:
    if _MODEL.fullmatch(value) is None:
        raise ValueError("must be a model's name, such as gemini-3.8-live")
    return value


def api_version(value: str) -> str:
    if _API_VERSION.fullmatch(value) is None:
        raise ValueError("must be an API version, such as v1beta")
    return value


def backend(value: str) -> Backend:
    try:
        return Backend(value.strip().lower())
    except ValueError:
        raise ValueError(f"must be one of {', '.join(Backend)}") from None


def project(value: str) -> str:
    if _PROJECT.fullmatch(value) is None:
        raise ValueError("must be the id or number of a Google Cloud project")
    return value


def location(value: str) -> str:
    """It becomes part of a host name."""
    if _LOCATION.fullmatch(value) is None:
        raise ValueError("must be a Google Cloud location, such as us-central1")
    return value


def or_empty(parse: Callable[[str], str]) -> Callable[[str], str]:
    """Takes an empty text too: it stands for what follows from other settings."""
    return lambda value: parse(value) if value else ""


def level(value: str) -> str:
    if value.lower() not in _LEVELS:
        raise ValueError(f"must be one of {', '.join(_LEVELS)}")
    return value.lower()


def secret(value: str) -> str:
    """One line, as it goes into a header. The message never quotes it."""
    value = value.strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be one line of printable ASCII without spaces")
    return value


def bearer(value: str) -> str:
    """An API key. The message never quotes it."""
    if _TOKEN68.fullmatch(value) is None:
        raise ValueError("a key may hold letters, digits and . _ ~ + / - with = at the end: what an Authorization header carries")
    return value


def ice_url(value: str) -> str:
    if _ICE_URL.fullmatch(value) is None:
        raise ValueError("must be a stun:, stuns:, turn: or turns: URL (RFC 7064, 7065)")
    return value


def printable(value: str) -> str:
    if _PRINTABLE.fullmatch(value) is None:
        raise ValueError("must be printable ASCII")
    return value


def is_address(value: str) -> bool:
    """An IPv4 or IPv6 address without zone."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def is_loopback(listen: str) -> bool:
    """Only this machine can connect to a listener at `listen`."""
    return ipaddress.ip_address(listen).is_loopback if is_address(listen) else listen.lower() == "localhost"


def toml(value: object) -> str:
    """A text, number, truth or list of them as TOML: what JSON writes, but for one character (TOML 1.0, strings)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Parts:
    """What urlsplit gives, with its errors taken into account."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.scheme, self.netloc, self.path = parts.scheme, parts.netloc, parts.path
        self.query, self.fragment = parts.query, parts.fragment
        if not parts.hostname or (parts.port is not None and parts.port > 65_535):
            raise ValueError("no host")


def _split(url: str) -> _Parts | None:
    try:
        return _Parts(url) if url.isascii() and url.isprintable() and " " not in url and "*" not in url else None
    except ValueError:  # urlsplit on brackets and ports it can't read
        return None
