"""Model sessions over real TLS sockets, on both ways through the SDK; what is not said to be of one is the same on both."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection

from gateway.errors import ModelError, ModelRefused, ModelUnavailable
from gateway.events import ContextRead, ModelClosed, ModelConnected, ModelLeaving, ModelMessageSkipped, ModelSwapped, TokensUsed
from gateway.model import connection
from gateway.model.base import (
    AudioOut,
    GenerationComplete,
    InputTranscript,
    ModelEvent,
    ModelInterrupted,
    ModelSession,
    OutputTranscript,
    ToolAnswer,
    ToolCall,
    ToolCancelled,
    TurnComplete,
)
from gateway.model.gemini import GeminiModel, GeminiSettings
from gateway.profile import Profile
from gateway.wire.gemini import MAX_SKIPS_IN_A_ROW
from tests.model.far_end import FarEnd, Script, far_end, pretty, speech

T = TypeVar("T")
DEADLINE = 8.0
KEY = "AIzaSyTestKeyTestKeyTestKeyTestKeyTest"


@dataclass(frozen=True)
class Way:
    """Of moving messages, and of turning the loop."""

    fast: bool
    loop: Callable[[], asyncio.AbstractEventLoop]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(main)


WAYS = {
    "fast": Way(True, uvloop.new_event_loop),
    "sdk": Way(False, uvloop.new_event_loop),
    "fast-asyncio": Way(True, asyncio.new_event_loop),
}
both_ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def settings(end: FarEnd, way: Way, **changes: Any) -> GeminiSettings:
    values: dict[str, Any] = {
        "api_key": KEY,
        "base_url": end.base_url,
        "ca_file": end.ca_file,
        "fast_frames": way.fast,
        "patience": 0.0,
    }
    return GeminiSettings(**(values | changes))


def run(
    directory: Path,
    way: Way,
    script: Script,
    body: Callable[[FarEnd, ModelSession], Awaitable[None]],
    *,
    profile: Profile | None = None,
    changes: dict[str, Any] | None = None,
    **options: Any,
) -> FarEnd:
    """Open a session against `script` and run `body` in it."""

    async def main() -> FarEnd:
        async with asyncio.timeout(DEADLINE), far_end(directory, script, **options) as end:
            model = GeminiModel(settings(end, way, **(changes or {})))
            await model.warm_up()
            try:
                async with model.session(profile or Profile()) as session:
                    await body(end, session)
            finally:
                await model.close()
            return end

    return way.run(main())


async def listen(_: FarEnd, __: ServerConnection) -> None:
    """A far end that only confirms."""


async def all_events(session: ModelSession) -> tuple[list[ModelEvent], ModelError]:
    """Everything until a session that has no patience ends, and how it ended.

    Without the ModelConnected such a session begins with and the ModelSwapped it ends with.
    """
    seen: list[ModelEvent] = []
    try:
        async for event in session.events():
            seen.append(event)  # noqa: PERF401 - what came before the error counts
    except ModelError as ended:
        assert isinstance(seen[0], ModelConnected)
        assert seen[0].seconds > 0
        swap = seen.pop()
        assert isinstance(swap, ModelSwapped)
        assert swap.kind in ("error", "goaway")
        assert swap.result == "refused"
        return seen[1:], ended
    raise AssertionError("the session ended without a reason")


def timeless(events: list[ModelEvent]) -> list[ModelEvent]:
    """With every time of reading zeroed."""
    untimed: list[ModelEvent] = []
    for event in events:
        match event:
            case AudioOut(pcm, at):
                assert at > 0
                untimed.append(AudioOut(pcm, 0.0))
            case ModelInterrupted():
                untimed.append(ModelInterrupted(0.0))
            case _:
                untimed.append(event)
    return untimed


# --- setup ---


@both_ways
def test_setup_says_what_the_profile_says(tmp_path: Path, way: Way) -> None:
    async def body(_: FarEnd, __: ModelSession) -> None:
        pass

    profile = Profile(voice="Kore", language="en-US", system_instruction="Be terse.", temperature=0.5)
    end = run(tmp_path, way, listen, body, profile=profile)
    (setup,) = end.setups
    assert setup["setup"] == {
        "model": "models/gemini-3.8-live",
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "temperature": 0.5,
            "speechConfig": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}, "language_code": "en-US"},
        },
        "systemInstruction": {"parts": [{"text": "Be terse."}], "role": "user"},
        "sessionResumption": {},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "contextWindowCompression": {"sliding_window": {}},
    }
    (request,) = end.requests
    assert request.path == "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert "Sec-WebSocket-Extensions" not in request.headers


@both_ways
def test_model_and_api_version_can_be_chosen(tmp_path: Path, way: Way) -> None:
    async def body(_: FarEnd, __: ModelSession) -> None:
        pass

    profile = Profile(model="gemini-3.8-live-extended-thinking")
    end = run(tmp_path, way, listen, body, profile=profile, changes={"api_version": "v1alpha", "model": "other"})
    assert end.setups[0]["setup"]["model"] == "models/gemini-3.8-live-extended-thinking"
    assert end.setups[0]["setup"]["generationConfig"]["thinkingConfig"] == {"thinking_level": "LOW"}
    assert ".v1alpha." in end.requests[0].path


@both_ways
@pytest.mark.parametrize("crash", [False, True])
def test_we_say_goodbye_properly_however_the_call_ends(tmp_path: Path, way: Way, crash: bool) -> None:
    async def body(_: FarEnd, __: ModelSession) -> None:
        if crash:
            raise ZeroDivisionError

    codes: list[int | None] = []

    async def script(_: FarEnd, ws: ServerConnection) -> None:
        await ws.wait_closed()
        codes.append(ws.close_code)

    if crash:
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, way, script, body)
    else:
        run(tmp_path, way, script, body)
    assert codes == [1000]


# --- up ---


@both_ways
def test_audio_arrives_in_order_and_whole(tmp_path: Path, way: Way) -> None:
    chunks = [bytes([n]) * 640 for n in range(200)]

    async def body(end: FarEnd, session: ModelSession) -> None:
        for chunk in chunks:
            await session.send_audio(chunk)
        await session.end_audio()
        heard = []
        while "audio" in (message := await end.messages.get()).get("realtime_input", message.get("realtimeInput")):
            audio = message.get("realtime_input", message.get("realtimeInput"))["audio"]
            assert audio.get("mime_type", audio.get("mimeType")) == "audio/pcm;rate=16000"
            heard.append(base64.urlsafe_b64decode(audio["data"].replace("+", "-").replace("/", "_")))
        assert heard == chunks
        assert message in ({"realtimeInput": {"audioStreamEnd": True}}, {"realtime_input": {"audioStreamEnd": True}})

    run(tmp_path, way, FarEnd.record, body)


@both_ways
def test_words_go_as_content_where_the_model_takes_it_and_as_realtime_text_where_not(tmp_path: Path, way: Way) -> None:
    async def body(end: FarEnd, session: ModelSession) -> None:
        await session.prompt("Greet the caller, héllo \ud800.")
        (message,) = (await end.messages.get()).values()
        text = "Greet the caller, héllo ?."
        assert message in ({"text": text}, {"turns": [{"parts": [{"text": text}], "role": "user"}], "turnComplete": True})
        kinds.append("text" in message)
        await session.send_text("typed")
        assert "typed" in str(await end.messages.get())

    kinds: list[bool] = []
    run(tmp_path, way, FarEnd.record, body)
    run(tmp_path, way, FarEnd.record, body, profile=Profile(model="gemini-3.1-flash-live-preview"))
    assert kinds == [False, True]


@both_ways
def test_a_tool_is_called_and_answered(tmp_path: Path, way: Way) -> None:
    async def script(end: FarEnd, ws: ServerConnection) -> None:
        await ws.send(pretty({"toolCall": {"functionCalls": [{"name": "f", "args": {"a": 1}, "id": "function-call-1"}]}}))
        await ws.send(pretty({"toolCallCancellation": {"ids": ["function-call-1"]}}))
        await end.record(ws)

    async def body(end: FarEnd, session: ModelSession) -> None:
        events = aiter(session.events())
        assert isinstance(await anext(events), ModelConnected)
        assert await anext(events) == ToolCall("function-call-1", "f", {"a": 1})
        assert await anext(events) == ToolCancelled(("function-call-1",))
        await session.answer_tool(ToolAnswer("function-call-1", "f", {"output": {"b": 2}}, "SILENT", will_continue=True))
        ((kind, message),) = (await end.messages.get()).items()
        assert kind in ("toolResponse", "tool_response")
        (response,) = message["functionResponses"]
        assert response.pop("willContinue", None) or response.pop("will_continue")
        assert response == {"id": "function-call-1", "name": "f", "response": {"output": {"b": 2}}, "scheduling": "SILENT"}

    run(tmp_path, way, script, body)


@both_ways
def test_a_service_that_stops_reading_ends_the_session(tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_PATIENCE", 0.3)
    released = asyncio.Event()

    async def script(_: FarEnd, ws: ServerConnection) -> None:
        ws.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        ws.transport.pause_reading()
        await released.wait()
        ws.transport.resume_reading()

    async def body(_: FarEnd, session: ModelSession) -> None:
        async def talk() -> None:
            while True:
                await session.send_audio(bytes(64_000))
                await asyncio.sleep(0.001)  # once the socket is gone nothing waits any more

        talking = asyncio.ensure_future(talk())
        events, ended = await all_events(session)
        talking.cancel()
        released.set()
        assert events == [ModelClosed("timeout")]
        assert isinstance(ended, ModelUnavailable)
        assert "audio" in str(ended)
        # What is said after the end goes nowhere, and nobody waits for it.
        await session.send_audio(bytes(640))
        await session.send_text("still there?")

    run(tmp_path, way, script, body)


# --- down ---


@both_ways
def test_a_conversation_keeps_its_order_across_turns(tmp_path: Path, way: Way) -> None:
    chunks = [bytes([n, 0]) * 4800 for n in range(40)]

    async def script(_: FarEnd, ws: ServerConnection) -> None:
        for turn in range(2):
            await ws.send(pretty({"serverContent": {"inputTranscription": {"text": f"question {turn}"}}}))
            for n, chunk in enumerate(chunks):
                words = {"outputTranscription": {"text": f" {n}"}} if n % 3 == 0 else {}
                # Frames of either kind, and of either shape, are the same to us.
                message = pretty(speech(chunk, **words))
                await ws.send(message if n % 2 else message.decode())
            await ws.send(pretty({"serverContent": {"generationComplete": True}}))
            end: dict[str, Any] = {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 10 + turn}}
            await ws.send(pretty(end))
        await ws.send(pretty({"sessionResumptionUpdate": {"newHandle": "Cihh", "resumable": True}}))
        await ws.send(pretty(speech(chunks[0], interrupted=True)))
        await ws.send(pretty({"goAway": {"timeLeft": "50s"}}))
        await ws.close(1000)

    async def body(_: FarEnd, session: ModelSession) -> None:
        events, ended = await all_events(session)
        want: list[ModelEvent] = []
        for turn in range(2):
            want.append(InputTranscript(f"question {turn}"))
            for n, chunk in enumerate(chunks):
                if n % 3 == 0:
                    want.append(OutputTranscript(f" {n}"))
                want.append(AudioOut(chunk, 0.0))
            want += [
                GenerationComplete(),
                TokensUsed("input", "unknown", "plain", 10 + turn),
                ContextRead(10 + turn),
                TurnComplete(),
            ]
        want += [ModelInterrupted(0.0), ModelLeaving(50.0), ModelClosed("1000")]
        assert timeless(events) == want
        assert isinstance(ended, ModelUnavailable)

    run(tmp_path, way, script, body)


@both_ways
def test_a_message_larger_than_a_mebibyte(tmp_path: Path, way: Way) -> None:
    pcm = bytes(range(256)) * 6000  # 32 s of speech, 2 MiB of base64

    async def script(_: FarEnd, ws: ServerConnection) -> None:
        await ws.send(pretty(speech(pcm)))
        await ws.close(1001)

    async def body(_: FarEnd, session: ModelSession) -> None:
        events, _ended = await all_events(session)
        assert timeless(events) == [AudioOut(pcm, 0.0), GenerationComplete(), ModelClosed("1001")]

    run(tmp_path, way, script, body)


@both_ways
def test_a_reader_that_falls_behind_loses_nothing(tmp_path: Path, way: Way) -> None:
    """Far more messages than the socket's queue holds, none read until all are sent."""
    count = 600
    sent = asyncio.Event()

    async def script(_: FarEnd, ws: ServerConnection) -> None:
        for n in range(count):
            await ws.send(pretty(speech(n.to_bytes(2, "little"))))
            if n == 300:
                sent.set()
        await ws.close(1000)

    async def body(_: FarEnd, session: ModelSession) -> None:
        await sent.wait()
        events, _ended = await all_events(session)
        assert b"".join(event.pcm for event in events if isinstance(event, AudioOut)) == b"".join(
            n.to_bytes(2, "little") for n in range(count)
        )

    run(tmp_path, way, script, body)


