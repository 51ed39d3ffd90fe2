"""Everything that goes wrong on purpose once a session is set up, and the ends every session comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from gateway.emulator import messages, reasons
from gateway.emulator.connection import Connection
from gateway.emulator.faults import Basis, Fault, Options
from gateway.emulator.mouth import Mouth
from gateway.emulator.reasons import Reason
from gateway.emulator.schema import INVALID_ARGUMENT, Json, WireError
from gateway.emulator.setup_check import SessionSetup
from gateway.emulator.sound import OUTPUT_RATE, tone
from gateway.emulator.voices import SILENT, Answer, PcmSource, Source

AT_SETUP: dict[str, Reason] = {
    "bad_key": reasons.BAD_KEY,
    "bad_model": reasons.BAD_MODEL,
    "invalid_arg": reasons.INVALID,
    "concurrency": reasons.CONCURRENCY,
}
"""Faults that close instead of setupComplete."""

CLOSES: dict[str, Reason] = {
    "quota_mid": reasons.QUOTA,
    "close_1000": (1000, ""),
    "close_1001": (1001, ""),
    "close_1011": reasons.INTERNAL,
    "close_1008_abort": reasons.ABORTED,
}
"""Faults that close at their moment."""

ODDITIES: dict[str, bytes] = {
    "malformed_json": b'{"serverContent": {"modelTurn": {"par',
    "bad_base64": b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "A!*"}}]}}}',
    "unknown_only": b'{"brandNewThing": {"a": 1}}',
    "error_object": b'{"error": {"code": 500, "message": "Internal error encountered.", "status": "INTERNAL"}}',
    "empty_frame": b"",
    "wrong_type": b'{"goAway": {"timeLeft": 50}}',
    "snake_top": b'{"server_content": {"generation_complete": true}}',
    "json_list": b"[1, 2, 3]",
}
"""Messages that do not parse, byte for byte."""

_HUGE_BYTES = 1_200_000
_INTERRUPT_CAP = 500


class Model(Protocol):
    """What trouble can make the dialogue do."""

    mouth: Mouth | None

    def interrupt(self, now: float) -> None:
        """Barge-in without a caller."""

    def cancel_calls(self, now: float) -> None:
        """Give up pending tool calls."""

    def send_content(self, now: float, **fields: object) -> None:
        """Send a serverContent."""


class Trouble:
    """Asked at every place where something can go wrong; without options it changes nothing."""

    def __init__(self, connection: Connection, setup: SessionSetup, model: Model) -> None:
        self._connection, self._setup, self._model = connection, setup, model
        self.frozen = False
        self._armed: list[Fault] = []
        self._heard = self._said = 0.0
        self._turns = 0
        self._odd_sent = False
        self._late_words: list[str] = []
        self._double: Answer | None = None

    @property
    def _options(self) -> Options:
        return self._connection.options

    # --- the ends ---

    def begin(self, now: float) -> None:
        """The session is open: lifetime, limits, and faults with a moment."""
        connection, settings = self._connection, self._connection.settings
        for fault in self._options.faults.values():
            self._arm(fault, now)
        if "quota_connect" in self._options:
            connection.agenda.enter(now, lambda at: connection.close(reasons.QUOTA, at))
        poison = self._options.number("poison_handle")
        if poison is not None and connection.record.resumed:
            connection.agenda.enter(now + poison, lambda at: connection.close(reasons.INTERNAL, at))
        if "goaway" not in self._options:
            lead = min(settings.goaway_lead, settings.lifetime)
            connection.agenda.enter(now + settings.lifetime - lead, lambda at: self._go_away(lead, at))
        if not self._setup.compresses:
            self._limit(settings.session_limit, now)

    def inject(self, options: Options, now: float) -> None:
        """Further faults, from now on; moments in seconds count from now."""
        connection = self._connection
        connection.options = Options({**connection.options.faults, **options.faults}, connection.options.persona)
        connection.record.faults = tuple(connection.options.faults)
        for fault in options.faults.values():
            self._arm(fault, now)
        if "quota_connect" in options:
            connection.close(reasons.QUOTA, now)

    def video_seen(self, now: float) -> None:
        """Video shortens what fits into the context."""
        if not self._setup.compresses:
            self._limit(self._connection.settings.video_session_limit, now)

    def context_used(self, tokens: int, now: float) -> None:
        """A full context ends the session unless it is compressed."""
        if tokens > self._connection.settings.context_window and not self._setup.compresses:
            self._connection.close(reasons.INVALID, now)

    def _limit(self, seconds: float, now: float) -> None:
        conversation = self._connection.conversation
        began = conversation.started if conversation else now
        self._connection.agenda.enter(max(now, began + seconds), lambda at: self._connection.close(reasons.INVALID, at), "limit")

    def _go_away(self, lead: float, now: float) -> None:
        self._connection.send("goAway", messages.go_away(lead), now)
        end = reasons.DEADLINE if "goaway_1011" in self._options else reasons.GOAWAY_IGNORED
        self._connection.agenda.enter(now + lead, lambda at: self._connection.close(end, at), "goaway")

    def _arm(self, fault: Fault, now: float) -> None:
        if fault.moment is None:
            return
        if fault.moment.basis is Basis.READY:
            self._connection.agenda.enter(now + fault.moment.amount, lambda at: self._strike(fault, at))
        else:
            self._armed.append(fault)

    def _reached(self, basis: Basis, amount: float, now: float) -> None:
        for fault in [item for item in self._armed if item.moment and item.moment.basis is basis]:
            if fault.moment and amount >= fault.moment.amount:
                self._armed.remove(fault)
                self._strike(fault, now)

    def _strike(self, fault: Fault, now: float) -> None:
        connection = self._connection
        match fault.name:
            case "goaway":
                self._go_away(fault.number, now)
            case "abrupt_1006":
                connection.abort(now)
            case "half_open":
                connection.freeze(now)
            case "phantom_interrupt":
                self._model.send_content(now, interrupted=True)
            case "interrupt_flood":
                for _ in range(min(int(fault.number), _INTERRUPT_CAP)):
                    self._model.send_content(now, interrupted=True)
            case name:
                connection.close(CLOSES[name], now)

    # --- the caller ---

    def heard(self, seconds: float, now: float) -> None:
        """Caller audio came."""
        self._heard += seconds
        if self._armed:
            self._reached(Basis.HEARD, self._heard, now)

    def caller_started(self, now: float) -> None:
        """The caller began to speak."""
        if "interim" in self._options and self._setup.transcribe_input:
            self._model.send_content(now, interimInputTranscription={"text": "(you are speaking)"})

    def caller_said(self, words: str, now: float) -> None:
        """Send the input transcription: soon, late, in crumbs, or never."""
        if not self._setup.transcribe_input or not words:
            return
        if "transcript_late" in self._options:
            self._late_words.append(words)
        else:
            due = now + self._connection.settings.transcript_delay
            self._connection.agenda.enter(due, lambda at: self._send_input(words, at))

    def _send_input(self, words: str, now: float) -> None:
        for piece in self.pieces(words):
            self._model.send_content(now, inputTranscription={"text": piece})

    def pieces(self, words: str) -> list[str]:
        """How a stretch of transcript is cut up."""
        if "transcript_missing" in self._options or not words:
            return []
        if "utf8_raw" in self._options:
            words = f"{words} – été, Größe, 日本語"
        if "transcript_fragments" not in self._options:
            return [words]
        parts, at = [], 0
        while at < len(words):
            size = self._connection.draw.randint(2, 4)
            parts.append(words[at : at + size])
            at += size
        return parts

    # --- the answer ---

    def lets_answer(self, number: int) -> bool:
        """False: this answer never comes, and nothing says so."""
        return not self._concerns("no_answer", number)

    def spoil(self, answer: Answer, number: int) -> Answer:
        """What becomes of an answer."""
        if self._concerns("empty_turn", number):
            return replace(answer, source=SILENT, words="", calls=())
        if "double_answer" in self._options and answer.source.seconds is not None:
            answer = replace(answer, source=_Twice(answer.source))
        return answer

    def _concerns(self, name: str, number: int) -> bool:
        fault = self._options.faults.get(name)
        return fault is not None and fault.number in (0, number)

    def answer_rate(self, number: int) -> int:
        """Hz of the next answer."""
        rate = self._options.number("rate_change")
        return int(rate) if rate and number % 2 == 0 else OUTPUT_RATE

    def turn_begins(self, now: float) -> None:
        """The first chunk is about to go out."""
        self._turns += 1
        self._odd_sent = False
        if self._armed:
            self._reached(Basis.TURN, self._turns, now)

    def before_chunk(self, mouth: Mouth, now: float) -> None:
        """A chunk is about to go out: things that do not parse come before the second."""
        if self._odd_sent or mouth.chunks != 2:
            return
        self._odd_sent = True
        for name, data in ODDITIES.items():
            if name in self._options:
                self._connection.send_raw(name, data, now)
        if "huge_message" in self._options:
            self._send_huge(now)

    def audio_sent(self, seconds: float, mouth: Mouth, now: float) -> None:
        """A chunk went out."""
        self._said += seconds
        if self._armed:
            self._reached(Basis.AUDIO, self._said, now)
        after = self._options.number("interrupt_mid")
        if after is not None and mouth.seconds >= after and not self._connection.closed:
            self._model.interrupt(now)
        if "huge_message" in self._options and mouth.chunks == 1:
            self._send_huge(now)

    def _send_huge(self, now: float) -> None:
        # Padding that a client must drop, so large that a limit of 1 MiB is exceeded.
        message: Json = messages.server_content(groundingMetadata={"webSearchQueries": ["x" * _HUGE_BYTES]})
        self._connection.send("huge", message, now)

    def after_turn(self, now: float) -> None:
        """turnComplete was sent."""
        if "interrupt_after_turn" in self._options:
            self._model.send_content(now, interrupted=True)
        late = self._options.number("transcript_late")
        words, self._late_words = self._late_words, []
        for item in words:
            self._connection.agenda.enter(now + (late or 0.0), lambda at, item=item: self._send_input(item, at))  # type: ignore[misc]

    def stale_audio(self, now: float) -> Json:
        """What the message that interrupts carries of the answer it ends: fields of serverContent."""
        if "interrupt_bundled" not in self._options:
            return {}
        chunk = self._model.mouth.chunk(now) if self._model.mouth else None
        return messages.audio_part(chunk.pcm if chunk else tone(440, 0.24), self._connection.backend)

    def interrupted(self, now: float) -> None:
        """The model was interrupted."""
        del now
        if "freeze_after_interrupt" in self._options:
            self.frozen = True

    # --- tools ---

    @property
    def calls_after_turn(self) -> bool:
        """Tool calls come after turnComplete."""
        return "tool_after_turn" in self._options

    def send_calls(self, calls: list[Json], now: float) -> None:
        """Send these tool calls."""
        if "tool_args_null" in self._options:
            calls = [{key: value for key, value in call.items() if key != "args"} for call in calls]
        for _ in range(2 if "tool_dup" in self._options else 1):
            self._connection.send("toolCall", messages.tool_call(calls), now)
        cancel_after = self._options.number("tool_cancel")
        if cancel_after is not None:
            self._connection.agenda.enter(now + cancel_after, self._model.cancel_calls)

    @property
    def mute_after_call(self) -> bool:
        """The model says nothing about what its tools answered."""
        return "tool_mute" in self._options

    def audio_during_call(self, now: float) -> None:
        """The caller was heard while a blocking call waits."""
        if "tool_audio_1008" in self._options:
            self._connection.close(reasons.NOT_IMPLEMENTED, now)

    def stray_response(self) -> None:
        """The client answered a call nobody waits for. Raises WireError in the mode that minds."""
        if "tool_unknown_1007" in self._options:
            raise WireError(INVALID_ARGUMENT)


class _Twice:
    """An answer and then once more from its beginning."""

    def __init__(self, source: Source) -> None:
        once = bytearray()
        while part := source.read(1 << 20):
            once += part
        self._pcm = PcmSource(bytes(once) * 2)
        self.seconds: float | None = self._pcm.seconds

    def read(self, size: int) -> bytes:
        """See Source."""
        return self._pcm.read(size)
