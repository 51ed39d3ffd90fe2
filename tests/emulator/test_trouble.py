"""Every fault of the table, in fake time: what a client sees."""

from __future__ import annotations

import orjson
import pytest

from gateway.emulator.connection import Abort, Frame, Freeze, Pong
from gateway.emulator.faults import FAULTS, parse_options
from gateway.emulator.trouble import AT_SETUP, CLOSES, ODDITIES
from tests.emulator.playing import MODEL, Play, audio, loud, quiet

WORDS = {"inputAudioTranscription": {}, "outputAudioTranscription": {}}
GO = {"realtimeInput": {"text": "go"}}


def typed(faults: str, persona: str = "tone:440,2", **fields: object) -> Play:
    """A session with these faults whose first turn has been asked for."""
    play = Play(f"persona={persona}&{faults}").set_up(**fields)
    play.say(GO)
    return play


# --- setup ---


@pytest.mark.parametrize(("name", "code"), [("bad_key", 1007), ("bad_model", 1008), ("invalid_arg", 1007), ("concurrency", 1011)])
def test_refusals_at_setup(name: str, code: int) -> None:
    play = Play(name).set_up()
    assert play.closed is not None
    assert play.closed[0] == code
    assert not play.sent


def test_setup_may_be_slow_or_never_answered() -> None:
    play = Play("setup_slow=3")
    play.say({"setup": {"model": MODEL}})
    play.pass_time(2.9)
    assert not play.sent
    play.pass_time(0.2)
    assert play.sent[0][1] == {"setupComplete": {}}
    play = Play("setup_hang").set_up()
    play.pass_time(3600)
    assert not play.output


@pytest.mark.parametrize(("name", "key"), [("setup_goaway", "goAway"), ("setup_error", "error")])
def test_something_else_than_setup_complete_comes_first(name: str, key: str) -> None:
    play = Play(name).set_up().pass_time(60)
    assert [list(message) for _, message in play.sent] == [[key]]


def test_quota_right_after_setup() -> None:
    play = Play("quota_connect").set_up()
    assert play.sent[0][1] == {"setupComplete": {}}
    assert play.closed is not None
    assert play.closed[1].startswith("You exceeded your current quota")


def test_times_limits_a_fault_to_so_many_connections() -> None:
    first = Play("bad_key&times=2")
    world = first.world
    closed = [first.set_up().closed] + [Play("bad_key&times=2", world=world).set_up().closed for _ in range(2)]
    assert [item is None for item in closed] == [False, False, True]


def test_faults_may_follow_the_models_name() -> None:
    play = Play().set_up(f"{MODEL}~quota_mid=1&persona=counter")
    assert play.record.persona == "counter"
    play.pass_time(1.1)
    assert play.closed is not None
    play = Play().set_up(f"{MODEL}~nonsense")
    assert play.closed == (1007, "emulator: no such fault: nonsense")


# --- the end of a connection ---


@pytest.mark.parametrize("name", CLOSES)
def test_closes_at_their_moment(name: str) -> None:
    play = Play(f"{name}=2.5").set_up()
    ready = play.record.ready
    assert ready is not None
    play.pass_time(10)
    assert play.closed is not None
    assert play.closed[0] == CLOSES[name][0]
    assert play.record.ended == pytest.approx(ready + 2.5)
    assert play.record.close is not None
    assert play.record.close[0] == "server"


@pytest.mark.parametrize(
    ("moment", "within"),
    [("audio:1", lambda play: 1.0 <= play.record.said.seconds < 1.3), ("turn:2", lambda play: play.record.turns == 1)],
)
def test_moments_of_the_answer(moment: str, within: object) -> None:
    play = typed(f"close_1011={moment}")
    play.pass_time(3)
    play.say(GO)
    play.pass_time(5)
    assert play.closed is not None
    assert callable(within)
    assert within(play)


def test_a_moment_of_the_caller() -> None:
    play = Play("abrupt_1006=heard:1.5").set_up()
    play.speak(quiet(3))
    assert play.record.heard.seconds == pytest.approx(1.5)
    assert play.output[-1][1] == Abort()


def test_a_moment_not_given_is_drawn_from_the_seed() -> None:
    ends = {Play("abrupt_1006", seed=seed).set_up().pass_time(10).record.ended for seed in range(5)}
    assert len(ends) == 5
    assert ends == {Play("abrupt_1006", seed=seed).set_up().pass_time(10).record.ended for seed in range(5)}


