"""The bounds beside the loss bench's rows, against trying everything out."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from tests.bench.bounds import EXACT, Times, least_delay, may_give_up, patient

PTIME = 0.02


def drawn(seed: int, count: int, loss: float = 0.2, jitter: float = 0.1) -> tuple[Times, Times, Times, Times]:
    """sent, due, came, within."""
    rng = random.Random(seed)
    sent = np.arange(count) * PTIME
    came = np.array([np.inf if rng.random() < loss else at + 0.02 + rng.uniform(0.0, jitter) for at in sent])
    return sent, sent + 0.02, came, sent + 0.02 + 0.09  # some come too late to count


def delays(sent: Times, due: Times, came: Times, within: Times, without: tuple[int, ...]) -> Times:
    """Of a receiver that knows everything and gives up these frames."""
    said = np.where(came <= within, came, due)
    said[list(without)] = due[list(without)]
    return np.asarray(np.maximum.accumulate(said) - sent)


@pytest.mark.parametrize("spare", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_can_be_tried_is_faster_and_something_is_as_fast(seed: int, spare: int) -> None:
    trace = drawn(seed, 12)
    sent, came, within = trace[0], trace[2], trace[3]
    good = np.flatnonzero(came <= within).tolist()
    tried = [delays(*trace, without) for without in itertools.combinations(good, spare)]
    for share in (0.5, 0.95):
        rank = int(np.ceil(share * len(sent))) - 1
        best = min(float(np.sort(one)[rank]) for one in tried)
        assert least_delay(*trace, share, spare) == pytest.approx(best, abs=EXACT)


def test_without_loss_and_jitter_there_is_nothing_to_wait_for() -> None:
    trace = drawn(1, 50, loss=0.0, jitter=0.0)
    assert least_delay(*trace, 0.95, 0) == pytest.approx(0.02, abs=EXACT)
    waits, patience = patient(*trace, 0)
    assert waits.tolist() == pytest.approx([0.02] * 50)
    assert patience == pytest.approx(0.0, abs=EXACT)


def test_the_patient_one_waits_for_the_latest_that_it_may_not_miss() -> None:
    sent, due, _, within = drawn(1, 100)
    came = due.copy()
    came[10], came[50], came[70] = due[10] + 0.03, due[50] + 0.07, np.inf
    waits, patience = patient(sent, due, came, within, 0)
    assert patience == pytest.approx(0.07, abs=EXACT)
    assert waits[70] == pytest.approx(0.09, abs=EXACT), "a lost one looks like a late one"
    assert waits[71] == pytest.approx(0.07, abs=EXACT), "and those behind it wait too"
    _, patience = patient(sent, due, came, within, 1)
    assert patience == pytest.approx(0.03, abs=EXACT)


@pytest.mark.parametrize("seed", range(6))
def test_to_know_the_future_is_never_worse_than_to_wait(seed: int) -> None:
    trace = drawn(seed, 400)
    spare = may_give_up(trace[2], trace[3])
    assert spare == 1, "0.5 % of those that come in time"
    waits, _ = patient(*trace, spare)
    for share in (0.5, 0.95):
        assert least_delay(*trace, share, spare) <= float(np.percentile(waits, share * 100, method="inverted_cdf")) + EXACT
