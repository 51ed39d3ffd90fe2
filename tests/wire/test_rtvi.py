"""RTVI envelopes: what a client may say, and what it is told, message by message."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.lifecycle import State
from gateway.dialog.turns import Turn, TurnEnd, TurnKind
from gateway.errors import PacketError
from gateway.events import (
    BrowserToolRequested,
    BudgetReached,
    CallEnded,
    CallerSaid,
    CallerStartedSpeaking,
    CallerStoppedSpeaking,
    CallEvent,
    CallStarted,
    CallSummary,
    ClientReady,
    DisconnectBot,
    EndReason,
    Interrupted,
    ModelHeard,
    ModelSaid,
    ModelStartedSpeaking,
    ModelStoppedSpeaking,
    ModelSwapped,
    PacketsWithheld,
    PushToTalk,
    SendText,
    StateChanged,
    TokensUsed,
    ToolEnded,
    ToolOutcome,
    ToolResult,
    Trouble,
    TurnEnded,
)
from gateway.wire.rtvi import LABEL, MAX_ASKED, MAX_MESSAGE_BYTES, MAX_TEXT, MAX_WAITING, RtviSession, parse


def said(kind: str, data: object = None, label: str = LABEL) -> str:
    return json.dumps({"id": "1", "label": label, "type": kind, "data": data})


def session(*, ready: bool = True) -> RtviSession:
    made = RtviSession(lambda: "2026-11-21T12:00:00.000+00:00")
    if ready:
        made.tell(StateChanged(State.ACTIVE))
        made.heard(ClientReady())
    return made


def told(rtvi: RtviSession, *events: CallEvent) -> list[tuple[str, Any]]:
    messages = [json.loads(text) for event in events for text in rtvi.tell(event)]
    assert all(message["label"] == LABEL and message["id"] for message in messages)
    return [(message["type"], message.get("data")) for message in messages]


# --- the client's words ---


def test_what_pipecats_client_sends_is_understood() -> None:
    about = {"library": "@pipecat-ai/client-js", "library_version": "1.13.1"}
    assert parse(said("client-ready", {"version": "2.1.0", "about": about})) == ClientReady("2.1.0")
    text = {"content": "Guten Tag\n", "options": {"run_immediately": True, "audio_response": True}}
    assert parse(said("send-text", text)) == SendText("Guten Tag")
    assert parse(said("disconnect-bot", {})) == DisconnectBot()
    assert parse("ping: 1732190400000") is None
    assert parse(json.dumps({"type": "signalling", "message": {"type": "trackStatus", "enabled": True}})) is None


def test_bytes_are_read_as_text() -> None:
    assert parse(said("disconnect-bot").encode()) == DisconnectBot()


def test_control_characters_are_taken_out_of_typed_words_and_nothing_else() -> None:
    raw = "\x00a\x1b[31mb\u202ec\u200bd\x9b e\tf\ng \U000e0041h"
    assert parse(said("send-text", {"content": raw})) == SendText("a[31mbcd e\tf\ng h")
    kept = "нет, 可以 می‌خواهم 👩‍👩‍👧 naïve"
    assert parse(said("send-text", {"content": kept})) == SendText(kept)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "null",
        "hello",
        '{"type": "client-ready"}',
        said("client-ready", label="other"),
        said("who-knows"),
        said("send-text"),
        said("send-text", {"content": 5}),
        said("send-text", {"content": " \u202e\x00 "}),
        said("send-text", {"content": "x" * (MAX_TEXT + 1)}),
        said("send-text", ["content"]),
        "x" * (MAX_MESSAGE_BYTES + 1),
        b"\xff\xfe",
        json.dumps({"label": LABEL, "type": 5}),
        json.dumps({"label": LABEL, "type": None}),
    ],
)
def test_everything_else_is_counted_as_a_bad_packet(raw: str | bytes) -> None:
    with pytest.raises(PacketError):
        parse(raw)


def test_the_longest_text_passes() -> None:
    assert parse(said("send-text", {"content": "x" * MAX_TEXT})) == SendText("x" * MAX_TEXT)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_bytes_give_a_message_or_a_packet_error(raw: bytes | str) -> None:
    with contextlib.suppress(PacketError):
        parse(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_data_gives_a_message_or_a_packet_error(data: object) -> None:
    for kind in ("client-ready", "send-text", "disconnect-bot"):
        with contextlib.suppress(PacketError):
            parse(said(kind, data))


def test_a_deep_nest_is_a_packet_error() -> None:
    with pytest.raises(PacketError):
        parse("[" * 8000)


# --- the handshake ---


def test_bot_ready_waits_for_both_sides_in_either_order() -> None:
    first = session(ready=False)
    assert first.heard(ClientReady("2.1.0")) == []
    assert [kind for kind, _ in told(first, StateChanged(State.ACTIVE))] == ["bot-ready"]

    second = session(ready=False)
    assert told(second, StateChanged(State.ACTIVE)) == []
    (ready,) = second.heard(ClientReady("2.1.0"))
    assert json.loads(ready)["type"] == "bot-ready"
    assert json.loads(ready)["data"]["version"].startswith("2.")
    assert second.heard(ClientReady("2.1.0")) == [], "said once"
    assert second.heard(SendText("hi")) == []


def test_what_came_before_the_client_is_told_after_bot_ready_in_order() -> None:
    rtvi = session(ready=False)
    assert told(rtvi, StateChanged(State.ACTIVE), ModelStartedSpeaking(), ModelSaid("Hello")) == []
    kinds = [json.loads(text)["type"] for text in rtvi.heard(ClientReady())]
    assert kinds == ["bot-ready", "bot-started-speaking", "bot-output"]


def test_a_client_that_never_comes_costs_little() -> None:
    rtvi = session(ready=False)
    for _ in range(10 * MAX_WAITING):
        rtvi.tell(CallerStartedSpeaking())
    rtvi.tell(StateChanged(State.ACTIVE))
    assert len(rtvi.heard(ClientReady())) == 1 + MAX_WAITING


def test_errors_wait_for_nobody() -> None:
    rtvi = session(ready=False)
    ((kind, data),) = told(rtvi, Trouble("The key was refused.", fatal=True))
    assert kind == "error"
    assert data == {"error": "The key was refused.", "message": "The key was refused.", "fatal": True}


# --- news ---


def test_speaking() -> None:
    events = [
        CallerStartedSpeaking(),
        CallerStoppedSpeaking(),
        ModelStartedSpeaking(),
        ModelStoppedSpeaking(),
        Interrupted(0.3, 0.01),
    ]
    assert [kind for kind, _ in told(session(), *events)] == [
        "user-started-speaking",
        "user-stopped-speaking",
        "bot-started-speaking",
        "bot-stopped-speaking",
        "bot-interrupted",
    ]


def test_the_callers_words_grow_and_become_final_when_the_answer_begins() -> None:
    rtvi = session()
    messages = told(rtvi, CallerSaid("What"), CallerSaid(" time"), ModelSaid("It"), CallerSaid("Thanks"), ModelStartedSpeaking())
    words = [(data["text"], data["final"]) for kind, data in messages if kind == "user-transcription"]
    assert words == [("What", False), ("What time", False), ("What time", True), ("Thanks", False), ("Thanks", True)]
    assert messages[0][1]["timestamp"] == "2026-11-21T12:00:00.000+00:00"
    assert messages[0][1]["user_id"]


def test_words_are_told_when_said_and_again_when_heard() -> None:
    rtvi = session()
    messages = told(rtvi, ModelSaid("Good mor"), ModelSaid("ning"), ModelHeard("Good "), ModelHeard("morning"))
    assert all(kind == "bot-output" for kind, _ in messages)
    data = [data for _, data in messages]
    assert [(d["text"], d["spoken"], d["spoken_status"], d["segment_id"]) for d in data] == [
        ("Good mor", False, "new", 1),
        ("ning", False, "new", 2),
        ("Good ", True, "in-progress", 1),
        ("mor", True, "completed", 1),
        ("ning", True, "completed", 2),
    ]
    assert data[2]["spoken_progress"] == {"accumulated_text": "Good ", "remaining_text": "mor"}
    assert "spoken_progress" not in data[0]


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=20), st.data())
def test_what_is_heard_adds_up_however_it_is_cut(pieces: list[str], data: st.DataObject) -> None:
    rtvi = session()
    text = "".join(pieces)
    messages = told(rtvi, *[ModelSaid(piece) for piece in pieces])
    position = 0
    while position < len(text):
        size = data.draw(st.integers(1, len(text) - position))
        messages += told(rtvi, ModelHeard(text[position : position + size]))
        position += size
    spoken = [d for _, d in messages if d["spoken"]]
    assert "".join(d["text"] for d in spoken) == text
    for number, piece in enumerate(pieces, 1):
        last = [d for d in spoken if d["segment_id"] == number][-1]
        assert last["spoken_status"] == "completed"
        assert last["spoken_progress"] == {"accumulated_text": piece, "remaining_text": ""}


def test_an_interrupted_answer_is_never_told_as_heard() -> None:
    rtvi = session()
    told(rtvi, ModelSaid("one two three"), ModelHeard("one "), Interrupted(1.0, 0.0), ModelSaid("Yes?"))
    ((_, data),) = told(rtvi, ModelHeard("Yes?"))
    assert (data["text"], data["segment_id"], data["spoken_status"]) == ("Yes?", 2, "completed")


def test_a_character_cut_in_half_is_told_in_halves() -> None:
    first, second = told(session(), ModelSaid("a\ud83d"), ModelSaid("\ude00"))
    assert first[1]["text"] + second[1]["text"] == "a\ud83d\ude00"


def test_heard_words_that_were_never_said_are_told_all_the_same() -> None:
    ((_, data),) = told(session(), ModelHeard("early words"))
    assert (data["text"], data["spoken"]) == ("early words", True)


def test_a_turn_is_a_metric_with_its_split_in_seconds() -> None:
    turn = Turn(TurnKind.SPEECH, TurnEnd.COMPLETED, 0.91234, 0.6, 0.25, 0.0623, heard=2.5)
    ((kind, data),) = told(session(), TurnEnded(turn))
    assert kind == "metrics"
    assert data["turn"] == {
        "kind": "speech",
        "end": "completed",
        "response": 0.9123,
        "model_first_audio": 0.6,
        "leading_silence": 0.25,
        "out": 0.0623,
        "heard": 2.5,
        "unheard": 0.0,
    }
    assert data["ttfb"] == [{"processor": "model", "value": 0.6}]
    ((_, unanswered),) = told(session(), TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.NO_RESPONSE)))
    assert unanswered["turn"]["response"] is None
    assert "ttfb" not in unanswered


def test_a_transcript_without_an_answer_is_finished_with_the_turn() -> None:
    messages = told(session(), CallerSaid("Hello?"), TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.NO_RESPONSE)))
    assert [kind for kind, _ in messages] == ["user-transcription", "user-transcription", "metrics"]
    assert messages[1][1]["final"] is True


def test_what_concerns_operators_is_not_told() -> None:
    assert told(session(), CallStarted(), TokensUsed("input", "audio", "plain", 7), StateChanged(State.AWAY)) == []


# --- functions of the client's ---


def test_a_function_of_the_clients_is_asked_for_and_its_end_told() -> None:
    rtvi = session()
    ((kind, data),) = told(rtvi, BrowserToolRequested("fc1", "show_map", {"city": "Oslo"}))
    assert (kind, data) == (
        "llm-function-call-in-progress",
        {"function_name": "show_map", "tool_call_id": "fc1", "arguments": {"city": "Oslo"}},
    )
    ((kind, data),) = told(rtvi, ToolEnded("show_map", ToolOutcome.OK, 0.1, "fc1"))
    assert (kind, data) == (
        "llm-function-call-stopped",
        {"function_name": "show_map", "tool_call_id": "fc1", "cancelled": False},
    )
    assert told(rtvi, ToolEnded("show_map", ToolOutcome.OK, 0.1, "fc1")) == [], "said once"


@pytest.mark.parametrize("outcome", [ToolOutcome.CANCELLED, ToolOutcome.TIMEOUT])
def test_the_client_hears_when_nobody_waits_for_it_any_more(outcome: ToolOutcome) -> None:
    rtvi = session()
    told(rtvi, BrowserToolRequested("fc1", "show_map", {}))
    ((_, data),) = told(rtvi, ToolEnded("show_map", outcome, 3.0, "fc1"))
    assert data["cancelled"] is True


def test_functions_that_are_not_the_clients_are_not_told() -> None:
    assert told(session(), ToolEnded("charge_card", ToolOutcome.OK, 0.1, "fc2")) == []


def test_a_result_of_the_client() -> None:
    data = {"function_name": "show_map", "tool_call_id": "fc1", "arguments": {}, "result": {"seen": True}}
    assert parse(said("llm-function-call-result", data)) == ToolResult("fc1", {"seen": True})
    assert parse(said("llm-function-call-result", {"tool_call_id": "fc1"})) == ToolResult("fc1", None)


@pytest.mark.parametrize("data", [None, {}, {"tool_call_id": ""}, {"tool_call_id": 7}, {"tool_call_id": "x" * 257}, []])
def test_a_result_without_an_id_is_no_result(data: object) -> None:
    with pytest.raises(PacketError):
        parse(said("llm-function-call-result", data))


def test_what_is_remembered_of_asked_functions_is_bounded() -> None:
    rtvi = session()
    for number in range(MAX_ASKED + 10):
        told(rtvi, BrowserToolRequested(f"fc{number}", "show_map", {}))
    assert told(rtvi, ToolEnded("show_map", ToolOutcome.OK, 0.1, "fc0")) == []
    assert len(told(rtvi, ToolEnded("show_map", ToolOutcome.OK, 0.1, "fc10"))) == 1


# --- the end ---


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_reason_can_be_read(reason: EndReason) -> None:
    rtvi = session()
    last = TurnEnded(Turn(TurnKind.SPEECH, TurnEnd.SESSION_CLOSED, 1.0, 0.7, 0.2, 0.1))
    assert [kind for kind, _ in told(rtvi, StateChanged(State.ENDING, reason), last)] == ["metrics"], "the last turn's, still"
    messages = told(rtvi, CallEnded(reason, "detail", CallSummary(1.0)))
    kind, data = messages[-1]
    assert kind == "server-message"
    assert (data["type"], data["reason"]) == ("call-ended", reason.value)
    assert data["message"].endswith(".")
    assert "detail" not in json.dumps(messages), "details are for the log"
    errors = [data for kind, data in messages if kind == "error"]
    assert len(messages) == 1 + len(errors), "said once"
    assert bool(errors) is (reason.result == "server_error")
    assert told(rtvi, last, Trouble("Late.", fatal=True), CallerSaid("hello"), ModelStoppedSpeaking()) == []
    assert rtvi.heard(ClientReady()) == []


def test_a_client_that_comes_up_after_the_end_reads_the_end_and_nothing_else() -> None:
    rtvi = RtviSession(lambda: "now")
    assert told(rtvi, StateChanged(State.ACTIVE), ModelSaid("Hello")) == []
    assert len(rtvi.ended(EndReason.IDLE)) == 1
    assert rtvi.heard(ClientReady()) == []


def test_a_reason_already_told_is_not_told_again() -> None:
    rtvi = session()
    messages = told(rtvi, Trouble("Quota.", fatal=True), CallEnded(EndReason.MODEL_REFUSED, "", CallSummary(1.0)))
    assert [kind for kind, _ in messages] == ["error", "server-message"]
    assert rtvi.ended(EndReason.MODEL_REFUSED) == []


@pytest.mark.parametrize("on", [True, False])
def test_push_to_talk(on: bool) -> None:
    short = {"label": "rtvi-ai", "type": "talk", "data": {"on": on}}
    standard = {"label": "rtvi-ai", "type": "client-message", "data": {"t": "talk", "d": {"on": on}}}
    assert parse(json.dumps(short)) == parse(json.dumps(standard)) == PushToTalk(on)


@pytest.mark.parametrize(
    "message", [("talk", {}), ("talk", {"on": 1}), ("client-message", {"t": "walk", "d": {"on": True}}), ("client-message", {})]
)
def test_a_button_that_makes_no_sense(message: tuple[str, object]) -> None:
    with pytest.raises(PacketError):
        parse(json.dumps({"label": "rtvi-ai", "type": message[0], "data": message[1]}))


def test_a_caller_reads_that_a_budget_is_reached_but_not_how_much_was_spent() -> None:
    session = RtviSession(lambda: "now")
    assert session.tell(StateChanged(State.ACTIVE)) == []
    session.heard(ClientReady())
    (text,) = session.tell(BudgetReached("soft", "day", "usd", 99.0, 100.0))
    assert json.loads(text)["data"] == {"type": "budget", "level": "soft", "scope": "day", "unit": "usd"}


def test_a_client_reads_what_a_demonstration_of_losses_cost() -> None:
    assert told(session(), PacketsWithheld(10.0, lost_in=48, lost_out=51, restored=0.92, concealed=0.04)) == [
        (
            "server-message",
            {"type": "packets-withheld", "seconds": 10.0, "lost_in": 48, "lost_out": 51, "restored": 0.92, "concealed": 0.04},
        )
    ]


def test_a_client_reads_of_every_swap_what_it_cost() -> None:
    assert told(session(), ModelSwapped("goaway", "ok", gap=0.12345, replayed=0.2, lost=0.0)) == [
        (
            "server-message",
            {"type": "model-swapped", "kind": "goaway", "result": "ok", "gap": 0.123, "replayed": 0.2, "lost": 0.0},
        )
    ]