def test_half_open_sends_nothing_more() -> None:
    play = typed("half_open=audio:0.5")
    play.pass_time(60)
    assert isinstance(play.output[-1][1], Freeze)
    assert play.session.closed


@pytest.mark.parametrize(("fault", "text"), [("goaway=2,3", "GoAway"), ("goaway=2,3&goaway_1011", "Deadline expired")])
def test_go_away_and_then_the_close(fault: str, text: str) -> None:
    play = Play(fault).set_up()
    play.pass_time(10)
    ((warned, notice),) = play.messages("goAway")
    assert notice == {"timeLeft": "3s"}
    assert play.closed is not None
    assert text in play.closed[1]
    assert play.record.ended == pytest.approx(warned + 3)


def test_go_away_with_an_odd_time_left() -> None:
    play = Play("goaway=1,0.512").set_up().pass_time(1.2)
    assert play.messages("goAway")[0][1] == {"timeLeft": "0.512s"}


# --- resumption ---


def swap(faults: str) -> tuple[Play, Play]:
    first = Play(idle_handle=0.5).set_up(sessionResumption={})
    first.pass_time(1)
    first.session.gone(1006, "", first.now)
    second = Play(faults, world=first.world, now=first.now).set_up(sessionResumption={"handle": first.record.handles[0]})
    return first, second


def test_a_stale_handle() -> None:
    assert swap("stale_handle")[1].closed == (1008, "BidiGenerateContent session not found")


def test_a_poisoned_handle_works_for_a_moment() -> None:
    _, second = swap("poison_handle=0.3")
    assert second.sent[0][1] == {"setupComplete": {}}
    second.pass_time(0.4)
    assert second.closed == (1011, "Internal error encountered.")
    fresh = Play("poison_handle=0.3", world=second.world).set_up()
    fresh.pass_time(5)
    assert fresh.closed is None, "only what was resumed is poisoned"


def test_a_second_socket_may_cost_the_first_its_life() -> None:
    first = Play(idle_handle=0.5).set_up(sessionResumption={})
    first.pass_time(1)
    handle = first.record.handles[0]
    second = Play("dup_socket_old", world=first.world, now=first.now).set_up(sessionResumption={"handle": handle})
    assert second.closed is None
    first.pass_time(0)
    assert first.session.closed
    assert second.session.connection.conversation is not None
    assert second.session.connection.conversation.session_id == second.record.session_id


def test_handles_may_never_come() -> None:
    play = typed("no_handles", sessionResumption={})
    play.pass_time(20)
    assert [update for _, update in play.messages("sessionResumptionUpdate")] == [{}]


# --- pings ---


def test_pongs_may_be_late_or_never_come() -> None:
    play = Play("pong_delay=8").set_up()
    play.session.ping(b"x", play.now)
    play.pass_time(7.9)
    assert not any(isinstance(item, Pong) for _, item in play.output)
    play.pass_time(0.2)
    assert play.output[-1][1] == Pong(b"x")
    play = Play("no_pong").set_up()
    play.session.ping(b"x", play.now)
    play.pass_time(100)
    assert not any(isinstance(item, Pong) for _, item in play.output)


# --- flags at odd moments, defects of the model ---


def test_interrupted_in_the_middle_of_every_answer() -> None:
    play = typed("interrupt_mid=0.6")
    play.pass_time(5)
    assert 0.6 <= play.record.said.seconds < 0.9
    assert play.kinds()[-2:] == ["interrupted", "turnComplete"]
    assert not play.contents("generationComplete")


def test_interrupted_after_the_turn() -> None:
    play = typed("interrupt_after_turn")
    play.pass_time(5)
    assert play.kinds()[-2:] == ["turnComplete", "interrupted"]


def test_interrupted_for_no_reason() -> None:
    play = Play("phantom_interrupt=1").set_up().pass_time(2)
    assert play.kinds() == ["setupComplete", "interrupted"]
    play = Play("interrupt_flood=1,30").set_up().pass_time(2)
    assert len(play.contents("interrupted")) == 30


def test_a_model_that_freezes_after_an_interruption() -> None:
    play = Play("persona=tone:440,5&freeze_after_interrupt").set_up()
    play.turn().pass_time(1)
    play.turn().pass_time(20)
    assert len(play.contents("interrupted")) == 1
    assert len(play.contents("generationComplete")) == 0
    assert play.closed is None


