"""A few answers that are spoken over, in real time: facts strictly, timing with room for a busy machine."""

from __future__ import annotations

import asyncio
from collections import Counter

import uvloop

from tests.chaos.heard import heard, notes
from tests.chaos.rows import Scale

SLACK = 50.0


def test_the_stored_answer_ends_where_the_ears_did_and_the_model_is_told_once() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        findings, found = runner.run(heard(Scale(calls=4, rounds=1, outage=0.0, seed=3)))
    assert len(found) == 4
    assert all(cut.unheard and abs(cut.miss) <= 0.1 for cut in found), found
    assert not [finding for finding in findings if not finding.good(SLACK)]


def test_a_note_is_recognised() -> None:
    told = notes(
        ['(… no more than up to these words: "One \\"two\\"" Not heard was: "three" Bear)', '(Not heard was: "x")', "no"]
    )
    assert told == Counter({('One "two"', "three"): 1, ("", "x"): 1})
