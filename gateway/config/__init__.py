"""One frozen `Config`, its table of settings, and how it is read."""

from gateway.config.load import load
from gateway.config.text import describe, markdown
from gateway.config.tree import AdminConfig, CallsConfig, Config, HttpConfig, LogConfig, ModelConfig, UdpConfig

__all__ = [
    "AdminConfig",
    "CallsConfig",
    "Config",
    "HttpConfig",
    "LogConfig",
    "ModelConfig",
    "UdpConfig",
    "describe",
    "load",
    "markdown",
]
