"""What all sessions of one emulator share: settings, conversations, keys, chance, and who asked for which faults."""

from __future__ import annotations

import datetime
import random
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.emulator import reasons
from gateway.emulator.conversations import Conversation, Conversations
from gateway.emulator.faults import NO_OPTIONS, OptionError, Options, parse_options
from gateway.emulator.models import Backend
from gateway.emulator.reasons import Reason
from gateway.emulator.record import Records, SessionRecord
from gateway.emulator.schema import WireError
from gateway.emulator.settings import EmulatorSettings
from gateway.emulator.tokens import EphemeralTokens
from gateway.emulator.voices import Persona, PersonaError, make_persona

_MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What the upgrade request said: everything a session knows before its first message."""

    path: str
    backend: Backend
    version: str
    constrained: bool
    """`BidiGenerateContentConstrained`: for ephemeral tokens."""
    key: str = ""
    """API key or access token, without options; empty: none."""
    options: Options = NO_OPTIONS
    tag: str = ""
    """`x-emulator-tag`: whatever the client calls this session, to find it again."""

    @property
    def is_token(self) -> bool:
        """The credential is an ephemeral token."""
        return self.key.startswith("auth_tokens/")


class Closable(Protocol):
    """A running session, as far as its neighbours may touch it."""

    def close(self, why: Reason, now: float) -> None:
        """Close it."""


class World:
    """Shared by the sessions of one emulator; all on one event loop, `now` passed in."""

    def __init__(self, settings: EmulatorSettings, script: Callable[[], Persona] | None = None, faults: str = "") -> None:
        self.settings = settings
        self.conversations = Conversations(settings.handle_ttl)
        self.records = Records(settings.keep_sessions)
        self.tokens = EphemeralTokens()
        self.draw = random.Random(settings.seed)
        self._script = script
        self._seen: Counter[str] = Counter()
        self._defaults = "&".join(part for part in (faults, settings.faults) if part)
        self._queued: list[Options] = []
        self.upgrades: deque[tuple[float, int]] = deque(maxlen=_MAX_COUNTED)
        """(loop time, HTTP status) of every upgrade that was asked for; 101: granted."""
        self.running: dict[str, Closable] = {}
        """Open sessions by id; the shell enters and removes them."""
        parse_options(self._defaults)
        make_persona(settings.persona, Backend.DEVELOPER, script)

    def options(self, words: str, *, strict: bool = True) -> Options:
        """The options these words ask for, this time: `times=2` counts here. Raises OptionError."""
        if not words:
            return NO_OPTIONS
        options = parse_options(words, seed=self.settings.seed, strict=strict)
        if options.times is None or not options.faults:
            return options
        self._seen[words] += 1
        if len(self._seen) > _MAX_COUNTED:
            self._seen.clear()
        return options if self._seen[words] <= options.times else options.without_faults()

    def default_options(self) -> Options:
        """Those of the settings or the scenario, and those an admin ordered for the next connection."""
        queued = self._queued.pop(0) if self._queued else NO_OPTIONS
        own = self.options(self._defaults)
        return Options({**own.faults, **queued.faults}, queued.persona or own.persona, None, own.words or queued.words)

    def set_defaults(self, words: str) -> None:
        """Faults of every connection from now on, instead of those of the settings. Raises OptionError."""
        parse_options(words)
        self._defaults = words

    def order(self, options: Options) -> None:
        """For the next connection; several orders are served one connection each."""
        if len(self._queued) < 1000:
            self._queued.append(options)

    def opaque(self, bits: int = 128) -> str:
        """A name nobody can guess the meaning of, from the seed."""
        return f"{self.draw.getrandbits(bits):0{bits // 4}x}"

    def new_conversation(self, model: str, backend: Backend, persona: str, now: float) -> Conversation:
        """A conversation with nothing in it. Raises WireError (1007) for an unknown persona."""
        spec = persona or self.settings.persona
        try:
            made = make_persona(spec, backend, self._script)
        except PersonaError as error:
            raise WireError(f"emulator: {error}") from None
        return Conversation(self.opaque(64), model, now, made, spec)

    def model_options(self, words: str) -> Options:
        """Options after the model's name. Raises WireError (1007) when they make no sense."""
        try:
            return self.options(words)
        except OptionError as error:
            raise WireError(f"emulator: {error}") from None

    @property
    def full(self) -> bool:
        """More sessions run than may."""
        return self.settings.max_sessions is not None and len(self.running) > self.settings.max_sessions

    def uuid(self) -> str:
        """A UUID, from the seed."""
        return str(uuid.UUID(int=self.draw.getrandbits(128), version=4))

    def close_session(self, session_id: str, why: Reason, now: float) -> None:
        """Close another session, if it still runs."""
        if session := self.running.get(session_id):
            session.close(why, now)

    def admit(self, upgrade: Upgrade, setup: object, at: datetime.datetime) -> object:
        """Judge the credential; `at` is the wall-clock time. Gives the setup that counts. Raises WireError."""
        refusal: Reason | None = None
        if not upgrade.key and upgrade.backend is Backend.DEVELOPER:
            refusal = reasons.NO_KEY
        elif upgrade.is_token != upgrade.constrained and upgrade.backend is Backend.DEVELOPER:
            refusal = reasons.TOKEN_METHOD if upgrade.is_token else reasons.INVALID
        elif upgrade.is_token:
            return self.tokens.redeem(upgrade.key, setup, at)
        elif not self.key_is_valid(upgrade.key):
            refusal = reasons.BAD_KEY
        if refusal is not None:
            raise WireError(refusal[1], refusal[0])
        return setup

    def key_is_valid(self, key: str) -> bool:
        """Whether this API key is one of ours."""
        keys = self.settings.api_keys
        return keys is None or key in keys

    def new_record(self, path: str, now: float) -> SessionRecord:
        """The record of a connection that begins now."""
        record = SessionRecord(
            self.opaque(64),
            path,
            now,
            record_seconds=self.settings.record_seconds,
            record_messages=self.settings.record_messages,
        )
        self.records.add(record)
        return record
