"""Which service answers, where it is, who we are there, and what of it means nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.config import Config, describe, load
from gateway.config.backends import url
from gateway.errors import ConfigError
from gateway.wire.gemini_setup import Backend

FILES = {"/adc.json": '{"type": "service_account"}', "/list.json": "[]", "/deep.json": "[" * 100_000, "/text": "hello"}
PROJECT = {"GATEWAY_GEMINI_BACKEND": "vertex", "GOOGLE_CLOUD_PROJECT": "shop-1", "GOOGLE_CLOUD_LOCATION": "us-central1"}


def configured(toml: str = "", environ: Mapping[str, str] = PROJECT, flags: Mapping[str, str] | None = None) -> Config:
    def read(path: str) -> str:
        try:
            return ({"gateway.toml": toml} | FILES)[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return load({"config": "gateway.toml"} | dict(flags or {}), environ, read=read)


def faults(toml: str = "", environ: Mapping[str, str] = PROJECT, flags: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        configured(toml, environ, flags)
    return caught.value.faults


@pytest.mark.parametrize(
    ("backend", "location", "where"),
    [
        (Backend.DEVELOPER, "", "https://generativelanguage.googleapis.com/"),
        (Backend.VERTEX, "us-central1", "https://us-central1-aiplatform.googleapis.com/"),
        (Backend.VERTEX, "global", "https://aiplatform.googleapis.com/"),
        (Backend.VERTEX, "", "https://aiplatform.googleapis.com/"),
        (Backend.VERTEX, "eu", "https://aiplatform.eu.rep.googleapis.com/"),
    ],
)
def test_where_a_service_is(backend: Backend, location: str, where: str) -> None:
    assert url(backend, location) == where


def test_a_project_needs_no_key_and_no_emulator() -> None:
    model = configured().model
    assert (model.backend, model.project, model.location) == (Backend.VERTEX, "shop-1", "us-central1")
    assert (model.base_url, model.api_version) == ("https://us-central1-aiplatform.googleapis.com/", "v1beta1")
    assert not model.emulator
    assert model.credentials_file is None


def test_a_key_of_the_express_mode_will_do() -> None:
    model = configured(environ={"GATEWAY_GEMINI_BACKEND": "vertex", "GOOGLE_API_KEY": "k"}).model
    assert (model.api_key, model.base_url) == ("k", "https://aiplatform.googleapis.com/")
    assert not model.emulator


def test_all_of_it_from_the_file_and_shown_again() -> None:
    toml = """
    [model]
    backend = "vertex"
    project = "shop-1"
    location = "europe-west4"
    credentials_file = "/adc.json"
    model = "gemini-live-2.5-flash-native-audio"
    """
    config = configured(toml, {})
    assert config.model.credentials_file == "/adc.json"
    assert configured(describe(config), {}).model == config.model


def test_googles_own_variables_mean_nothing_to_the_developer_api() -> None:
    model = configured(
        environ={"GEMINI_API_KEY": "k", "GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_APPLICATION_CREDENTIALS": "/no"}
    ).model
    assert (model.backend, model.base_url) == (Backend.DEVELOPER, "https://generativelanguage.googleapis.com/")


def test_the_emulator_asks_nobody_who_they_are() -> None:
    assert configured(environ={"GATEWAY_GEMINI_BACKEND": "vertex"}, flags={"model.emulator": "true"}).model.emulator


@pytest.mark.parametrize(
    ("environ", "part"),
    [
        ({"GATEWAY_GEMINI_BACKEND": "vertx"}, "GATEWAY_GEMINI_BACKEND (model.backend): must be one of developer, vertex"),
        ({"GATEWAY_GEMINI_BACKEND": "vertex"}, "model: Vertex AI wants project and location, or a key"),
        ({"GATEWAY_GEMINI_BACKEND": "vertex", "GOOGLE_CLOUD_PROJECT": "p"}, "model.location: a project on Vertex AI wants one"),
        (
            {"GATEWAY_GEMINI_BACKEND": "vertex", "GOOGLE_API_KEY": "k", "GATEWAY_GEMINI_LOCATION": "eu"},
            "model.project: a location on Vertex AI wants one",
        ),
        ({"GATEWAY_GEMINI_PROJECT": "p", "GEMINI_API_KEY": "k"}, "model.project: means nothing with backend = developer"),
        (PROJECT | {"GOOGLE_CLOUD_LOCATION": "evil.example/"}, "GOOGLE_CLOUD_LOCATION (model.location): must be"),
        (PROJECT | {"GOOGLE_CLOUD_PROJECT": "../x"}, "GOOGLE_CLOUD_PROJECT (model.project): must be"),
        (PROJECT | {"GOOGLE_APPLICATION_CREDENTIALS": "/none"}, "model.credentials_file: /none can't be read"),
        (PROJECT | {"GOOGLE_APPLICATION_CREDENTIALS": "/text"}, "/text holds no Google credentials"),
        (PROJECT | {"GOOGLE_APPLICATION_CREDENTIALS": "/list.json"}, "/list.json holds no Google credentials"),
        (PROJECT | {"GOOGLE_APPLICATION_CREDENTIALS": "/deep.json"}, "/deep.json holds no Google credentials"),
        (PROJECT | {"GATEWAY_GEMINI_MODEL": "gemini-2.0-flash-live-001"}, "model.model: gemini-2.0-flash-live-001 was shut down"),
        (
            {"GATEWAY_GEMINI_BACKEND": "vertex", "GOOGLE_API_KEY": "k", "GATEWAY_GEMINI_CREDENTIALS_FILE": "/adc.json"},
            "model.credentials_file: means nothing without a project",
        ),
    ],
)
def test_what_may_not_be(environ: Mapping[str, str], part: str) -> None:
    (fault,) = faults(environ=environ)
    assert part in fault


# --- further backends ---


def test_a_backend_of_another_kind_takes_over_nothing_of_the_address() -> None:
    toml = """
    [model]
    api_key = "canary"
    base_url = "https://proxy.example/"
    api_version = "v1alpha"
    fast_frames = false
    [backends.cloud]
    backend = "vertex"
    project = "shop-1"
    location = "us-central1"
    model = "gemini-live-2.5-flash-native-audio"
    [backends.express]
    backend = "vertex"
    api_key = "canary-2"
    """
    config = configured(toml, {})
    cloud, express = config.backends["cloud"], config.backends["express"]
    assert (cloud.api_key, cloud.base_url) == ("", "https://us-central1-aiplatform.googleapis.com/")
    assert (cloud.api_version, cloud.fast_frames, cloud.model) == ("v1beta1", False, "gemini-live-2.5-flash-native-audio")
    assert (express.api_key, express.project, express.base_url) == ("canary-2", "", "https://aiplatform.googleapis.com/")
    assert config.model.base_url == "https://proxy.example/"
    told = describe(config)
    assert "canary" not in told
    assert 'location = "us-central1"' in told


def test_another_region_of_the_same_project() -> None:
    backend = configured('[backends.eu]\nlocation = "europe-west4"').backends["eu"]
    assert (backend.project, backend.location) == ("shop-1", "europe-west4")
    assert backend.base_url == "https://europe-west4-aiplatform.googleapis.com/"


def test_a_key_in_place_of_the_project() -> None:
    backend = configured('[backends.x]\napi_key = "k"').backends["x"]
    assert (backend.project, backend.location, backend.api_key) == ("", "", "k")


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ('[backends.x]\nbackend = "azure"', "backends.x.backend: must be one of developer, vertex"),
        ('[backends.x]\nbackend = "developer"', "backends.x: [model] is on Vertex AI, so this one wants its own api_key"),
        ('[backends.x]\nbackend = "developer"\napi_key = "k"\nproject = "p"', "backends.x.project: means nothing with"),
        ('[backends.x]\ncredentials_file = "/text"', "backends.x.credentials_file: /text holds no Google credentials"),
        ('[backends.x]\nmodel = "gemini-9"', "backends.x.model: gemini-9 is no Live model"),
        ('[backends.x]\nca_file = "/text"', "backends.x.ca_file: /text holds no PEM certificate"),
        ("[backends.x]\nlocation = 3", "backends.x.location: must be a string"),
    ],
)
def test_what_a_backend_may_not_say(toml: str, part: str) -> None:
    (fault,) = faults(toml)
    assert part in fault


def test_faults_of_all_services_at_once() -> None:
    toml = '[model]\nbackend = "vertex"\n[backends.a]\nbackend = "developer"\n[backends.b]\nproject = "p"\n'
    assert [fault.partition(":")[0] for fault in faults(toml, {})] == ["backends.a", "backends.b.location", "model"]