# --- how it ends ---


@both_ways
@pytest.mark.parametrize(
    ("code", "reason", "error", "label", "says"),
    [
        (1007, "API key not valid. Please pass a valid API key.", ModelRefused, "1007", "API key"),
        (1008, "models/x is not found for API version v1beta", ModelRefused, "1008", "model"),
        (1011, "You exceeded your current quota, please check your plan", ModelRefused, "1011", "quota"),
        (1011, "Internal error encountered.", ModelUnavailable, "1011", "internal error"),
        (1000, "", ModelUnavailable, "1000", "ended"),
        (4000, "", ModelUnavailable, "other", "unexpectedly"),
    ],
)
def test_closed_in_the_middle(
    tmp_path: Path, way: Way, code: int, reason: str, error: type[ModelError], label: str, says: str
) -> None:
    async def script(_: FarEnd, ws: ServerConnection) -> None:
        await ws.send(pretty(speech(b"\x01\x02")))
        await ws.close(code, reason)

    async def body(_: FarEnd, session: ModelSession) -> None:
        events, ended = await all_events(session)
        # The caller's side is told that no more comes of what was cut off.
        assert timeless(events) == [AudioOut(b"\x01\x02", 0.0), GenerationComplete(), ModelClosed(label)]
        assert type(ended) is error
        assert says in str(ended)
        await session.send_audio(bytes(640))

    run(tmp_path, way, script, body)


