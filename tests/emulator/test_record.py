"""The account of a connection."""

from __future__ import annotations

import orjson
import pytest

from gateway.emulator.counting import count
from gateway.emulator.record import Arrivals, Records, SessionRecord, Tape
from tests.emulator.playing import Play, audio, loud, quiet


def test_a_tape_keeps_the_newest() -> None:
    tape = Tape(1000, 1.0)
    for number in range(30):
        tape.add(bytes([number]) * 200)
    assert tape.seconds == 3.0
    assert tape.pcm == b"".join(bytes([number]) * 200 for number in range(20, 30))
    empty = Tape(1000, 0.0)
    empty.add(bytes(200))
    assert (empty.seconds, empty.pcm) == (0.1, b"")


def fed(*chunks: tuple[float, float]) -> Arrivals:
    arrivals = Arrivals()
    for at, seconds in chunks:
        arrivals.add(at, round(seconds * 32_000), seconds)
    return arrivals


def test_pace_cadence_and_gaps() -> None:
    steady = fed(*((0.1 * number, 0.1) for number in range(50)))
    assert steady.pace == pytest.approx(1.0)
    assert steady.gaps == 0
    assert steady.view()["cadence"] == {"<120ms": 49}
    assert steady.view()["chunk_bytes"] == {"3200": 50}
    fast = fed(*((0.05 * number, 0.1) for number in range(50)))
    assert fast.pace == pytest.approx(2.0)
    held_up = fed((0.0, 0.1), (0.1, 0.1), (0.5, 0.1), (0.6, 0.1))
    assert held_up.gaps == 1
    assert held_up.longest_gap == pytest.approx(0.3)
    assert fed((0.0, 0.1)).pace is None


def test_the_view_is_json_and_says_what_happened() -> None:
    play = Play("persona=tone:440,1").set_up(sessionResumption={})
    play.turn().pass_time(3)
    play.say(audio(b"\x00"))
    view = orjson.loads(orjson.dumps(play.record.view(play.now)))
    assert view["spoken"] == [[pytest.approx(0.0, abs=0.03), pytest.approx(1.0, abs=0.03)]]
    assert view["audio_in"]["odd_chunks"] == 1
    assert view["audio_in"]["rates"] == {"16000": 86}
    assert view["violations"][0]["what"] == "audio chunk of 1 bytes: not whole samples"
    assert view["messages"][0] == {"at": 0, "from": "client", "kind": "SetupMessage", "bytes": 67}
    assert view["turns"] == 1
    assert view["ready_after"] == 0.02
    assert view["audio_in"]["pace"] == pytest.approx(1.7 / 4.7, abs=0.01)
    assert view["open"] is True
    assert view["count_in"] is None
    assert view["handles"] == 1


def test_the_view_of_a_session_that_never_began() -> None:
    view = Play().record.view(101.0)
    assert view["ready_after"] is None
    assert view["audio_in"]["pace"] is None
    assert view["seconds"] == 1.0
    assert view["close"] is None


def test_a_counter_judges_the_count_it_hears() -> None:
    play = Play("persona=counter").set_up()
    play.speak(count(0, 16_000) + count(16_320, 16_000))
    report = play.record.view(play.now)["count_in"]
    assert report["lost"] == 320
    assert report["doubled"] == 0
    assert len(report["jumps"]) == 1


def test_messages_and_violations_are_bounded() -> None:
    play = Play("persona=counter", record_messages=100).set_up()
    for _ in range(1500):
        play.say(audio(b"\x00"))
    assert len(play.record.messages) == 100
    assert len(play.record.violations) == 1000
    assert play.record.received_messages == 1501


def test_records_by_number_and_id_and_only_so_many_ended_ones() -> None:
    records = Records(keep=2)
    made = [SessionRecord(f"s{number}", "/", 0.0, record_seconds=1, record_messages=1) for number in range(6)]
    for record in made:
        records.add(record)
        if record is not made[0]:
            record.ended = 1.0
    assert records[0] is made[0], "what runs is never forgotten"
    assert len(records) == 4
    assert records[-1] is records["s5"]
    assert "s1" not in records
    with pytest.raises(KeyError):
        records["s1"]
    with pytest.raises(IndexError):
        records[9]


def test_silence_is_heard_but_not_a_turn() -> None:
    play = Play().set_up()
    play.speak(quiet(3.0))
    assert play.record.heard.seconds == pytest.approx(3.0)
    assert play.record.spoken == []
    play.speak(loud(0.5))
    assert play.record.received == quiet(3.0) + loud(0.5)
