"""One connection to the emulator, without a socket: client messages and `now` in, frames out."""

from __future__ import annotations

import datetime
import enum

from gateway.emulator import client, messages, reasons
from gateway.emulator.connection import Connection, Output
from gateway.emulator.dialogue import Dialogue
from gateway.emulator.faults import Options, merge_options
from gateway.emulator.models import Backend
from gateway.emulator.reasons import Reason
from gateway.emulator.record import Message, SessionRecord
from gateway.emulator.schema import INVALID_ARGUMENT, WireError
from gateway.emulator.setup_check import SessionSetup, check_setup
from gateway.emulator.trouble import AT_SETUP
from gateway.emulator.world import Upgrade, World

_MAX_EARLY = 500


class Phase(enum.Enum):
    """Of a connection that is not closed."""

    FRESH = "fresh"  # no setup yet
    SETTING_UP = "setting_up"  # setup came, setupComplete is not sent
    OPEN = "open"


class Session:
    """Feed `receive`, `ping`, `wake` and `gone`; send what `take` gives; call `wake` at `next_at`."""

    def __init__(self, world: World, upgrade: Upgrade, record: SessionRecord, now: float) -> None:
        self.connection = Connection(world, upgrade, record)
        self.record = record
        self.phase = Phase.FRESH
        self.dialogue: Dialogue | None = None
        self._early: list[client.ClientMessage] = []
        record.faults, record.tag = tuple(self.connection.options.faults), upgrade.tag
        self.connection.agenda.enter(now + world.settings.setup_timeout, self._no_setup, "setup")

    @property
    def next_at(self) -> float | None:
        """When `wake` is due."""
        return self.connection.agenda.next_at

    @property
    def closed(self) -> bool:
        """Nothing more will be sent after what `take` gives."""
        return self.connection.closed

    @property
    def read_pause(self) -> float:
        """Seconds the shell waits before every read."""
        return (self.connection.options.number("slow_read") or 0.0) / 1000

    def take(self) -> list[Output]:
        """What there is to send, in order."""
        return self.connection.take()

    def wake(self, now: float) -> None:
        """Do what is due."""
        self.connection.agenda.run(now)

    def ping(self, payload: bytes, now: float) -> None:
        """The client sent a ping."""
        self.connection.ping(payload, now)

    def gone(self, code: int, reason: str, now: float) -> None:
        """The client closed, or the network did (1006)."""
        self.connection.gone(code, reason, now)

    def close(self, why: Reason, now: float) -> None:
        """Close from outside: an admin, the emulator's end, a message that was too long."""
        self.connection.close(why, now)

    def inject(self, options: Options, now: float) -> None:
        """Faults for a session that runs; before it is open they count as asked for at the upgrade."""
        if self.dialogue is not None:
            self.dialogue.trouble.inject(options, now)
        else:
            self.connection.options = merge_options((self.connection.options, options))

    def receive(self, raw: str | bytes, now: float) -> None:
        """One message of the client."""
        if self.closed:
            return
        self.record.received_messages += 1
        try:
            for message in client.parse(raw):
                self.record.messages.append(Message(now, True, type(message).__name__, len(raw)))
                if self.dialogue is not None:
                    self.dialogue.act(message, now)
                else:
                    self._before_open(message, now)
        except WireError as error:
            self._refuse(error, now)

    def _refuse(self, error: WireError, now: float) -> None:
        self.record.violation(now, f"{error.code} {error.reason}")
        self.connection.close((error.code, error.reason), now)

    def _before_open(self, message: client.ClientMessage, now: float) -> None:
        match self.phase, message:
            case Phase.FRESH, client.SetupMessage(body):
                self._set_up(body, now)
            case Phase.SETTING_UP, client.SetupMessage():
                self.record.violation(now, "second setup")
                raise WireError(INVALID_ARGUMENT)
            case Phase.SETTING_UP, _:
                self.record.violation(now, "input before setupComplete")
                if len(self._early) < _MAX_EARLY:
                    self._early.append(message)
            case _:
                self.record.violation(now, "input before setup")
                raise WireError(INVALID_ARGUMENT)

    def _no_setup(self, now: float) -> None:
        self.connection.close(reasons.NO_SETUP, now)

    def _set_up(self, body: object, now: float) -> None:
        connection, world = self.connection, self.connection.world
        connection.agenda.strike("setup")
        self.phase = Phase.SETTING_UP
        # The wall clock is for tokens alone: their expiry is a date.
        body = world.admit(connection.upgrade, body, datetime.datetime.now(datetime.UTC))
        setup = check_setup(body, connection.backend, connection.upgrade.version)
        connection.options = options = merge_options((connection.options, world.model_options(setup.options)))
        self.record.faults = tuple(options.faults)
        self.record.setup, self.record.model = setup.body, setup.model.name
        for name, (code, reason) in AT_SETUP.items():
            if name in options or (name == "concurrency" and world.full):
                raise WireError(reason, code)
        if "setup_goaway" in options:
            connection.send("goAway", messages.go_away(50), now)
        if "setup_error" in options:
            error = {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}
            connection.send("error", {"error": error}, now)
        if "setup_hang" in options or "setup_goaway" in options or "setup_error" in options:
            return
        self._join_conversation(setup, now)
        slow = options.number("setup_slow")
        delay = world.settings.setup_delay if slow is None else slow
        connection.agenda.enter(now + delay, lambda at: self._open(setup, at))

    def _join_conversation(self, setup: SessionSetup, now: float) -> None:
        connection, world, record = self.connection, self.connection.world, self.record
        if setup.handle is None:
            conversation = world.new_conversation(setup.model.name, connection.backend, connection.options.persona, now)
        else:
            if "stale_handle" in connection.options:
                raise WireError(reasons.STALE_HANDLE[1], reasons.STALE_HANDLE[0])
            conversation = world.conversations.redeem(setup.handle, setup.model.name, now)
            if conversation.session_id is not None:
                record.violation(now, "second socket while the conversation's first is open")
                if "dup_socket_old" not in connection.options:
                    raise WireError(reasons.INTERNAL[1], reasons.INTERNAL[0])
                world.close_session(conversation.session_id, reasons.INTERNAL, now)
            record.resumed = True
        conversation.session_id = record.session_id
        connection.conversation = conversation
        record.conversation, record.persona = conversation.conversation_id, conversation.persona_name

    def _open(self, setup: SessionSetup, now: float) -> None:
        connection = self.connection
        assert connection.conversation is not None, "joined before the delay"
        self.phase = Phase.OPEN
        self.record.ready = now
        session_id = connection.world.uuid() if connection.backend is Backend.VERTEX else None
        connection.send("setupComplete", messages.setup_complete(session_id), now)
        self.dialogue = Dialogue(connection, setup, connection.conversation, now)
        early, self._early = self._early, []
        try:
            for message in early:
                if not self.closed:
                    self.dialogue.act(message, now)
        except WireError as error:
            self._refuse(error, now)
