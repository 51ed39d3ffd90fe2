"""What outlives a connection: conversations, and the handles by which they are resumed."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.emulator.schema import INVALID_ARGUMENT, WireError
from gateway.emulator.voices import Persona

_MAX_HANDLES = 20_000
_MAX_HISTORY = 1000


@dataclass(slots=True)
class Conversation:
    """One conversation with one model, over any number of connections."""

    conversation_id: str
    model: str
    started: float
    persona: Persona
    persona_name: str
    turns: int = 0
    """Model turns completed."""
    history: list[tuple[str, str]] = field(default_factory=list)
    """(role, words), oldest first: what the model remembers."""
    tokens: int = 0
    """Context used."""
    heard_anything: bool = False
    session_id: str | None = None
    """The open connection, if any."""

    def remember(self, role: str, words: str) -> None:
        """Add to the history; bounded, the oldest goes."""
        self.history.append((role, words))
        del self.history[:-_MAX_HISTORY]


@dataclass(frozen=True, slots=True)
class _Handle:
    conversation: Conversation
    issued: float
    turns: int
    history: tuple[tuple[str, str], ...]
    tokens: int


class Conversations:
    """Issues and redeems resumption handles."""

    def __init__(self, handle_ttl: float) -> None:
        self._ttl = handle_ttl
        self._handles: dict[str, _Handle] = {}

    def issue(self, handle: str, conversation: Conversation, now: float) -> None:
        """`handle` now stands for this conversation as it is."""
        self._handles[handle] = _Handle(conversation, now, conversation.turns, tuple(conversation.history), conversation.tokens)
        if len(self._handles) > _MAX_HANDLES:
            del self._handles[next(iter(self._handles))]

    def redeem(self, handle: str, model: str, now: float) -> Conversation:
        """The conversation, put back to what it was when the handle was issued.

        Raises WireError: 1008 when the handle is unknown or too old, 1007 for another model.
        """
        found = self._handles.get(handle)
        if found is None or now - found.issued > self._ttl:
            raise WireError("BidiGenerateContent session not found", code=1008)
        conversation = found.conversation
        if conversation.model != model:
            raise WireError(INVALID_ARGUMENT)
        if conversation.session_id is None:
            conversation.turns, conversation.history = found.turns, list(found.history)
            conversation.tokens = found.tokens
        return conversation