@both_ways
def test_a_connection_cut_without_a_word(tmp_path: Path, way: Way) -> None:
    async def script(_: FarEnd, ws: ServerConnection) -> None:
        ws.transport.abort()

    async def body(_: FarEnd, session: ModelSession) -> None:
        events, ended = await all_events(session)
        assert events == [ModelClosed("1006")]
        assert isinstance(ended, ModelUnavailable)
        assert "broke" in str(ended)

    run(tmp_path, way, script, body)


@both_ways
def test_odd_messages_are_counted_and_the_conversation_goes_on(tmp_path: Path, way: Way) -> None:
    odd: list[bytes] = [
        b"{",
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xff",
        b'{"server_content": {"turn_complete": true}}',
        b'{"surprise": 1}',
        b'{"error": {"code": 429, "message": "no"}}',
        b'{"code": 429, "message": "no"}',
        b'{"code": 503, "message": "no"}',
        b'{"code": 1011, "message": "no"}',
        b'{"goAway": {"timeLeft": 50}}',
        b'{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "*"}}]}}}',
        b'{"serverContent": {"outputTranscription": "text"}}',
    ]

    async def script(_: FarEnd, ws: ServerConnection) -> None:
        for raw in odd:
            await ws.send(raw)
            await ws.send(pretty(speech(b"\x01\x02")))
        await ws.close(1000)

    async def body(_: FarEnd, session: ModelSession) -> None:
        events, _ended = await all_events(session)
        *pairs, cut, last = timeless(events)
        assert (cut, last) == (GenerationComplete(), ModelClosed("1000"))
        assert pairs[1::2] == [AudioOut(b"\x01\x02", 0.0)] * len(odd)
        assert all(isinstance(event, ModelMessageSkipped) for event in pairs[0::2])

    run(tmp_path, way, script, body)


