"""Where a webhook may go, and where not, whatever its URL or its name says."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from gateway.model.tools.egress import allowed, fault, host_allowed, host_of

SSRF = [
    "http://127.0.0.1/",
    "https://127.0.0.1:6379/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.5.4/",
    "https://192.168.1.1/admin",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[ff02::1]/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://example.com/",
    "https://user:secret@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/#@127.0.0.1/",
    "https:///etc/passwd",
    "https://exa mple.com/",
    "https://example.com\r\nHost: 127.0.0.1/",
    "http://example.com/",
    "//example.com/",
    "javascript:alert(1)",
    "",
]
"""Refused as they stand. Names that resolve to such addresses are refused when they do: test_http.py."""


@pytest.mark.parametrize("url", SSRF)
def test_refused_as_it_stands(url: str) -> None:
    assert fault(url, (host_of(url), "example.com"), ()) is not None


def test_public_ones_are_fine() -> None:
    assert fault("https://example.com/hook?x=1", ("example.com",), ()) is None
    assert fault("https://1.1.1.1/", ("1.1.1.1",), ()) is None
    assert fault("https://[2606:4700::1111]/", ("2606:4700::1111",), ()) is None


def test_networks_of_ones_own_are_allowed_by_name() -> None:
    own = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert fault("http://10.1.2.3/", ("10.1.2.3",), own) is None
    assert fault("http://[fd00::5]/", ("fd00::5",), own) is None
    assert fault("http://10.2.0.1/", ("10.2.0.1",), own) is not None
    assert allowed(ip_address("::ffff:10.1.2.3"), own), "the same address in other clothes"
    assert not allowed(ip_address("::ffff:10.2.0.1"), own)
    assert not allowed(ip_address("fd00::5%eth0"), own), "a zone is somebody's own cable"


def test_only_hosts_on_the_list() -> None:
    assert fault("https://evil.example/", ("example.com",), ()) is not None
    assert host_allowed("api.example.com", ("*.example.com",))
    assert host_allowed("API.Example.COM.", ("api.example.com",))
    for host in ("example.com", "notexample.com", "api.example.com.evil.net", "xexample.com"):
        assert not host_allowed(host, ("*.example.com",)), host


def test_there_are_twenty_five() -> None:
    assert len(SSRF) >= 25
