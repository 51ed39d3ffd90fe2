"""What a call is made with: a named set of options from the configuration file. A caller may only pick one by name."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PROFILE = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """Options of a call. Every field is the operator's; nothing here can be set by a caller."""

    name: str = DEFAULT_PROFILE
    title: str = ""
    """Shown by `GET /v1/profiles`; the name when empty."""
    model: str = ""
    """Model name as the service knows it; empty: the configured default."""
    voice: str = ""
    """Prebuilt voice name (case-sensitive on the wire); empty: the service's default."""
    language: str = ""
    """BCP-47 code; empty: the model detects it."""
    system_instruction: str = ""
    greeting: str = ""
    """What the gateway asks the model to open the call with; empty: the model waits for the caller."""
    temperature: float | None = None
    max_duration: float = 3600.0
    """Seconds after which the call ends with `max_duration`."""
    idle_timeout: float = 0.0
    """Seconds without speech of either side after which the call ends with `idle`; 0: never."""
    public: bool = True
    """False: only callers whose API key lists this profile may pick it."""