@both_ways
def test_nothing_but_odd_messages_ends_the_session(tmp_path: Path, way: Way) -> None:
    async def script(_: FarEnd, ws: ServerConnection) -> None:
        for _n in range(MAX_SKIPS_IN_A_ROW + 5):
            await ws.send(b'{"surprise": 1}')

    async def body(_: FarEnd, session: ModelSession) -> None:
        events, ended = await all_events(session)
        assert len(events) == MAX_SKIPS_IN_A_ROW + 1
        assert events[-1] == ModelClosed("other")
        assert isinstance(ended, ModelUnavailable)

    run(tmp_path, way, script, body)


# --- connecting that fails ---


def refusal(directory: Path, way: Way, script: Script = listen, **options: Any) -> ModelError:
    """What a session says that can't be opened."""

    async def never(_: FarEnd, __: ModelSession) -> None:
        raise AssertionError("opened")

    with pytest.raises(ModelError) as refused:
        run(directory, way, script, never, **options)
    assert KEY not in str(refused.value)
    assert "127.0.0.1" not in str(refused.value)
    return refused.value


@both_ways
@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, ModelRefused, "API key"),
        (403, ModelRefused, "denies"),
        (404, ModelRefused, "address"),
        (429, ModelUnavailable, "requests"),
        (503, ModelUnavailable, "not available"),
        (200, ModelUnavailable, "does not answer like"),
    ],
)
def test_refused_instead_of_upgraded(tmp_path: Path, way: Way, status: int, error: type[ModelError], says: str) -> None:
    refused = refusal(tmp_path, way, status=status)
    assert type(refused) is error
    assert says in str(refused)


