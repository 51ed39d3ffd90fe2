"""The tables inside a profile, backends and prices: what they give, and every fault at once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.config import Config, describe, load
from gateway.dialog.budget import Budget, Limits
from gateway.dialog.prices import price_of
from gateway.errors import ConfigError
from gateway.profile import Compression, Endpointing, Listening, Sensitivity, TurnCoverage

CERTIFICATE = "-----BEGIN CERTIFICATE-----"

EVERYTHING = """
[profiles.desk]
backend = "eu"
model = "gemini-3.8-live"
fallback = "spare"
greeting = "Greet."
context_template = "The caller is {name}, on plan {plan}."
max_duration = 600
max_duration_warning = 20
max_duration_prompt = "Only {seconds} seconds are left."
idle_timeout = 30
idle_prompt = "Ask whether the caller is still there."
idle_grace = 5
goodbye = "Say goodbye."

[profiles.desk.listening]
endpointing = "model"
start_sensitivity = "low"
end_sensitivity = "high"
prefix_padding = 0.1
silence = 0.8
interruptions = false
turn_coverage = "all_input"

[profiles.desk.compression]
trigger_tokens = 20000
target_tokens = 8000

[profiles.desk.budget.call]
tokens = 100000
usd = 0.5

[profiles.desk.budget.key]
audio_tokens = 5000000

[profiles.desk.budget.day]
usd = 100

[profiles.spare]
model = "gemini-2.5-flash-native-audio-latest"

[profiles.button.listening]
endpointing = "push_to_talk"

[backends.eu]
api_key_file = "/run/secrets/eu"
base_url = "https://eu.example.com/"
ca_file = "/etc/eu.pem"
api_version = "v1alpha"
model = "gemini-3.1-flash-live-preview"

[[prices]]
model = "gemini-3.8-live"
as_of = 2027-01-01
audio_in = 2.5

