"""Who speaks on a model session, as far as its messages and the caller's audio tell: when nobody would notice another socket,
what must not be forgotten on the way there, and what the service owes.

Only the session needs this. What callers and observers are told of turns is decided in `dialog.turns`, with better ears.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.media.audio import MODEL_INPUT_RATE, MODEL_OUTPUT_RATE, SAMPLE_BYTES
from gateway.media.level import rms_dbfs
from gateway.model.base import (
    AudioOut,
    GenerationComplete,
    ModelEvent,
    ModelInterrupted,
    OutputTranscript,
    ToolCall,
    ToolCancelled,
    TurnComplete,
)

# Ears.
QUIETEST = -55.0
"""dBFS of a chunk that may be speech at all."""
OVER_NOISE = 10.0
"""dB above the quietest chunk of late: speech."""
MINIMA = 25
"""Chunks of a window in which the quietest is looked for: 2.5 s."""
LEAD_IN = round(0.3 * MODEL_INPUT_RATE)
"""Samples before the first loud chunk that belong to what is said."""
PAUSE = 0.5
"""Seconds of quiet after which the caller has finished."""
MEANT = 0.3
"""Seconds of speech that deserve an answer; less was a click or a cough."""

# What the service owes, in seconds.
CHUNK_DUE = 2.0
"""From one message of an answer to the next: it comes faster than real time, so a pause of this length is heard."""
TURN_DUE = 2.0
"""From the end of the playback that the service assumes to its end of the turn."""
ANSWER_DUE = 3.0
"""From the caller's last word, or what was asked, to the first sign of an answer."""
STALE = 10.0
"""Without a message an answer that has no end is taken to be over, and a question to be of no interest."""


@dataclass(slots=True)
class Utterance:
    """What the caller has said and the model has not begun to answer. Positions as in `gemini_reel`."""

    start: int
    speech: float = 0.0
    """Seconds of it that were loud."""
    ended_at: float | None = None
    """When the caller fell silent; None: still speaking."""
    passed_over: bool = False
    """The model has ended a turn without a sound."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a socket took with it: an answer of which `said` had been sent when the connection ended."""

    said: str
    seconds: float


class Ears:
    """Whether a chunk of audio is speech, by its level over the quietest of late. Coarse and cheap (5 µs a chunk)."""

    def __init__(self) -> None:
        self._low = self._low_before = 0.0
        self._chunks = 0

    def speech(self, pcm: bytes) -> bool:
        """The next chunk, PCM16."""
        level = rms_dbfs(pcm)
        self._low = min(self._low, level)
        quietest = min(self._low, self._low_before)
        self._chunks += 1
        if self._chunks >= MINIMA:
            self._chunks, self._low_before, self._low = 0, self._low, level
        return level > max(QUIETEST, quietest + OVER_NOISE)


