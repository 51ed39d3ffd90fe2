"""The configuration as one frozen value. Defaults and their reasons stand in `settings.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.access import ApiKey
from gateway.dialog.prices import Price
from gateway.profile import Profile
from gateway.wire.gemini_setup import Backend
from gateway.wire.whip import IceServer


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The public listener: page, signaling and API."""

    host: str
    port: int
    cors_origins: frozenset[str]
    insecure: bool
    """Without API keys although others than this machine can connect."""
    per_address: int
    """Connections of one address at a time."""
    api_keys: tuple[ApiKey, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """The operators' listener: metrics, status, drain."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UdpConfig:
    """The media socket."""

    host: str
    port: int
    advertise: tuple[str, ...]
    """Addresses the callers are told, `ip` or `ip:port`; empty: those of every interface."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The Gemini Live service, or the emulator in its place."""

    model: str
    base_url: str
    ca_file: str | None
    api_version: str
    fast_frames: bool
    emulator: bool
    """Answer with the built-in emulator; `api_key` and `base_url` are then not used."""
    api_key: str = field(default="", repr=False)
    unknown_models: bool = False
    """Profiles may name models that this version does not know."""
    backend: Backend = Backend.DEVELOPER
    project: str = ""
    """Vertex AI: the Google Cloud project; empty: `api_key` is one of its express mode."""
    location: str = ""
    credentials_file: str | None = None
    """Vertex AI with a project: who we are; None: whatever Google's application default credentials find."""


@dataclass(frozen=True, slots=True)
class CallsConfig:
    """Admission and drain."""

    max_calls: int
    drain_timeout: float


@dataclass(frozen=True, slots=True)
class LogConfig:
    """JSON lines on stderr."""

    level: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything an operator decides."""

    worker: str
    libopus: str | None
    http: HttpConfig
    admin: AdminConfig
    udp: UdpConfig
    model: ModelConfig
    calls: CallsConfig
    log: LogConfig
    ice_servers: tuple[IceServer, ...]
    profiles: Mapping[str, Profile]
    """By name; always holds `default`."""
    backends: Mapping[str, ModelConfig] = field(default_factory=dict)
    """Further services that profiles may name."""
    prices: tuple[Price, ...] = ()
    """Of models that the built-in table does not have, or has wrong."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Where each setting came from, by its TOML path: `default`, an environment variable, a flag or the file's name."""
