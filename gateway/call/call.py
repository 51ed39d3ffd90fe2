"""One call from admission to end: what leg, clock, registry and API talk to, and the tasks that live as long as it does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict

from gateway.account import Account
from gateway.call.conduct import Conduct
from gateway.call.ear import Ear
from gateway.call.ending import Ending, Over
from gateway.call.feed import Feed
from gateway.call.mouth import Mouth
from gateway.call.view import CallView, Observe
from gateway.call.words import Words
from gateway.dialog.history import History
from gateway.dialog.lifecycle import AWAY_PATIENCE, Lifecycle, State, Step
from gateway.dialog.turns import TurnEnd, TurnKind, Turns
from gateway.errors import ModelError, ModelRefused, SignalingError
from gateway.events import (
    CallEnded,
    CallerStartedSpeaking,
    CallerStoppedSpeaking,
    CallEvent,
    CallInfo,
    CallSetUp,
    CallStarted,
    ClientMessage,
    ContextRead,
    DisconnectBot,
    EndReason,
    ModelClosed,
    ModelConnected,
    ModelConnectFailed,
    ModelLeaving,
    ModelMessageSkipped,
    ModelSwapped,
    PushToTalk,
    SendText,
    SetupStage,
    StageReached,
    StateChanged,
    TokensUsed,
    ToolResult,
    Trouble,
)
from gateway.ledger import Tab
from gateway.legs.base import Ability, Leg
from gateway.media.audio import PTIME, AudioFrame
from gateway.media.uplink import Uplink
from gateway.media.vad import Voice
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
    Updated,
)
from gateway.model.tools.desk import OWN_TOOLS, CallSide, Tools
from gateway.profile import Change, Profile

log = logging.getLogger(__name__)

REPORT_EVERY = 5.0
"""Seconds between the reports of a call's buffers."""