[[prices]]
model = "inhouse"
as_of = "2026-12-01"
text_in = 1
audio_in = 2
image_in = 3
text_out = 4
audio_out = 5
"""
FILES = {"/run/secrets/eu": "AIza-eu-canary\n", "/etc/eu.pem": CERTIFICATE}


def configured(toml: str, files: Mapping[str, str] = FILES, **env: str) -> Config:
    def read(path: str) -> str:
        try:
            return ({"gateway.toml": toml} | dict(files))[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return load({"config": "gateway.toml"}, {"GEMINI_API_KEY": "AIza-canary", **env}, read=read)


def faults(toml: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        configured(toml)
    return caught.value.faults


def test_a_profile_with_every_table() -> None:
    config = configured(EVERYTHING)
    desk = config.profiles["desk"]
    assert (desk.backend, desk.model, desk.fallback) == ("eu", "gemini-3.8-live", "spare")
    assert desk.context_template == "The caller is {name}, on plan {plan}."
    assert desk.context == ""
    assert (desk.max_duration, desk.max_duration_warning) == (600.0, 20.0)
    assert desk.max_duration_prompt == "Only {seconds} seconds are left."
    assert (desk.idle_timeout, desk.idle_prompt, desk.idle_grace) == (30.0, "Ask whether the caller is still there.", 5.0)
    assert desk.goodbye == "Say goodbye."
    assert desk.listening == Listening(
        Endpointing.MODEL, Sensitivity.LOW, Sensitivity.HIGH, 0.1, 0.8, interruptions=False, turn_coverage=TurnCoverage.ALL_INPUT
    )
    assert desk.compression == Compression(trigger_tokens=20_000, target_tokens=8_000)
    assert desk.budget == Budget(call=Limits(tokens=100_000, usd=0.5), key=Limits(audio_tokens=5_000_000), day=Limits(usd=100.0))
    assert config.profiles["button"].listening == Listening(Endpointing.PUSH_TO_TALK)


def test_what_is_not_said_is_at_its_default() -> None:
    profile = configured("[profiles.default]\n").profiles["default"]
    assert (profile.listening, profile.compression) == (Listening(), Compression())
    assert profile.budget == Budget()
    assert (profile.backend, profile.fallback, profile.context_template, profile.idle_prompt) == ("", "", "", "")


def test_a_backend_is_the_first_service_but_for_what_it_says() -> None:
    config = configured(EVERYTHING + '\n[backends.key2]\napi_key = "AIza-second"\n', GATEWAY_GEMINI_FAST_FRAMES="false")
    eu, key2 = config.backends["eu"], config.backends["key2"]
    assert (eu.api_key, eu.base_url, eu.ca_file) == ("AIza-eu-canary", "https://eu.example.com/", "/etc/eu.pem")
    assert (eu.api_version, eu.model, eu.fast_frames) == ("v1alpha", "gemini-3.1-flash-live-preview", False)
    assert (key2.api_key, key2.base_url, key2.model) == ("AIza-second", config.model.base_url, config.model.model)
    assert "canary" not in repr(config)


def test_own_prices_complete_themselves_from_the_table() -> None:
    first, second = configured(EVERYTHING).prices
    built_in = price_of("gemini-3.8-live")
    assert built_in is not None
    assert (first.audio_in, first.audio_out, first.as_of) == (2.5, built_in.audio_out, "2027-01-01")
    assert (second.model, second.text_in, second.audio_out) == ("inhouse", 1.0, 5.0)


def test_what_is_described_can_be_loaded_again() -> None:
    config = configured(EVERYTHING)
    told = describe(config).replace('api_key = "***"', 'api_key = "AIza-again"')
    assert "canary" not in told
    again = configured(told)
    assert again.profiles == config.profiles
    assert again.prices == config.prices
    assert again.backends.keys() == config.backends.keys()
    assert again.backends["eu"].base_url == "https://eu.example.com/"


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ('[profiles.x]\nmodel = "gemini-3.8-lve"', "profiles.x.model: gemini-3.8-lve is no Live model"),
        ('[profiles.x]\nmodel = "gpt-realtime"', "known: gemini-3.8-live"),
        ('[profiles.x]\nmodel = "gemini-2.0-flash-live-001"', "was shut down on 2025-12-09"),
        ('[profiles.x]\nvoice = "Kora"', "near: Kore"),
        ('[profiles.x]\nbackend = "eu"', "no backend is called 'eu'"),
        ('[profiles.x]\nfallback = "y"', "no profile is called 'y'"),
        ('[profiles.x]\nfallback = "x"', "leads in a circle: x → x"),
        ('[profiles.x]\nfallback = "default"', "default has the same backend and model"),
        ('[profiles.x]\nfallback = "default"\nmodel = "gemini-3.8-live"', "default has the same backend and model"),
        ("[profiles.x]\nidle_grace = 0", "profiles.x.idle_grace: must be 1 to 3600"),
        ("[profiles.x]\nmax_duration_warning = -1", "must be 1 to 3600, or 0 for never"),
        ('[profiles.x]\nidle_promt = "?"', "profiles.x.idle_promt: unknown; meant idle_prompt?"),
        ('[profiles.x]\ncontext = "secret"', "profiles.x.context: unknown"),
        ('[profiles.x]\ncontext_template = "Hello {caller name}"', "is no {name} of small letters"),
        ("[profiles.x]\nlistening = 3", "profiles.x.listening: must be a table"),
        ('[profiles.x.listening]\nendpointing = "button"', "must be one of model, gateway, push_to_talk"),
        ('[profiles.x.listening]\nstart_sensitivity = "medium"', "must be one of high, low"),
        ("[profiles.x.listening]\nsilence = 0.01", "profiles.x.listening.silence: must be 0.1 to 10"),
        ("[profiles.x.listening]\nsilense = 0.5", "meant silence?"),
        ('[profiles.x.listening]\nturn_coverage = "some"', "must be one of activity, all_input, activity_and_video"),
        ('[profiles.x.listening]\nendpointing = "gateway"\nprefix_padding = 0.1', "means nothing with endpointing = gateway"),
        ('[profiles.x.listening]\nendpointing = "push_to_talk"\nsilence = 0.5', "means nothing with endpointing = push_to_talk"),
        ("[profiles.x.compression]\ntrigger_tokens = 100\ntarget_tokens = 100", "must be less than trigger_tokens"),
        ("[profiles.x.compression]\nenabled = false\ntrigger_tokens = 100", "mean nothing with enabled = false"),
        ("[profiles.x.compression]\ntrigger_tokens = 1.5", "must be a whole number"),
        ("[profiles.x]\nbudget = 5", "profiles.x.budget: must be tables"),
        ("[profiles.x.budget.month]\nusd = 5", "profiles.x.budget.month: unknown; there are call, key, day"),
        ("[profiles.x.budget.call]\nusd = -5", "profiles.x.budget.call.usd: must be"),
        ("[profiles.x.budget.call]\ntokens = true", "must be a whole number"),
        (
            '[profiles.x]\nmodel = "inhouse"\n[profiles.x.budget.day]\nusd = 5\n[model]\nunknown_models = true',
            "profiles.x.budget: usd, but no price is known for inhouse",
        ),
        (
            '[model]\nunknown_models = true\n[profiles.y]\nmodel = "inhouse"\n'
            '[profiles.x]\nfallback = "y"\n[profiles.x.budget.call]\nusd = 5',
            "profiles.x.budget: usd, but no price is known for inhouse",
        ),
        ("[profiles.x.budget.call]\neuros = 5", "profiles.x.budget.call.euros: unknown"),
        ("[backends.eu]", "backends.eu: differs in nothing from [model]"),
        ('[backends.eu]\nbase_url = "http://eu"', "backends.eu.base_url: must be an https:// URL"),
        ('[backends.eu]\napi_key = "two words"', "backends.eu: must be one line"),
        ('[backends.eu]\napi_key_file = "/none"', "backends.eu.api_key_file: /none can't be read"),
        ('[backends.eu]\nca_file = "/none"', "backends.eu.ca_file: /none can't be read"),
        ("[backends]\neu = 1", "backends: must be tables"),
        ("prices = 5", "prices: must be tables"),
        ('[[prices]]\nmodel = "x"\ntext_in = 1', "prices 1: no as_of, audio_in, image_in, text_out, audio_out"),
        ('[[prices]]\nmodel = "gemini-3.8-live"', "prices 1: no as_of"),
        ('[[prices]]\nmodel = "gemini-3.8-live"\nas_of = "soon"', "prices 1.as_of: must be a date"),
    ],
)
def test_what_the_tables_may_not_say(toml: str, part: str) -> None:
    (fault,) = faults(toml)
    assert part in fault


def test_a_circle_is_told_to_each_of_its_members_and_to_nobody_else() -> None:
    models = ("gemini-3.8-live", "gemini-3.1-flash-live-preview", "gemini-2.5-flash-native-audio-latest")
    toml = "".join(
        f'[profiles.{name}]\nmodel = "{model}"\nfallback = "{fallback}"\n'
        for name, model, fallback in zip("abc", models, "bcb", strict=True)
    )
    assert [fault.partition(":")[0] for fault in faults(toml)] == ["profiles.b.fallback", "profiles.c.fallback"]


def test_a_chain_of_fallbacks_is_no_circle() -> None:
    toml = (
        '[profiles.a]\nfallback = "b"\n[profiles.b]\nmodel = "gemini-3.1-flash-live-preview"\nfallback = "c"\n'
        '[profiles.c]\nbackend = "k"\n[backends.k]\napi_key = "other"\n'
    )
    assert configured(toml).profiles["a"].fallback == "b"


def test_every_fault_at_once() -> None:
    told = faults(
        '[profiles.x]\nmodel = "nope"\nvoice = "nobody"\nfallback = "x"\nbackend = "none"\n'
        '[profiles.x.listening]\nendpointing = "?"\n[profiles.x.budget.day]\nusd = "much"\n'
    )
    assert len(told) == 6


def test_new_models_can_be_let_in() -> None:
    toml = '[profiles.x]\nmodel = "gemini-9-live"'
    assert configured(toml, GATEWAY_GEMINI_UNKNOWN_MODELS="true").profiles["x"].model == "gemini-9-live"


def test_a_secret_of_a_backend_never_shows() -> None:
    toml = '[backends.eu]\napi_key = "canary with spaces"'
    assert "canary" not in str(faults(toml))
