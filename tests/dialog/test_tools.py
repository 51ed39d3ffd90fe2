"""Tool calls in fake time: the table, one end for each id, limits, swaps."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway.dialog.toolresult import Outcome, Result, failure, output
from gateway.dialog.tools import (
    MAX_OPEN,
    MAX_REMEMBERED,
    MAX_RUNNING,
    OPEN,
    REJOIN_WITHIN,
    TRANSITIONS,
    UNKNOWN_PER_MINUTE,
    Ended,
    Order,
    Phase,
    Reply,
    Start,
    Step,
    Stop,
    ToolCalls,
)
from gateway.toolspec import CONFIRMATION, HANG_UP, Behavior, Scheduling, ToolKind, ToolSpec

N = {"type": "object", "properties": {"n": {"type": "integer"}}}
LOOK = ToolSpec("look", ToolKind.PYTHON, parameters=N, behavior=Behavior.NON_BLOCKING, scheduling=Scheduling.INTERRUPT)
WAIT = ToolSpec("wait", ToolKind.PYTHON, parameters=N, timeout=2.0, behavior=Behavior.BLOCKING, scheduling=Scheduling.SILENT)
RARE = ToolSpec("rare", ToolKind.PYTHON, per_minute=2)
PAY = ToolSpec("pay", ToolKind.PYTHON, parameters=N, confirm=True)
BYE = ToolSpec(HANG_UP, ToolKind.BUILTIN, behavior=Behavior.NON_BLOCKING)


def calls() -> ToolCalls:
    tokens = (f"t{number}" for number in itertools.count())
    return ToolCalls([LOOK, WAIT, RARE, PAY, BYE], lambda: next(tokens))


def only(orders: list[Order], kind: type) -> Any:
    (order,) = orders
    assert isinstance(order, kind)
    return order


def taken(tools: ToolCalls) -> list[tuple[Reply, Ended | None]]:
    return list(iter(tools.take, None))  # type: ignore[arg-type]


def answer(tools: ToolCalls) -> tuple[Reply, Ended]:
    ((reply, ended),) = taken(tools)
    assert ended is not None
    return reply, ended


# --- the table ---


def test_every_phase_knows_every_step_that_can_happen_in_it() -> None:
    for phase in Phase:
        missing = set(Step) - set(TRANSITIONS[phase])
        assert missing <= {Step.SEND}, f"{phase}: {missing}"
    assert Step.SEND in TRANSITIONS[Phase.SETTLED]


def test_what_has_ended_stays_ended() -> None:
    for phase in set(Phase) - OPEN:
        assert set(TRANSITIONS[phase].values()) == {phase}


def test_only_a_withdrawal_keeps_a_known_answer_from_being_sent() -> None:
    assert {step for step, after in TRANSITIONS[Phase.SETTLED].items() if after is Phase.WITHDRAWN} == {Step.CANCEL, Step.CLOSE}


# --- one call ---


def test_a_result_is_the_answer() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {"n": 1}, 10.0), Start)
    assert (start.id, start.tool, start.args) == ("a", LOOK, {"n": 1})
    assert taken(tools) == []
    assert tools.inflight == 1
    assert tools.finished(start.run, output("seen", 100), 10.5) == []
    reply, ended = answer(tools)
    assert reply == Reply("a", "look", {"output": "seen"}, "INTERRUPT")
    assert ended == Ended("a", "look", Outcome.OK, 0.5)
    assert tools.inflight == 0
    assert tools.deadline is None


def test_scheduling_is_only_said_where_the_model_keeps_talking() -> None:
    tools = calls()
    start = only(tools.called("a", "wait", {}, 0.0), Start)
    assert tools.blocked_since == 0.0
    tools.finished(start.run, output(1, 100), 0.1)
    assert answer(tools)[0].scheduling == ""
    assert tools.blocked_since is None


def test_a_late_tool_is_answered_for_and_stopped() -> None:
    tools = calls()
    start = only(tools.called("a", "wait", {}, 0.0), Start)
    assert tools.deadline == 2.0
    assert tools.poll(1.999) == []
    assert tools.poll(2.0) == [Stop(start.run)]
    reply, ended = answer(tools)
    assert "within 2 s" in reply.response["error"]
    assert ended.outcome is Outcome.TIMEOUT
    assert tools.finished(start.run, output("late", 100), 2.1) == []
    assert taken(tools) == []


def test_its_own_result_counts_when_it_came_first_however_late_it_is_sent() -> None:
    tools = calls()
    start = only(tools.called("a", "wait", {}, 0.0), Start)
    tools.finished(start.run, output("just in time", 100), 1.9)
    assert tools.poll(5.0) == []
    assert answer(tools)[0].response == {"output": "just in time"}


def test_a_cancelled_call_is_not_answered() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {}, 0.0), Start)
    assert tools.cancelled(("a", "unknown"), 1.0) == [Ended("a", "look", Outcome.CANCELLED, 1.0), Stop(start.run)]
    tools.finished(start.run, output("too late", 100), 1.1)
    assert taken(tools) == []
    assert tools.cancelled(("a",), 1.2) == []


def test_a_cancellation_overtakes_an_answer_that_waits_but_not_one_that_was_sent() -> None:
    tools = calls()
    first = only(tools.called("a", "look", {"n": 1}, 0.0), Start)
    second = only(tools.called("b", "look", {"n": 2}, 0.0), Start)
    tools.finished(first.run, output(1, 100), 0.1)
    assert answer(tools)[0].id == "a"
    tools.finished(second.run, output(2, 100), 0.1)
    assert tools.cancelled(("a", "b"), 0.2) == [Ended("b", "look", Outcome.CANCELLED, 0.2)]
    assert taken(tools) == []


def test_the_same_id_twice_is_one_call() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {}, 0.0), Start)
    assert tools.called("a", "look", {}, 0.1) == []
    tools.finished(start.run, output(1, 100), 0.2)
    answer(tools)
    assert tools.called("a", "look", {}, 0.3) == []
    assert taken(tools) == []


def test_an_interruption_stops_no_tool() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {}, 0.0), Start)
    tools.interrupted()
    tools.finished(start.run, output(1, 100), 0.2)
    assert answer(tools)[1].outcome is Outcome.OK


def test_the_end_of_the_call_ends_every_id() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {}, 0.0), Start)
    tools.called("b", "nothing", {}, 0.0)
    orders = tools.close(3.0)
    assert Stop(start.run) in orders
    ends = [order for order in orders if isinstance(order, Ended)]
    assert {(end.id, end.outcome) for end in ends} == {("a", Outcome.CANCELLED), ("b", Outcome.CANCELLED)}
    assert taken(tools) == []
    assert tools.called("c", "look", {}, 4.0) == []


def test_instalments_go_at_once_and_the_end_says_only_that_it_is_the_end() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {}, 0.0), Start)
    tools.part(start.run, {"output": 1})
    tools.part(start.run, {"output": 2})
    tools.finished(start.run, output(None, 100), 1.0)
    sent = [(reply.response, reply.will_continue, reply.scheduling, ended is None) for reply, ended in taken(tools)]
    assert sent == [
        ({"output": 1}, True, "INTERRUPT", True),
        ({"output": 2}, True, "INTERRUPT", True),
        ({"output": None}, False, "SILENT", False),
    ]


# --- limits ---


def test_what_does_not_exist_is_denied() -> None:
    tools = calls()
    assert tools.called("a", "rm_rf", {}, 0.0) == []
    reply, ended = answer(tools)
    assert reply.response == {"error": "there is no function rm_rf"}
    assert ended.outcome is Outcome.DENIED
    for number in range(UNKNOWN_PER_MINUTE):
        tools.called(f"b{number}", "rm_rf", {}, 1.0)
    assert "too often" in taken(tools)[-1][0].response["error"]


def test_bad_arguments_run_nothing() -> None:
    tools = calls()
    assert tools.called("a", "look", {"n": "one", "m": 2}, 0.0) == []
    reply, ended = answer(tools)
    assert reply.response == {"error": "n: must be a whole number; m: unknown"}
    assert ended.outcome is Outcome.BAD_ARGS
    tools.called("b", "look", {"n": "x" * 20_000}, 0.0)
    assert answer(tools)[1].outcome is Outcome.BAD_ARGS
    tools.called("c", "look", {"n": object()}, 0.0)
    assert answer(tools)[1].outcome is Outcome.BAD_ARGS


def test_so_many_calls_a_minute() -> None:
    tools = calls()
    assert len([only(tools.called(f"a{number}", "rare", {}, number), Start) for number in range(2)]) == 2
    tools.called("b", "rare", {}, 30.0)
    reply, ended = answer(tools)
    assert reply.response == {"error": "called too often; not before 30 s from now"}
    assert ended.outcome is Outcome.DENIED
    only(tools.called("c", "rare", {}, 60.0), Start)


def test_so_many_at_once() -> None:
    tools = calls()
    for number in range(MAX_RUNNING):
        only(tools.called(f"a{number}", "look", {"n": number}, 0.0), Start)
    tools.called("b", "look", {}, 0.0)
    assert answer(tools)[1].outcome is Outcome.DENIED


def test_a_model_gone_mad_is_bounded() -> None:
    tools = calls()
    for number in range(MAX_OPEN):
        tools.called(f"a{number}", "nothing", {}, 0.0)
    assert tools.called("one more", "nothing", {}, 0.0) == [Ended("one more", "nothing", Outcome.DENIED, 0.0)]
    assert len(taken(tools)) == MAX_OPEN
    for number in range(3 * MAX_REMEMBERED):
        tools.called(f"b{number}", "nothing", {}, 1.0)
        taken(tools)
    assert len(tools._calls) <= MAX_REMEMBERED


# --- a swap ---


def test_the_answer_goes_to_the_next_socket() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {}, 0.0), Start)
    tools.swapped(1.0)
    tools.finished(start.run, output(1, 100), 2.0)
    assert answer(tools)[0].id == "a"


def test_the_same_question_after_a_swap_does_not_run_twice() -> None:
    tools = calls()
    start = only(tools.called("a", "pay_not", {}, 0.0) or tools.called("b", "look", {"n": 1}, 0.0), Start)
    taken(tools)
    tools.swapped(1.0)
    assert tools.called("c", "look", {"n": 1}, 1.5) == [Ended("b", "look", Outcome.CANCELLED, 1.5)]
    tools.finished(start.run, output("once", 100), 2.0)
    reply, ended = answer(tools)
    assert (reply.id, reply.response) == ("c", {"output": "once"})
    assert ended.outcome is Outcome.OK
    only(tools.called("d", "look", {"n": 1}, 3.0), Start)  # asked once more: that is a new question


def test_an_answer_that_the_old_socket_swallowed_is_given_again() -> None:
    tools = calls()
    start = only(tools.called("a", "look", {"n": 1}, 0.0), Start)
    tools.finished(start.run, output("once", 100), 0.5)
    answer(tools)
    tools.swapped(1.0)
    assert tools.called("b", "look", {"n": 1}, 1.5) == []
    assert answer(tools)[0] == Reply("b", "look", {"output": "once"}, "INTERRUPT")


@pytest.mark.parametrize(("args", "at"), [({"n": 2}, 1.5), ({"n": 1}, 1.1 + REJOIN_WITHIN)])
def test_another_question_or_a_late_one_runs(args: dict[str, int], at: float) -> None:
    tools = calls()
    start = only(tools.called("a", "look", {"n": 1}, 0.0), Start)
    tools.finished(start.run, output("once", 100), 0.5)
    tools.swapped(1.0)
    only(tools.called("b", "look", args, at), Start)


def test_a_withdrawn_question_that_comes_again_runs_again() -> None:
    tools = calls()
    only(tools.called("a", "look", {"n": 1}, 0.0), Start)
    tools.cancelled(("a",), 0.5)
    tools.swapped(1.0)
    only(tools.called("b", "look", {"n": 1}, 1.5), Start)


# --- the caller's say, and the goodbye ---


def test_a_tool_that_must_be_confirmed_runs_only_after_the_caller_spoke() -> None:
    tools = calls()
    assert tools.called("a", "pay", {"n": 5}, 0.0) == []
    reply, ended = answer(tools)
    token = reply.response["output"][CONFIRMATION]
    assert ended.outcome is Outcome.DENIED
    tools.called("b", "pay", {"n": 5, CONFIRMATION: token}, 0.1)
    assert answer(tools)[1].outcome is Outcome.DENIED, "the model alone does not decide"
    tools.consent.model_spoke()
    tools.consent.caller_spoke()
    start = only(tools.called("c", "pay", {"n": 5, CONFIRMATION: token}, 5.0), Start)
    assert start.args == {"n": 5}, "the tool does not see the token"


def test_hang_up_waits_for_the_goodbye_and_is_silent() -> None:
    tools = calls()
    assert tools.called("a", HANG_UP, {}, 0.0) == []
    assert answer(tools)[0].scheduling == "SILENT"
    assert tools.leaving
    tools.interrupted()
    assert not tools.leaving


# --- what a tool gave ---


@pytest.mark.parametrize(
    ("value", "response"),
    [
        ("text", {"output": "text"}),
        (None, {"output": None}),
        ({1: "a"}, {"output": {"1": "a"}}),
        ((1, 2), {"output": [1, 2]}),
        (float("nan"), {"output": None}),
        ("\ud83d", {"output": "?"}),
        ("x" * 30, {"output": "x" * 20, "truncated": True}),
        (list(range(20)), {"output": "[0,1,2,3,4,5,6,7,8,9", "truncated": True}),
        ("é" * 15, {"output": '"' + "é" * 9, "truncated": True}),
        ({1}, {"error": "the tool gave something that is not JSON"}),
        ({"a": "\ud83d"}, {"error": "the tool gave something that is not JSON"}),
    ],
    ids=repr,
)
def test_output(value: object, response: dict[str, Any]) -> None:
    assert output(value, 20).response == response


def test_a_ring_is_no_json() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert output(ring, 100).outcome is Outcome.ERROR


def test_what_was_given_cannot_be_changed_afterwards() -> None:
    given = {"a": [1]}
    result = output(given, 100)
    given["a"].append(2)
    assert result == Result({"output": {"a": [1]}})


def test_words_of_failure_are_short_and_can_be_sent() -> None:
    assert failure("x" * 5000).response == {"error": "x" * 500}
    assert failure("\ud83d").response == {"error": "?"}
