"""The caller's side of the conversation: from audio to turns, found by ourselves or marked by the client."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.emulator.schema import INVALID_ARGUMENT, WireError
from gateway.emulator.setup_check import SessionSetup
from gateway.emulator.vad import CAUTIOUS, EAGER, LASTING, Edge, EnergyVad
from gateway.emulator.voices import Heard

_PRE_ROLL = 0.2
_POST_ROLL = 0.15
_MAX_TURN = 60.0
_ONSET = 0.06
_LOW_END_EXTRA = 0.3
"""With END_SENSITIVITY_LOW the service waits longer unless told how long."""


@dataclass(frozen=True, slots=True)
class CallerStarted:
    """`offset`: seconds of audio since the connection began."""

    offset: float


@dataclass(frozen=True, slots=True)
class CallerStopped:
    """A turn of the caller, whole."""

    heard: Heard
    began: float
    """Seconds of audio since the connection began."""
    ended: float


HearingEvent = CallerStarted | CallerStopped


class Ears:
    """Caller audio in, turns out. At most a minute of a turn is kept (the newest)."""

    def __init__(self, setup: SessionSetup, silence_duration: float) -> None:
        self._setup = setup
        self._silence = setup.silence_duration or silence_duration
        if setup.silence_duration is None and not setup.end_high:
            self._silence += _LOW_END_EXTRA
        self._rate = 16_000
        self._vad = self._make_vad()
        self._audio = bytearray()
        self._base = 0
        """Sample number of the first byte of `_audio`, in this rate's count."""
        self._before = 0.0
        """Seconds heard at earlier rates."""
        self._began: int | None = None
        """Sample at which the caller's turn began; None: the caller is silent."""

    @property
    def hearing(self) -> bool:
        """The caller is speaking."""
        return self._began is not None

    @property
    def automatic(self) -> bool:
        """We find the turns; else the client marks them."""
        return self._setup.automatic

    def hear(self, pcm: bytes, rate: int) -> list[HearingEvent]:
        """More audio: whole samples."""
        events: list[HearingEvent] = []
        if rate != self._rate:
            events += self.end_stream()
            self._before += (self._base + len(self._audio) // 2) / self._rate
            self._rate, self._base = rate, 0
            self._audio.clear()
            self._vad = self._make_vad()
        self._audio += pcm
        if self.automatic:
            for activity in self._vad.push(pcm):
                if activity.edge is Edge.STARTED:
                    self._began = activity.sample
                    events.append(CallerStarted(self._offset(activity.sample)))
                else:
                    events.append(self._turn(activity.sample))
        self._forget()
        return events

    def end_stream(self) -> list[HearingEvent]:
        """`audioStreamEnd`: what was said so far is a turn."""
        if not self.automatic:
            raise WireError(INVALID_ARGUMENT)
        return [self._turn(activity.sample) for activity in self._vad.end()]

    def start(self) -> list[HearingEvent]:
        """`activityStart`. Raises WireError when activity is automatic or already started."""
        if self.automatic or self.hearing:
            raise WireError(INVALID_ARGUMENT)
        self._base += len(self._audio) // 2
        self._audio.clear()
        self._began = self._base
        return [CallerStarted(self._offset(self._base))]

    def stop(self) -> list[HearingEvent]:
        """`activityEnd`. Raises WireError when activity is automatic or was not started."""
        if self.automatic or not self.hearing:
            raise WireError(INVALID_ARGUMENT)
        return [self._turn(self._base + len(self._audio) // 2)]

    def _turn(self, ended: int) -> CallerStopped:
        began = ended if self._began is None else self._began
        first, last = began, ended
        if self.automatic:
            first, last = began - round(_PRE_ROLL * self._rate), ended + round(_POST_ROLL * self._rate)
        first = max(first, self._base)
        pcm = bytes(self._audio[2 * (first - self._base) : 2 * (last - self._base)])
        self._began = None
        heard = Heard(pcm, self._rate, (ended - began) / self._rate)
        return CallerStopped(heard, self._offset(began), self._offset(ended))

    def _forget(self) -> None:
        keep = _MAX_TURN if self.hearing else _PRE_ROLL + 0.3
        surplus = len(self._audio) // 2 - round(keep * self._rate)
        # Not at every message: moving the rest of a bytearray costs more than keeping a second too much.
        if surplus > self._rate:
            del self._audio[: 2 * surplus]
            self._base += surplus

    def _offset(self, sample: int) -> float:
        return self._before + sample / self._rate

    def _make_vad(self) -> EnergyVad:
        return EnergyVad(
            self._rate,
            start=EAGER if self._setup.start_high else CAUTIOUS,
            # A low sensitivity for the end of speech is slow to find one.
            end=EAGER if self._setup.end_high else LASTING,
            onset=max(self._setup.prefix_padding or _ONSET, 0.04),
            hangover=self._silence,
        )