def test_a_model_that_does_not_answer() -> None:
    play = typed("no_answer")
    play.pass_time(60)
    assert play.kinds() == ["setupComplete"]
    play = typed("no_answer=1")
    play.pass_time(5)
    play.say(GO)
    play.pass_time(5)
    assert len(play.contents("turnComplete")) == 1


def test_a_turn_without_audio() -> None:
    play = typed("empty_turn=1", **WORDS)
    play.pass_time(5)
    assert play.kinds() == ["setupComplete", "generationComplete", "turnComplete"]
    play.say(GO)
    play.pass_time(5)
    assert play.chunks()


def test_an_answer_that_ends_in_mid_word() -> None:
    play = typed("premature_turn=0.5")
    play.pass_time(5)
    assert 0.5 <= play.record.said.seconds < 0.8
    assert play.contents("generationComplete")


def test_an_answer_that_starts_again() -> None:
    play = typed("double_answer")
    play.pass_time(10)
    once = play.record.sent
    assert len(once) == 4 * 48_000
    assert once[: len(once) // 2] == once[len(once) // 2 :]
    assert len(play.contents("turnComplete")) == 1


# --- pacing and framing ---


def arrival(play: Play) -> list[float]:
    """Seconds from the first chunk to each."""
    chunks = play.chunks()
    return [at - chunks[0][0] for at, _ in chunks]


def test_pacing() -> None:
    assert arrival(typed("burst=0").pass_time(5))[-1] == 0
    assert arrival(typed("starve=0.5").pass_time(9))[-1] == pytest.approx((2.0 - 0.08) / 0.5, abs=0.25)
    plain, gaps = arrival(typed("burst=1").pass_time(5)), arrival(typed("burst=1&gap=500").pass_time(9))
    assert [round(late - due, 3) for due, late in zip(plain, gaps, strict=True)] == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1.0]
    jittered = arrival(typed("burst=1&jitter=150").pass_time(9))
    late = [there - due for due, there in zip(plain, jittered, strict=True)]
    assert max(late) > 0.03
    assert min(late) >= 0
    assert max(late) <= 0.15


def test_chunks_cut_in_the_middle_of_a_sample() -> None:
    play = typed("odd_bytes")
    play.pass_time(5)
    assert all(len(pcm) % 2 for _, pcm in play.chunks()[:-1])
    assert len(play.record.sent) == 96_000


def test_tiny_chunks() -> None:
    play = typed("tiny_chunks=10")
    play.pass_time(5)
    assert {len(pcm) for _, pcm in play.chunks()} == {480}
    assert len(play.chunks()) == 200


def test_a_huge_message() -> None:
    play = typed("huge_message")
    play.pass_time(5)
    sizes = [len(item.data) for _, item in play.output if isinstance(item, Frame)]
    assert max(sizes) > 2**20
    assert [len(pcm) for _, pcm in play.chunks()] == [96_000]


def test_stale_audio_in_the_message_that_interrupts() -> None:
    play = Play("persona=tone:440,5&interrupt_bundled", speed=1.0).set_up()
    play.turn().pass_time(1)
    play.speak(loud(0.2))
    ((_, content),) = [
        (at, message["serverContent"]) for at, message in play.sent if "interrupted" in message.get("serverContent", {})
    ]
    assert set(content) == {"interrupted", "modelTurn"}


def test_the_end_of_generation_with_the_last_audio() -> None:
    play = typed("complete_bundled")
    play.pass_time(5)
    bundles = [
        set(message["serverContent"]) for _, message in play.sent if "generationComplete" in message.get("serverContent", {})
    ]
    assert bundles == [{"modelTurn", "generationComplete"}]
    assert len(play.record.sent) == 96_000
    empty = typed("complete_bundled&empty_turn").pass_time(5)
    assert len(empty.contents("generationComplete")) == 1


def test_usage_with_every_audio_message() -> None:
    play = typed("usage_bundled")
    play.pass_time(5)
    usages = [usage for _, usage in play.messages("usageMetadata")]
    assert len(usages) == len(play.chunks()) + 1
    assert sum(usage["responseTokenCount"] for usage in usages) == 50


def test_the_rate_may_change_between_answers() -> None:
    play = typed("rate_change=16000")
    play.pass_time(5)
    play.say(GO)
    play.pass_time(5)
    types = [turn["parts"][0]["inlineData"]["mimeType"] for _, turn in play.contents("modelTurn")]
    assert types[0] == "audio/pcm;rate=24000"
    assert types[-1] == "audio/pcm;rate=16000"
    second = [pcm for at, pcm in play.chunks() if at > play.now - 5]
    assert sum(len(pcm) for pcm in second) == pytest.approx(64_000, rel=0.01)


