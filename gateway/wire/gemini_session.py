"""One model session over any number of sockets: when it moves to another, what must be told there and played again.

No sockets and no clock: the shell (`model.session`) feeds it what passes, asks `decide` what to do now (`gemini_moves`), does it,
and reports. The rules and their numbers follow the service's own notes on resumption and what has been seen of it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.dialog.history import History, Role
from gateway.dialog.nudge import NUDGE
from gateway.dialog.transcript import CutOff
from gateway.errors import PacketError
from gateway.events import ModelConnected, ModelConnectFailed, ModelLeaving, ModelSwapped
from gateway.media.audio import MODEL_INPUT_RATE
from gateway.media.uplink import MAX_CHUNK
from gateway.model.base import (
    GenerationComplete,
    InputTranscript,
    ModelEvent,
    OutputTranscript,
    ToolAnswer,
    ToolCall,
    TurnComplete,
)
from gateway.wire.gemini import Downlink
from gateway.wire.gemini_breaker import Breaker
from gateway.wire.gemini_faults import DEAF, GARBAGE, SILENT, STALLED, Failure, Kind
from gateway.wire.gemini_floor import Cut, Floor
from gateway.wire.gemini_memory import Reminder, Since, note_of, remind_new, remind_resumed, result_in_words
from gateway.wire.gemini_moves import MOVES, Break, Connect, Decision, GiveUp, Leave, Listen, Phase, Step, Wait
from gateway.wire.gemini_pulse import Ping
from gateway.wire.gemini_reel import Ask, AskKind, Item, Mark, Reel
from gateway.wire.gemini_retry import Retry, blames
from gateway.wire.gemini_setup import Capabilities
from gateway.wire.gemini_watch import Watch

# Leaving on purpose.
MARGIN = 5.0
"""Seconds before the announced end by which a connection is left, whoever is speaking."""
HANDLE_PATIENCE = 1.0
"""Seconds after a turn for the handle that stands for it: it often comes after the end of the turn."""
ROTATE_WITHIN = 10.0
"""Seconds to wait for a good moment when we want another socket for our own reasons."""

# Other limits.
MAX_CALLS = 256
"""Tool calls of which it is remembered where they came from."""
PROBATION = 1.0
"""Seconds that a new socket must last for the move to have succeeded."""
STILLBORN = 0.5
"""Seconds within which a session that breaks has not heard what it was given, although its socket may have read it."""
PROOF = 10.0
"""Seconds after which a handle is not to blame for what happens to the session that was resumed with it."""

LISTEN = 1.0
LISTEN_LEAVING = 0.1
"""Seconds after which the shell comes back to ask, whatever happens; the second when a good moment is looked for."""


@dataclass(slots=True)
class _Move:
    """A move from one socket to the next, from the first thought of it to the end of the probation."""

    kind: str
    since: float
    """When audio stopped passing."""
    target: int = 0
    """Where the reel begins on the new socket."""
    cut: Cut | None = None
    asked_to_go_on: bool = False
    repeated: bool = False
    """The caller's last words are played again."""
    dropped: float = 0.0
    """What the reel had dropped before."""
    had_handle: bool = False


