"""Where settings come from, what they mean together, and that every fault is told at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Config, describe, load, markdown
from gateway.config.settings import SETTINGS
from gateway.errors import ConfigError
from gateway.profile import VOICES, Profile

KEY = "AIzaSy-canary-gemini"
SECRET = "canary-integrator-secret"


def given_files(files: Mapping[str, str]):
    def read(path: str) -> str:
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return read


def configured(
    *, toml: str = "", flags: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None, **env: str
) -> Config:
    environ = dict(env)
    if toml:
        environ["GATEWAY_CONFIG"] = "gateway.toml"
    return load(flags or {}, environ, read=given_files({"gateway.toml": toml, **(files or {})}))


def faults(**given: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        configured(**given)
    return caught.value.faults


# --- sources ---


def test_defaults() -> None:
    config = configured()
    assert (config.http.host, config.http.port) == ("127.0.0.1", 8080)
    assert (config.admin.host, config.admin.port) == ("127.0.0.1", 9090)
    assert (config.udp.port, config.udp.advertise) == (7882, ())
    assert (config.model.model, config.model.api_version) == ("gemini-3.8-live", "v1beta")
    assert config.model.emulator
    assert list(config.profiles) == ["default"]
    assert config.libopus is None


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        configured().http.port = 1  # type: ignore[misc]


def test_flags_before_environment_before_file_before_default() -> None:
    toml = "[http]\nport = 1\n[udp]\nport = 1\n[admin]\nport = 1\n"
    config = configured(toml=toml, flags={"http.port": "3"}, GATEWAY_PORT="2", GATEWAY_UDP_PORT="2")
    assert (config.http.port, config.udp.port, config.admin.port, config.calls.max_calls) == (3, 2, 1, 50)
    assert [config.origins[name] for name in ("http.port", "udp.port", "admin.port", "calls.max_calls")] == [
        "--port",
        "GATEWAY_UDP_PORT",
        "gateway.toml",
        "default",
    ]


def test_the_file_of_the_flag_comes_before_that_of_the_variable() -> None:
    read = given_files({"a": "[http]\nport = 1", "b": "[http]\nport = 2"})
    assert load({"config": "a"}, {"GATEWAY_CONFIG": "b"}, read=read).http.port == 1


def test_an_empty_variable_is_not_set() -> None:
    assert configured(GATEWAY_PORT="", GEMINI_API_KEY="").http.port == 8080


def test_toml_types() -> None:
    config = configured(
        toml="""
        [http]
        cors_origins = ["https://a.example", "https://b.example:8443/"]
        insecure = true
        per_address = 400
        [calls]
        max_calls = 7
        drain_timeout = 3
        [udp]
        advertise = ["203.0.113.7", "[2001:db8::7]:7000"]
        """
    )
    assert config.http.cors_origins == {"https://a.example", "https://b.example:8443"}
    assert config.http.insecure is True
    assert config.http.per_address == 400
    assert (config.calls.max_calls, config.calls.drain_timeout) == (7, 3.0)
    assert config.udp.advertise == ("203.0.113.7", "[2001:db8::7]:7000")


def test_every_fault_at_once() -> None:
    toml = """
    [http]
    port = "80"
    prot = 80
    [profiles.a]
    voice = "kore"
    temperature = 9
    [profiles.b]
    colour = "red"
    [nonsense]
    """
    found = faults(toml=toml, GATEWAY_UDP_PORT="70000", GATEWAY_LOG_LEVEL="loud", GEMINI_API_KEY_FILE="/missing")
    for part in (
        *(
            "http.port: must be a whole number",
            "http.prot: unknown; meant http.port?",
            "GATEWAY_UDP_PORT (udp.port)",
            "GATEWAY_LOG_LEVEL",
        ),
        *(
            "profiles.a.voice",
            "near: Kore",
            "profiles.a.temperature",
            "profiles.b.colour",
            "nonsense: unknown",
            "/missing can't be read",
        ),
    ):
        assert any(part in fault for fault in found), part
    assert len(found) == 9


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ("[http\n", "line 1"),
        ("http = 1\n", "http must be a table"),
        ("[http]\nport = true\n", "http.port: must be a whole number"),
        ("[http]\ncors_origins = 5\n", "http.cors_origins: must be a list"),
        ("[http]\napi_keys = [5]\n", "http.api_keys: must be a list of strings"),
        ("[http]\napi_keys = ['shop:a,b']\n", "http.api_keys: an item of the list holds a comma"),
        ("[http]\napi_keys = ['shop:a', 'shop:b']\n", "API key 2 of the list: a second key of that name"),
        ("[http]\ninsecure = 1\n", "http.insecure: must be true or false"),
        ("profiles = 3\n", "profiles: must be tables"),
        ("[profiles]\nx = 3\n", "profiles: must be tables"),
        ("[profiles.'a b']\n", "profiles.a b: the name"),
        ("[ice_servers]\n", "ice_servers: must be tables"),
        ("[[ice_servers]]\nurls = ['http://x']\n", "ice_servers 1: must be a stun:"),
        ("[[ice_servers]]\nurls = ['turn:x.example']\n", "ice_servers 1: a TURN server wants username"),
        ("[[ice_servers]]\nusername = 'x'\n", "ice_servers 1: no urls"),
        ("[keys.a]\nsecret = 'x y'\n", "keys.a: a key may hold"),
        ("[keys.a]\nprofiles = ['default']\n", "keys.a: no secret"),
        ("[keys.a]\nsecret = 'x'\nprofiles = ['nobody']\n", "keys.a.profiles: no profile is called 'nobody'"),
        ("[keys.a]\nsecret = 'x'\n[keys.b]\nsecret = 'x'\n", "same secret"),
        ("[model]\napi_key = 'a'\napi_key_file = 'b'\n", "one of the two"),
        ('[model]\napi_key_file = "a\\u0000b"\n', "model.api_key_file"),
        ("[model]\napi_key_file = 3\n", "model.api_key_file: must be a string"),
    ],
)
def test_what_the_file_may_not_say(toml: str, part: str) -> None:
    assert any(part in fault for fault in faults(toml=toml)), faults(toml=toml)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("GATEWAY_HOST", "127.0.0.1:80"),
            ("GATEWAY_HOST", "a b"),
            ("GATEWAY_PORT", "-1"),
            ("GATEWAY_PORT", "65536"),
            ("GATEWAY_PORT", "٣"),
        ),
        *(("GATEWAY_PORT", "tcp://10.0.0.1:80"), ("GATEWAY_UDP_HOST", "localhost"), ("GATEWAY_UDP_ADVERTISE", "gw.example.com")),
        *(("GATEWAY_UDP_ADVERTISE", "0.0.0.0"), ("GATEWAY_UDP_ADVERTISE", "1.2.3.4:99999"), ("GATEWAY_UDP_ADVERTISE", "[::1]x")),
        *(
            ("GATEWAY_MAX_CALLS", "0"),
            ("GATEWAY_MAX_CALLS", "many"),
            ("GATEWAY_DRAIN_TIMEOUT", "-1"),
            ("GATEWAY_DRAIN_TIMEOUT", "nan"),
        ),
        *(
            ("GATEWAY_CORS_ORIGINS", "*"),
            ("GATEWAY_CORS_ORIGINS", "https://a.example/path"),
            ("GATEWAY_CORS_ORIGINS", "a.example"),
        ),
        *(
            ("GATEWAY_GEMINI_BASE_URL", "http://a.example"),
            ("GATEWAY_GEMINI_BASE_URL", "https://"),
            ("GATEWAY_GEMINI_BASE_URL", "x"),
        ),
        *(("GATEWAY_GEMINI_MODEL", "a model"), ("GATEWAY_GEMINI_API_VERSION", "beta"), ("GATEWAY_LOG_LEVEL", "trace")),
        *(("GATEWAY_EMULATOR", "maybe"), ("GATEWAY_API_KEYS", "a:b:c"), ("GATEWAY_API_KEYS", "a b"), ("GATEWAY_API_KEYS", " , ")),
        *(("GATEWAY_API_KEYS", "a:x,a:y"), ("GATEWAY_WORKER", "a/b"), ("GATEWAY_GEMINI_CA_FILE", "/missing")),
    ],
)
def test_what_a_variable_may_not_say(name: str, value: str) -> None:
    found = faults(GEMINI_API_KEY=KEY, **{name: value})
    assert len(found) == 1, found
    if name not in ("GATEWAY_API_KEYS", "GATEWAY_GEMINI_CA_FILE"):
        assert name in found[0]


def test_kubernetes_service_links_are_explained() -> None:
    assert "enableServiceLinks" in faults(GATEWAY_PORT="tcp://10.0.0.1:80")[0]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from([name for setting in SETTINGS for name in setting.env]), st.text(max_size=20), max_size=6),
    st.text(max_size=80),
)
def test_any_text_gives_a_config_or_its_faults(environ: dict[str, str], toml: str) -> None:
    try:
        config = load({"config": "x"}, environ, read=given_files({"x": toml}))
    except ConfigError as error:
        found = error.faults
    else:
        found = (describe(config),)
    assert all(found)


# --- secrets ---


def test_secrets_from_files() -> None:
    files = {"/run/key": f"{KEY}\n", "/run/keys": f"shop:{SECRET}\nbare-one\n"}
    config = configured(files=files, GEMINI_API_KEY_FILE="/run/key", GATEWAY_API_KEYS_FILE="/run/keys")
    assert config.model.api_key == KEY
    assert [(key.name, key.secret) for key in config.http.api_keys] == [("shop", SECRET), ("key2", "bare-one")]
    assert not config.model.emulator


def test_google_api_key_will_do_and_gemini_comes_first() -> None:
    assert configured(GOOGLE_API_KEY="b").model.api_key == "b"
    assert configured(GOOGLE_API_KEY="b", GEMINI_API_KEY="a").model.api_key == "a"
    assert configured(files={"f": "c"}, GOOGLE_API_KEY_FILE="f").model.api_key == "c"


@pytest.mark.parametrize("name", ["GEMINI_API_KEY_FILE", "GOOGLE_API_KEY_FILE", "GATEWAY_API_KEYS_FILE"])
@pytest.mark.parametrize("path", ["/missing", "/empty", ""])
def test_a_secret_that_failed_to_mount_is_a_fault(name: str, path: str) -> None:
    found = faults(files={"/empty": " \n"}, flags={"model.emulator": "true"}, **{name: path})
    assert len(found) == 1
    assert name in found[0]


def test_a_broken_file_is_a_fault_even_when_another_variable_outranks_it() -> None:
    assert faults(GEMINI_API_KEY=KEY, GOOGLE_API_KEY_FILE="/missing")


@pytest.mark.parametrize("keys", [f'"shop:{SECRET}, bare-one"', f'["shop:{SECRET}", "bare-one"]'])
def test_api_keys_in_the_file_as_a_list_or_as_one_text(keys: str) -> None:
    config = configured(toml=f"[http]\napi_keys = {keys}\n[keys.more]\nsecret = 'third'\n")
    assert [(key.name, key.secret) for key in config.http.api_keys] == [("shop", SECRET), ("key2", "bare-one"), ("more", "third")]
    assert 'api_keys = "***"  # gateway.toml' in describe(config)


def test_keys_are_shown_where_they_are_written() -> None:
    shown = describe(configured(toml="[keys.shop]\nsecret = 'a'\n"))
    assert 'api_keys = ""  # default' in shown
    assert '[keys.shop]\nsecret = "***"' in shown


def test_lists_in_the_file_as_one_text() -> None:
    config = configured(toml='[http]\ncors_origins = "https://a.example, https://b.example"\n')
    assert config.http.cors_origins == {"https://a.example", "https://b.example"}


def test_value_and_file_at_once() -> None:
    assert "one of the two" in faults(files={"f": "x"}, GEMINI_API_KEY=KEY, GEMINI_API_KEY_FILE="f")[0]


def test_secrets_never_show() -> None:
    toml = f"""
    [keys.shop]
    secret = "{SECRET}"
    [[ice_servers]]
    urls = ["turn:turn.example.net"]
    username = "user"
    credential = "canary-turn"
    """
    config = configured(toml=toml, GEMINI_API_KEY=KEY)
    for shown in (repr(config), describe(config)):
        assert "canary" not in shown
    assert "turn.example.net" in describe(config)
    bad = faults(GEMINI_API_KEY="canary with spaces", GATEWAY_API_KEYS="canary:canary with spaces")
    assert not any("canary" in fault for fault in bad)


def test_keys_meet_their_limits_by_name() -> None:
    toml = """
    [keys.shop]
    profiles = ["sales"]
    [keys.lab]
    secret = "from-file"
    [profiles.sales]
    public = false
    """
    config = configured(toml=toml, GATEWAY_API_KEYS="shop:from-env,lab:outranks")
    assert [(key.name, key.secret, key.profiles) for key in config.http.api_keys] == [
        ("shop", "from-env", frozenset({"sales"})),
        ("lab", "outranks", None),
    ]


# --- rules ---


@pytest.mark.parametrize(
    ("host", "key", "auth", "flags", "starts"),
    [
        ("127.0.0.1", "", "", {}, "emulator"),
        ("::1", "", "", {}, "emulator"),
        ("localhost", "", "", {}, "emulator"),
        ("127.0.0.1", KEY, "", {}, "service"),
        ("127.0.0.1", KEY, "", {"model.emulator": "true"}, "emulator"),
        ("0.0.0.0", KEY, "", {}, None),
        ("0.0.0.0", KEY, "a", {}, "service"),
        ("0.0.0.0", KEY, "", {"http.insecure": "true"}, "service"),
        ("0.0.0.0", "", "a", {}, None),
        ("192.0.2.1", "", "", {}, None),
        ("::", "", "a", {}, None),
        ("gw.example.com", "", "a", {}, None),
        ("0.0.0.0", "", "a", {"model.emulator": "true"}, "emulator"),
        ("0.0.0.0", "", "", {"model.emulator": "true"}, None),
    ],
)
def test_the_start_matrix(host: str, key: str, auth: str, flags: dict[str, str], starts: str | None) -> None:
    env = {"GATEWAY_HOST": host, "GEMINI_API_KEY": key, "GATEWAY_API_KEYS": auth}
    if starts is None:
        for fault in faults(flags=flags, **env):
            assert host in fault
    else:
        assert configured(flags=flags, **env).model.emulator is (starts == "emulator")


def test_a_service_without_a_key_is_not_replaced_by_the_emulator() -> None:
    assert "GEMINI_API_KEY" in faults(GATEWAY_GEMINI_BASE_URL="https://127.0.0.1:9443")[0]


def test_an_outright_no_to_the_emulator_holds_without_a_key_too() -> None:
    """Behind a proxy the gateway listens on loopback, and a secret that failed to mount would make a parrot for customers."""
    for where, options in (
        ("gateway.toml", {"toml": "[model]\nemulator = false"}),
        ("GATEWAY_EMULATOR", {"GATEWAY_EMULATOR": "false"}),
    ):
        (fault,) = faults(**options)
        assert "no Gemini key" in fault
        assert where in fault
        assert not configured(**options, GEMINI_API_KEY=KEY).model.emulator


def test_the_file_to_start_from_starts_with_a_key_only() -> None:
    toml = (Path(__file__).parents[2] / "deploy/gateway.toml").read_text()
    assert configured(toml=toml, GEMINI_API_KEY=KEY, GATEWAY_API_KEYS=SECRET).profiles
    assert "no Gemini key" in faults(toml=toml, GATEWAY_API_KEYS=SECRET)[0]


def test_two_listeners_cannot_share_a_port() -> None:
    assert faults(GATEWAY_PORT="9090")
    assert configured(GATEWAY_PORT="0", GATEWAY_ADMIN_PORT="0").http.port == 0


def test_a_ca_file_holds_a_certificate() -> None:
    assert "no PEM certificate" in faults(files={"ca": "hello"}, GATEWAY_GEMINI_CA_FILE="ca")[0]
    config = configured(files={"ca": "-----BEGIN CERTIFICATE-----\n"}, GATEWAY_GEMINI_CA_FILE="ca")
    assert config.model.ca_file == "ca"


# --- profiles ---


def test_a_profile_with_everything() -> None:
    toml = """
    [profiles.support]
    title = "Support"
    model = "gemini-2.5-flash-native-audio"
    voice = "Kore"
    language = "de-DE"
    system_instruction = "Be brief."
    greeting = "Say hello."
    temperature = 1
    max_duration = 600
    idle_timeout = 0
    public = false
    """
    assert configured(toml=toml).profiles["support"] == Profile(
        name="support",
        title="Support",
        model="gemini-2.5-flash-native-audio",
        voice="Kore",
        language="de-DE",
        system_instruction="Be brief.",
        greeting="Say hello.",
        temperature=1.0,
        max_duration=600.0,
        idle_timeout=0.0,
        public=False,
    )


def test_the_default_profile_greets_unless_the_file_says_otherwise() -> None:
    assert configured().profiles["default"].greeting
    assert configured(toml="[profiles.default]\nvoice = 'Puck'\n").profiles["default"] == Profile(voice="Puck")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "voice = 'kore'",
            "voice = 3",
            "language = 'german'",
            "model = 'a b'",
            "temperature = -1",
            "temperature = nan",
            "max_duration = 0",
        ),
        *("max_duration = '1h'", "idle_timeout = 0.5", "public = 'no'", "title = 3", "name = 'x'", "tools = []"),
    ],
)
def test_what_a_profile_may_not_say(line: str) -> None:
    found = faults(toml=f"[profiles.a]\n{line}\n")
    assert len(found) == 1
    assert found[0].startswith(f"profiles.a.{line.split()[0]}")


def test_there_are_thirty_voices() -> None:
    assert len(VOICES) == 30


# --- what people read ---


def test_what_is_described_can_be_loaded_again() -> None:
    toml = (
        '[profiles.a]\nsystem_instruction = "Say \\"yes\\".\\nBe kind: ä."\n[[ice_servers]]\nurls = [\'stun:stun.example.net\']\n'
    )
    config = configured(
        toml=toml, GATEWAY_PORT="8000", GATEWAY_CORS_ORIGINS="https://a.example", GATEWAY_UDP_ADVERTISE="203.0.113.7"
    )
    assert configured(toml=describe(config)) == config


def test_the_table_names_every_setting() -> None:
    table = markdown()
    for setting in SETTINGS:
        assert f"`{setting.path}`" in table
        for name in setting.env:
            assert f"`{name}`" in table
    assert all(line.count("|") == 6 for line in table.splitlines())


def test_names_follow_one_form() -> None:
    googles = r"(GEMINI|GOOGLE)_API_KEY|GOOGLE_(CLOUD_(PROJECT|LOCATION)|APPLICATION_CREDENTIALS)"
    for setting in SETTINGS:
        assert all(re.fullmatch(rf"GATEWAY_[A-Z_]+|{googles}", name) for name in setting.env)
        assert setting.flag is None or re.fullmatch(r"--[a-z-]+", setting.flag)
        assert not (setting.secret and setting.flag), "argv is public"
