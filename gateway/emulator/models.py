"""The models the emulator knows, and in what they differ: rows of a table (Gemini Live models of November 2026)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Backend(enum.StrEnum):
    """Which service is imitated; the request's path decides."""

    DEVELOPER = "developer"
    VERTEX = "vertex"


class Thinking(enum.Enum):
    """What a model says to `thinkingConfig`."""

    REFUSED = "refused"
    OPTIONAL = "optional"
    LEVEL_REQUIRED = "level_required"


class Content(enum.Enum):
    """What a model does with `clientContent` in mid-session."""

    INTERRUPTS = "interrupts"
    """`turnComplete: true` interrupts and is answered; without it the content waits for the next turn."""
    QUEUES = "queues"
    """Answered after the running turn; without `turnComplete` it stops the running turn."""
    SEEDS_ONLY = "seeds_only"
    """Only as initial history, and only with `historyConfig`."""


@dataclass(frozen=True, slots=True)
class LiveModel:
    """How one model differs from the others."""

    name: str
    backends: frozenset[Backend]
    thinking: Thinking
    content: Content
    bundled: bool
    """Several serverContent fields in one message (3.x); else one field a message (2.5)."""
    media_chunks: bool
    """Takes the deprecated `mediaChunks`."""
    blocking: bool
    """Takes BLOCKING function declarations."""
    non_blocking: bool
    """Takes NON_BLOCKING function declarations."""
    blocks_by_default: bool
    null_handle: bool
    """Takes `sessionResumption.handle: null`."""
    affective: bool
    """Takes `enableAffectiveDialog`."""
    always_proactive: bool
    """`proactiveAudio: false` is refused."""
    interaction_status: bool
    """Marks messages with `interactionStatus`; only IDLE ends a turn."""


_BOTH = frozenset(Backend)
_DEVELOPER = frozenset({Backend.DEVELOPER})

_3_8 = LiveModel(
    name="gemini-3.8-live",
    backends=_BOTH,
    thinking=Thinking.REFUSED,
    content=Content.INTERRUPTS,
    bundled=True,
    media_chunks=False,
    blocking=True,
    non_blocking=True,
    blocks_by_default=False,
    null_handle=True,
    affective=False,
    always_proactive=True,
    interaction_status=False,
)
_3_8_THINKING = LiveModel(
    name="gemini-3.8-live-extended-thinking",
    backends=_BOTH,
    thinking=Thinking.LEVEL_REQUIRED,
    content=Content.INTERRUPTS,
    bundled=True,
    media_chunks=False,
    blocking=False,
    non_blocking=True,
    blocks_by_default=False,
    null_handle=True,
    affective=False,
    always_proactive=True,
    interaction_status=True,
)
_3_1 = LiveModel(
    name="gemini-3.1-flash-live-preview",
    backends=_DEVELOPER,
    thinking=Thinking.OPTIONAL,
    content=Content.SEEDS_ONLY,
    bundled=True,
    media_chunks=False,
    blocking=True,
    non_blocking=False,
    blocks_by_default=True,
    null_handle=False,
    affective=False,
    always_proactive=False,
    interaction_status=False,
)


def _2_5(name: str, backend: Backend) -> LiveModel:
    return LiveModel(
        name=name,
        backends=frozenset({backend}),
        thinking=Thinking.OPTIONAL,
        content=Content.QUEUES,
        bundled=False,
        media_chunks=True,
        blocking=True,
        non_blocking=True,
        blocks_by_default=True,
        null_handle=True,
        affective=True,
        always_proactive=False,
        interaction_status=False,
    )


MODELS = {
    model.name: model
    for model in (
        _3_8,
        _3_8_THINKING,
        _3_1,
        _2_5("gemini-2.5-flash-native-audio-preview-12-2025", Backend.DEVELOPER),
        _2_5("gemini-2.5-flash-native-audio-latest", Backend.DEVELOPER),
        _2_5("gemini-live-2.5-flash-native-audio", Backend.VERTEX),
    )
}

_VOICE_NAMES = """
Zephyr Puck Charon Kore Fenrir Leda Orus Aoede Callirrhoe Autonoe Enceladus Iapetus Umbriel Algieba Despina Erinome
Algenib Rasalgethi Laomedeia Achernar Alnilam Schedar Gacrux Pulcherrima Achird Zubenelgenubi Vindemiatrix
Sadachbia Sadaltager Sulafat
"""
VOICES = frozenset(_VOICE_NAMES.split())

MAX_FUNCTIONS = 512
