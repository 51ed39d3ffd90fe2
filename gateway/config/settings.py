"""Every setting, once: flags, environment, TOML and the README's table all derive from this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import values

# Hundreds of calls fit one core only on paper; what one core really carried is in the README. 50 leaves room for bursts.
MAX_CALLS = 50
# Kubernetes' and systemd's own patience before SIGKILL are 30 s and 90 s; the last seconds are for closing.
DRAIN_TIMEOUT = 25.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One value an operator may set."""

    path: str
    """In the TOML file and, split at the dot, in `Config`."""
    env: tuple[str, ...]
    """Variables, the first that is set wins."""
    parse: Callable[[str], object]
    default: str
    """As an operator would write it."""
    meaning: str
    flag: str | None = None
    toml: type = str
    """The TOML type that is taken: str, int, float (whole numbers too), bool, or list of strings (one string with commas too)."""
    secret: bool = False
    """Masked when shown, also readable from a file (`…_FILE`, in TOML `…_file`), and never a flag: argv is public."""


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "http.host",
        ("GATEWAY_HOST",),
        values.host,
        "127.0.0.1",
        "Address of page, signaling and API. Others than loopback want an API key and a Gemini key.",
        "--host",
    ),
    Setting("http.port", ("GATEWAY_PORT",), values.port, "8080", "Its TCP port.", "--port", int),
    Setting(
        "http.cors_origins",
        ("GATEWAY_CORS_ORIGINS",),
        values.origins,
        "",
        "Origins of other sites' pages that may call, exactly as browsers send them, comma between.",
        "--cors-origins",
        list,
    ),
    Setting(
        "http.insecure",
        ("GATEWAY_INSECURE_NO_AUTH",),
        values.flag,
        "false",
        "Listen beyond loopback without API keys: whoever reaches the port talks at your expense.",
        "--insecure-no-auth",
        bool,
    ),
    Setting(
        "http.per_address",
        ("GATEWAY_HTTP_PER_ADDRESS",),
        values.whole(1, 10_000),
        "40",
        "HTTP connections of one address at a time; raise it behind a proxy on another machine. Loopback has no such limit.",
        "--http-per-address",
        int,
    ),
    Setting(
        "http.api_keys",
        ("GATEWAY_API_KEYS",),
        values.text,
        "",
        "API keys, `name:secret` or bare secrets, comma between (in the file also a list, or `[keys.NAME]`). "
        "With keys, `/whip` and `/v1` want `Authorization: Bearer`.",
        toml=list,
        secret=True,
    ),
    Setting(
        "admin.host", ("GATEWAY_ADMIN_HOST",), values.host, "127.0.0.1", "Address of metrics, status and drain.", "--admin-host"
    ),
    Setting("admin.port", ("GATEWAY_ADMIN_PORT",), values.port, "9090", "Its TCP port.", "--admin-port", int),
    Setting(
        "udp.host",
        ("GATEWAY_UDP_HOST",),
        values.address,
        "0.0.0.0",
        "Address of the media socket; `::` for IPv6 and IPv4.",
        "--udp-host",
    ),
    Setting("udp.port", ("GATEWAY_UDP_PORT",), values.port, "7882", "Its UDP port, the only one for media.", "--udp-port", int),
    Setting(
        "udp.advertise",
        ("GATEWAY_UDP_ADVERTISE",),
        values.advertised,
        "",
        "Addresses callers are told, `ip` or `ip:port`, comma "
        "between; empty: those of every interface. Behind NAT: the public one.",
        "--udp-advertise",
        list,
    ),
    Setting(
        "calls.max_calls",
        ("GATEWAY_MAX_CALLS",),
        values.whole(1, 10_000),
        str(MAX_CALLS),
        "Refuse further calls above this.",
        "--max-calls",
        int,
    ),
    Setting(
        "calls.drain_timeout",
        ("GATEWAY_DRAIN_TIMEOUT",),
        values.seconds(0, 86_400),
        f"{DRAIN_TIMEOUT:g}",
        "Seconds that running calls get after SIGTERM.",
        "--drain-timeout",
        float,
    ),
    Setting(
        "model.api_key",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        values.secret,
        "",
        "Key of the Gemini API (or of Vertex AI's express mode). Without one the emulator answers, on loopback only.",
        secret=True,
    ),
    Setting(
        "model.backend",
        ("GATEWAY_GEMINI_BACKEND",),
        values.backend,
        "developer",
        "`developer`: the Gemini API, with a key. `vertex`: Vertex AI, with project and location or a key of its express mode.",
        "--gemini-backend",
    ),
    Setting(
        "model.project",
        ("GATEWAY_GEMINI_PROJECT", "GOOGLE_CLOUD_PROJECT"),
        values.or_empty(values.project),
        "",
        "Vertex AI: the Google Cloud project.",
        "--gemini-project",
    ),
    Setting(
        "model.location",
        ("GATEWAY_GEMINI_LOCATION", "GOOGLE_CLOUD_LOCATION"),
        values.or_empty(values.location),
        "",
        "Vertex AI: where the model runs, such as `us-central1`.",
        "--gemini-location",
    ),
    Setting(
        "model.credentials_file",
        ("GATEWAY_GEMINI_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
        values.path,
        "",
        "Vertex AI: JSON file that says who we are; empty: what Google's application default credentials find.",
        "--gemini-credentials-file",
    ),
    Setting(
        "model.emulator",
        ("GATEWAY_EMULATOR",),
        values.flag,
        "false",
        "Answer with the built-in emulator, key or not. An outright `false`: never, so that a missing key is a fault.",
        "--emulator",
        bool,
    ),
    Setting(
        "model.model",
        ("GATEWAY_GEMINI_MODEL",),
        values.model,
        "gemini-3.8-live",
        "Model of profiles that name none.",
        "--gemini-model",
    ),
    Setting(
        "model.base_url",
        ("GATEWAY_GEMINI_BASE_URL",),
        values.or_empty(values.https_url),
        "",
        "Where the service is; empty: Google's address of the backend and location.",
        "--gemini-base-url",
    ),
    Setting(
        "model.ca_file",
        ("GATEWAY_GEMINI_CA_FILE",),
        values.path,
        "",
        "PEM file trusted for the service instead of the system's authorities.",
        "--gemini-ca-file",
    ),
    Setting(
        "model.api_version",
        ("GATEWAY_GEMINI_API_VERSION",),
        values.or_empty(values.api_version),
        "",
        "API version of the service; empty: `v1beta`, on Vertex AI `v1beta1`.",
        "--gemini-api-version",
    ),
    Setting(
        "model.unknown_models",
        ("GATEWAY_GEMINI_UNKNOWN_MODELS",),
        values.flag,
        "false",
        "Take profiles that name a model this version does not know.",
        "--gemini-unknown-models",
        bool,
    ),
    Setting(
        "model.fast_frames",
        ("GATEWAY_GEMINI_FAST_FRAMES",),
        values.flag,
        "true",
        "Write and read audio messages by hand; false: through the SDK, slower.",
        "--gemini-fast-frames",
        bool,
    ),
    Setting("log.level", ("GATEWAY_LOG_LEVEL",), values.level, "info", "debug, info, warning or error.", "--log-level"),
    Setting(
        "libopus",
        ("GATEWAY_LIBOPUS",),
        values.path,
        "",
        "libopus to load; empty: the system's, else the one PyAV brings.",
        "--libopus",
    ),
    Setting(
        "worker", ("GATEWAY_WORKER",), values.name, "w0", "Name of this process: the first part of its call ids.", "--worker"
    ),
)
