"""Tokens: 25 a second of audio either way, 258 a still, about four characters of text each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.emulator import messages
from gateway.emulator.models import Backend
from gateway.emulator.schema import Json

AUDIO_TOKENS = 25
VIDEO_TOKENS = 258
_CHARACTERS = 4


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text) // _CHARACTERS)


@dataclass(slots=True)
class Meter:
    """What one connection used since the last report, and in all."""

    total: dict[str, int] = field(default_factory=lambda: {"prompt": 0, "response": 0})
    _prompt: dict[str, float] = field(default_factory=dict)
    _response: dict[str, float] = field(default_factory=dict)

    def heard(self, seconds: float) -> None:
        """Caller audio."""
        self._prompt["AUDIO"] = self._prompt.get("AUDIO", 0.0) + seconds * AUDIO_TOKENS

    def said(self, seconds: float) -> None:
        """Model audio."""
        self._response["AUDIO"] = self._response.get("AUDIO", 0.0) + seconds * AUDIO_TOKENS

    def read(self, text: str) -> None:
        """Text of the client."""
        self._prompt["TEXT"] = self._prompt.get("TEXT", 0.0) + text_tokens(text)

    def saw(self) -> None:
        """A still."""
        self._prompt["VIDEO"] = self._prompt.get("VIDEO", 0.0) + VIDEO_TOKENS

    @property
    def unreported(self) -> int:
        """Tokens since the last report."""
        return int(sum(self._prompt.values()) + sum(self._response.values()))

    def report(self, backend: Backend) -> Json:
        """`usageMetadata` since the last one; fractions of a token stay for the next."""
        prompt, response = _take_whole(self._prompt), _take_whole(self._response)
        self.total["prompt"] += sum(prompt.values())
        self.total["response"] += sum(response.values())
        return messages.usage(prompt, response, backend)


def _take_whole(counts: dict[str, float]) -> Mapping[str, int]:
    whole = {modality: int(amount) for modality, amount in counts.items()}
    for modality, tokens in whole.items():
        counts[modality] -= tokens
    return whole
