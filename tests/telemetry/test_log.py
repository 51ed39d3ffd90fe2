"""The log: nothing secret in it, one line is one line, floods become counts."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import (
    BudgetReached,
    CallEnded,
    CallerSaid,
    CallEvent,
    CallInfo,
    CallReport,
    CallSetUp,
    CallStarted,
    CallSummary,
    EndReason,
    LegKind,
    MediaReport,
    ModelHeard,
    ModelSaid,
    ModelSwapped,
    SetupStage,
    StageReached,
    TokensUsed,
    ToolEnded,
    ToolOutcome,
    Trouble,
)
from gateway.telemetry.log import MAX_TEXT, CallLog, FloodGate, JsonLines, Redactor, configure

INFO = CallInfo("w1-0123", LegKind.WEBRTC, "default", "gemini-live")
SECRET = "s3cr3t-key-of-the-operator"

SDP = (
    "v=0\r\no=- 4611731400430051336 2 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    "a=ice-ufrag:CANARY1\r\na=ice-pwd:CANARY2\r\na=fingerprint:sha-256 CA:NA:RY:03\r\n"
    "a=candidate:1 1 udp 2122 192.0.2.7 5 typ host\r\n"
)
CANARIES = ["CANARY1", "CANARY2", "CA:NA:RY:03", "192.0.2.7", "CANARY4", "CANARY5", "CANARY6", "CANARY7", "CANARY8", SECRET]


@pytest.fixture
def lines() -> io.StringIO:
    """The log as configured, written to memory."""
    stream = io.StringIO()
    configure("info", secrets=[SECRET, "", "abc"], stream=stream)
    return stream


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_and_what(lines: io.StringIO) -> None:
    logging.getLogger("gateway.registry").info(
        "admitted %d", 3, extra={"call_id": "w1-9", "fields": {"leg": LegKind.WEBRTC, "seconds": 1.23456789, "nan": float("nan")}}
    )
    (line,) = read(lines)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "gateway.registry",
        "message": "admitted 3",
        "call_id": "w1-9",
        "fields": {"leg": "webrtc", "seconds": 1.234568, "nan": None},
    }


def test_extra_values_are_fields(lines: io.StringIO) -> None:
    logging.getLogger("gateway.x").info("ready", extra={"port": 8080, "fields": {"more": 1}, "call_id": "w1-1"})
    (line,) = read(lines)
    assert line["fields"] == {"port": 8080, "more": 1}
    assert line["call_id"] == "w1-1"


def test_no_canary_gets_through_any_surface(lines: io.StringIO) -> None:
    log = logging.getLogger("gateway.test")
    texts = [
        SDP,
        repr(SDP),
        json.dumps({"sdp": SDP}),
        "a=ice-pwd:CANARY2",
        "ice-ufrag=CANARY1 pwd: CANARY2",
        "GET wss://host/ws?key=CANARY4&alt=1",
        "Authorization: Bearer CANARY5.abc",
        "{'x-goog-api-key': 'CANARY6'}",
        "auth_tokens/CANARY7 refused",
        "AIzaCANARY8aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        f"the key {SECRET} is wrong",
    ]
    for n, text in enumerate(texts):
        log.warning("a %s", text, extra={"call_id": f"c{n}"})
        log.warning("b", extra={"call_id": f"c{n}", "fields": {"x": text, "deep": {"list": [text]}, text[:50]: 1}})
        log.warning(text, extra={"call_id": f"c{n}"})
        try:
            raise ValueError(text)
        except ValueError:
            log.warning("d", exc_info=True, extra={"call_id": f"c{n}"})
            log.exception("e", extra={"call_id": f"c{n}"})
    out = lines.getvalue()
    assert out.count("\n") == 5 * len(texts)
    for canary in CANARIES:
        assert canary not in out, canary


def test_ordinary_words_survive(lines: io.StringIO) -> None:
    text = "profile default: 12 calls, key set, token count 5, password required, abc"
    logging.getLogger("gateway.test").info(text)
    assert read(lines)[0]["message"] == text


@given(
    st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.floats() | st.integers() | st.none() | st.lists(st.text()))
)
def test_any_text_is_one_ascii_line_of_json(message: str, call_id: str, fields: dict[str, Any]) -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, message, None, None)
    record.call_id, record.fields = call_id, fields
    line = JsonLines(Redactor()).format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["level"] == "info"


def test_a_template_that_does_not_fit_its_arguments_is_still_told() -> None:
    made = logging.LogRecord("aiortc.x", logging.WARNING, "f", 1, "%d packets", ("many",), None)
    assert "many" in json.loads(JsonLines(Redactor()).format(made))["message"]


def test_a_long_text_is_cut(lines: io.StringIO) -> None:
    logging.getLogger("gateway.test").info("y" * 100_000)
    assert len(lines.getvalue()) < MAX_TEXT + 300


def test_a_traceback_only_for_a_bug(lines: io.StringIO) -> None:
    log = logging.getLogger("gateway.test")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        log.warning("expected", exc_info=True)
        log.exception("crashed")
    expected, crashed = read(lines)
    assert expected["error"] == "RuntimeError: boom"
    assert "traceback" not in expected
    assert "raise RuntimeError" in crashed["traceback"]


def test_libraries_stay_quiet_even_at_debug(lines: io.StringIO) -> None:
    configure("debug", stream=lines)
    logging.getLogger("websockets.client").debug("< TEXT CANARY4")
    logging.getLogger("aioice.ice").info("Check CANARY5")
    logging.getLogger("gateway.x").debug("ours")
    assert [line["message"] for line in read(lines)] == ["ours"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud", stream=io.StringIO())


def record(text: str, *, call_id: str | None = None, name: str = "aioice.ice") -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "f", 1, text, None, None)
    if call_id is not None:
        made.call_id = call_id
    return made


def test_a_flood_becomes_one_line_a_second_with_its_count() -> None:
    now = [100.0]
    gate = FloodGate(lambda: now[0])
    passed = []
    for n in range(2_500):
        now[0] = 100.0 + n / 1000
        made = record("bad packet %d")
        if gate.filter(made):
            passed.append(getattr(made, "repeated", 0))
    assert passed == [0, 999, 999]


def test_different_calls_and_texts_do_not_hide_each_other() -> None:
    gate = FloodGate(lambda: 0.0)
    assert all(gate.filter(record("call ended", call_id=f"c{n}")) for n in range(100))
    assert all(gate.filter(record(f"text {n}")) for n in range(100))
    assert all(gate.filter(record("same", name=f"lib{n}")) for n in range(100))


def test_the_gate_forgets() -> None:
    gate = FloodGate(lambda: 0.0, keys=8)
    for n in range(1_000):
        gate.filter(record(f"text {n}"))
    assert len(gate._seen) == 8
    assert not gate.filter(record("text 999"))
    assert gate.filter(record("text 0"))


def tell(*events: CallEvent, info: CallInfo = INFO, to: CallLog | None = None) -> CallLog:
    call_log = to or CallLog()
    for event in events:
        call_log.observe(info, event)
    return call_log


def test_a_call_leaves_its_lines(lines: io.StringIO) -> None:
    summary = CallSummary(61.5, 4, 1, 2, 0, {"input": 900, "output": 450}, 0.84)
    media = MediaReport(
        5.0,
        packets_in=250,
        packets_out=250,
        lost_in=3,
        lost_out=1,
        malformed=1,
        srtp_failed=1,
        channel_malformed=1,
        plc_seconds=0.06,
    )
    tell(
        CallStarted(),
        StageReached(SetupStage.ANSWER, 0.01, 0.01),
        StageReached(SetupStage.ICE, 0.03, 0.04),
        CallSetUp(0.31),
        CallerSaid("CANARY4"),
        ModelSaid("CANARY5"),
        ModelHeard("CANARY6"),
        media,
        media,
        CallReport(5.0, playout_underruns=2, uplink_dropped_seconds=0.5),
        TokensUsed("input", "audio", "plain", 100, usd=0.01),
        TokensUsed("output", "audio", "plain", 100, usd=0.02),
        ToolEnded("weather", ToolOutcome.OK, 0.2),
        ToolEnded("weather", ToolOutcome.TIMEOUT, 10.0),
        ModelSwapped("goaway", "ok", gap=0.12, replayed=0.4, lost=0.0),
        CallEnded(EndReason.CALLER_HUNG_UP, "", summary),
    )
    up, swap, end = read(lines)
    assert (swap["message"], swap["call_id"]) == ("model session swapped", "w1-0123")
    assert swap["fields"] == {"kind": "goaway", "result": "ok", "gap": 0.12, "replayed": 0.4, "lost": 0.0}
    assert (up["message"], up["call_id"], up["level"]) == ("call set up", "w1-0123", "info")
    assert up["fields"] == {
        "leg": "webrtc",
        "profile": "default",
        "model": "gemini-live",
        "seconds": 0.31,
        "stages": {"answer": 0.01, "ice": 0.04},
    }
    assert (end["message"], end["call_id"], end["level"]) == ("call ended", "w1-0123", "info")
    assert end["fields"] == {
        "leg": "webrtc",
        "profile": "default",
        "model": "gemini-live",
        "cause": "caller_hung_up",
        "result": "success",
        "seconds": 61.5,
        "turns": 4,
        "interruptions": 1,
        "messages": 2,
        "errors": 0,
        "tokens": {"input": 900, "output": 450},
        "response_median": 0.84,
        "packets_in": 500,
        "packets_out": 500,
        "lost_in": 6,
        "lost_out": 2,
        "malformed": 6,
        "concealed_seconds": 0.12,
        "underruns": 2,
        "uplink_dropped_seconds": 0.5,
        "usd": 0.03,
        "swaps": 1,
        "tools": 2,
        "tools_failed": 1,
    }
    assert "CANARY" not in lines.getvalue()


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        (EndReason.CALLER_HUNG_UP, "info"),
        (EndReason.DRAINED, "info"),
        (EndReason.ICE_TIMEOUT, "info"),
        (EndReason.MODEL_REFUSED, "warning"),
        (EndReason.CRASHED, "error"),
    ],
)
def test_the_level_says_whose_fault_it_was(lines: io.StringIO, reason: EndReason, level: str) -> None:
    tell(CallStarted(), CallEnded(reason, "bad key", CallSummary(1.0)))
    (line,) = read(lines)
    assert (line["level"], line["fields"]["detail"]) == (level, "bad key")


def test_the_same_trouble_is_told_once_a_call(lines: io.StringIO) -> None:
    call_log = tell(CallStarted(), Trouble("quota", fatal=False), Trouble("quota", fatal=False), Trouble("slow", fatal=True))
    tell(CallStarted(), Trouble("quota", fatal=False), info=CallInfo("w1-2", LegKind.WEBRTC, "p", "m"), to=call_log)
    seen = [(line["call_id"], line["message"], line["fields"]["fatal"]) for line in read(lines)]
    assert seen == [
        ("w1-0123", "call in trouble: quota", False),
        ("w1-0123", "call in trouble: slow", True),
        ("w1-2", "call in trouble: quota", False),
    ]


def test_every_level_of_a_budget_is_a_line(lines: io.StringIO) -> None:
    tell(CallStarted(), *(BudgetReached(level, "call", "usd", 0.8, 1.0) for level in ("warn", "soft", "hard")))
    assert [line["message"] for line in read(lines)] == [f"budget {level}: call usd" for level in ("warn", "soft", "hard")]
    assert read(lines)[0]["fields"] == {"level": "warn", "scope": "call", "unit": "usd", "used": 0.8, "limit": 1.0}


def test_nothing_is_kept_of_an_ended_call() -> None:
    call_log = CallLog()
    for n in range(20):
        info = CallInfo(f"w1-{n}", LegKind.WEBRTC, "p", "m")
        tell(
            CallStarted(),
            MediaReport(5.0),
            CallEnded(EndReason.IDLE, "", CallSummary(1.0)),
            MediaReport(5.0),
            info=info,
            to=call_log,
        )
    assert call_log._open == {}
