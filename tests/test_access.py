"""Keys and what they allow."""

from __future__ import annotations

import pytest

from gateway.access import ANYONE, ApiKey, allowed, find_key, pick
from gateway.errors import SignalingError, Unauthorized
from gateway.profile import Profile

SHOP = ApiKey("shop", "s3cret", frozenset({"sales"}))
LAB = ApiKey("lab", "other")
PROFILES = {name: Profile(name=name, public=name != "sales") for name in ("default", "sales", "help")}


def test_a_key_is_found() -> None:
    assert find_key([SHOP, LAB], "Bearer other") is LAB
    assert find_key([SHOP, LAB], "bearer  s3cret ") is SHOP


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "key_missing"),
        ("", "key_missing"),
        ("Bearer", "key_missing"),
        ("Basic s3cret", "key_missing"),
        ("Bearer s3cre", "key_wrong"),
        ("Bearer s3cret2", "key_wrong"),
        ("Bearer ünïcode", "key_wrong"),
        ("Bearer \udcff\udcfe", "key_wrong"),  # how a header that is no UTF-8 comes
    ],
)
def test_a_wrong_key(header: str | None, code: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        find_key([SHOP, LAB], header)
    assert caught.value.code == code
    assert caught.value.status == 401


def test_without_keys_anyone_may_call() -> None:
    assert find_key([], None) is ANYONE
    assert find_key([], "Bearer whatever") is ANYONE


def test_a_secret_does_not_show() -> None:
    assert "s3cret" not in repr(SHOP)


def test_profiles_of_a_key() -> None:
    assert [profile.name for profile in allowed(ANYONE, PROFILES.values())] == ["default", "help"]
    assert [profile.name for profile in allowed(SHOP, PROFILES.values())] == ["sales"]


def test_picking() -> None:
    assert pick(LAB, PROFILES, None).name == "default"
    assert pick(LAB, PROFILES, "help").name == "help"
    assert pick(SHOP, PROFILES, None).name == "sales", "the only one it may have"
    for key, name in ((LAB, "sales"), (LAB, "nobody"), (SHOP, "default"), (LAB, "")):
        with pytest.raises(SignalingError) as caught:
            pick(key, PROFILES, name)
        assert (caught.value.status, caught.value.code) == (400, "unknown_profile")
