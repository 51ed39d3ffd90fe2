"""Turn-taking on the wire, in fake time."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from gateway.emulator.counting import read_count
from gateway.emulator.dialogue import FLOOR, Floor
from gateway.emulator.models import Backend
from tests.emulator.playing import VERTEX_MODEL, Play, audio, loud, quiet

GREET = {"realtimeInput": {"text": "Greet the caller."}}


def test_a_turn_comes_in_the_order_of_the_service() -> None:
    play = Play("persona=tone:440,2").set_up(inputAudioTranscription={}, outputAudioTranscription={}, sessionResumption={})
    play.turn(1.0).pass_time(4)
    assert play.kinds() == [
        "setupComplete",
        "inputTranscription",
        "sessionResumptionUpdate",
        "audio",
        "generationComplete",
        "turnComplete",
        "sessionResumptionUpdate",
    ]
    updates = [update for _, update in play.messages("sessionResumptionUpdate")]
    assert updates[0] == {}
    assert updates[1]["resumable"] is True
    assert updates[1]["newHandle"] == play.record.handles[0]


def test_the_answer_starts_after_silence_and_thinking() -> None:
    play = Play("persona=tone:440,2", first_chunk=0.4).set_up(
        realtimeInputConfig={"automaticActivityDetection": {"silenceDurationMs": 300}}
    )
    play.speak(loud(1.0))
    ended = play.now
    play.speak(quiet(0.6)).pass_time(3)
    first = play.chunks()[0][0]
    assert first - ended == pytest.approx(0.3 + 0.4, abs=0.03)


def test_chunks_have_the_sizes_and_the_pace_of_the_service() -> None:
    play = Play("persona=tone:440,2", speed=4.0).set_up()
    play.turn().pass_time(4)
    chunks = play.chunks()
    assert [len(pcm) for _, pcm in chunks] == [9600, *[11520] * 7, 96000 - 9600 - 7 * 11520]
    begun = chunks[0][0]
    assert [round(at - begun, 3) for at, _ in chunks[:4]] == [0, 0.05, 0.11, 0.17]
    complete, over = play.contents("generationComplete")[0][0], play.contents("turnComplete")[0][0]
    assert complete - begun == pytest.approx(0.5, abs=0.01)
    # The service waits until its listener has heard everything.
    assert over - begun == pytest.approx(2.0, abs=0.01)


def test_the_turn_may_be_completed_without_waiting_for_the_listener() -> None:
    play = Play("persona=tone:440,2", await_playback=False).set_up()
    play.turn().pass_time(1)
    assert play.contents("turnComplete")[0][0] == play.contents("generationComplete")[0][0]


def test_usage_counts_twenty_five_tokens_a_second_either_way() -> None:
    play = Play("persona=tone:440,2").set_up()
    play.turn(1.0, silence=1.0).pass_time(3)
    (usage,) = [usage for _, usage in play.messages("usageMetadata")]
    assert usage["responseTokenCount"] == 50
    assert usage["promptTokensDetails"] == [{"modality": "AUDIO", "tokenCount": 50}]
    assert usage["totalTokenCount"] == 100
    assert play.record.tokens == {"prompt": 50, "response": 50}


def test_barge_in_cuts_the_answer_at_once() -> None:
    play = Play("persona=tone:440,5", speed=1.0).set_up(sessionResumption={})
    play.turn().pass_time(1.0)
    before = len(play.chunks())
    assert before >= 4
    began = play.now
    play.speak(loud(0.3))
    ((interrupted, _),) = play.contents("interrupted")
    assert interrupted - began <= 0.1
    assert play.kinds()[-3:] == ["interrupted", "turnComplete", "sessionResumptionUpdate"]
    assert not play.contents("generationComplete")
    assert len(play.chunks()) - before <= 1
    play.speak(quiet(0.7)).pass_time(0.5)
    assert len(play.chunks()) > before, "the new turn is answered"
    assert play.record.interruptions == 1


def test_the_listener_can_be_interrupted_after_the_last_chunk() -> None:
    play = Play("persona=tone:440,3", speed=0.0).set_up()
    play.turn().pass_time(1.0)
    assert play.contents("generationComplete")
    assert not play.contents("turnComplete")
    play.speak(loud(0.2))
    assert len(play.contents("interrupted")) == 1
    assert len(play.contents("turnComplete")) == 1


def test_a_caller_who_goes_on_before_the_answer_is_answered_once() -> None:
    play = Play("persona=parrot", first_chunk=0.5).set_up(inputAudioTranscription={})
    play.turn(1.0, silence=0.6).speak(loud(1.0) + quiet(0.7)).pass_time(6)
    assert not play.contents("interrupted")
    assert len(play.contents("turnComplete")) == 1
    answer = sum(len(pcm) for _, pcm in play.chunks()) / 48_000
    assert answer == pytest.approx(2.5, abs=0.1), "both halves are said back"
    said = [text["text"] for _, text in play.contents("inputTranscription")]
    assert said == ["(you spoke for 1 second)", "(you spoke for 1 second)"]


def test_without_interruption_the_callers_turn_waits() -> None:
    play = Play("persona=tone:440,3").set_up(realtimeInputConfig={"activityHandling": "NO_INTERRUPTION"})
    play.turn().pass_time(0.5).turn().pass_time(8)
    assert not play.contents("interrupted")
    assert len(play.contents("turnComplete")) == 2


def test_silence_must_be_sent_to_end_a_turn() -> None:
    play = Play("persona=tone").set_up()
    play.speak(loud(1.0)).pass_time(5)
    assert not play.chunks()
    play.say({"realtimeInput": {"audioStreamEnd": True}})
    play.pass_time(0.4)
    assert play.chunks()


def test_manual_activity() -> None:
    play = Play("persona=parrot").set_up(realtimeInputConfig={"automaticActivityDetection": {"disabled": True}})
    play.speak(loud(1.0)).pass_time(1)
    assert not play.record.spoken
    play.say({"realtimeInput": {"activityStart": {}}})
    play.speak(quiet(0.5) + loud(0.5))
    play.say({"realtime_input": {"activity_end": {}}})
    play.pass_time(3)
    assert sum(len(pcm) for _, pcm in play.chunks()) / 48_000 == pytest.approx(1.0, abs=0.01)
    play.say(audio(quiet(0.02)))
    assert [item.what for item in play.record.violations] == ["audio after activityEnd"]


@pytest.mark.parametrize("misuse", [{"activityStart": {}}, {"activityEnd": {}}])
def test_marking_activity_that_is_found_automatically_is_refused(misuse: dict[str, object]) -> None:
    play = Play().set_up()
    play.say({"realtimeInput": misuse})
    assert play.closed == (1007, "Request contains an invalid argument.")


def test_ending_an_activity_that_never_began_is_refused() -> None:
    play = Play().set_up(realtimeInputConfig={"automaticActivityDetection": {"disabled": True}})
    play.say({"realtimeInput": {"activityEnd": {}}})
    assert play.closed == (1007, "Request contains an invalid argument.")


def test_the_parrot_says_back_what_it_heard() -> None:
    play = Play().set_up(inputAudioTranscription={}, outputAudioTranscription={})
    play.turn(1.0).pass_time(4)
    said = np.frombuffer(play.record.sent, "<i2").astype(float)
    heard = np.interp(
        np.arange(len(said)) / 24_000, np.arange(16_000 + 3200) / 16_000, np.frombuffer(loud(1.2), "<i2")[: 16_000 + 3200]
    )
    middle = slice(7200, 19_200)
    assert abs(np.corrcoef(said[middle], heard[middle])[0, 1]) > 0.9
    assert [text["text"] for _, text in play.contents("inputTranscription")] == ["(you spoke for 1 second)"]
    assert "".join(text["text"] for _, text in play.contents("outputTranscription")) == "(your own words: 1 second)"


def test_the_parrot_greets_on_the_gateways_prompt_only() -> None:
    play = Play().set_up(outputAudioTranscription={})
    play.say(GREET)
    play.pass_time(8)
    assert "".join(text["text"] for _, text in play.contents("outputTranscription")).startswith("Hello!")
    play.say(GREET)
    play.pass_time(8)
    assert "".join(text["text"] for _, text in play.contents("outputTranscription")).endswith("You typed: Greet the caller.")
    assert play.record.texts == ["Greet the caller."] * 2


def test_output_words_come_with_their_audio_on_new_models_and_apart_on_old() -> None:
    new = Play().set_up(outputAudioTranscription={})
    new.say(GREET)
    new.pass_time(8)
    bundled = [
        message["serverContent"].keys() for _, message in new.sent if "outputTranscription" in message.get("serverContent", {})
    ]
    assert all("modelTurn" in keys for keys in bundled)
    old = Play().set_up("models/gemini-2.5-flash-native-audio-latest", outputAudioTranscription={})
    old.say(GREET)
    old.pass_time(8)
    apart = [
        message["serverContent"].keys() for _, message in old.sent if "outputTranscription" in message.get("serverContent", {})
    ]
    assert len(apart) > 3
    assert all(len(keys) == 1 for keys in apart)


def test_transcripts_are_sent_only_when_asked_for() -> None:
    play = Play().set_up()
    play.say(GREET)
    play.turn().pass_time(10)
    assert not play.contents("outputTranscription")
    assert not play.contents("inputTranscription")


def test_complete_client_content_interrupts_the_newest_model() -> None:
    play = Play("persona=tone:440,3").set_up()
    play.turn().pass_time(0.5)
    play.say({"clientContent": {"turns": [{"role": "user", "parts": [{"text": "stop"}]}], "turnComplete": True}})
    assert len(play.contents("interrupted")) == 1
    play.pass_time(5)
    assert len(play.contents("turnComplete")) == 2


def test_client_content_waits_on_the_old_model() -> None:
    play = Play("persona=tone:440,3").set_up("models/gemini-2.5-flash-native-audio-latest")
    play.turn().pass_time(0.5)
    play.say({"client_content": {"turns": [{"role": "user", "parts": [{"text": "more"}]}], "turn_complete": True}})
    play.pass_time(8)
    assert not play.contents("interrupted")
    assert len(play.contents("turnComplete")) == 2


def test_incomplete_client_content_stops_the_old_model() -> None:
    note = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "stop"}]}], "turnComplete": False}}
    play = Play("persona=tone:440,3").set_up("models/gemini-2.5-flash-native-audio-latest")
    play.say(note)
    assert not play.contents("interrupted")
    play.turn().pass_time(0.5)
    play.say(note)
    assert len(play.contents("interrupted")) == 1
    play = Play("persona=tone:440,3").set_up()
    play.turn().pass_time(0.5)
    play.say(note)
    assert not play.contents("interrupted")


def test_incomplete_client_content_joins_the_next_turn() -> None:
    play = Play().set_up(outputAudioTranscription={})
    play.pass_time(2)
    play.say({"clientContent": {"turns": [{"role": "user", "parts": [{"text": "first"}]}], "turnComplete": False}})
    play.pass_time(3)
    assert not play.chunks()
    play.say({"realtimeInput": {"text": "second"}})
    play.pass_time(4)
    assert "".join(text["text"] for _, text in play.contents("outputTranscription")) == "You typed: first second"


def test_what_the_model_is_told_in_passing_is_on_record() -> None:
    play = Play().set_up()
    play.say({"clientContent": {"turns": [{"role": "user", "parts": [{"text": "(cut off after: Hello)"}]}]}})
    play.say({"contextUpdate": {"systemInstruction": {"parts": [{"text": "be brief"}]}}})
    assert play.record.context == ["(cut off after: Hello)"]
    assert play.record.updates == [{"systemInstruction": {"parts": [{"text": "be brief"}]}}]
    assert play.record.texts == []


def test_a_model_that_takes_seeds_only_refuses_content_later() -> None:
    seed = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "hi"}]}], "turnComplete": True}}
    play = Play().set_up("models/gemini-3.1-flash-live-preview")
    play.say(seed)
    assert play.closed == (1007, "Request contains an invalid argument.")
    play = Play().set_up("models/gemini-3.1-flash-live-preview", historyConfig={"initialHistoryInClientContent": True})
    play.turn()
    assert play.record.violations[0].what == "realtime input before the history"
    play.say(seed)
    play.turn().pass_time(0.5)
    assert play.closed is None
    assert play.chunks()
    play.say(seed)
    assert play.closed == (1007, "Request contains an invalid argument.")


def test_legacy_media_chunks() -> None:
    blob = {"data": base64.b64encode(loud(0.02)).decode(), "mimeType": "audio/pcm"}
    old = Play().set_up("models/gemini-2.5-flash-native-audio-latest")
    old.say({"realtime_input": {"media_chunks": [blob, blob]}})
    assert old.closed is None
    assert old.record.heard.seconds == pytest.approx(0.04)
    new = Play().set_up()
    new.say({"realtimeInput": {"mediaChunks": [blob]}})
    assert new.closed == (1007, "Request contains an invalid argument.")


def test_audio_at_another_rate_is_understood() -> None:
    play = Play().set_up()
    play.speak(loud(1.0, 8000) + quiet(0.7, 8000), rate=8000).pass_time(3)
    assert sum(len(pcm) for _, pcm in play.chunks()) / 48_000 == pytest.approx(1.15, abs=0.05)
    play.say(audio(quiet(0.1)))
    assert play.record.heard.rate == 8000
    assert play.record.rates == {8000: 85, 16_000: 1}


def test_an_odd_chunk_is_noted() -> None:
    play = Play().set_up()
    play.say(audio(b"\x01\x02\x03"))
    assert play.record.arrivals.odd == 1
    assert play.record.received == b"\x01\x02"
    assert "not whole samples" in play.record.violations[0].what


def test_the_counter_counts_on_over_turns_and_hears_nothing() -> None:
    play = Play("persona=counter:1").set_up()
    play.speak(loud(3.0))
    play.say({"realtimeInput": {"text": "go on"}})
    play.pass_time(3)
    report = read_count(play.record.sent)
    assert report.whole
    assert (report.first, report.last) == (0, 47_999)
    assert not play.contents("interrupted")


def test_the_talker_talks_in_real_time_from_the_first_audio_on() -> None:
    play = Play("persona=talker").set_up()
    play.say(audio(quiet(0.02)))
    play.pass_time(10.0)
    assert play.record.said.seconds == pytest.approx(10.0 - 0.3, abs=0.3)
    play.speak(loud(0.5))
    assert not play.contents("interrupted")
    assert not play.contents("turnComplete")


def test_the_talker_may_pause() -> None:
    play = Play("persona=talker:2.4,1.6").set_up()
    play.say(audio(quiet(0.02)))
    play.pass_time(40.0)
    assert len(play.contents("turnComplete")) in (9, 10)
    assert play.record.said.seconds == pytest.approx(24.0, abs=2.5)


def test_the_extended_thinking_model_is_done_when_idle() -> None:
    play = Play("persona=tone:440,1").set_up(
        "models/gemini-3.8-live-extended-thinking", generationConfig={"thinkingConfig": {"thinkingLevel": "LOW"}}
    )
    play.turn().pass_time(3)
    assert len(play.contents("turnComplete")) == 2
    status = [value for _, value in play.contents("interactionStatus")]
    assert status[-1] == "IDLE"
    assert set(status[:-1]) == {"IN_PROGRESS"}


def test_vertex_speaks_its_own_dialect() -> None:
    play = Play("persona=tone:440,1", backend=Backend.VERTEX).set_up(
        VERTEX_MODEL, sessionResumption={"transparent": True}, explicitVadSignal=True
    )
    play.turn()
    assert play.record.spoken == [], "Vertex is slower to find the end of speech"
    play.speak(quiet(0.3)).pass_time(3)
    assert len(play.messages("setupComplete")[0][1]["sessionId"]) == 36
    turn = play.contents("modelTurn")[0][1]
    assert turn["role"] == "model"
    assert turn["parts"][0]["inlineData"]["mimeType"] == "audio/pcm"
    usage = play.messages("usageMetadata")[0][1]
    assert usage["candidatesTokenCount"] == 25
    assert usage["candidatesTokensDetails"] == [{"modality": "AUDIO", "tokenCount": 25}]
    assert "responseTokenCount" not in usage
    signals = [signal["vadSignalType"] for _, signal in play.messages("voiceActivityDetectionSignal")]
    assert signals == ["VAD_SIGNAL_TYPE_SOS", "VAD_SIGNAL_TYPE_EOS"]
    assert [activity["type"] for _, activity in play.messages("voiceActivity")] == ["ACTIVITY_START", "ACTIVITY_END"]
    index = [update["lastConsumedClientMessageIndex"] for _, update in play.messages("sessionResumptionUpdate")]
    assert index[-1] == str(play.record.received_messages - 1)


def test_the_model_remembers_over_a_swap() -> None:
    first = Play("persona=counter:1").set_up(sessionResumption={})
    first.say({"realtimeInput": {"text": "go"}})
    first.pass_time(3)
    first.session.gone(1000, "", first.now)
    second = Play(world=first.world, now=first.now).set_up(sessionResumption={"handle": first.record.handles[-1]})
    assert second.record.resumed
    assert second.record.conversation == first.record.conversation
    assert first.world.records.of_conversation(first.record.conversation) == [first.record, second.record]
    second.say({"realtimeInput": {"text": "go on"}})
    second.pass_time(3)
    assert read_count(first.record.sent + second.record.sent).whole


def test_an_idle_session_gets_a_handle() -> None:
    play = Play(idle_handle=2.0).set_up(sessionResumption={})
    play.pass_time(3)
    assert [update["resumable"] for _, update in play.messages("sessionResumptionUpdate")] == [True]


def test_every_floor_can_be_reached_and_left() -> None:
    assert set(FLOOR) == set(Floor)
    assert set().union(*FLOOR.values()) == set(Floor)
