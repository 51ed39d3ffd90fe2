"""All that a call knows of the model's side."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.dialog.history import History
from gateway.dialog.transcript import CutOff
from gateway.events import (
    ContextRead,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelLeaving,
    ModelMessageSkipped,
    ModelSwapped,
    TokensUsed,
)
from gateway.profile import Profile

CALL: ContextVar[str] = ContextVar("gateway_call", default="")
"""Id of the call that a task works for; the registry sets it. Not for decisions: a name tag on what leaves this process."""


class AudioOut(NamedTuple):
    """Speech of the model: PCM16 LE mono 24 kHz, whole samples. `at`: loop time when its message was read."""

    pcm: bytes
    at: float


@dataclass(frozen=True, slots=True)
class InputTranscript:
    """A fragment of what the model understood of the caller."""

    text: str


@dataclass(frozen=True, slots=True)
class OutputTranscript:
    """A fragment of what the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelInterrupted:
    """The model heard the caller speak over it; `at`: loop time of reading. Audio its own message carried is already dropped."""

    at: float


@dataclass(frozen=True, slots=True)
class GenerationComplete:
    """No more audio comes for this turn."""


@dataclass(frozen=True, slots=True)
class TurnComplete:
    """The model's turn is over and it listens again."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a function called. Exactly one `ModelSession.answer_tool` without `will_continue` must follow."""

    id: str
    name: str
    args: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolCancelled:
    """The model no longer wants these answers; a late one is not sent."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool gave: `response` is `{"output": …}` or `{"error": …}`.

    `scheduling` INTERRUPT|WHEN_IDLE|SILENT only for a NON_BLOCKING function; empty: the service's default.
    """

    id: str
    name: str
    response: Mapping[str, object]
    scheduling: str = ""
    will_continue: bool = False


ModelEvent = (
    AudioOut
    | InputTranscript
    | OutputTranscript
    | ModelInterrupted
    | GenerationComplete
    | TurnComplete
    | ToolCall
    | ToolCancelled
    | ModelSwapped
    | ModelLeaving
    | ModelConnectFailed
    | TokensUsed
    | ContextRead
    | ModelConnected
    | ModelClosed
    | ModelMessageSkipped
)


class Updated(enum.StrEnum):
    """What became of a change."""

    NOTHING = "nothing"  # all was so already
    TOLD = "context_update"  # the service was told, on the socket that is open
    SWAP = "swap"  # the next socket is set up so; it comes at the next pause, within seconds


class ModelSession(Protocol):
    """The Gemini side of one call. May span several sockets; the call never sees them.

    One task sends, one task reads. While there is no socket what is sent waits, bounded, and is played to the next one.
    """

    @property
    def free(self) -> bool:
        """What is sent now would leave at once: there is a socket with room, nothing is before it, nothing else is due."""

    def post_audio(self, pcm: bytes) -> None:
        """`send_audio` without waiting, for whoever has found the session free just now."""

    async def send_audio(self, pcm: bytes) -> None:
        """Caller's audio, PCM16 LE mono 16 kHz, any whole number of samples."""

    async def end_audio(self) -> None:
        """The caller's audio pauses (AWAY, mute): the model should not wait for more of it."""

    async def send_text(self, text: str) -> None:
        """Typed words of the caller: a turn of its own."""

    async def answer_tool(self, answer: ToolAnswer) -> None:
        """Give the model a tool's result. A session that has moved to another socket sends it there."""

    async def cut_off(self, answer: CutOff) -> None:
        """The caller has spoken over this answer: where the model takes notes it is told, once, which of its words were heard."""

    async def prompt(self, text: str) -> None:
        """The gateway's own instruction (greeting): the model answers it aloud."""

    async def activity(self, speaking: bool) -> None:
        """The caller begins or ends a turn: only with an endpointing other than the model's own (`Profile.listening`).

        A session that moves to another socket in the middle of a turn begins it there again, before the audio it replays.
        """

    async def update(self, profile: Profile) -> Updated:
        """From now on the instruction, context, tools, voice and language of `profile` hold: told to the service where it takes
        that in the middle of a session, else by a swap. Nothing else of the profile changes.
        """

    def events(self) -> AsyncIterator[ModelEvent]:
        """Everything the model does, across turns and sockets. Call once. Ends by raising ModelError when it is given up."""


class Model(Protocol):
    """Opens model sessions; one per worker."""

    def session(self, profile: Profile, history: History | None = None) -> AbstractAsyncContextManager[ModelSession]:
        """Open a session with the profile's options. Entering raises ModelRefused or ModelUnavailable; at most ~10 s.

        `history` is the call's account of what was said, read when the service has forgotten it; without one the session
        keeps its own, in which the caller has heard all that was said.
        """