class Floor:
    """One session's. Feed it what passes, in order."""

    def __init__(self, now: float, *, marked: bool = False) -> None:
        self._marked = marked  # the caller's turns are marked, so that nobody has to guess
        self._ears = Ears()
        self._loud_at = now
        self.utterance: Utterance | None = None
        self.tools: set[str] = set()
        """Calls that the model waits for."""
        self.answering = False
        self.generated = False
        self.said = ""
        """Words of the running answer."""
        self.suspect = False
        """The model's last act was to be interrupted: some never speak again."""
        self.missed = 0
        """Questions in a row without an answer."""
        self.over_at = now
        """When the last turn ended."""
        self.message_at = now
        """When the service last said anything."""
        self._began = now
        self._seconds = 0.0  # of the running answer

    # --- what passes ---

    def caller(self, pcm: bytes, position: int, now: float) -> None:
        """The caller's audio; `position`: of its first sample."""
        samples = len(pcm) // SAMPLE_BYTES
        if self._marked:
            return
        utterance = self.utterance
        if self._ears.speech(pcm):
            self._loud_at = now
            if utterance is None or (utterance.ended_at is not None and (utterance.passed_over or self._gone_by(utterance, now))):
                utterance = self.utterance = Utterance(max(0, position - LEAD_IN))
            utterance.speech += samples / MODEL_INPUT_RATE
            utterance.ended_at = None
        elif utterance is not None and utterance.ended_at is None and now - self._loud_at >= PAUSE:
            utterance.ended_at = self._loud_at

    def marked(self, speaking: bool, position: int, now: float) -> None:
        """The caller's turn begins or ends, where that is marked."""
        if speaking:
            self.utterance = Utterance(position)
            self._loud_at = now
        elif self.utterance is not None:
            self.utterance.ended_at = now
            self.utterance.speech = max(MEANT, now - self._loud_at)

    def model(self, event: ModelEvent, now: float) -> bool:
        """An event of the model's. True: it reacts, so what was asked so far has been taken notice of."""
        match event:
            case AudioOut(pcm=pcm):
                begins = self._begin(now)
                self._seconds += len(pcm) / (SAMPLE_BYTES * MODEL_OUTPUT_RATE)
                return begins
            case OutputTranscript(text=text):
                begins = self._begin(now)
                self.said += text
                return begins
            case ModelInterrupted():
                self._end(now)
                self.suspect = True
            case GenerationComplete():
                self.generated = self.answering
            case TurnComplete():
                silent = not self.answering and not self.suspect
                self._end(now)
                if silent and self.utterance is not None and self.utterance.ended_at is not None and not self.tools:
                    self._miss(self.utterance)
                return silent
            case ToolCall(id=call_id):
                self.tools.add(call_id)
            case ToolCancelled(ids=ids):
                self.tools.difference_update(ids)
        return False

    def _begin(self, now: float) -> bool:
        if self.answering and not self.generated:
            return False
        if not self.answering:
            self._began, self._seconds, self.said = now, 0.0, ""
        self.answering, self.generated, self.suspect = True, False, False
        self.missed = 0
        self.utterance = None
        return True

    def _end(self, now: float) -> None:
        self.answering = self.generated = False
        self.over_at = now

    def _miss(self, utterance: Utterance) -> None:
        if not utterance.passed_over:
            utterance.passed_over = True
            if utterance.speech >= MEANT:
                self.missed += 1

    def message(self, now: float) -> None:
        """The service said something, whatever it was."""
        self.message_at = now

    def cut(self, now: float) -> Cut | None:
        """The socket is gone. Gives the answer that it took with it, if there was one."""
        found = Cut(self.said, self._seconds) if self.answering and not self.generated else None
        if self.answering:
            self._end(now)
        self.tools.clear()
        return found

    def again(self, now: float, *, repeated: bool) -> None:
        """Another socket is there. `repeated`: it gets to hear what the caller said last."""
        self.message_at = now
        self.suspect = False
        utterance = self.utterance
        if utterance is not None and utterance.ended_at is not None:
            if repeated:
                utterance.ended_at, utterance.passed_over = now, False
            else:
                self.utterance = None

    # --- what follows ---

    def edge(self, now: float) -> bool:
        """Nobody speaks, nobody waits: another socket would not be noticed."""
        if self.answering and now - self.message_at < STALE:
            return False
        return not self.tools and not self.speaking and not self.waiting(now)

    @property
    def speaking(self) -> bool:
        """The caller speaks."""
        return self.utterance is not None and self.utterance.ended_at is None

    def waiting(self, now: float) -> bool:
        """The caller has asked, and may still be answered."""
        utterance = self.utterance
        return utterance is not None and not utterance.passed_over and not self._gone_by(utterance, now)

    def wanted(self, now: float, *, insisting: bool) -> bool:
        """The caller's last words are worth being heard again. `insisting`: even if the model has passed them over."""
        utterance = self.utterance
        return utterance is not None and (self.waiting(now) or (insisting and utterance.passed_over))

    def due(self, asked_at: float | None) -> float | None:
        """Loop time by which the service should have said something more; None: it owes nothing.

        `asked_at`: when the oldest thing was asked that it has not reacted to.
        """
        if self.tools:
            return None
        if self.answering:
            if not self.generated:
                return self.message_at + CHUNK_DUE
            return max(self.message_at, self._began + self._seconds) + TURN_DUE
        since = [] if asked_at is None else [asked_at]
        utterance = self.utterance
        if utterance is not None and utterance.ended_at is not None and utterance.speech >= MEANT and not utterance.passed_over:
            since.append(utterance.ended_at)
        return min(since) + ANSWER_DUE if since else None

    def ignored(self, now: float, patience: float) -> bool:
        """The caller was plainly not answered: nothing for `patience` seconds, or a turn without a sound."""
        utterance = self.utterance
        if utterance is None or utterance.ended_at is None or utterance.speech < MEANT or self.answering or self.tools:
            return False
        if not utterance.passed_over and now - utterance.ended_at >= patience:
            self._miss(utterance)
        return utterance.passed_over

    def _gone_by(self, utterance: Utterance, now: float) -> bool:
        return utterance.ended_at is not None and now - utterance.ended_at >= STALE