@both_ways
def test_closed_instead_of_confirmed(tmp_path: Path, way: Way) -> None:
    async def script(_: FarEnd, ws: ServerConnection) -> None:
        await ws.close(1007, "API key not valid. Please pass a valid API key.")

    refused = refusal(tmp_path, way, script, confirm=None)
    assert isinstance(refused, ModelRefused)
    assert "API key" in str(refused)


@both_ways
def test_never_confirmed(tmp_path: Path, way: Way) -> None:
    refused = refusal(tmp_path, way, confirm=None, changes={"setup_timeout": 0.5})
    assert isinstance(refused, ModelUnavailable)
    assert "did not answer within 0.3 s" in str(refused)


@both_ways
@pytest.mark.parametrize(
    "first", [b'{"goAway": {"timeLeft": "0s"}}', b'{"error": {"code": 429}}', b"{}", b"", b"[1]", b"{", b'{"setupComplete": 1}']
)
def test_first_message_is_no_confirmation(tmp_path: Path, way: Way, first: bytes) -> None:
    refused = refusal(tmp_path, way, confirm=first)
    assert isinstance(refused, ModelUnavailable)
    assert "did not confirm" in str(refused)


@both_ways
def test_nobody_listens(tmp_path: Path, way: Way) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}"
        refused = refusal(tmp_path, way, changes={"base_url": url})
    assert isinstance(refused, ModelUnavailable)
    assert "can't be reached" in str(refused)


@both_ways
def test_a_certificate_nobody_vouches_for(tmp_path: Path, way: Way) -> None:
    refused = refusal(tmp_path, way, changes={"ca_file": None})
    assert isinstance(refused, ModelRefused)
    assert "certificate" in str(refused)


@both_ways
def test_an_address_that_is_none(tmp_path: Path, way: Way) -> None:
    refused = refusal(tmp_path, way, changes={"base_url": "https://"})
    assert isinstance(refused, ModelRefused)
    assert "address" in str(refused)


@both_ways
def test_a_burst_of_connects_takes_turns(way: Way) -> None:
    """However many calls begin at once, only a few handshakes compete with the audio of the running ones."""

    async def main() -> None:
        shaking: list[asyncio.StreamWriter] = []
        changed = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            shaking.append(writer)
            changed.set()
            await reader.read()  # what would be a handshake, and nothing ever comes of it
            writer.close()

        async def call(model: GeminiModel) -> None:
            async with model.session(Profile()):
                raise AssertionError("connected")

        async def until(count: int) -> None:
            while len(shaking) < count:
                changed.clear()
                await changed.wait()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        where = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        made = GeminiSettings("KEY", base_url=where, fast_frames=way.fast, setup_timeout=60.0)
        model, other = GeminiModel(made), GeminiModel(made)
        async with asyncio.timeout(DEADLINE), server:
            calls = [asyncio.create_task(call(model)) for _ in range(20)]
            await until(8)
            # Whoever begins now and gets through has overtaken those who wait.
            for number in range(3):
                calls.append(asyncio.create_task(call(other)))
                await until(8 + number + 1)
            assert len(shaking) == 11
            for task in calls:
                task.cancel()
            await asyncio.wait(calls)
            await model.close()
            await other.close()

    way.run(main())