@pytest.mark.parametrize("name", ODDITIES)
def test_things_that_do_not_parse(name: str) -> None:
    play = typed(name)
    play.pass_time(5)
    kinds = play.record.sent_kinds()
    assert kinds.count(name) == 1
    at = kinds.index(name)
    assert kinds[at - 1] == kinds[at + 1] == "audio"
    assert ODDITIES[name] in [item.data for _, item in play.output if isinstance(item, Frame)]
    assert len(play.record.sent) == 96_000
    assert play.contents("turnComplete")


def test_frames_may_be_text() -> None:
    frames = [item for _, item in typed("mixed_frames&tiny_chunks").pass_time(5).output if isinstance(item, Frame)]
    assert {frame.text for frame in frames} == {True, False}
    frames = [item for _, item in typed("text_frames").pass_time(5).output if isinstance(item, Frame)]
    assert all(frame.text for frame in frames)


# --- transcripts ---


def test_transcripts_late_missing_in_crumbs_and_not_ascii() -> None:
    late = Play("persona=tone:440,1&transcript_late=1.5").set_up(**WORDS)
    late.turn().pass_time(6)
    assert late.contents("inputTranscription")[0][0] == pytest.approx(late.contents("turnComplete")[0][0] + 1.5)
    missing = Play("persona=tone:440,1&transcript_missing").set_up(**WORDS)
    missing.turn().pass_time(6)
    assert not missing.contents("inputTranscription")
    assert not missing.contents("outputTranscription")
    crumbs = Play("persona=tone:440,1&transcript_fragments").set_up(**WORDS)
    crumbs.turn().pass_time(6)
    pieces = [text["text"] for _, text in crumbs.contents("outputTranscription")]
    assert "".join(pieces) == "(a tone of 440 Hz for 1 seconds)"
    assert max(map(len, pieces)) <= 4
    foreign = typed("utf8_raw", **WORDS)
    foreign.pass_time(5)
    raw = [item.data for _, item in foreign.output if isinstance(item, Frame) and "日本語".encode() in item.data]
    assert raw
    interim = Play("persona=tone:440,1&interim").set_up(**WORDS)
    interim.turn()
    assert interim.contents("interimInputTranscription")


# --- tools ---

TOOL = {"tools": [{"functionDeclarations": [{"name": "add", "behavior": "BLOCKING"}]}]}


def calling(faults: str = "", **fields: object) -> Play:
    """A session whose model has just called `add`."""
    play = Play(faults).set_up(**{**TOOL, **fields})
    play.say({"realtimeInput": {"text": '/call add {"a": 1}'}})
    return play.pass_time(0.4)


def ids(play: Play) -> list[str]:
    """Ids of the calls sent."""
    return [call["id"] for _, message in play.messages("toolCall") for call in message["functionCalls"]]


def response(call_id: str, **more: object) -> dict[str, object]:
    """An answer to a call."""
    return {"toolResponse": {"functionResponses": [{"id": call_id, "name": "add", "response": {"output": 3}, **more}]}}


def test_a_call_may_be_cancelled() -> None:
    play = calling("tool_cancel=1")
    assert not play.messages("toolCallCancellation")
    play.pass_time(1)
    assert play.messages("toolCallCancellation")[0][1] == {"ids": ids(play)}
    assert play.kinds()[-2:] == ["toolCallCancellation", "turnComplete"]
    play.say(response(ids(play)[0]))
    assert play.record.violations[-1].what == f"toolResponse for cancelled id {ids(play)[0]}"
    assert not play.record.tool_results
    assert not play.chunks()


def test_a_call_that_does_not_block_is_cancelled_beside_the_conversation() -> None:
    free = {"tools": [{"functionDeclarations": [{"name": "add", "behavior": "NON_BLOCKING"}]}]}
    play = calling("tool_cancel=1", **free).pass_time(2)
    assert play.kinds()[-2:] == ["turnComplete", "toolCallCancellation"]
    assert len(play.contents("turnComplete")) == 1


def test_a_call_may_come_twice_without_arguments_or_after_the_turn() -> None:
    twice = calling("tool_dup")
    assert len(ids(twice)) == 2
    assert len(set(ids(twice))) == 1
    assert "args" not in calling("tool_args_null").messages("toolCall")[0][1]["functionCalls"][0]
    after = calling("tool_after_turn").pass_time(1)
    assert after.kinds()[-2:] == ["turnComplete", "toolCall"]
    after.say(response(ids(after)[0]))
    after.pass_time(5)
    assert after.record.turns == 2
    assert after.chunks()


