"""One call: a leg, a model session, and what passes between them.

    caller ▶ hear ▶ UPLINK ▶ _feed ▶ model          caller ◀ leg.send ◀ tick ◀ PLAYOUT ◀ _think ◀ model

Two tasks move what may wait (`_feed`, `_think`); everything else is a plain method that the leg and the clock call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from gateway.account import Account
from gateway.dialog.budget import Unit
from gateway.dialog.history import History
from gateway.dialog.lifecycle import AWAY_PATIENCE, Lifecycle, State, Step
from gateway.dialog.policy import End, Facts, Policy, Say
from gateway.dialog.prices import MICRO
from gateway.dialog.transcript import Answer
from gateway.dialog.turns import Turn, TurnEnd, TurnKind, Turns
from gateway.errors import ModelError, ModelRefused
from gateway.events import (
    BudgetReached,
    CallEnded,
    CallerSaid,
    CallerStartedSpeaking,
    CallerStoppedSpeaking,
    CallEvent,
    CallInfo,
    CallSetUp,
    CallStarted,
    ClientMessage,
    DisconnectBot,
    EndReason,
    Interrupted,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelHeard,
    ModelLeaving,
    ModelMessageSkipped,
    ModelSaid,
    ModelStartedSpeaking,
    ModelStoppedSpeaking,
    ModelSwapped,
    PushToTalk,
    SendText,
    SetupStage,
    StageReached,
    StateChanged,
    TokensUsed,
    ToolResult,
    Trouble,
    TurnEnded,
)
from gateway.ledger import Tab
from gateway.legs.base import Ability, Leg
from gateway.media.audio import MODEL_INPUT_RATE, MODEL_OUTPUT_RATE, SAMPLE_BYTES, AudioFrame
from gateway.media.gate import POSTROLL, Gate
from gateway.media.level import first_audible
from gateway.media.playout import Playout
from gateway.media.resample import Resampler
from gateway.media.uplink import Uplink
from gateway.media.vad import Voice, VoiceActivity
from gateway.model.base import (
    AudioOut,
    GenerationComplete,
    InputTranscript,
    Model,
    ModelInterrupted,
    ModelSession,
    OutputTranscript,
    ToolCall,
    ToolCancelled,
    TurnComplete,
)
from gateway.model.tools.desk import OWN_TOOLS, Tools
from gateway.profile import Endpointing, Profile

log = logging.getLogger(__name__)

REPORT_EVERY = 5.0
"""Seconds between the reports of a call's buffers."""

MAX_WAITING_PROMPTS = 4
"""Things the gateway itself wants said; the oldest gives way: a goodbye is worth more than a question before it."""

OWN_SILENCE = 0.5
"""Seconds of silence that end a caller's turn when we find it, unless the profile says otherwise."""

MAX_WAITING_TEXTS = 8
"""Typed messages waiting for the model; the oldest gives way. More than a person types while a session opens."""

Observe = Callable[[CallInfo, CallEvent], None]
T = TypeVar("T")


class _End(NamedTuple):
    reason: EndReason
    detail: str


class _Stop(Exception):
    """Raised inside the task group when the call is over; cancels the other tasks."""


@dataclass(frozen=True, slots=True)
class CallView:
    """What the API shows of a call."""

    call_id: str
    leg: str
    profile: str
    model: str
    state: str
    started_at: float
    """Wall-clock seconds since the epoch."""
    seconds: float
    turns: int
    interruptions: int
    tokens: dict[str, int]


