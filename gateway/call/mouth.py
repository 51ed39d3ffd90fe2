"""The answer on its way to the caller's ears: playout, turns, and which of its words have been heard."""

from __future__ import annotations

from collections.abc import Callable

from gateway.account import Account
from gateway.call.words import Words
from gateway.dialog.budget import Spending
from gateway.dialog.transcript import Answer, CutOff
from gateway.dialog.turns import Turn, TurnEnd, Turns
from gateway.events import (
    CallEvent,
    Interrupted,
    ModelStartedSpeaking,
    ModelStoppedSpeaking,
    SetupStage,
    StageReached,
    TurnEnded,
)
from gateway.media.audio import MODEL_OUTPUT_RATE, PTIME, SAMPLE_BYTES, AudioFrame
from gateway.media.level import first_audible, sounding
from gateway.media.playout import Playout
from gateway.media.resample import Resampler
from gateway.model.base import AudioOut


class Mouth:
    """One call's. Frames leave at `rate`; `began` and `offered_at` are what the time to the first word is counted from."""

    def __init__(
        self,
        rate: int,
        *,
        turns: Turns,
        words: Words,
        spending: Spending,
        account: Account,
        say: Callable[[CallEvent], None],
        began: float,
        offered_at: float,
    ) -> None:
        self.playout = playout = Playout(rate)
        self.frame = playout.pull
        """What leaves on this tick; None: nothing. `sent` or `silent` must follow."""
        # Legs that speak at the model's own rate (Opus at 24 kHz) need no resampler at all.
        self._resampler = Resampler(MODEL_OUTPUT_RATE, rate) if rate != MODEL_OUTPUT_RATE else None
        self._turns = turns
        self._answer = Answer()
        self._words = words
        self._spending = spending
        self._account = account
        self._say = say
        self._began = began
        self._offered_at = offered_at
        self._spoke = False  # the first word of the call has left
        self._under_way = False  # the first audible frame of the answer has left: the next ones are only counted
        self.speaking = False
        """A packet of an answer has left and more is to come."""
        self.played_at = began
        """When the last frame of an answer left, or will."""

    # --- from the model ---

    def audio(self, audio: AudioOut, caller_spoke_at: float) -> None:
        """24 kHz speech of the model. `caller_spoke_at`: the caller's last speech so far."""
        seconds = len(audio.pcm) / (SAMPLE_BYTES * MODEL_OUTPUT_RATE)
        if self._turns.heard == 0.0:
            if caller_spoke_at > self._began:
                self._turns.caller_silent(caller_spoke_at)
            # Only the head of an answer is searched for its first audible sample.
            self._turns.model_audio(audio.at, seconds, first_audible(audio.pcm, MODEL_OUTPUT_RATE))
        else:
            self._turns.model_audio(audio.at, seconds, 0.0)
        self._answer.audio(seconds, sounding(audio.pcm, MODEL_OUTPUT_RATE))
        self._spending.passed(said=seconds)
        pcm = self._resampler.resample(audio.pcm) if self._resampler else audio.pcm
        self.playout.push(pcm, audio.at)

    def words(self, text: str) -> None:
        """A fragment of the answer's transcript."""
        self._answer.said(text)
        self._words.model_said(text)

    def generated(self) -> None:
        """No more comes for this answer."""
        self.playout.end()
        self._turns.generated()
        self._answer.generated()
        self._words.generated()

    def interrupted(self, now: float, at: float, unplayed: float) -> CutOff | None:
        """The model heard the caller speak over the answer, read at `at`. `unplayed`: seconds that the far end threw away.

        Gives what was cut off; None: there was nothing to interrupt.
        """
        unheard = self.playout.clear() + unplayed
        self.played_at = min(self.played_at, now)
        turn = self._turns.interrupted(unheard)
        if turn is None:
            # Words may have come before their sound: nobody will hear them.
            self._answer = self._answer.next()
            self._words.answer_over()
            return None
        self._account.interruptions += 1
        # Before the readers hear that it is over, the words up to the place where the caller's ears were.
        self._heard_to(turn)
        cut_off = self._answer.cut_off
        self._say(Interrupted(unheard, now - at))
        self._turn_over(turn)
        return cut_off

    # --- towards the caller ---

    def sent(self, now: float, frame: AudioFrame) -> None:
        """The leg has taken it."""
        self.played_at = now
        if self._under_way:
            return
        if self._turns.frame_sent(now, frame.seconds):
            self._account.downlink_added.append(now - frame.at)
        self._under_way = self._turns.out
        if not self.speaking:
            self.speaking = True
            if not self._spoke:
                self._spoke = True
                self._say(StageReached(SetupStage.FIRST_AUDIO_OUT, now - self._began, now - self._offered_at))
            self._say(ModelStartedSpeaking())

    def ahead(self, now: float, frames: int) -> list[AudioFrame]:
        """At most so many frames of the coming ticks, to be sent in any case but a barge-in; `sent` is not told of them."""
        if not self._under_way:
            return []
        ahead = self.playout.ahead(frames)
        self.played_at = now + len(ahead) * PTIME
        return ahead

    def silent(self) -> None:
        """Nothing has left on this tick: perhaps the answer is over."""
        if self._turns.answering and not self.playout.seconds:
            self._turn_over(self._turns.drained())

    def played(self, seconds: float) -> None:
        """`seconds` more can now have reached the caller's ears."""
        if words := self._answer.heard(self._turns.played(seconds)):
            self._words.model_heard(words)

    def second(self, now: float, caller_speaking: bool) -> None:
        """Once a second: has anybody answered?"""
        self._turn_over(self._turns.overdue(now, caller_speaking))
        if self.speaking:
            self._account.playout_depth.append(self.playout.seconds + max(0.0, self.played_at - now))

    def close(self, end: TurnEnd, unplayed: float) -> None:
        """The call is over; what has not left will not. `unplayed`: seconds of it that the leg has already."""
        self._turn_over(self._turns.closed(end, self.playout.clear() + unplayed))

    # --- parts ---

    def _turn_over(self, turn: Turn | None) -> None:
        if turn is None:
            return
        self._heard_to(turn)
        self._answer = self._answer.next()
        self._words.answer_over()
        self._under_way = False
        if self.speaking:
            self.speaking = False
            self._say(ModelStoppedSpeaking())
        self._account.add(turn)
        self._say(TurnEnded(turn))

    def _heard_to(self, turn: Turn) -> None:
        """The answer is over: what was heard of it that has not been said yet."""
        answer = self._answer
        if words := answer.rest() if turn.end is TurnEnd.COMPLETED else answer.cut(turn.heard):
            self._words.model_heard(words)
