"""What a call is made with: a named set of options from the configuration file. A caller may only pick one by name."""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from gateway.dialog.budget import UNLIMITED, Budget
from gateway.dialog.moderation import Moderation
from gateway.toolspec import ToolSpec

DEFAULT_PROFILE = "default"

MAX_INSTRUCTION = 100_000
"""Characters."""

VOICES = frozenset(
    [
        *("Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe", "Enceladus", "Iapetus"),
        *("Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia", "Achernar", "Alnilam", "Schedar"),
        *("Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia", "Sadaltager", "Sulafat"),
    ]
)
"""The service's prebuilt voices, case-sensitive on its wire."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|[0-9]{3}))?")  # the part of BCP 47 the service takes


class Endpointing(enum.StrEnum):
    """Who decides when the caller speaks."""

    MODEL = "model"
    """The service, from the audio; it hears all of it."""
    GATEWAY = "gateway"
    """Our own voice detection; the service hears what lies between."""
    PUSH_TO_TALK = "push_to_talk"
    """The caller, with a button."""


class Sensitivity(enum.StrEnum):
    """Of the service's voice detection."""

    DEFAULT = ""
    HIGH = "high"
    LOW = "low"


class TurnCoverage(enum.StrEnum):
    """What of the input a turn is made of."""

    DEFAULT = ""
    ACTIVITY = "activity"
    """Only what was said: silence is not read, and not billed."""
    ALL_INPUT = "all_input"
    ACTIVITY_AND_VIDEO = "activity_and_video"


class DuringTools(enum.StrEnum):
    """What becomes of the caller's audio while the model waits silently for a function."""

    DEFAULT = ""
    """Held for models that are known to end the session over it, else passed on."""
    PASS = "pass"
    HOLD = "hold"
    """Kept back, the last two seconds of it, and sent when the function has answered."""


@dataclass(frozen=True, slots=True)
class Listening:
    """How the caller's turns are found. What is left empty is the service's default."""

    endpointing: Endpointing = Endpointing.MODEL
    start_sensitivity: Sensitivity = Sensitivity.DEFAULT
    """How little is taken for the beginning of speech. Only with `model`, as the next two."""
    end_sensitivity: Sensitivity = Sensitivity.DEFAULT
    """How little silence is taken for its end."""
    prefix_padding: float | None = None
    """Seconds of speech needed before it counts."""
    silence: float | None = None
    """Seconds of silence that end a turn. With `gateway` too, 0.5 if not set."""
    interruptions: bool = True
    """False: the caller cannot speak over an answer."""
    turn_coverage: TurnCoverage = TurnCoverage.DEFAULT
    during_tools: DuringTools = DuringTools.DEFAULT


