"""What the model is to hear of the caller: all of it, or the turns that we find ourselves or a button marks.

Holds the uplink. Plain calls from the leg put in (`hear`), the feeder takes out (`take`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.media.audio import MODEL_INPUT_RATE, SAMPLE_BYTES, AudioFrame
from gateway.media.gate import POSTROLL, Gate
from gateway.media.uplink import Uplink, UplinkChunk
from gateway.media.vad import Voice, VoiceActivity
from gateway.profile import Endpointing, Listening

OWN_SILENCE = 0.5
"""Seconds of silence that end a caller's turn when we find it, unless the profile says otherwise."""


HELD = 2.0
"""Seconds that are kept while the model is not to hear the caller; the oldest give way."""


class Heard(NamedTuple):
    """What a frame changed, or a row of them."""

    voices: Sequence[Voice]
    ready: bool
    """The feeder should look."""


_NOTHING, _READY = Heard((), False), Heard((), True)  # nearly all frames change one of these


class Ear:
    """One caller's. Frames are 16 kHz; times are the loop's."""

    def __init__(self, listening: Listening) -> None:
        self.uplink = Uplink()
        self._listening = listening
        self._vad = VoiceActivity()
        self._gate = Gate() if listening.endpointing is not Endpointing.MODEL else None
        self._marks: deque[tuple[int, bool]] = deque()  # where in the uplink's bytes turns begin and end; as many as turns wait
        self._pushed = self._taken = 0  # bytes of uplink
        self._silent = False  # the caller had fallen silent before the last frame or with it
        self._held = False
        self._button = False
        self._released_at = 0.0

    @property
    def finds_turns(self) -> bool:
        """The edges of the caller's turns are taken with the audio; without, `take` gives nothing else."""
        return self._gate is not None

    @property
    def speaking(self) -> bool:
        """The caller is speaking."""
        return self._vad.speaking

    @property
    def speech_began_at(self) -> float:
        """When the first sample of the caller's present or last speech arrived."""
        return self._vad.began_at

    @property
    def last_speech_at(self) -> float:
        """When the caller's last sample of speech arrived; before the first one, a time before the call."""
        return self._vad.last_speech_at

    @property
    def patience(self) -> float:
        """Seconds for which a frame would wait here anyway before it goes on, if it were the first of its chunk. 0.0 where we
        find the caller's turns: their ends wait for nothing."""
        if self._gate is not None:
            return 0.0
        return self.uplink.hurried_chunk if self._silent else self.uplink.chunk

    def hear(self, frame: AudioFrame, answering: bool = False) -> Heard:
        """The caller's audio, continuous. `answering`: an answer is being spoken, so nobody waits for one."""
        return self.hear_row((frame,), answering)

    def hear_row(self, frames: Sequence[AudioFrame], answering: bool = False) -> Heard:
        """`hear` for several in a row."""
        if self._gate is None:
            voices = self._vad.push_row(frames)
            ready = self.uplink.push_row(frames)
        else:
            voices, ready = [], False
            for frame in frames:
                if (voice := self._vad.push(frame)) is not None:
                    voices.append(voice)
                ready = self._pass_on(self._gate.hear(frame, self._is_of_a_turn(frame, self._gate))) or ready
        # Just fallen silent: the service counts the silence it has been sent, and the answer waits for that. One that is still
        # being spoken was not for this: the next has to wait for its end anyway.
        silent = self._vad.fell_silent and not answering
        if silent and self.uplink.hurry(again=self._silent):
            ready = True
        self._silent = silent
        if self._held:
            self.uplink.shorten(HELD)
        return Heard(voices, ready) if voices else _READY if ready else _NOTHING

    def hold(self, held: bool) -> bool:
        """Keep back what is heard from now on, or let it go. True when the feeder should look."""
        let_go = self._held and not held
        self._held = held
        return let_go

    def button(self, talking: bool, now: float) -> None:
        """Push-to-talk: pressed or let go."""
        if self._button and not talking:
            self._released_at = now
        self._button = talking

    def shut(self) -> None:
        """No more comes for now: a turn that we have opened is over."""
        if self._gate is not None:
            self._button = False
            self._pass_on(self._gate.shut())
        self.uplink.hurry()

    def take(self) -> UplinkChunk | bool | None:
        """What goes to the model next, in order: audio, or where a turn begins (True) and ends (False). None: nothing may."""
        if self._held:
            return None
        if self._gate is None:
            return self.uplink.take()
        self._forget_empty_turns()
        here = self._gone()
        if self._marks and self._marks[0][0] <= here:
            return self._marks.popleft()[1]
        # Not beyond the next edge: what is said in the next turn does not belong into this one.
        chunk = self.uplink.take(self._marks[0][0] - here if self._marks else None)
        if chunk is not None:
            self._taken += len(chunk.pcm)
        return chunk

    def _gone(self) -> int:
        """Bytes of uplink that wait no more: taken or dropped."""
        return self._taken + round(self.uplink.dropped * MODEL_INPUT_RATE * SAMPLE_BYTES)

    def _forget_empty_turns(self) -> None:
        """A turn that gave way as a whole is none: its bare beginning would cut off the answer that is running."""
        here, marks = self._gone(), self._marks
        while len(marks) > 1 and marks[0][1] and marks[1][0] <= here:
            marks.popleft()
            marks.popleft()

    def _is_of_a_turn(self, frame: AudioFrame, gate: Gate) -> bool:
        if self._listening.endpointing is Endpointing.PUSH_TO_TALK:
            return self._button or (gate.open and frame.at - self._released_at < POSTROLL)
        silence = self._listening.silence or OWN_SILENCE
        return self._vad.speaking or (gate.open and frame.at - self._vad.last_speech_at < silence)

    def _pass_on(self, pieces: Iterable[AudioFrame | bool]) -> bool:
        """What passed the gate goes into the uplink, turns' edges beside it. True when the feeder should look."""
        ready = False
        for piece in pieces:
            if isinstance(piece, AudioFrame):
                ready = self.uplink.push(piece) or ready
                self._pushed += len(piece.pcm)
            else:
                self._forget_empty_turns()
                self._marks.append((self._pushed, piece))
                if not piece:
                    self.uplink.hurry()
                ready = True
        return ready
