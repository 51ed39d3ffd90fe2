"""What a model's tokens cost: a dated price table, as data.

Prices change and this file does not know: `AS_OF` says when it was right. An operator's own rows (`[[prices]]` in the
configuration file) come before these. A model that is in neither has no price: its calls have no money budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AS_OF = "2026-11-22"
"""When each row was last compared with its source."""

SOURCE = "https://ai.google.dev/gemini-api/docs/pricing (paid tier, standard)"
"""Audio is listed there by the minute too ($0.005 in, $0.018 out, at 25 tokens a second), which is what the rows come to."""

SOURCES = {
    "gemini-3.8-live": "the page above in copies of September 2026; text also in the catalogue at vercel.com/ai-gateway/models",
    "gemini-3.1-flash-live": "the page above in copies of March, May, July and September 2026",
    "gemini-2.5-flash-native-audio": "the page above in copies of July and September 2026",
    "gemini-live-2.5-flash-native-audio": "cloud.google.com/vertex-ai/generative-ai/pricing, in langfuse #12607, litellm #36886",
}
"""Where each row comes from. The pages themselves could only be read in others' dated copies, which agree.

Not confirmed: that `gemini-3.8-live-extended-thinking` costs what `gemini-3.8-live` costs (the row covers both); that the rows of
the Developer API hold for the same models on Vertex AI; that Live models stay at this price in 2027, when launch prices of other
models of the 3.8 family end.
"""

MICRO = 1_000_000
"""Tokens that a price is for, and millionths of a dollar in a dollar: tokens times price is millionths."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens of one family of models."""

    model: str
    """Prefix of the names this row is for; the longest that fits wins."""
    text_in: float
    audio_in: float
    image_in: float
    text_out: float
    audio_out: float
    as_of: str = AS_OF
    """ISO date on which the row was right."""

    def micro_usd(self, direction: str, modality: str, kind: str, tokens: int) -> float:
        """What `tokens` cost, in millionths of a dollar; the words are those of `TokensUsed`.

        The Live service has no cheaper price for cached tokens. Thoughts are written text, tool prompts are read text. What the
        service does not say the modality of is taken for audio, the dearest: a budget may be too careful, never too late.
        """
        if direction == "input":
            price = {"text": self.text_in, "image": self.image_in}.get(modality, self.audio_in)
            if modality == "unknown" and kind == "tool":
                price = self.text_in
        else:
            price = self.text_out if modality == "text" else self.audio_out
        return tokens * price


PRICES: tuple[Price, ...] = (
    Price("gemini-3.8-live", text_in=0.75, audio_in=3.00, image_in=1.00, text_out=4.50, audio_out=12.00),
    Price("gemini-3.1-flash-live", text_in=0.75, audio_in=3.00, image_in=1.00, text_out=4.50, audio_out=12.00),
    Price("gemini-2.5-flash-native-audio", text_in=0.50, audio_in=3.00, image_in=3.00, text_out=2.00, audio_out=12.00),
    Price("gemini-live-2.5-flash-native-audio", text_in=0.50, audio_in=3.00, image_in=3.00, text_out=2.00, audio_out=12.00),
)


def price_of(model: str, own: Sequence[Price] = ()) -> Price | None:
    """The row for a model name, however qualified (`models/…`, `publishers/google/models/…`); None: not known.

    A row of `own` wins over the table whatever its length: the operator knows better.
    """
    name = model.rpartition("/")[2]
    for table in (own, PRICES):
        rows = [row for row in table if name.startswith(row.model)]
        if rows:
            return max(rows, key=lambda row: len(row.model))
    return None