@dataclass(frozen=True, slots=True)
class Compression:
    """What happens when the conversation fills the model's context window."""

    enabled: bool = True
    """The oldest turns are forgotten. Without it a call ends after 15 minutes of audio."""
    trigger_tokens: int = 0
    """Size at which it happens; 0: the service's default, 80 % of the window."""
    target_tokens: int = 0
    """Size it comes down to; 0: half the trigger."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Options of a call. Every field is the operator's; a caller gives nothing but the data that `context_template` asks for."""

    name: str = DEFAULT_PROFILE
    title: str = ""
    """Shown by `GET /v1/profiles`; the name when empty."""
    backend: str = ""
    """Name of a `[backends.NAME]` table; empty: the `[model]` table's service."""
    model: str = ""
    """Model name as the service knows it; empty: the backend's default."""
    fallback: str = ""
    """Profile whose backend, model, voice, language and temperature take over when this one's service stays down."""
    voice: str = ""
    """Prebuilt voice name (case-sensitive on the wire); empty: the service's default."""
    language: str = ""
    """BCP-47 code; empty: the model detects it."""
    system_instruction: str = ""
    context_template: str = ""
    """Text with `{name}` for each value the client may give about the caller; see `dialog.context`."""
    context: str = ""
    """The template filled in for this call. Not an option of the file."""
    greeting: str = ""
    """What the gateway asks the model to open the call with; empty: the model waits for the caller."""
    temperature: float | None = None
    listening: Listening = Listening()
    compression: Compression = Compression()
    max_duration: float = 3600.0
    """Seconds after which the call ends with `max_duration`."""
    max_duration_warning: float = 30.0
    """Seconds before that when the model tells the caller; 0: never. Not in calls that are no longer than this."""
    max_duration_prompt: str = ""
    """What it is told to say, with `{seconds}` for what is left; empty: a sentence of ours."""
    idle_timeout: float = 0.0
    """Seconds without speech of either side after which the call ends with `idle`, or the prompt is spoken; 0: never."""
    idle_prompt: str = ""
    """What the model is told to ask a silent caller first; empty: hang up at once."""
    idle_grace: float = 10.0
    """Seconds that a silent caller has after the prompt."""
    budget: Budget = UNLIMITED
    goodbye: str = ""
    """What the model is told when a budget is used up; empty: a sentence of ours."""
    tools: tuple[ToolSpec, ...] = ()
    """Functions the model may have called. At run time the toolbox has put an MCP server's functions in its place."""
    tool_nudge: float = 3.0
    """Seconds that a model may be silent after a function's result before it is reminded, once; 0: never."""
    moderation: Moderation | None = None
    """Who judges what was said before anybody reads it; None: nobody."""
    public: bool = True
    """False: only callers whose API key lists this profile may pick it."""


IN_WORDS = ("system_instruction", "context", "tools")
IN_SOUND = ("voice", "language")
"""What may be changed in the middle of a call; the second only by another socket."""


def told_to(profile: Profile, new: Profile, *, options: tuple[str, ...] = IN_WORDS + IN_SOUND) -> Profile:
    """`profile` with the `options` of `new`."""
    return replace(profile, **{name: getattr(new, name) for name in options})


def voice_fault(name: str) -> str:
    """Why no call can have this voice; empty: it can."""
    if not name or name in VOICES:
        return ""
    near = difflib.get_close_matches(name.capitalize(), VOICES, 1) or sorted(VOICES)[:3]
    return f"is not one of the {len(VOICES)} voices; near: {', '.join(near)}"


def language_fault(code: str) -> str:
    """Why no call can have this language; empty: it can."""
    return "" if not code or _LANGUAGE.fullmatch(code) else "must be a language tag such as de-DE"


@dataclass(frozen=True, slots=True)
class Change:
    """What is asked to be different in a running call from now on; None: as it is."""

    instructions: str | None = None
    tools: tuple[str, ...] | None = None
    """Names, all of them declared by the profile: the functions that the model may have called."""
    voice: str | None = None
    language: str | None = None

    def faults(self, tools: Collection[str]) -> list[str]:
        """What is wrong with it. `tools`: the names that the profile declares."""
        found = []
        if self.instructions is not None and (len(self.instructions) > MAX_INSTRUCTION or "\0" in self.instructions):
            found.append(f"instructions: must be text of at most {MAX_INSTRUCTION} characters")
        names = self.tools or ()
        found += [f"tools: the profile has no {name[:64]!r}" for name in dict.fromkeys(names) if name not in tools]
        if len(set(names)) != len(names):
            found.append("tools: one is named twice")
        if why := voice_fault(self.voice or ""):
            found.append(f"voice: {why}")
        if why := language_fault(self.language or ""):
            found.append(f"language: {why}")
        return found

    def of(self, profile: Profile, declared: tuple[ToolSpec, ...]) -> Profile:
        """`profile` so changed; `declared`: all tools it had at the beginning."""
        wanted: dict[str, Any] = {"system_instruction": self.instructions, "voice": self.voice, "language": self.language}
        changed = replace(profile, **{name: value for name, value in wanted.items() if value is not None})
        if self.tools is None:
            return changed
        return replace(changed, tools=tuple(tool for tool in declared if tool.name in self.tools))