class Course:
    """One session. Seconds after which it is given up: `patience` without a socket, `first_patience` without the first.

    `marked`: the caller's turns are. `nudges`: a model that ends its turn on a function's result without a word is reminded.
    """

    def __init__(
        self,
        can: Capabilities,
        breaker: Breaker,
        draw: random.Random,
        now: float,
        *,
        patience: float,
        first_patience: float,
        history: History | None = None,
        marked: bool = False,
        nudges: bool = True,
    ) -> None:
        self.phase = Phase.WAITING
        self.reel = Reel()
        self.floor = Floor(now, marked=marked)
        self.downlink = Downlink()
        self.paused = False
        """The caller is away."""
        self._can = can
        self._marked = marked
        self._nudges = nudges
        self._retry = Retry(breaker, draw, now, patience=patience, first_patience=first_patience)
        self._keeps_history = history is None
        self._history = History() if history is None else history
        self._since = Since()
        self._move = _Move("initial", now)
        self._settled = False  # the move is over
        self._leave: tuple[str, float] | None = None  # kind, by when
        self._socket = 0
        self._ready_at = now
        self._resumed_with = ""
        self._watch = Watch(may_ignore=can.may_ignore)
        self._calls: dict[str, int] = {}  # tool call → socket it came on
        self._asked_again: set[str] = set()  # tool calls whose question the new socket gets to hear again

    @property
    def failure(self) -> Failure | None:
        """What went wrong last."""
        return self._retry.failure

    # --- what to do ---

    def decide(self, now: float) -> Decision:
        """What to do now."""
        match self.phase:
            case Phase.OPEN:
                return self._look(now)
            case Phase.WAITING:
                return self._next(now)
            case Phase.ASLEEP:
                if self.reel.take() is None:
                    return Wait(None)
                self._step(Step.WAKE)
                self._move.since = now
                self._retry.begin(now)
                return self._next(now)
            case _:
                raise AssertionError(f"asked while {self.phase.value}")

    def _look(self, now: float) -> Decision:
        if not self._settled and now - self._ready_at >= PROBATION:
            self._settled = True
        if now - self._ready_at >= PROOF:
            self._retry.proven()
        if self.downlink.hopeless:
            return Break(GARBAGE)
        if self._watch.dead(self.floor, self._asked_at, now):
            return Break(SILENT)
        if self._leave is None and self._watch.deaf(self.floor, self._asked_at, now):
            self._retry.failure = DEAF
            self._leave = ("error", now)
        if self._leave is None:
            return Listen(now + LISTEN)
        if now >= self._leave[1] or self._edge(now):
            self._step(Step.LEAVE)
            self._move.since = now
            return Leave()
        return Listen(min(now + LISTEN_LEAVING, self._leave[1]))

    def _edge(self, now: float) -> bool:
        """A good moment to leave: nobody speaks, and the handle stands for all that was said."""
        over_at = self.floor.over_at
        saved = self.downlink.handle_at >= over_at or now - over_at >= HANDLE_PATIENCE
        asked = any(ask.kind is AskKind.TEXT for ask in self.reel.asks)
        return saved and not asked and not self.reel.in_turn and self.floor.edge(now)

    @property
    def _asked_at(self) -> float | None:
        """When the oldest thing was asked that the model has not reacted to."""
        asked = (ask.sent_at for ask in self.reel.asks if ask.sent_at is not None and ask.kind is not AskKind.NOTE)
        return min(asked, default=None)

    def _next(self, now: float) -> Decision:
        if hopeless := self._retry.hopeless:
            self._step(Step.FINISH)
            return hopeless
        if self.paused and self._socket and self.reel.take() is None:
            self._step(Step.SLEEP)
            return Wait(None)
        match self._retry.next(now):
            case float(limit):
                self._step(Step.CONNECT)
                return Connect(self._move.kind, self.downlink.handle, limit, self._reminder())
            case GiveUp() as over:
                self._step(Step.FINISH)
                return over
            case wait:
                return wait

    def _reminder(self) -> Reminder:
        if not self._socket:
            return Reminder()
        move, anytime = self._move, self._can.content_any_time
        if self.downlink.handle:
            return remind_resumed(self._since, move.cut, repeated=move.repeated, content_any_time=anytime)
        turns = list(self._history.turns)
        if turns and turns[-1].role is Role.CALLER:
            # What is played or asked again is not told as well.
            asked = [ask.text.strip() for ask in self.reel.asks if ask.kind is AskKind.TEXT]
            if move.repeated or any(turns[-1].text.endswith(text) for text in asked):
                turns.pop()
        return remind_new(turns, move.cut, content_any_time=anytime)

    def given_up(self, now: float) -> list[ModelEvent]:
        """What is to be said of the move that did not succeed."""
        move = self._move
        return [ModelSwapped(move.kind, "refused", now - move.since, 0.0, self.reel.dropped - move.dropped + self.reel.waiting)]

    # --- what became of it ---

    def ready(self, now: float, seconds: float) -> list[ModelEvent]:
        """The new socket is set up, `seconds` after it was asked for, and has had its reminder. `reel.take` says what follows."""
        move, first, handle, reminder = self._move, not self._socket, self.downlink.handle, self._reminder()
        self._step(Step.READY)
        self._retry.ready()
        self.reel.rewind(move.target)
        self.reel.limited = False
        replayed = self.reel.waiting
        self._watch.restart(self.reel.sent)
        if reminder.turns:
            self.reel.counted(1)
        if reminder.go_on and not move.asked_to_go_on:
            move.asked_to_go_on = True
            self.reel.ask(Ask(AskKind.TEXT, reminder.go_on))
        self._socket += 1
        self._ready_at, self._resumed_with = now, handle
        self._leave = None
        self.floor.again(now, repeated=move.repeated)
        self.downlink.restart()
        if not handle or self._since.cut_off:
            self._forget_notes()
        if not handle:
            self._since.clear()
        connected = ModelConnected(seconds, move.kind)
        if first:
            self._settled = True
            return [connected]
        if handle:
            result = "ok"
        elif not move.had_handle:
            result = "no_handle"
        else:
            result = "context_replayed" if reminder.turns else "stale_handle"
        lost = self.reel.dropped - move.dropped
        move.dropped = self.reel.dropped
        return [connected, ModelSwapped(move.kind, result, now - move.since, replayed, lost)]

    def failed(self, failure: Failure, now: float) -> list[ModelEvent]:
        """The connect came to nothing."""
        self._step(Step.FAILED)
        if self._retry.refused(failure, now, handle=bool(self.downlink.handle)):
            self.downlink.handle = ""
        return [ModelConnectFailed(failure.code, self._move.kind)]

    def left(self, now: float, *, clean: bool) -> list[ModelEvent]:
        """We have hung up. `clean`: the far end has said goodbye, so it has read all that was sent."""
        assert self._leave is not None, "left for a reason"
        kind, _ = self._leave
        since, settled = self._move.since, self._settled
        self._step(Step.LEFT)
        # Nothing was sent since we began to leave, however long that took.
        events = self._gone(kind, now, since, self.reel.sent if clean else self._in_flight(since))
        if not settled:
            self._retry.left_early(now, self._ready_at)
        return events

    def lost(self, failure: Failure, now: float) -> list[ModelEvent]:
        """The connection is gone."""
        self._step(Step.LOST)
        settled, ready_at = self._settled, self._ready_at
        resumed = bool(self._resumed_with) and self._resumed_with == self.downlink.handle
        kind = self._leave[0] if self._leave is not None else "goaway" if failure.kind is Kind.LIFETIME else "error"
        stillborn = not settled and now - ready_at < STILLBORN and blames(failure, handle=resumed)
        if failure in (SILENT, STALLED):
            alive_at = max(self.floor.message_at, self._watch.pulse.pong_at, ready_at)
            events = self._gone(kind, now, alive_at, self._watch.pulse.read)
        else:
            events = self._gone(kind, now, now, self._in_flight(now), stillborn=stillborn)
        if self._retry.lost(failure, now, resumed=resumed, settled=settled, ready_at=ready_at):
            self.downlink.handle = ""
        return events

    def finish(self) -> None:
        """The call is over."""
        if self.phase is Phase.CONNECTING:
            self._retry.abandoned()
        self._step(Step.FINISH)

    def _gone(self, kind: str, now: float, since: float, target: int, *, stillborn: bool = False) -> list[ModelEvent]:
        """The socket is no more: settle what it leaves behind. `stillborn`: it takes the place of the one before."""
        floor, reel = self.floor, self.reel
        self._leave = None
        reel.limited = True
        utterance = floor.utterance
        repeated = utterance is not None and utterance.start >= reel.oldest and floor.wanted(now, insisting=self._watch.revived)
        if utterance is not None and repeated:
            target = min(target, utterance.start)
        if self.downlink.consumed is not None:
            target = max(target, reel.consumed(self.downlink.consumed))
            self.downlink.consumed = None
        self._rescue_tools(asked_again=repeated or any(ask.kind is AskKind.TEXT for ask in reel.asks))
        interrupted = floor.answering and not floor.generated
        cut = floor.cut(now)
        if repeated:
            cut = None  # the caller speaks: what was cut off is not wanted any more
        had_handle = bool(self.downlink.handle)
        if self._settled:
            self._settled = False
            self._move = _Move(kind, since, target, cut, repeated=repeated, dropped=reel.dropped, had_handle=had_handle)
            self._retry.begin(now)
            return [GenerationComplete()] if interrupted else []
        move = self._move
        if stillborn:
            move.target, move.repeated = min(target, move.target), repeated or move.repeated
        else:
            # It was there for a moment, and heard what it was given then.
            move.kind, move.since, move.target, move.repeated = kind, since, target, repeated
        move.cut = cut or (None if repeated else move.cut)
        move.had_handle = move.had_handle or had_handle
        return [GenerationComplete()] if interrupted else []

    def _rescue_tools(self, *, asked_again: bool) -> None:
        """The next socket knows no call ids of this one: either the question comes again, or the results are told in words."""
        if asked_again:
            self._asked_again |= self.floor.tools
        for ask in self.reel.asks:
            if ask.answer is not None:
                self.reel.withdraw(ask)
                if not asked_again and ask.answer.scheduling != "SILENT":
                    self.reel.ask(Ask(AskKind.TEXT, result_in_words(ask.answer)))

    def _in_flight(self, now: float) -> int:
        """From where on the last audio may not have been read."""
        pulse, sent = self._watch.pulse, self.reel.sent
        # Of what was sent faster than it was spoken, to catch up, no more than a chunk is risked to be said twice.
        most = round(max(pulse.in_flight, MAX_CHUNK) * MODEL_INPUT_RATE)
        return max(min(self.reel.since(now - pulse.in_flight), sent), sent - most, pulse.read)

    # --- what passes: down ---

    def read(self, message: Mapping[str, Any], now: float) -> list[ModelEvent]:
        """A message of the service, as events for the call."""
        handle_at = self.downlink.handle_at
        events = self.downlink.receive(message, now)
        self.floor.message(now)
        for event in events:
            self._note(event, now)
        if self.downlink.handle_at != handle_at:
            self._since.clear()
        return events

    def unreadable(self, exc: PacketError, now: float) -> list[ModelEvent]:
        """A message that could not be parsed."""
        self.floor.message(now)
        return [self.downlink.unreadable(exc)]

    def _note(self, event: ModelEvent, now: float) -> None:
        match event:
            case ToolCall(id=call_id):
                self._calls[call_id] = self._socket
                while len(self._calls) > MAX_CALLS:
                    del self._calls[next(iter(self._calls))]
            case ModelLeaving(left=left):
                by = now + max(0.0, left - MARGIN)
                self._leave = ("goaway", by if self._leave is None else min(by, self._leave[1]))
        if self._keeps_history:
            self._remember(event)
        if self.floor.model(event, now):
            reacted = self.reel.answered()
            for ask in reacted:
                if ask.kind is AskKind.TEXT or (ask.kind is AskKind.NOTE and not self._since.cut_off):
                    self._since.asked(ask.text)
            if not isinstance(event, TurnComplete):
                self._watch.reacted()
                self._settled = True
                self._retry.proven()
            elif self._nudges and any(ask.kind is AskKind.TOOL for ask in reacted):
                self.reel.ask(Ask(AskKind.TEXT, NUDGE))
        # After what it answers.
        self._since.hear(event)

    def _remember(self, event: ModelEvent) -> None:
        match event:
            case InputTranscript(text=text):
                self._history.caller_said(text)
            case OutputTranscript(text=text):
                self._history.model_said(text)
            case TurnComplete():
                self._history.answer_over()

    # --- what passes: up ---

    def heard(self, pcm: bytes, now: float) -> None:
        """The caller's audio."""
        self.paused = False
        self.floor.caller(pcm, self.reel.end, now)
        self.reel.push(pcm)

    def free(self, now: float) -> bool:
        """What is sent now has nothing before it, and no ping is due: `passed` may be called."""
        return self.reel.all_sent and now < self._watch.pulse.due_at

    def passed(self, pcm: bytes, now: float) -> None:
        """The caller's audio, and it is on its way: `heard` and `sent` in one, while the session is free."""
        self.paused = False
        self.floor.caller(pcm, self.reel.end, now)
        self.reel.pass_on(pcm, now)

    def turn(self, speaking: bool, now: float) -> None:
        """The caller's turn begins or ends, where that is marked."""
        self.floor.marked(speaking, self.reel.end, now)
        self.reel.mark(Mark.TURN_BEGINS if speaking else Mark.TURN_ENDS)

    def pause(self) -> None:
        """The caller's audio pauses. Idempotent until it comes again."""
        if not self.paused:
            self.paused = True
            if self._can.says_audio_ends and not self._marked:
                self.reel.mark(Mark.PAUSE)

    def say(self, text: str) -> None:
        """Words that the model is to answer."""
        if self._keeps_history:
            self._history.caller_said(text)
        self.reel.ask(Ask(AskKind.TEXT, text))

    def cut_off(self, answer: CutOff) -> None:
        """The caller has spoken over this answer: what was not heard of it was not said, and the model should know."""
        self._since.unsaid(len(answer.unheard))
        note = note_of(answer) if self._can.context_note else ""
        if note and not (self._can.note_stops and self.floor.answering):
            self.reel.ask(Ask(AskKind.NOTE, note))

    def _forget_notes(self) -> None:
        """This socket is told of the answer as it was heard, or not at all: there is nothing to correct."""
        for ask in self.reel.asks:
            if ask.kind is AskKind.NOTE:
                self.reel.withdraw(ask)

    def answer(self, answer: ToolAnswer) -> bool:
        """A function's result. True: it is for the socket that asked, and has to be sent by itself: more of it will follow."""
        here = self.phase is Phase.OPEN and self._calls.get(answer.id) == self._socket
        if answer.will_continue:
            return here
        if here or self._calls.get(answer.id) is None:
            self.reel.ask(Ask(AskKind.TOOL, answer=answer))
        elif answer.id not in self._asked_again and answer.scheduling != "SILENT":
            self.reel.ask(Ask(AskKind.TEXT, result_in_words(answer)))
        return False

    def sent(self, item: Item, now: float) -> None:
        """What `reel.take` gave is on its way."""
        self.reel.sent_now(item, now)
        if isinstance(item, Ask) and item.answer is not None:
            self.floor.tools.discard(item.answer.id)
            if item.answer.scheduling == "SILENT":
                self.reel.withdraw(item)

    def rotate(self, now: float) -> None:
        """Another socket, for our own reasons: at the next good moment, or soon."""
        if self._leave is None:
            self._leave = ("rotate", now + ROTATE_WITHIN)

    def ping(self, now: float) -> Ping | None:
        """A ping is due: send it, and give it to `pong` when its answer has come."""
        return self._watch.pulse.ping(self.reel.sent, now) if self.phase is Phase.OPEN else None

    def pong(self, ping: Ping, now: float) -> None:
        """The far end has read all that was sent before this ping. What no move can want any more is let go of."""
        self._watch.pulse.pong(ping, now)
        if self.phase is Phase.OPEN:
            self.reel.forget(self._earliest())
            self.reel.thin(self._watch.pulse.read)

    def _earliest(self) -> int:
        """From where on the next socket may have to be played the reel: see `_gone`, which asks for nothing before this.

        The lead-in of what the caller may begin to say from now on is in what the reel never lets go of.
        """
        found, utterance = self._watch.pulse.read, self.floor.utterance
        if not self._settled:
            found = min(found, self._move.target)  # should this socket be stillborn
        if utterance is not None and utterance.start >= self.reel.oldest:
            found = min(found, utterance.start)
        return found

    def _step(self, step: Step) -> None:
        self.phase = MOVES[self.phase][step]
