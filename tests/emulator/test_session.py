"""A connection from its first message to its last, in fake time."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.emulator.client import KINDS, SETUP
from gateway.emulator.connection import Frame, Pong
from gateway.emulator.models import MODELS
from gateway.emulator.schema import ANY, Scalar
from gateway.emulator.session import Phase
from tests.emulator.playing import MODEL, Play, audio, quiet

INVALID = (1007, "Request contains an invalid argument.")


def test_setup_complete_is_the_first_message_byte_for_byte() -> None:
    play = Play().set_up()
    assert play.output[0] == (100.02, Frame(b'{\n  "setupComplete": {}\n}\n', text=False))


def test_setup_complete_takes_as_long_as_configured() -> None:
    play = Play(setup_delay=0.5)
    play.say({"setup": {"model": MODEL}})
    play.pass_time(0.49)
    assert not play.sent
    play.pass_time(0.02)
    assert play.sent[0][1] == {"setupComplete": {}}


def test_anything_but_setup_first_is_refused() -> None:
    for message in (audio(quiet(0.02)), {"clientContent": {"turnComplete": True}}, {"toolResponse": {}}):
        play = Play()
        play.say(message)
        assert play.closed == INVALID
        assert play.record.violations[0].what == "input before setup"


def test_a_second_setup_is_refused() -> None:
    play = Play().set_up()
    play.say({"setup": {"model": MODEL}})
    assert play.closed == INVALID
    play = Play()
    play.say({"setup": {"model": MODEL}})
    play.say({"setup": {"model": MODEL}})
    assert play.closed == INVALID


def test_no_setup_at_all_ends_the_connection() -> None:
    play = Play(setup_timeout=3.0)
    play.pass_time(2.9)
    assert play.closed is None
    play.pass_time(0.2)
    assert play.closed is not None
    assert play.closed[0] == 1008


def test_input_before_setup_complete_is_noted_and_kept() -> None:
    play = Play()
    play.say({"setup": {"model": MODEL}})
    play.say(audio(quiet(0.02)))
    assert [item.what for item in play.record.violations] == ["input before setupComplete"]
    play.pass_time(0.1)
    assert play.record.heard.seconds == 0.02


def test_two_kinds_in_one_message_are_refused() -> None:
    play = Play().set_up()
    play.say({"realtimeInput": {"text": "a"}, "clientContent": {"turnComplete": True}})
    assert play.closed == INVALID


def test_what_is_not_json_is_refused() -> None:
    play = Play().set_up()
    play.say(b"\xff\xfe")
    assert play.closed is not None
    assert play.closed[0] == 1007


def test_a_misspelled_field_is_named() -> None:
    play = Play()
    play.say({"setup": {"model": MODEL, "generation_config": {"speechConfg": {}}}})
    assert play.closed is not None
    assert play.closed[0] == 1007
    assert "\"speechConfg\" at 'setup.generation_config'" in play.closed[1]
    assert len(play.closed[1].encode()) <= 123


def test_an_unknown_model_is_refused() -> None:
    play = Play()
    play.say({"setup": {"model": "models/gemini-live-2.5-flash-preview"}})
    assert play.closed is not None
    assert play.closed[0] == 1008
    assert play.closed[1].startswith("models/gemini-live-2.5-flash-preview is not found for API version v1beta")


def test_keys() -> None:
    valid = frozenset({"GOOD"})
    assert Play(key="GOOD", api_keys=valid).set_up().session.phase is Phase.OPEN
    play = Play(key="BAD", api_keys=valid).set_up()
    assert play.closed == (1007, "API key not valid. Please pass a valid API key.")
    play = Play(key="").set_up()
    assert play.closed is not None
    assert play.closed[0] == 1008
    assert play.closed[1].startswith("Method doesn't allow unregistered callers")


def test_a_key_on_the_method_for_tokens_is_refused() -> None:
    play = Play(constrained=True).set_up()
    assert play.closed == INVALID
    play = Play(key="auth_tokens/x").set_up()
    assert play.closed is not None
    assert play.closed[0] == 1008


def test_one_session_too_many() -> None:
    first = Play(max_sessions=2).set_up()
    second = Play(world=first.world).set_up()
    third = Play(world=first.world).set_up()
    assert third.closed is not None
    assert third.closed[0] == 1011
    assert "Maximum concurrent" in third.closed[1]
    assert first.closed is second.closed is None


def test_a_ping_is_answered() -> None:
    play = Play().set_up()
    play.session.ping(b"abc", play.now)
    assert play.session.take() == [Pong(b"abc")]


def test_an_unknown_handle_is_refused() -> None:
    play = Play().set_up(sessionResumption={"handle": "CihNOPE"})
    assert play.closed == (1008, "BidiGenerateContent session not found")


def test_a_handle_grows_old() -> None:
    first = Play(handle_ttl=60.0, idle_handle=1.0).set_up(sessionResumption={})
    first.pass_time(2)
    first.session.gone(1000, "", first.now)
    handle = first.record.handles[0]
    assert Play(world=first.world, now=first.now + 50).set_up(sessionResumption={"handle": handle}).closed is None
    late = Play(world=first.world, now=first.now + 70).set_up(sessionResumption={"handle": handle})
    assert late.closed == (1008, "BidiGenerateContent session not found")


def test_a_handle_belongs_to_its_model() -> None:
    first = Play(idle_handle=1.0).set_up(sessionResumption={})
    first.pass_time(2)
    first.session.gone(1000, "", first.now)
    other = Play(world=first.world, now=first.now).set_up(
        "models/gemini-2.5-flash-native-audio-latest", sessionResumption={"handle": first.record.handles[0]}
    )
    assert other.closed == INVALID


def test_a_second_socket_while_the_first_is_open_is_refused() -> None:
    first = Play(idle_handle=1.0).set_up(sessionResumption={})
    first.pass_time(2)
    second = Play(world=first.world, now=first.now).set_up(sessionResumption={"handle": first.record.handles[0]})
    assert second.closed == (1011, "Internal error encountered.")
    assert first.closed is None
    first.session.gone(1000, "", first.now)
    third = Play(world=first.world, now=first.now).set_up(sessionResumption={"handle": first.record.handles[0]})
    assert third.session.phase is Phase.OPEN


def test_a_handle_restores_what_the_model_remembered_then() -> None:
    first = Play("persona=tone:440,1").set_up(sessionResumption={}, outputAudioTranscription={})
    first.say({"realtimeInput": {"text": "one"}})
    first.pass_time(3)
    handle = first.record.handles[-1]
    first.say({"realtimeInput": {"text": "two"}})
    first.pass_time(3)
    conversation = first.session.connection.conversation
    assert conversation is not None
    assert [words for role, words in conversation.history if role == "user"] == ["one", "two"]
    first.session.gone(1006, "", first.now)
    Play(world=first.world, now=first.now).set_up(sessionResumption={"handle": handle})
    assert [words for role, words in conversation.history if role == "user"] == ["one"]
    assert conversation.turns == 1


def test_the_lifetime_ends_in_go_away_and_then_in_a_close() -> None:
    play = Play(lifetime=20.0, goaway_lead=5.0).set_up()
    play.pass_time(14.9)
    assert not play.messages("goAway")
    play.pass_time(0.2)
    assert play.messages("goAway")[0][1] == {"timeLeft": "5s"}
    play.pass_time(4.8)
    assert play.closed is None
    play.pass_time(0.2)
    assert play.closed is not None
    assert play.closed[0] == 1008
    assert "GoAway" in play.closed[1]


def test_a_conversation_without_compression_ends_and_one_with_it_goes_on() -> None:
    play = Play(session_limit=30.0).set_up()
    play.pass_time(31)
    assert play.closed == INVALID
    play = Play(session_limit=30.0).set_up(contextWindowCompression={"slidingWindow": {}})
    play.pass_time(31)
    assert play.closed is None


def test_the_limit_is_the_conversations_not_the_connections() -> None:
    first = Play(session_limit=30.0, idle_handle=1.0).set_up(sessionResumption={})
    first.pass_time(20)
    first.session.gone(1006, "", first.now)
    second = Play(world=first.world, now=first.now).set_up(sessionResumption={"handle": first.record.handles[0]})
    second.pass_time(9.9)
    assert second.closed is None
    second.pass_time(0.1)
    assert second.closed == INVALID


def test_video_shortens_a_conversation() -> None:
    play = Play(session_limit=900.0, video_session_limit=20.0).set_up()
    play.say({"realtimeInput": {"video": {"data": "_9j_", "mimeType": "image/jpeg"}}})
    play.pass_time(19)
    assert play.closed is None
    play.pass_time(2)
    assert play.closed == INVALID
    play = Play().set_up()
    play.say({"realtimeInput": {"video": {"data": "_9j_", "mimeType": "audio/pcm"}}})
    assert play.closed == INVALID


def test_a_full_context_ends_the_session_unless_it_is_compressed() -> None:
    full = Play("persona=tone:440,1", context_window=60).set_up()
    full.turn().turn().pass_time(3)
    assert full.closed == INVALID
    compressed = Play("persona=tone:440,1", context_window=60).set_up(contextWindowCompression={"triggerTokens": 25_600})
    compressed.turn().turn().pass_time(3)
    assert compressed.closed is None


def test_who_closed_is_recorded() -> None:
    play = Play().set_up()
    play.session.gone(1000, "bye", play.now)
    assert play.record.close == ("client", 1000, "bye")
    assert play.session.next_at is None
    play.session.gone(1006, "", play.now)
    assert play.record.close == ("client", 1000, "bye"), "the first word counts"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


WORDS = ["", "user", "AUDIO", "models/gemini-3.8-live", "CihX", "image/png", "audio/pcm"]


@st.composite
def fitting(draw: st.DrawFn, spec: Any) -> Any:
    """A value that a schema takes, now and then one that it does not."""
    if spec is ANY or draw(st.integers(0, 30)) == 0:
        return draw(JSON)
    match spec:
        case Scalar.STRING:
            return draw(st.sampled_from(WORDS))
        case Scalar.BOOL:
            return draw(st.booleans())
        case Scalar.INT:
            return draw(st.integers(-2, 700) | st.just("12"))
        case Scalar.NUMBER:
            return draw(st.floats(0, 2))
        case Scalar.BYTES:
            return draw(st.sampled_from(["", "AAAA", "-_8", "AAA", "!"]))
        case frozenset():
            return draw(st.sampled_from(sorted(spec)))
        case list():
            return [draw(fitting(spec[0])) for _ in range(draw(st.integers(0, 2)))]
    names = draw(st.lists(st.sampled_from(sorted(spec)), max_size=3, unique=True)) if spec else []
    return {name: draw(fitting(spec[name])) for name in names}


@st.composite
def any_message(draw: st.DrawFn) -> Any:
    """A message with one kind in it, usually."""
    return {name: draw(fitting(KINDS[name])) for name in draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=2))}


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_taken_or_refused(raw: bytes | str) -> None:
    play = Play().set_up()
    play.say(raw)
    assert play.closed is None or play.closed[0] == 1007


@settings(max_examples=200, deadline=None)
@given(message=fitting(SETUP))
def test_any_setup_is_taken_or_refused(message: object) -> None:
    play = Play()
    play.say({"setup": message})
    play.pass_time(2)
    assert play.closed is None or play.closed[0] in (1007, 1008)


@settings(max_examples=300, deadline=None)
@given(model=st.sampled_from(sorted(MODELS)), messages=st.lists(any_message(), max_size=4))
def test_any_messages_are_taken_or_refused(model: str, messages: list[dict[str, object]]) -> None:
    play = Play(lifetime=1e6)
    level = {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}
    play.set_up(f"models/{model}", sessionResumption={}, **(level if "thinking" in model else {}))
    for message in messages:
        play.say(message)
        play.pass_time(0.3)
    play.pass_time(5)
    assert play.closed is None or play.closed[0] in (1007, 1008)


def test_two_emulators_with_one_seed_do_the_same() -> None:
    def run() -> list[object]:
        play = Play("jitter=100&persona=tone:440,2&mixed_frames", seed=7).set_up(sessionResumption={})
        play.turn().pass_time(4)
        return [(at, item) for at, item in play.output]

    assert run() == run()