def test_an_answer_to_an_unknown_call() -> None:
    play = calling()
    play.say(response("function-call-1"))
    assert play.closed is None
    assert play.record.violations[-1].what == "toolResponse for unknown id function-call-1"
    play = calling("tool_unknown_1007")
    play.say(response("function-call-1"))
    assert play.closed == (1007, "Request contains an invalid argument.")


def test_a_model_that_wants_a_nudge_after_its_tools_answered() -> None:
    play = calling("tool_mute")
    play.say(response(ids(play)[0]))
    play.pass_time(5)
    assert play.kinds()[-2:] == ["toolCall", "turnComplete"]
    play.say(GO)
    play.pass_time(5)
    assert play.chunks()


def test_audio_during_a_call_may_be_fatal() -> None:
    play = calling("tool_audio_1008")
    play.say(audio(quiet(0.02)))
    assert play.closed == (1008, "Operation is not implemented, or supported, or enabled.")
    play = Play("tool_audio_1008").set_up(**TOOL)
    play.say(audio(quiet(0.02)))
    assert play.closed is None


def test_what_an_admin_orders_strikes_a_running_session() -> None:
    play = Play("persona=tone:440,3").set_up()
    play.say(GO)
    play.pass_time(0.5)
    play.session.inject(parse_options("close_1011=0.2&starve=0.5"), play.now)
    play.pass_time(0.3)
    assert play.closed == (1011, "Internal error encountered.")
    play = Play()
    play.session.inject(parse_options("bad_key"), play.now)
    play.set_up()
    assert play.closed is not None
    play = Play()
    play.world.order(parse_options("bad_key"))
    assert Play(world=play.world).set_up().closed is not None
    assert Play(world=play.world).set_up().closed is None


def test_no_fault_of_the_table_is_without_effect() -> None:
    """A caller speaks, types, calls a tool and resumes: with each fault something differs from what happens without it."""

    def run(faults: str) -> list[object]:
        first = Play("", idle_handle=0.1).set_up(sessionResumption={})
        first.pass_time(0.2)
        first.session.gone(1006, "", first.now)
        seen: list[object] = []
        for fields in ({"sessionResumption": {"handle": first.record.handles[0]}}, {"sessionResumption": {}}):
            play = Play(faults, world=first.world, now=first.now).set_up(**WORDS, **TOOL, **fields)
            play.session.ping(b"x", play.now)
            play.turn(0.6).pass_time(0.6).turn(0.6).pass_time(3)
            play.say({"realtimeInput": {"text": "/call add"}})
            play.pass_time(1.0)
            play.say(audio(quiet(0.02)))
            for call_id in [*ids(play), "function-call-1"]:
                play.say(response(call_id))
            play.turn(0.6).pass_time(6)
            seen += [(round(at, 3), type(item).__name__, _faceless(item)) for at, item in play.output]
        return seen

    elsewhere = {"slow_read", "deflate_on", "deflate_off", "dup_socket_old", "goaway_1011"}
    elsewhere |= {name for name in FAULTS if name.startswith("http_")}
    plain = run("")
    assert plain == run("")
    assert [name for name in FAULTS if name not in elsewhere and run(name) == plain] == []
    assert set(AT_SETUP) | set(CLOSES) | set(ODDITIES) <= set(FAULTS)


def _faceless(item: object) -> object:
    """A frame without what is different in every connection: handles and call ids."""
    if not isinstance(item, Frame):
        return item
    try:
        message = orjson.loads(item.data)
    except orjson.JSONDecodeError:
        return item.data
    if isinstance(message, dict):
        message.get("sessionResumptionUpdate", {}).pop("newHandle", None)
        for call in message.get("toolCall", {}).get("functionCalls", []):
            call.pop("id")
        message.pop("toolCallCancellation", None)
    return message, item.text


def test_audio_while_a_blocking_call_waits_is_not_listened_to() -> None:
    play = calling()
    play.speak(loud(0.5) + quiet(0.8)).pass_time(3)
    assert not play.record.spoken
    assert not play.chunks()
    play.say(response(ids(play)[0]))
    play.pass_time(1)
    assert play.chunks()
    play.say(audio(quiet(0.02)))
    assert play.closed is None