CHANGE_PATIENCE = 5.0
"""Seconds to wait for the model session to take a change; it may be on its way to another socket."""


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
        self._continuous = Ability.CONTINUOUS in leg.can
        self.started_at = time.time()
        self._model = model
        self._observe = observe
        self._loop = loop
        self._offered_at = offered_at
        self._started = began = loop.time()
        self._ending = Ending(call_id, loop)
        self._tab = tab = tab or Tab(call_id, "", profile.budget, profile.model or model_alias)
        self._lifecycle = Lifecycle()
        self._turns = turns = Turns()
        self._history = history = History()
        self._account = account = Account(began)
        side = CallSide(
            call_id,
            profile.name,
            say=self._say,
            answered=self._tool_answered,
            client=self._has_client,
            change=self._change,
            loop=loop,
        )
        self._declared = profile.tools
        self._desk = tools.desk(profile, side)
        moderator = tools.moderator(profile, call_id=call_id)
        self._words = words = Words(history, moderator, say=self._say, hang_up=self.hang_up, loop=loop)
        self._ear = ear = Ear(profile.listening)
        self.ahead: deque[Callable[[], None]] = deque()  # never another one: the clock has it; as many as a leg has room for
        self._mouth = mouth = Mouth(
            leg.rate,
            turns=turns,
            words=words,
            spending=tab.spending,
            account=account,
            say=self._say,
            began=began,
            offered_at=offered_at,
        )
        self._feed = feed = Feed(ear, turns=turns, history=history, spending=tab.spending, account=account, loop=loop)
        self._conduct = Conduct(
            profile,
            ear=ear,
            mouth=mouth,
            feed=feed,
            turns=turns,
            tab=tab,
            account=account,
            say=self._say,
            hang_up=self.hang_up,
            began=began,
        )
        self._connected = False  # media flows
        self._unplayed = 0.0  # seconds that stood ready when the leg went
        self._heard_first = False
        self._set_up = False
        self._tools_at_work = False  # something of a tool is to be looked at on every tick
        self._away_since = 0.0
        self._away_reason = EndReason.CALLER_GONE
        self._second_due = began + 1.0
        self._report_due = began + REPORT_EVERY

    # --- what registry and API ask ---

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

    @property
    def uplink(self) -> Uplink:
        """What waits on its way to the model."""
        return self._ear.uplink

    @property
    def history(self) -> History:
        """What was said and heard so far, as it may be read."""
        return self._history

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

    async def change(self, change: Change) -> Updated | None:
        """Have something different from now on; says how it was done, or None: it is still to be done, soon.

        Raises SignalingError with all faults.
        """
        if faults := change.faults([tool.name for tool in self._declared]):
            raise SignalingError("; ".join(faults), code="bad_change")
        told = self._change(change)
        await asyncio.wait((told, self._ending.said), timeout=CHANGE_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        return told.result() if told.done() else None

    def _change(self, change: Change) -> asyncio.Future[Updated]:
        self.profile = change.of(self.profile, self._declared)
        if change.tools is not None:
            self._desk.offer(change.tools)
        asked = sorted(name for name, value in asdict(change).items() if value is not None)
        log.info("= changed", extra={"call_id": self.call_id, "options": asked})
        return self._feed.change(self.profile)

    def hang_up(self, reason: EndReason, detail: str = "") -> None:
        """End the call; the first reason wins."""
        if self._ending.say(reason, detail):
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
                session = await self._ending.unless_over(
                    stack.enter_async_context(self._model.session(self.profile, self._history))
                )
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
        reason, detail = self._ending.said.result()
        end = TurnEnd.ERROR if reason.result == "server_error" else TurnEnd.SESSION_CLOSED
        self._mouth.close(end, self.leg.clear() if self.leg is not None else self._unplayed)
        self._report(self._loop.time())
        if self.leg is not None:
            await self.leg.close(reason)
        self._step(Step.CLOSED)
        self._say(CallEnded(reason, detail, self._account.summary(self._loop.time() - self._started)))

    def attach(self, leg: Leg) -> None:
        """The caller is back on another leg of the same rate."""
        assert leg.rate == self._mouth.playout.rate, "a call is attached to legs of one rate"
        self._step(Step.ATTACH)
        self.leg, self._connected, self._unplayed = leg, False, 0.0
        self._continuous = Ability.CONTINUOUS in leg.can
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
        self._ear.shut()
        self._feed.pause()
        self._away_since, self._away_reason = self._loop.time(), reason
        self._check_away(self._away_since)

    async def _converse(self, session: ModelSession) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed.run(session, self.profile.greeting), name=f"{self.call_id}:feed")
                tasks.create_task(self._think(session), name=f"{self.call_id}:think")
                tasks.create_task(self._desk.serve(session), name=f"{self.call_id}:tools")
                if self._words.moderated:
                    tasks.create_task(self._words.run(), name=f"{self.call_id}:moderation")
                tasks.create_task(self._ending.watch(), name=f"{self.call_id}:end")
        except* Over:
            pass
        except* ModelError as group:
            self._model_failed(group.exceptions[0])

    # --- from the model ---

    async def _think(self, session: ModelSession) -> None:
        """Everything from the model."""
        async for event in session.events():
            if isinstance(event, AudioOut | OutputTranscript | ModelInterrupted | TurnComplete | ToolCall):
                self._conduct.nudge.acted()
            match event:
                case AudioOut():
                    self._mouth.audio(event, self._ear.last_speech_at)
                case ModelInterrupted(at=at):
                    unplayed, self._unplayed = self.leg.clear() if self.leg else self._unplayed, 0.0
                    cut_off = self._mouth.interrupted(self._loop.time(), at, unplayed)
                    if cut_off is not None:
                        self._feed.cut_off(cut_off)
                case OutputTranscript(text=text):
                    self._mouth.words(text)
                case InputTranscript(text=text):
                    self._words.caller_said(text)
                case GenerationComplete() | TurnComplete():
                    self._mouth.generated()
                case TokensUsed():
                    self._conduct.spent(event)
                case ContextRead():
                    self._say(event)
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
                    self._tools_at_work = True
                    self._ear.hold(self._desk.holding)
                case ToolCancelled(ids=ids):
                    self._desk.cancelled(ids)
                case ModelSwapped():
                    self._desk.swapped()
                    self._say(event)
        self.hang_up(EndReason.MODEL_HUNG_UP)

    def _model_failed(self, exc: Exception) -> None:
        if self._lifecycle.over:
            return
        self._account.errors += 1
        self._say(Trouble(str(exc), fatal=True))
        self.hang_up(EndReason.MODEL_REFUSED if isinstance(exc, ModelRefused) else EndReason.MODEL_UNAVAILABLE, str(exc))

    # --- from the clock (Ticked) ---

    def tick(self, now: float, late: float) -> None:
        """20 ms have passed: one frame towards the caller."""
        leg = self.leg
        if leg is not None and self._connected and not self._lifecycle.over:
            mouth = self._mouth
            frame = mouth.frame(now)
            if frame is not None:
                leg.send(frame)
                mouth.sent(now, frame)
                if (room := leg.room) and not self._tools_at_work and (ahead := mouth.ahead(now, room)):
                    leg.prepare(ahead)
            else:
                if self._continuous:
                    leg.send(None)
                mouth.silent()
        if self._tools_at_work:
            self._look_at_tools(now)
        if now >= self._second_due:
            self._second_due += 1.0
            self._account.pacer_lag.append(late)
            self._each_second(now)

    def resynced(self) -> None:
        """Ticks were dropped; what stood ahead of them is not lost."""
        if self.leg is not None:
            self.leg.resynced()

    def _look_at_tools(self, now: float) -> None:
        """On every tick from when the model has called one until none holds the caller's words back or waits to hang up."""
        desk, mouth = self._desk, self._mouth
        if self._ear.hold(desk.holding):
            self._feed.wake()
        if desk.leaving and desk.goodbye_over(now, played_at=mouth.played_at, unplayed=mouth.playout.seconds):
            self.hang_up(EndReason.MODEL_HUNG_UP)
        self._tools_at_work = desk.holding or desk.leaving

    def _each_second(self, now: float) -> None:
        if self._lifecycle.over:
            return
        self._check_away(now)
        self._conduct.second(now, here=self.state is State.ACTIVE, busy=self._desk.running > 0)
        self._mouth.second(now, self._ear.speaking)
        self._words.second(now)
        if now >= self._report_due:
            self._report_due = now + REPORT_EVERY
            self._report(now)

    def _check_away(self, now: float) -> None:
        if self.state is State.AWAY and now - self._away_since >= AWAY_PATIENCE:
            self.hang_up(self._away_reason)

    def _report(self, now: float) -> None:
        self._say(self._account.report(now, self.uplink, self._mouth.playout))

    # --- from the leg (LegSink) ---

    @property
    def patience(self) -> float:
        """What is heard waits as long anyway for the rest of its chunk, or of its pair when the caller has just fallen silent."""
        return self._ear.patience

    def connected(self) -> None:
        """Media flows: the answer that was held back may go."""
        self._connected = True

    def hear(self, frame: AudioFrame) -> None:
        """The caller's audio, 16 kHz, continuous."""
        self.hear_row((frame,))

    def hear_row(self, frames: Sequence[AudioFrame]) -> None:
        """`hear` for several in a row."""
        if self._lifecycle.over:
            return
        if not self._heard_first:
            self._heard_first = True
            self._check_set_up(self._loop.time())
        voices, ready = self._ear.hear_row(frames, self._mouth.speaking)
        for voice in voices:
            self._voice_changed(voice)
        if ready:
            self._feed.wake()

    def _voice_changed(self, voice: Voice) -> None:
        if voice is Voice.STARTED:
            self._say(CallerStartedSpeaking(max(0.0, self._loop.time() - self._ear.speech_began_at)))
        else:
            self._turns.caller_silent(self._ear.last_speech_at)
            self._say(CallerStoppedSpeaking())

    def digit(self, digit: str, seconds: float) -> None:
        """A DTMF press. What it means is for the profile to say; so far it is only counted."""
        self._account.digits += 1
        self._conduct.caller_acted(self._loop.time())
        log.debug("< digit", extra={"call_id": self.call_id, "seconds": seconds, "length": len(digit)})

    def played(self, seconds: float) -> None:
        """`seconds` more can now have reached the caller's ears."""
        self._mouth.played(seconds)

    def message(self, value: ClientMessage) -> None:
        """The client asked for something."""
        if self._lifecycle.over:
            return
        self._account.messages += 1
        match value:
            case SendText(text=text):
                self._conduct.caller_acted(self._loop.time())
                self._desk.caller_spoke()
                self._feed.type(text)
            case PushToTalk(talking=talking):
                now = self._loop.time()
                self._conduct.caller_acted(now)
                self._ear.button(talking, now)
            case DisconnectBot():
                self.hang_up(EndReason.CALLER_HUNG_UP)
            case ToolResult():
                self._desk.browser_answered(value)

    def note(self, event: CallEvent) -> None:
        """News of the leg, for the observers."""
        self._say(event)

    def gone(self, reason: EndReason) -> None:
        """The caller's side is over."""
        self._unplayed = len(self.ahead) * PTIME
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
        now = self._loop.time()
        self._turns.asked(now, TurnKind.TOOL)
        self._conduct.nudge.answered(now)

    def _has_client(self) -> bool:
        return self.leg is not None and Ability.TELL in self.leg.can

    def _say(self, event: CallEvent) -> None:
        self._observe(self.info, event)
        self._desk.observe(event)
        if self.leg is not None and Ability.TELL in self.leg.can:
            self.leg.tell(event)