class Call:
    """One call from admission to end. Implements `LegSink` for its leg and `Ticked` for the clock.

    `offered_at` is the loop time when the offer came in; setup times count from it.
    """

    def __init__(
        self,
        call_id: str,
        leg: Leg,
        profile: Profile,
        model: Model,
        *,
        model_alias: str,
        observe: Observe,
        loop: asyncio.AbstractEventLoop,
        offered_at: float,
        tab: Tab | None = None,
        tools: Tools = OWN_TOOLS,
    ) -> None:
        self.info = CallInfo(call_id, leg.kind, profile.name, model_alias)
        self.profile = profile
        self.leg: Leg | None = leg
        self.started_at = time.time()
        self.uplink = Uplink()
        self._playout = Playout(leg.rate)
        # Legs that speak at the model's own rate (Opus at 24 kHz) need no resampler at all.
        self._resampler = Resampler(MODEL_OUTPUT_RATE, leg.rate) if leg.rate != MODEL_OUTPUT_RATE else None
        self._vad = VoiceActivity()
        self._turns = Turns()
        self._answer = Answer()
        self._history = History()
        self._lifecycle = Lifecycle()
        self._model = model
        self._observe = observe
        self._loop = loop
        self._offered_at = offered_at
        self._started = loop.time()
        self._ended: asyncio.Future[_End] = loop.create_future()
        self._tab = tab or Tab(call_id, "", profile.budget, profile.model or model_alias)
        self._policy = Policy(profile, self._started)
        self._desk = tools.desk(
            profile, call_id=call_id, say=self._say, answered=self._tool_answered, client=self._has_client, loop=loop
        )
        endpointing = profile.listening.endpointing
        self._gate = Gate() if endpointing is not Endpointing.MODEL else None
        self._marks: deque[tuple[int, bool]] = deque()  # where in the uplink's bytes turns begin and end; as many as turns wait
        self._pushed = self._taken = 0  # bytes of uplink
        self._button = False
        self._released_at = 0.0
        self._fed = asyncio.Event()  # something waits for the model
        self._prompts: deque[str] = deque(maxlen=MAX_WAITING_PROMPTS)
        self._texts: deque[str] = deque(maxlen=MAX_WAITING_TEXTS)
        self._connected = False  # media flows
        self._heard_first = False
        self._away_since = 0.0
        self._away_reason = EndReason.CALLER_GONE
        self._speaking = False  # a packet of an answer has left and more is to come
        self._played_at = self._started  # when the last frame of an answer left
        self._typed_at = self._started  # when the caller last did something else than speak
        self._second_due = self._started + 1.0
        self._report_due = self._started + REPORT_EVERY
        self._set_up = False
        self._spoke = False
        self._account = Account(self._started)

    # --- what the API asks ---

    @property
    def call_id(self) -> str:
        """`<worker>-<128 random bits>`."""
        return self.info.call_id

    @property
    def state(self) -> State:
        """Where the call is in its life."""
        return self._lifecycle.state

    @property
    def over(self) -> bool:
        """Ending or ended."""
        return self._lifecycle.over

    def view(self) -> CallView:
        """A snapshot for the API."""
        return CallView(
            call_id=self.call_id,
            leg=self.info.leg.value,
            profile=self.info.profile,
            model=self.info.model,
            state=self.state.value,
            started_at=self.started_at,
            seconds=self._loop.time() - self._started,
            turns=self._account.turns,
            interruptions=self._account.interruptions,
            tokens=dict(self._account.tokens),
        )

    def hang_up(self, reason: EndReason, detail: str = "") -> None:
        """End the call; the first reason wins."""
        if not self._ended.done():
            self._ended.set_result(_End(reason, detail))
            self._step(Step.FINISH, reason)

    def fail(self, exc: Exception) -> None:
        """A bug surfaced in this call: it ends, its neighbours go on."""
        log.error("! crashed", exc_info=exc, extra={"call_id": self.call_id})
        self._account.errors += 1
        self.hang_up(EndReason.CRASHED, type(exc).__name__)

    # --- life ---

    async def run(self) -> None:
        """Converse until the call is over. Raises only what is a bug; the registry guards it and calls `finish`."""
        assert self.leg is not None, "a call starts with its leg"
        self._say(CallStarted())
        self.leg.start(self)
        try:
            async with AsyncExitStack() as stack:
                began = self._loop.time()
                session = await self._unless_over(stack.enter_async_context(self._model.session(self.profile, self._history)))
                if session is None:
                    return
                now = self._loop.time()
                self._say(StageReached(SetupStage.MODEL_READY, now - began, now - self._offered_at))
                if not self._lifecycle.over:
                    self._step(Step.MODEL_READY)
                    self._check_set_up(now)
                    await self._converse(session)
        except ModelError as exc:
            self._say(ModelConnectFailed(exc.code or "other", "initial"))
            self._model_failed(exc)

    async def finish(self) -> None:
        """Close the leg and say how it ended. Called once, after `run`, however that ended."""
        self.hang_up(EndReason.CRASHED, "ended without a reason")  # only if nobody has given one: the first wins
        reason, detail = self._ended.result()
        end = TurnEnd.ERROR if reason.result == "server_error" else TurnEnd.SESSION_CLOSED
        self._turn_over(self._turns.closed(end, self._playout.clear()))
        self._report(self._loop.time())
        if self.leg is not None:
            await self.leg.close(reason)
        self._step(Step.CLOSED)
        self._say(CallEnded(reason, detail, self._account.summary(self._loop.time() - self._started)))

    def attach(self, leg: Leg) -> None:
        """The caller is back on another leg of the same rate."""
        assert leg.rate == self._playout.rate, "a call is attached to legs of one rate"
        self._step(Step.ATTACH)
        self.leg, self._connected = leg, False
        leg.start(self)

    def detach(self, reason: EndReason) -> None:
        """The leg is gone; the call waits for its caller as long as the lifecycle table says, then ends with `reason`."""
        if self._lifecycle.over or self.state is State.AWAY:
            return
        if self.state is State.CONNECTING:
            self.hang_up(reason)
            return
        self._step(Step.DETACH)
        self.leg, self._connected = None, False
        if self._gate is not None:
            self._button = False
            self._pass_on(self._gate.shut())
        self._away_since, self._away_reason = self._loop.time(), reason
        self._fed.set()  # the model should know that no more audio comes for now
        self._check_away(self._away_since)

    async def _unless_over(self, opening: Awaitable[T]) -> T | None:
        """Wait for `opening`, but not longer than the call lasts (None)."""
        value: T | None = None
        failed: ModelError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._until_over(), name=f"{self.call_id}:end")
                try:
                    value = await opening
                except ModelError as exc:  # kept out of the group: an expected failure is no crowd
                    failed = exc
                watch.cancel()
        except* _Stop:
            value = None
        if failed is not None:
            raise failed
        return value

    async def _converse(self, session: ModelSession) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed(session), name=f"{self.call_id}:feed")
                tasks.create_task(self._think(session), name=f"{self.call_id}:think")
                tasks.create_task(self._desk.serve(session), name=f"{self.call_id}:tools")
                tasks.create_task(self._until_over(), name=f"{self.call_id}:end")
        except* _Stop:
            pass
        except* ModelError as group:
            self._model_failed(group.exceptions[0])

    async def _until_over(self) -> None:
        # wait() and not a plain await: cancelling this task must not cancel the future that says how the call ended.
        await asyncio.wait((self._ended,))
        raise _Stop

    async def _feed(self, session: ModelSession) -> None:
        """Everything towards the model, in order: greeting, then typed words and the caller's audio as they come."""
        if self.profile.greeting:
            self._turns.asked(self._loop.time(), TurnKind.GREETING)
            await session.prompt(self.profile.greeting)
        while True:
            await self._fed.wait()
            self._fed.clear()
            while self._prompts:
                await session.prompt(self._prompts.popleft())
            if self.state is State.AWAY:
                await session.end_audio()
            while self._texts:
                self._turns.asked(self._loop.time(), TurnKind.TEXT)
                text = self._texts.popleft()
                self._history.caller_said(text)
                await session.send_text(text)
            while True:
                await self._mark_turns(session)
                chunk = self.uplink.take()
                if chunk is None:
                    break
                self._taken += len(chunk.pcm)
                await session.send_audio(chunk.pcm)
                self._tab.spending.passed(heard=len(chunk.pcm) / (2 * MODEL_INPUT_RATE))
                self._account.uplink_added.append(self._loop.time() - chunk.oldest_at)

    async def _mark_turns(self, session: ModelSession) -> None:
        dropped = round(self.uplink.dropped * MODEL_INPUT_RATE * SAMPLE_BYTES)
        while self._marks and self._marks[0][0] <= self._taken + dropped:
            await session.activity(self._marks.popleft()[1])

    async def _think(self, session: ModelSession) -> None:
        """Everything from the model."""
        async for event in session.events():
            match event:
                case AudioOut():
                    self._answered(event)
                case ModelInterrupted(at=at):
                    self._interrupted(at)
                case OutputTranscript(text=text):
                    self._answer.said(text)
                    self._say(ModelSaid(text))
                case InputTranscript(text=text):
                    self._history.caller_said(text)
                    self._say(CallerSaid(text))
                case GenerationComplete() | TurnComplete():
                    self._playout.end()
                    self._turns.generated()
                    self._answer.generated()
                case TokensUsed():
                    self._spend(event)
                case ModelMessageSkipped():
                    self._account.errors += 1
                    self._say(event)
                case ModelConnected(model=model):
                    if model:
                        self._tab.answered_by(model)
                    self._say(event)
                case ModelClosed() | ModelConnectFailed() | ModelLeaving():
                    self._say(event)
                case ToolCall():
                    self._desk.called(event)
                case ToolCancelled(ids=ids):
                    self._desk.cancelled(ids)
                case ModelSwapped():
                    self._desk.swapped()
                    self._say(event)
        self.hang_up(EndReason.MODEL_HUNG_UP)

    # --- from the model ---

    def _answered(self, audio: AudioOut) -> None:
        seconds = len(audio.pcm) / (2 * MODEL_OUTPUT_RATE)
        if self._turns.heard == 0.0:
            if self._vad.last_speech_at > self._started:
                self._turns.caller_silent(self._vad.last_speech_at)
            # Only the head of an answer is searched for its first audible sample.
            self._turns.model_audio(audio.at, seconds, first_audible(audio.pcm, MODEL_OUTPUT_RATE))
        else:
            self._turns.model_audio(audio.at, seconds, 0.0)
        self._answer.audio(seconds)
        self._tab.spending.passed(said=seconds)
        pcm = self._resampler.resample(audio.pcm) if self._resampler else audio.pcm
        self._playout.push(pcm, audio.at)

    def _interrupted(self, at: float) -> None:
        unheard = self._playout.clear() + (self.leg.clear() if self.leg else 0.0)
        turn = self._turns.interrupted(unheard)
        self._answer = Answer()
        if turn is not None:
            self._account.interruptions += 1
            self._say(Interrupted(unheard, self._loop.time() - at))
            self._turn_over(turn)

    def _turn_over(self, turn: Turn | None) -> None:
        if turn is None:
            return
        if turn.end is TurnEnd.COMPLETED and (rest := self._answer.rest()):
            self._reached(rest)
        self._answer = Answer()
        self._history.answer_over()
        if self._speaking:
            self._speaking = False
            self._say(ModelStoppedSpeaking())
        self._account.add(turn)
        self._say(TurnEnded(turn))

    def _reached(self, words: str) -> None:
        """The caller's ears have had these words of the model."""
        self._history.model_said(words)
        self._say(ModelHeard(words))

    def _model_failed(self, exc: Exception) -> None:
        if self._lifecycle.over:
            return
        self._account.errors += 1
        self._say(Trouble(str(exc), fatal=True))
        self.hang_up(EndReason.MODEL_REFUSED if isinstance(exc, ModelRefused) else EndReason.MODEL_UNAVAILABLE, str(exc))

    # --- from the clock ---

    def tick(self, now: float, late: float) -> None:
        """20 ms have passed: one frame towards the caller."""
        leg = self.leg
        if leg is not None and self._connected and not self._lifecycle.over:
            frame = self._playout.pull(now)
            if frame is not None:
                self._send(leg, frame, now)
            else:
                if Ability.CONTINUOUS in leg.can:
                    leg.send(None)
                if self._turns.answering and not self._playout.seconds:
                    self._turn_over(self._turns.drained())
        if self._desk.leaving and self._desk.goodbye_over(now, played_at=self._played_at, unplayed=self._playout.seconds):
            self.hang_up(EndReason.MODEL_HUNG_UP)
        if now >= self._second_due:
            self._second_due += 1.0
            self._account.pacer_lag.append(late)
            self._each_second(now)

    def _send(self, leg: Leg, frame: AudioFrame, now: float) -> None:
        leg.send(frame)
        if self._turns.frame_sent(now, frame.seconds):
            self._account.downlink_added.append(now - frame.at)
        self._played_at = now
        if not self._speaking:
            self._speaking = True
            if not self._spoke:
                self._spoke = True
                self._say(StageReached(SetupStage.FIRST_AUDIO_OUT, now - self._started, now - self._offered_at))
            self._say(ModelStartedSpeaking())

    def _each_second(self, now: float) -> None:
        if self._lifecycle.over:
            return
        self._check_away(now)
        self._check_budgets()
        self._follow_policy(now)
        self._turn_over(self._turns.overdue(now, self._vad.speaking))
        if self._speaking:
            self._account.playout_depth.append(self._playout.seconds)
        if now >= self._report_due:
            self._report_due = now + REPORT_EVERY
            self._report(now)

    def _spend(self, used: TokensUsed) -> None:
        self._account.tokens[used.direction] += used.tokens
        cost = self._tab.spending.add(used.direction, used.modality, used.kind, used.tokens)
        self._say(replace(used, usd=cost))

    def _check_budgets(self) -> None:
        for level, scope, unit, used, limit in self._tab.reached():
            whole = MICRO if unit is Unit.USD else 1
            self._say(BudgetReached(level.name.lower(), scope.value, unit.value, used / whole, limit / whole))

    def _follow_policy(self, now: float) -> None:
        caller_at = max(self._vad.last_speech_at, self._typed_at)
        facts = Facts(
            here=self.state is State.ACTIVE,
            spoke_at=max(self._played_at, caller_at),
            caller_at=caller_at,
            played_at=self._played_at,
            unplayed=self._playout.seconds,
            busy=self._vad.speaking or self._turns.answering,
            level=self._tab.spending.level,
        )
        for action in self._policy.second(now, facts):
            match action:
                case Say(prompt=prompt):
                    self._prompts.append(prompt)
                    self._fed.set()
                case End(ending=ending, detail=detail):
                    self.hang_up(EndReason(ending.value), detail)

    def _check_away(self, now: float) -> None:
        if self.state is State.AWAY and now - self._away_since >= AWAY_PATIENCE:
            self.hang_up(self._away_reason)

    def _report(self, now: float) -> None:
        self._say(self._account.report(now, self.uplink, self._playout))

    # --- from the leg (LegSink) ---

    def connected(self) -> None:
        """Media flows: the answer that was held back may go."""
        self._connected = True

    def hear(self, frame: AudioFrame) -> None:
        """The caller's audio, 16 kHz, continuous."""
        if self._lifecycle.over:
            return
        if not self._heard_first:
            self._heard_first = True
            self._check_set_up(self._loop.time())
        voice = self._vad.push(frame)
        ready = (
            self.uplink.push(frame) if self._gate is None else self._pass_on(self._gate.hear(frame, self._is_of_a_turn(frame)))
        )
        if voice is Voice.STARTED:
            self._say(CallerStartedSpeaking())
        elif voice is Voice.STOPPED:
            self._turns.caller_silent(self._vad.last_speech_at)
            self._say(CallerStoppedSpeaking())
        # Just fallen silent: the service counts the silence it has been sent, and the answer waits for that.
        if self._vad.fell_silent and self.uplink.hurry():
            ready = True
        if ready:
            self._fed.set()

    def _is_of_a_turn(self, frame: AudioFrame) -> bool:
        assert self._gate is not None, "asked only where we find the turns"
        if self.profile.listening.endpointing is Endpointing.PUSH_TO_TALK:
            return self._button or (self._gate.open and frame.at - self._released_at < POSTROLL)
        silence = self.profile.listening.silence or OWN_SILENCE
        return self._vad.speaking or (self._gate.open and frame.at - self._vad.last_speech_at < silence)

    def _pass_on(self, pieces: list[AudioFrame | bool]) -> bool:
        """What passed the gate goes into the uplink, turns' edges beside it. True when the feeder should look."""
        ready = False
        for piece in pieces:
            if isinstance(piece, AudioFrame):
                ready = self.uplink.push(piece) or ready
                self._pushed += len(piece.pcm)
            else:
                self._marks.append((self._pushed, piece))
                if not piece:
                    self.uplink.hurry()
                ready = True
        return ready

    def digit(self, digit: str, seconds: float) -> None:
        """A DTMF press. What it means is for the profile to say; so far it is only counted."""
        self._account.digits += 1
        self._typed_at = self._loop.time()
        log.debug("< digit", extra={"call_id": self.call_id, "seconds": seconds, "length": len(digit)})

    def played(self, seconds: float) -> None:
        """`seconds` more can now have reached the caller's ears."""
        self._turns.played(seconds)
        if words := self._answer.heard(self._turns.heard):
            self._reached(words)

    def message(self, value: ClientMessage) -> None:
        """The client asked for something."""
        if self._lifecycle.over:
            return
        self._account.messages += 1
        match value:
            case SendText(text=text):
                self._typed_at = self._loop.time()
                self._desk.caller_spoke()
                self._texts.append(text)
                self._fed.set()
            case PushToTalk(talking=talking):
                self._typed_at = self._loop.time()
                if self._button and not talking:
                    self._released_at = self._typed_at
                self._button = talking
            case DisconnectBot():
                self.hang_up(EndReason.CALLER_HUNG_UP)
            case ToolResult():
                self._desk.browser_answered(value)

    def note(self, event: CallEvent) -> None:
        """News of the leg, for the observers."""
        self._say(event)

    def gone(self, reason: EndReason) -> None:
        """The caller's side is over."""
        self.detach(reason)

    # --- telling ---

    def _check_set_up(self, now: float) -> None:
        if self._heard_first and self.state is State.ACTIVE and not self._set_up:
            self._set_up = True
            self._say(CallSetUp(now - self._offered_at))

    def _step(self, step: Step, reason: EndReason | None = None) -> None:
        if self._lifecycle.step(step):
            self._say(StateChanged(self.state, reason))

    def _tool_answered(self) -> None:
        self._turns.asked(self._loop.time(), TurnKind.TOOL)

    def _has_client(self) -> bool:
        return self.leg is not None and Ability.TELL in self.leg.can

    def _say(self, event: CallEvent) -> None:
        self._observe(self.info, event)
        self._desk.observe(event)
        if self.leg is not None and Ability.TELL in self.leg.can:
            self.leg.tell(event)
