"""Token counts of the Live service: its usage reports as `TokensUsed`.

A turn is billed for all it read (the whole context window, again each turn) and all it wrote, so turns add up. Within a turn
a report repeats and extends the one before, as in every streamed answer of this API, so only the growth counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gateway.errors import PacketError
from gateway.events import ContextRead, TokensUsed

Bucket = tuple[str, str, str]
"""direction, modality, kind: the fields of `TokensUsed`."""

MODALITIES = {"TEXT": "text", "AUDIO": "audio", "IMAGE": "image", "VIDEO": "image"}
"""Video is billed as still images."""

MAX_TOKENS = 1 << 31
"""More than any context window; beyond it a number is garbage."""


class TurnUsage:
    """What has been reported of the current turn."""

    def __init__(self) -> None:
        self._seen: Counter[Bucket] = Counter()
        self._context = 0  # tokens

    def new_turn(self) -> None:
        """Count from zero again."""
        self._seen.clear()
        self._context = 0

    def report(self, usage: Mapping[str, Any]) -> list[TokensUsed | ContextRead]:
        """What `usage` adds to the reports of this turn so far. Raises PacketError."""
        counted = count(usage)
        grown = counted - self._seen  # keeps what is positive
        self._seen |= counted
        events: list[TokensUsed | ContextRead] = [TokensUsed(*bucket, tokens) for bucket, tokens in sorted(grown.items())]
        context = sum(tokens for bucket, tokens in counted.items() if _of_context(bucket))
        if context > self._context:
            self._context = context
            events.append(ContextRead(context))
        return events


def _of_context(bucket: Bucket) -> bool:
    direction, _, kind = bucket
    return direction == "input" and kind != "tool"


def count(usage: Mapping[str, Any]) -> Counter[Bucket]:
    """One usageMetadata object by direction, modality and kind. Raises PacketError.

    Output is spelled `response…` by the Developer API and `candidates…` by Vertex AI. Cached tokens are part of the prompt
    count; thoughts and tool prompts are not part of any other.
    """
    prompt = _split(usage, "promptTokenCount", "promptTokensDetails")
    cached = _split(usage, "cachedContentTokenCount", "cacheTokensDetails")
    tool = _split(usage, "toolUsePromptTokenCount", "toolUsePromptTokensDetails")
    output = _split(usage, "responseTokenCount", "responseTokensDetails") or _split(
        usage, "candidatesTokenCount", "candidatesTokensDetails"
    )
    counted: Counter[Bucket] = Counter()
    for modality, tokens in (prompt - cached).items():
        counted["input", modality, "plain"] = tokens
    for modality, tokens in cached.items():
        counted["input", modality, "cached"] = tokens
    for modality, tokens in tool.items():
        counted["input", modality, "tool"] = tokens
    for modality, tokens in output.items():
        counted["output", modality, "plain"] = tokens
    if thoughts := _tokens(usage.get("thoughtsTokenCount")):
        counted["output", "text", "reasoning"] = thoughts
    return counted


def _split(usage: Mapping[str, Any], total: str, details: str) -> Counter[str]:
    """Tokens by modality; what the details leave out of the total is `unknown`."""
    split: Counter[str] = Counter()
    rows = usage.get(details)
    if rows is not None:
        if not isinstance(rows, list):
            raise PacketError("wrong_type")
        for row in rows:
            if not isinstance(row, dict):
                raise PacketError("wrong_type")
            modality = row.get("modality")
            name = MODALITIES.get(modality, "unknown") if isinstance(modality, str) else "unknown"
            split[name] += _tokens(row.get("tokenCount"))
    if (rest := _tokens(usage.get(total)) - split.total()) > 0:
        split["unknown"] += rest
    return +split


def _tokens(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS:
        return value
    raise PacketError("wrong_type")
