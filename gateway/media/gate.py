"""What of the caller's audio the model hears when we, not it, say where a turn begins and ends.

Between turns nothing passes. A turn begins with a little of what came before: detection takes a moment, and a thumb is slower
than a tongue.
"""

from __future__ import annotations

from collections import deque

from gateway.media.audio import AudioFrame

PREROLL = 0.3
"""Seconds kept for the beginning of the next turn."""

POSTROLL = 0.1
"""Seconds that still pass after the button was let go: the word's end is on its way through the network."""


class Gate:
    """Frames in; out come frames to pass on, and True and False where a turn begins and ends."""

    def __init__(self) -> None:
        self.open = False
        self._before: deque[AudioFrame] = deque()  # bounded by PREROLL
        self._seconds = 0.0

    def hear(self, frame: AudioFrame, wanted: bool) -> list[AudioFrame | bool]:
        """`wanted`: this frame is of a turn."""
        if self.open:
            return [frame] if wanted else self.shut()
        if wanted:
            self.open = True
            passed: list[AudioFrame | bool] = [True, *self._before, frame]
            self._before.clear()
            self._seconds = 0.0
            return passed
        self._before.append(frame)
        self._seconds += frame.seconds
        while self._seconds > PREROLL + 1e-9:
            self._seconds -= self._before.popleft().seconds
        return []

    def shut(self) -> list[AudioFrame | bool]:
        """The turn is over, if there is one."""
        if not self.open:
            return []
        self.open = False
        return [False]
