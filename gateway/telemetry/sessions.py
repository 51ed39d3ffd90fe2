"""The model's side of calls: sessions, swaps, tokens and what they cost."""

from __future__ import annotations

from gateway.dialog.prices import AS_OF
from gateway.events import ContextRead, ModelConnected, ModelConnectFailed, ModelLeaving, ModelSwapped, TokensUsed
from gateway.telemetry.labels import (
    CLOSE_CODES,
    CONNECT_KINDS,
    CONTEXT,
    DIRECTIONS,
    LEAD,
    MODALITIES,
    RESUMPTIONS,
    SETUP,
    TOKEN_CLASSES,
    TURN,
    closed,
)
from gateway.telemetry.series import Make


class SessionMetrics:
    """Model sessions. `model` is a label value already."""

    def __init__(self, make: Make) -> None:
        counters, histograms = make.counters, make.histograms
        self.active = make.gauges("model_sessions_active", "Open model sessions.", "model")
        self._connects = counters("model_connects_total", "Model connects.", "model", "kind", "result")
        self._connect_seconds = histograms(
            "model_connect_seconds", "Connect to setup complete.", SETUP, "model", "kind", "result"
        )
        self._closes = counters("model_closes_total", "Model sockets closed, by code.", "model", "code")
        self._skipped = counters("model_messages_skipped_total", "Model messages that do not parse.", "model")
        self._cost = counters("model_cost_usd_total", f"What the tokens cost by the price table of {AS_OF}, US dollars.", "model")
        self._budget = make.gauge(
            "budget_used_ratio", "Share of the gateway's daily budget that is used up, by its tightest limit."
        )
        self._tokens = counters("model_tokens_total", "Tokens the model reports.", "model", "direction", "modality", "class")
        self._context = histograms("model_context_tokens", "The context that the model read to answer.", CONTEXT, "model")
        self._resumptions = counters("model_resumptions_total", "Sessions that went on on another socket.", "model", "result")
        self._goaways = counters("model_goaway_total", "Announced ends of a model connection.", "model")
        self._goaway_lead = histograms("model_goaway_lead_seconds", "How long before the end it was announced.", LEAD, "model")
        self._swap_gap = histograms(
            "model_swap_gap_seconds", "Audio missing to or from the model in a swap, as heard.", TURN, "model", "kind"
        )
        self._replayed = counters("model_uplink_replayed_seconds_total", "Caller audio said again after a swap.", "kind")
        self._swap_lost = counters("model_uplink_lost_seconds_total", "Caller audio lost in a swap.", "kind")

    def connected(self, model: str, event: ModelConnected) -> None:
        """A socket is set up."""
        kind = closed(event.kind, CONNECT_KINDS)
        self._connects(model, kind, "ok").inc()
        self._connect_seconds(model, kind, "ok").observe(event.seconds)

    def failed(self, model: str, event: ModelConnectFailed) -> None:
        """A connect failed."""
        self._connects(model, closed(event.kind, CONNECT_KINDS), "error").inc()
        self.closed(model, event.code)

    def closed(self, model: str, code: str) -> None:
        """A socket closed, or never opened."""
        self._closes(model, closed(code, CLOSE_CODES)).inc()

    def leaving(self, model: str, event: ModelLeaving) -> None:
        """The service announced the end of the connection."""
        self._goaways(model).inc()
        self._goaway_lead(model).observe(event.left)

    def swapped(self, model: str, event: ModelSwapped) -> None:
        """A session went on on another socket."""
        kind = closed(event.kind, CONNECT_KINDS)
        self._resumptions(model, closed(event.result, RESUMPTIONS)).inc()
        self._swap_gap(model, kind).observe(event.gap)
        self._replayed(kind).inc(event.replayed)
        self._swap_lost(kind).inc(event.lost)

    def skipped(self, model: str) -> None:
        """A message did not parse."""
        self._skipped(model).inc()

    def used(self, model: str, event: TokensUsed) -> None:
        """Tokens, and their price."""
        if event.usd:
            self._cost(model).inc(event.usd)
        labels = closed(event.direction, DIRECTIONS), closed(event.modality, MODALITIES), closed(event.kind, TOKEN_CLASSES)
        self._tokens(model, *labels).inc(event.tokens)

    def read(self, model: str, event: ContextRead) -> None:
        """An answer was made."""
        self._context(model).observe(event.tokens)

    def set_budget_used(self, ratio: float) -> None:
        """How much of the gateway's day is spent."""
        self._budget.set(ratio)
