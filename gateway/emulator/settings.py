"""Everything that can be chosen about an emulator, as one frozen value."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path


class Frames(enum.StrEnum):
    """WebSocket frame type of server messages. The real service sends binary; clients must cope with all."""

    BINARY = "binary"
    TEXT = "text"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """An emulator of the Gemini Live service. Seconds are floats; 0 for a port means any free one."""

    host: str = "127.0.0.1"
    port: int = 0
    """TLS listener: WebSocket, REST and `/emu`."""
    plain_port: int | None = None
    """A second listener without TLS, for raw and JavaScript clients; None: no such listener."""
    names: tuple[str, ...] = ()
    """Further names or addresses in the certificate, beside localhost, 127.0.0.1 and ::1."""
    certificate_dir: Path | None = None
    """Where `emulator-ca.pem`, certificate and key are kept and reused; None: a temporary folder, gone at the end."""

    persona: str = "parrot"
    """parrot | tone | talker | script | counter, with arguments after a colon: `tone:440,2`, `talker:3,2`."""
    scenario: Path | None = None
    """JSON file for the `script` persona; may also carry faults."""
    faults: str = ""
    """Faults of every session, as a query string: `goaway=30,10&pong_delay=8`. See `faults.py`."""
    seed: int = 0
    """Everything random (handles, jitter, mixed frames, unstated fault times) follows from it."""

    first_chunk: float = 0.3
    """From the end of the caller's turn (found by the VAD) to the first audio of the answer."""
    speed: float = 4.0
    """How much faster than real time an answer is sent; 1: real time, below 1: starving, 0: all at once."""
    await_playback: bool = True
    """Hold `turnComplete` until the audio sent would have been played, as the service does."""
    setup_delay: float = 0.02
    """From `setup` to `setupComplete`."""
    setup_timeout: float = 10.0
    """How long a connection may stay without `setup`."""
    transcript_delay: float = 0.15
    """From the end of the caller's turn to its input transcription."""
    silence_duration: float = 0.5
    """Trailing silence that ends a caller's turn when the client does not set `silenceDurationMs`."""

    lifetime: float = 600.0
    """Of one connection."""
    goaway_lead: float = 50.0
    """How long before the end of the lifetime `goAway` is sent."""
    handle_ttl: float = 7200.0
    """How long a resumption handle stays valid."""
    idle_handle: float = 5.0
    """A fresh handle is issued after this much idleness following setup."""
    session_limit: float = 900.0
    """Length of a conversation without context compression, audio only."""
    video_session_limit: float = 120.0
    """The same once video was sent."""
    context_window: int = 131_072
    """Tokens a conversation without compression may hold."""

    max_sessions: int | None = None
    """Connections at a time; one more is closed with 1011 (maximum concurrent sessions). None: no limit."""
    api_keys: frozenset[str] | None = None
    """Keys that are valid; None: any key is."""
    refuse_keys_by_http: bool = False
    """True: an unknown key gets HTTP 401 instead of 1007 after the upgrade."""
    versions: frozenset[str] = frozenset({"v1", "v1beta", "v1alpha", "v1beta1"})
    """API versions served; take `v1` out to catch a client that forgot to pin its version."""
    frames: Frames = Frames.BINARY
    deflate: bool = True
    """Agree to permessage-deflate when the client offers it."""
    max_message_bytes: int = 16 * 2**20
    """A longer client message is answered with close code 1009."""

    record_seconds: float = 120.0
    """Audio kept per session and direction (the newest); 0: only counted."""
    record_messages: int = 5000
    """Messages kept per session (the newest)."""
    keep_sessions: int = 50
    """Ended sessions whose record is kept."""
