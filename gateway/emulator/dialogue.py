"""The conversation on one connection, once it is set up: whose turn it is, what is said, which tools are called.

The model's side is a small machine in a table (`FLOOR`), the caller's side is `Ears`; they meet in `_caller_started` and
`_caller_stopped`. What goes wrong on purpose is asked of `Trouble` at every place where it can.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping

from gateway.emulator import client, messages, voices
from gateway.emulator.calls import Accepted, PendingCalls
from gateway.emulator.connection import Connection
from gateway.emulator.conversations import Conversation
from gateway.emulator.ears import CallerStarted, CallerStopped, Ears, HearingEvent
from gateway.emulator.meter import Meter
from gateway.emulator.models import Content
from gateway.emulator.mouth import Chunk, Mouth, Pace
from gateway.emulator.schema import INVALID_ARGUMENT, Json, WireError
from gateway.emulator.setup_check import SessionSetup, declared_functions
from gateway.emulator.trouble import Trouble
from gateway.emulator.voices import Answer, Heard, Prompt, ToolsAnswered, Typed

_MAX_WAITING_PROMPTS = 100
_TYPING_TIME = 1.0
"""Seconds after setup before which no person has typed anything."""


class Floor(enum.Enum):
    """What the model is doing."""

    LISTENING = "listening"
    THINKING = "thinking"  # an answer is decided, its first chunk is not due yet
    CALLING = "calling"  # a blocking tool call waits for its answer
    SPEAKING = "speaking"  # chunks are being sent
    PLAYING = "playing"  # all is sent; the listener is assumed to be still listening


FLOOR: Mapping[Floor, frozenset[Floor]] = {
    Floor.LISTENING: frozenset({Floor.THINKING, Floor.CALLING}),
    Floor.THINKING: frozenset({Floor.LISTENING, Floor.CALLING, Floor.SPEAKING}),
    Floor.CALLING: frozenset({Floor.LISTENING}),
    Floor.SPEAKING: frozenset({Floor.LISTENING, Floor.PLAYING}),
    Floor.PLAYING: frozenset({Floor.LISTENING}),
}
"""Every move the model can make."""


class Dialogue:
    """Feed it client messages; it speaks through its connection."""

    def __init__(self, connection: Connection, setup: SessionSetup, conversation: Conversation, now: float) -> None:
        self.connection, self.setup, self.conversation = connection, setup, conversation
        self.record = connection.record
        self._began = now
        self.floor = Floor.LISTENING
        self.mouth: Mouth | None = None
        self.trouble = Trouble(connection, setup, self)
        self._functions = dict(setup.functions)
        self._ears = Ears(setup, connection.settings.silence_duration)
        self._calls = PendingCalls(connection.backend, connection.draw)
        self._meter = Meter(self.record.tokens)
        self._history_due = setup.awaits_history and not self.record.resumed
        self._marked_end = False
        self._prompt: Prompt | None = None
        self._answer: Answer | None = None
        self._waiting: deque[Prompt] = deque()
        self._carried: Heard | None = None
        self._context: list[str] = []
        self._results: list[tuple[str, object]] = []
        self._prompted = conversation.heard_anything
        self._answers = 0
        self.trouble.begin(now)
        if setup.wants_handles:
            connection.agenda.enter(now + connection.settings.idle_handle, self._idle_handle)

    # --- what the client says ---

    def act(self, message: client.ClientMessage, now: float) -> None:
        """One message of the client. Raises WireError when it is against the rules of this model or setup."""
        match message:
            case client.Audio():
                self._hear(message, now)
            case client.Image():
                self._meter.saw()
                self.trouble.video_seen(now)
            case client.Text(text):
                if self._history_due:
                    self.record.violation(now, "realtime input before the history")
                    raise WireError(INVALID_ARGUMENT)
                self._typed(text, now, interrupts=self.setup.interrupts)
            case client.AudioStreamEnd():
                self._heard(self._ears.end_stream(), now)
            case client.ActivityStart():
                self._marked_end = False
                self._heard(self._ears.start(), now)
            case client.ActivityEnd():
                self._marked_end = True
                self._heard(self._ears.stop(), now)
            case client.ClientContent():
                self._content(message, now)
            case client.ToolResponse(responses):
                self._tool_response(responses, now)
            case client.ContextUpdate(body):
                self.record.updates.append(body)
                if "tools" in body:
                    self._functions = declared_functions(body["tools"].get("tools", []), self.setup.model)
            case client.SetupMessage():
                self.record.violation(now, "second setup")
                raise WireError(INVALID_ARGUMENT)

    def _hear(self, audio: client.Audio, now: float) -> None:
        record, pcm = self.record, audio.pcm
        if audio.legacy and not self.setup.model.media_chunks:
            raise WireError(INVALID_ARGUMENT)
        if len(pcm) % 2:
            record.arrivals.odd += 1
            record.violation(now, f"audio chunk of {len(pcm)} bytes: not whole samples")
            pcm = pcm[:-1]
        if not record.rates:
            record.heard.rate = audio.rate
        record.rates[audio.rate] += 1
        seconds = len(pcm) / (2 * audio.rate)
        record.arrivals.add(now, len(audio.pcm), seconds)
        record.heard.add(pcm)
        self._meter.heard(seconds)
        if self._history_due:
            record.violation(now, "realtime input before the history")
        elif not self.conversation.persona.listens:
            if not self._prompted:
                self._ask(Heard(b"", audio.rate, 0.0), now)
        elif self._calls.blocked:
            self.trouble.audio_during_call(now)
        else:
            if self._marked_end and not self._ears.hearing:
                record.violation(now, "audio after activityEnd")
            self._heard(self._ears.hear(pcm, audio.rate), now)
        self.trouble.heard(seconds, now)

    def _heard(self, events: Iterable[HearingEvent], now: float) -> None:
        for event in events:
            match event:
                case CallerStarted(offset):
                    self._caller_started(offset, now)
                case CallerStopped():
                    self._caller_stopped(event, now)

    def _caller_started(self, offset: float, now: float) -> None:
        self._signal_activity(offset, now, start=True)
        self.trouble.caller_started(now)
        if self.floor is Floor.THINKING and isinstance(self._prompt, Heard):
            # The caller only paused: what comes now belongs to the same turn.
            self._carried = self._prompt
            self.connection.agenda.strike("floor")
            self._move(Floor.LISTENING)
        elif self.setup.interrupts and self.floor in (Floor.THINKING, Floor.SPEAKING, Floor.PLAYING):
            self.interrupt(now)

    def _caller_stopped(self, turn: CallerStopped, now: float) -> None:
        self._signal_activity(turn.ended, now, start=False)
        self.record.spoken.append((turn.began, turn.ended))
        self.conversation.heard_anything = True
        heard = turn.heard
        if self._carried is not None and self._carried.rate == heard.rate:
            heard = Heard(self._carried.pcm + heard.pcm, heard.rate, self._carried.seconds + heard.seconds)
        self._carried = None
        wanted = self._ask(heard, now)
        self.trouble.caller_said(voices.understood(turn.heard) or "" if wanted is None else wanted, now)

    def _signal_activity(self, offset: float, now: float, *, start: bool) -> None:
        if self.setup.vad_signals:
            self.connection.send("voiceActivityDetectionSignal", messages.vad_signal(start=start), now)
            self.connection.send("voiceActivity", messages.voice_activity(start=start, offset=offset), now)

    def _typed(self, text: str, now: float, *, interrupts: bool) -> None:
        conversation = self.conversation
        self.record.texts.append(text)
        self._meter.read(text)
        prompt = Typed(
            " ".join((*self._context, text)).strip(),
            opens=not conversation.heard_anything,
            at_once=now - self._began < _TYPING_TIME,
        )
        self._context.clear()
        conversation.heard_anything = True
        conversation.remember("user", text)
        if interrupts and conversation.persona.listens and self.floor is not Floor.LISTENING:
            self.interrupt(now)
        self._ask(prompt, now)

    def _content(self, content: client.ClientContent, now: float) -> None:
        how = self.setup.model.content
        if how is Content.SEEDS_ONLY and not self._history_due:
            raise WireError(INVALID_ARGUMENT)
        if content.complete and not self._history_due:
            self._typed(content.text, now, interrupts=how is Content.INTERRUPTS)
            return
        for role, text in content.turns:
            self.conversation.remember(role, text)
            self._meter.read(text)
        if self._history_due:
            self.record.context.append(content.text)
            self._history_due = not content.complete
            return
        self.record.context.append(content.text)
        self._context.append(content.text)
        if how is Content.QUEUES and self.floor in (Floor.SPEAKING, Floor.PLAYING):
            self.interrupt(now)

    # --- the model's turn ---

    def _ask(self, prompt: Prompt, now: float) -> str | None:
        """Have it answered, now or after the running turn. Gives the input transcription the persona wants, if any."""
        self._prompted = True
        if self.floor is not Floor.LISTENING:
            if self.conversation.persona.listens and len(self._waiting) < _MAX_WAITING_PROMPTS:
                self._waiting.append(prompt)
            return None
        if self.trouble.frozen:
            return None
        self._answers += 1
        if not self.trouble.lets_answer(self._answers):
            return None
        answer = self.conversation.persona.answer(prompt, self._functions) or Answer(voices.SILENT)
        self._prompt, self._answer = prompt, self.trouble.spoil(answer, self._answers)
        self._move(Floor.THINKING)
        delay = self.connection.settings.first_chunk if answer.delay is None else answer.delay
        self.connection.agenda.enter(now + delay, self._begin_answer, "floor")
        return answer.understood

    def _begin_answer(self, now: float) -> None:
        answer = self._answer
        assert answer is not None, "an answer was decided"
        if self.setup.wants_handles:
            self.connection.send("sessionResumptionUpdate", messages.resumption_update(None, self._index()), now)
        for extra in answer.extra:
            self.send_content(now, **extra)
        if answer.calls and not self.trouble.calls_after_turn and self._call_tools(answer, now):
            return
        settings = self.connection.settings
        self.mouth = Mouth(
            answer.source,
            answer.words,
            Pace.of(self.connection.options, settings.speed),
            now,
            self.connection.draw,
            rate=self.trouble.answer_rate(self._answers),
        )
        self._move(Floor.SPEAKING)
        self.trouble.turn_begins(now)
        self._speak(now)

    def _speak(self, now: float) -> None:
        mouth = self.mouth
        while mouth is not None and self.floor is Floor.SPEAKING and not self.connection.closed:
            chunk = mouth.chunk(now)
            if chunk is None:
                self._generated(mouth, now)
                return
            self.trouble.before_chunk(mouth, now)
            self._send_chunk(chunk, now)
            seconds = len(chunk.pcm) / (2 * chunk.rate)
            self.record.said.add(chunk.pcm)
            self._meter.said(seconds)
            self.trouble.audio_sent(seconds, mouth, now)
            if mouth.next_at > now and self.floor is Floor.SPEAKING and not self.connection.closed:
                self.connection.agenda.enter(mouth.next_at, self._speak, "floor")
                return

    def _send_chunk(self, chunk: Chunk, now: float) -> None:
        if chunk.prepared is not None:
            self.connection.send_raw("audio", chunk.prepared, now)
            return
        part = messages.audio_part(chunk.pcm, self.connection.backend, chunk.rate)
        words = self.trouble.pieces(chunk.words) if self.setup.transcribe_output else []
        if words and self.setup.model.bundled:
            part["outputTranscription"] = {"text": words.pop(0)}
        else:
            self._send_words(words, now)
            words = []
        if self.mouth is not None and self.mouth.finished and "complete_bundled" in self.connection.options:
            part["generationComplete"] = True
        message = messages.server_content(**part, **self._status())
        if "usage_bundled" in self.connection.options:
            message["usageMetadata"] = self._report_usage()
        self.connection.send("audio", message, now)
        self._send_words(words, now)

    def _send_words(self, pieces: Iterable[str], now: float) -> None:
        for piece in pieces:
            self.send_content(now, outputTranscription={"text": piece})

    def _generated(self, mouth: Mouth, now: float) -> None:
        assert self._answer is not None, "speaking"
        if not mouth.seconds and self.setup.transcribe_output:
            self._send_words(self.trouble.pieces(mouth.rest_of_words()), now)
        if "complete_bundled" not in self.connection.options or not mouth.finished or not mouth.seconds:
            self.send_content(now, generationComplete=True)
        self._move(Floor.PLAYING)
        if self._answer.close is not None:
            self.connection.close(self._answer.close, now)
            return
        over = mouth.played_until if self.connection.settings.await_playback else now
        self.connection.agenda.enter(max(over, now), self._turn_over, "floor")

    def _turn_over(self, now: float) -> None:
        answer = self._answer
        assert answer is not None, "playing"
        if self.setup.model.interaction_status:
            # This model completes a turn more than once; only IDLE says that it is done.
            self.send_content(now, turnComplete=True)
        self._complete_turn(now)
        self.trouble.after_turn(now)
        if answer.calls and self.trouble.calls_after_turn:
            self._call_tools(answer, now)
        elif answer.goes_on and self._prompt is not None:
            self._ask(self._prompt, now)
        self._next_prompt(now)

    def _complete_turn(self, now: float) -> None:
        """turnComplete with the usage, then a handle; the model listens."""
        self.conversation.remember("model", "".join(self.mouth.said) if self.mouth else "")
        self.conversation.turns += 1
        self.record.turns += 1
        status = {"interactionStatus": "IDLE"} if self.setup.model.interaction_status else {}
        message = messages.server_content(turnComplete=True, **status)
        message["usageMetadata"] = self._report_usage()
        self.mouth = self._answer = None
        self.connection.agenda.strike("floor")
        self._move(Floor.LISTENING)
        self.connection.send("turnComplete", message, now)
        self._give_handle(now)
        self.trouble.context_used(self.conversation.tokens, now)

    def _next_prompt(self, now: float) -> None:
        if self._waiting and self.floor is Floor.LISTENING:
            self._ask(self._waiting.popleft(), now)

    def interrupt(self, now: float) -> None:
        """End the running turn as a barge-in does: interrupted, cancellations, turnComplete; nothing of it comes any more."""
        self.record.interruptions += 1
        self.send_content(now, interrupted=True, **self.trouble.stale_audio(now))
        if ids := self._calls.cancel():
            self.connection.send("toolCallCancellation", messages.tool_call_cancellation(ids), now)
        if self.floor is not Floor.LISTENING:
            self._complete_turn(now)
        self.trouble.interrupted(now)

    # --- tools ---

    def _call_tools(self, answer: Answer, now: float) -> bool:
        """Send the calls. True: a blocking one is among them, so the model waits."""
        self.trouble.send_calls(self._calls.send(answer.calls, self._functions), now)
        if not self._calls.blocked:
            return False
        self._move(Floor.CALLING)
        return True

    def _tool_response(self, responses: Iterable[client.FunctionResponse], now: float) -> None:
        for response in responses:
            outcome = self._calls.answer(response)
            if not isinstance(outcome, Accepted):
                self.record.violation(now, f"toolResponse for {outcome.why} id {response.call_id}")
                self.trouble.stray_response()
                continue
            self.record.tool_results.append((response.call_id, response.name, response.response))
            self._meter.read(str(response.response))
            result = (response.name, response.response)
            if outcome.blocking:
                self._results.append(result)
            elif response.scheduling == "SILENT":
                self._context.append(str(response.response))
            else:
                if response.scheduling == "INTERRUPT" and self.floor in (Floor.THINKING, Floor.SPEAKING, Floor.PLAYING):
                    self._complete_turn(now)
                self._ask(ToolsAnswered((result,)), now)
        if self.floor is Floor.CALLING and not self._calls.blocked:
            results, self._results = tuple(self._results), []
            if self.trouble.mute_after_call:
                self._complete_turn(now)
                return
            self._move(Floor.LISTENING)
            self._ask(ToolsAnswered(results), now)

    def cancel_calls(self, now: float) -> None:
        """The service gives up the pending calls."""
        if ids := self._calls.cancel():
            self.connection.send("toolCallCancellation", messages.tool_call_cancellation(ids), now)
            if self.floor is Floor.CALLING:
                self._complete_turn(now)
                self._next_prompt(now)

    # --- small things ---

    def send_content(self, now: float, **fields: object) -> None:
        """Send a serverContent; its kind in the record is its first field."""
        self.connection.send(next(iter(fields)), messages.server_content(**fields, **self._status()), now)

    def _report_usage(self) -> Json:
        self.conversation.tokens += self._meter.unreported
        return self._meter.report(self.connection.backend)

    def _status(self) -> Json:
        running = self.setup.model.interaction_status and self.floor is not Floor.LISTENING
        return {"interactionStatus": "IN_PROGRESS"} if running else {}

    def _give_handle(self, now: float) -> None:
        connection = self.connection
        if self.setup.wants_handles and "no_handles" not in connection.options and not connection.closed:
            handle = "Cih" + connection.world.opaque(192)
            connection.world.conversations.issue(handle, self.conversation, now)
            self.record.handles.append(handle)
            connection.send("sessionResumptionUpdate", messages.resumption_update(handle, self._index()), now)

    def _idle_handle(self, now: float) -> None:
        if self.floor is Floor.LISTENING and not self.record.handles:
            self._give_handle(now)

    def _index(self) -> int | None:
        # Index 0 is the setup (so do public clients of Vertex count; Google's reference does not say).
        return self.record.received_messages - 1 if self.setup.transparent else None

    def _move(self, floor: Floor) -> None:
        if floor is not self.floor:
            assert floor in FLOOR[self.floor], f"{self.floor} → {floor}"
            self.floor = floor
