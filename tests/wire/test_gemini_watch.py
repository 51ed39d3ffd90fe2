"""Silence on an open connection, and what it is taken for. In fake time."""

from __future__ import annotations

import pytest

from gateway.model.base import AudioOut, ModelInterrupted
from gateway.wire.gemini_floor import ANSWER_DUE, CHUNK_DUE, Floor
from gateway.wire.gemini_watch import DEAD_AFTER, SILENT_AFTER, UNANSWERED, Watch

NOW = 100.0


def answering() -> Floor:
    floor = Floor(NOW)
    floor.model(AudioOut(bytes(9600), NOW), NOW)
    return floor


def after(watch: Watch, floor: Floor, asked_at: float | None, name: str) -> float | None:
    """Seconds after which it is said, looked for ten times a second."""
    for tenth in range(300):
        if getattr(watch, name)(floor, asked_at, NOW + tenth / 10):
            return tenth / 10
    return None


def with_pongs(watch: Watch) -> Watch:
    ping = watch.pulse.ping(0, NOW - 0.1)
    assert ping is not None
    watch.pulse.pong(ping, NOW)
    return watch


def test_who_owes_nothing_may_be_silent() -> None:
    assert after(Watch(may_ignore=False), Floor(NOW), None, "dead") is None
    assert after(Watch(may_ignore=False), Floor(NOW), None, "deaf") is None


def test_in_an_answer_silence_is_noticed_within_six_seconds() -> None:
    assert after(Watch(may_ignore=True), answering(), None, "dead") == pytest.approx(CHUNK_DUE + SILENT_AFTER, abs=0.11)
    assert after(with_pongs(Watch(may_ignore=True)), answering(), None, "dead") == pytest.approx(DEAD_AFTER, abs=0.11)


def test_pongs_prove_that_somebody_is_there() -> None:
    watch, floor = with_pongs(Watch(may_ignore=True)), answering()
    for second in range(1, 20):
        if (ping := watch.pulse.ping(0, NOW + second)) is not None:
            watch.pulse.pong(ping, NOW + second + 0.1)
        assert not watch.dead(floor, None, NOW + second + 0.5)


def test_a_model_that_may_have_chosen_silence_is_dropped_for_it_only_once() -> None:
    watch = Watch(may_ignore=True)
    assert after(watch, Floor(NOW), NOW, "dead") == pytest.approx(ANSWER_DUE + SILENT_AFTER, abs=0.11)
    watch.restart(0)
    assert after(watch, Floor(NOW), NOW, "dead") is None
    watch.reacted()
    assert after(watch, Floor(NOW), NOW, "dead") is not None


def test_what_was_asked_and_not_answered_is_asked_again_once() -> None:
    watch = Watch(may_ignore=True)
    assert after(watch, Floor(NOW), NOW, "deaf") == pytest.approx(UNANSWERED, abs=0.11)
    assert watch.revived
    assert after(watch, Floor(NOW), NOW, "deaf") is None
    watch.reacted()
    assert after(watch, Floor(NOW), NOW, "deaf") is not None


def test_while_a_function_runs_nothing_is_due() -> None:
    watch, floor = Watch(may_ignore=False), answering()
    floor.tools.add("1")
    assert after(watch, floor, NOW, "dead") is None
    assert after(watch, floor, NOW, "deaf") is None


@pytest.mark.parametrize("may_ignore", [True, False])
def test_only_some_models_may_ignore_a_caller(may_ignore: bool) -> None:
    watch, floor = Watch(may_ignore=may_ignore), Floor(NOW, marked=True)
    floor.marked(True, 0, NOW - 1.0)
    floor.marked(False, 16_000, NOW)
    assert (after(watch, floor, None, "deaf") is None) == may_ignore
    suspect = Floor(NOW, marked=True)
    suspect.model(ModelInterrupted(NOW), NOW)
    suspect.marked(True, 0, NOW - 1.0)
    suspect.marked(False, 16_000, NOW)
    assert after(Watch(may_ignore=may_ignore), suspect, None, "deaf") is not None
