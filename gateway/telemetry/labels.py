"""Bucket edges and the closed sets that label values come from; what is in no set becomes `other`."""

from __future__ import annotations

from collections.abc import Container

from gateway.dialog.moderation import Ruling, Who
from gateway.dialog.turns import TurnEnd, TurnKind
from gateway.events import LegKind, Refusal, SetupStage, ToolOutcome

OTHER = "other"
MAX_MODELS = 8
MAX_TOOLS = 32
"""Label values, `other` included."""


# Bucket edges in seconds. The objectives' thresholds (1.2 s and 3 s a turn, 1.5 s and 4 s a setup, 30 ms added) are edges.
TURN = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 6, 10)
PATH = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4, 0.8, 1.6)
SETUP = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2.5, 4, 7, 10, 15, 30)
DURATION = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
LOSS = (0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1)
JITTER = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5)
RTT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1, 2)
DEPTH = (0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60)
CONTEXT = (1_000, 4_000, 8_000, 16_000, 32_000, 64_000, 96_000, 128_000)
"""Tokens."""
MOS = (1.5, 2, 2.5, 3, 3.25, 3.5, 3.75, 4, 4.2, 4.4)
LAG = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.2)
LEAD = (1, 5, 10, 20, 30, 45, 60, 90)
LOOP_LAG = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)

LEGS = frozenset(str(leg) for leg in LegKind)
STAGES = frozenset(str(stage) for stage in SetupStage)
TURN_ENDS = frozenset(str(end) for end in TurnEnd)
TURN_KINDS = frozenset(str(kind) for kind in TurnKind)
RESUMPTIONS = frozenset({"ok", "refused", "no_handle", "stale_handle", "context_replayed"})
DIRECTIONS = frozenset({"input", "output"})
MODALITIES = frozenset({"text", "audio", "image", "unknown"})
TOKEN_CLASSES = frozenset({"plain", "cached", "reasoning", "tool"})
CONNECT_KINDS = frozenset({"initial", "goaway", "error", "drain", "rotate"})
CLOSE_CODES = frozenset({"1000", "1001", "1006", "1007", "1008", "1011", "1012", "1013"}) | frozenset(
    {"http401", "http403", "http404", "http429", "http5xx", "dns", "tls", "timeout"}
)
REFUSALS = frozenset(str(reason) for reason in Refusal) | frozenset(
    {"tenant_concurrency", "rate", "budget", "model_quota", "overload", "maintenance"}
)
AUTH_SURFACES = frozenset({"http", "ws", "webhook", "admin", "turn_mint"})
AUTH_REASONS = frozenset({"missing", "expired", "bad_sig", "bad_aud", "replayed", "origin", "alg"})
SDP_REASONS = frozenset({"size", "mlines", "candidates", "line_len", "codec", "fingerprint", "no_mux", "parse"})
SPEAKERS = frozenset(str(who) for who in Who)
RULINGS = frozenset(str(ruling) for ruling in Ruling)
TOOL_RESULTS = frozenset(str(outcome) for outcome in ToolOutcome)
CANDIDATES = frozenset({"host", "srflx", "prflx", "relay"})
UDP_REASONS = ("unknown_source", "bad_stun", "queue_full", "pair_cap", "rate", OTHER)
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
STATUSES = frozenset({"2xx", "3xx", "4xx", "5xx"})
MAX_ROUTES = 15


def closed(value: str, allowed: Container[str]) -> str:
    """`value` if it is one of `allowed`, else `other`."""
    return value if value in allowed else OTHER
