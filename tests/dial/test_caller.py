"""When the terminal caller speaks and hangs up, in fake time, and what it makes of any message."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dial.caller import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    GREETING_LIMIT,
    GREETING_WAIT,
    HANG_UP_AFTER,
    READY_TIMEOUT,
    Caller,
    Report,
    parse_rtvi,
)
from gateway.dial.errors import DialError
from gateway.dial.sound import SEND_RATE
from gateway.errors import PacketError
from tests import clock


def rtvi(kind: str, **data: object) -> str:
    return json.dumps({"id": "1", "label": "rtvi-ai", "type": kind, "data": data})


class Scene:
    """A caller with one second to say, its mouth moved by fake time, and what it told."""

    def __init__(self, *, as_json: bool = True) -> None:
        self.out = io.StringIO()
        self.caller = Caller(bytes(2 * SEND_RATE), Report(self.out, as_json=as_json))

    async def tell(self, *messages: str) -> None:
        for message in messages:
            self.caller.message(message)

    async def moving_mouth(self) -> None:
        while True:
            await self.caller.mouth.recv()

    async def play(self, *script: tuple[float, str]) -> float:
        """Converse while the gateway says each message after so many seconds; how long it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        mouth = asyncio.ensure_future(self.moving_mouth())
        timers = [loop.call_later(at, self.caller.message, message) for at, message in script]
        try:
            await self.caller.converse()
        finally:
            mouth.cancel()
            for timer in timers:
                timer.cancel()
        return loop.time() - began

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    clock.run(main())


STARTED, STOPPED = rtvi("bot-started-speaking"), rtvi("bot-stopped-speaking")


def test_without_a_greeting() -> None:
    async def body() -> None:
        took = await Scene().play((0.5, rtvi("bot-ready")), (5.0, STARTED), (6.0, STOPPED))
        assert took == pytest.approx(6.0 + HANG_UP_AFTER, abs=0.01)

    run(body)


def test_a_greeting_is_heard_out_before_speaking() -> None:
    async def body() -> None:
        scene = Scene()
        spoken: list[float] = []
        scene.caller.mouth.speak = lambda: spoken.append(asyncio.get_running_loop().time())  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await scene.play((0.5, rtvi("bot-ready")), (0.5 + GREETING_WAIT - 0.1, STARTED), (8.0, STOPPED))
        assert spoken == [pytest.approx(clock.START + 8.0)]

    run(body)


def test_a_greeting_without_end_is_spoken_over() -> None:
    async def body() -> None:
        took = await Scene().play((0.0, rtvi("bot-ready")), (1.0, STARTED), (40.0, STOPPED))
        assert took == pytest.approx(40.0 + HANG_UP_AFTER, abs=0.01)
        assert 1.0 + GREETING_LIMIT + 1.0 < 40.0

    run(body)


def test_an_answer_in_two_parts_is_one() -> None:
    async def body() -> None:
        script = [(0.0, rtvi("bot-ready")), (5.0, STARTED), (6.0, STOPPED), (7.0, STARTED), (9.0, STOPPED)]
        took = await Scene().play(*script)
        assert took == pytest.approx(9.0 + HANG_UP_AFTER, abs=0.01)

    run(body)


def test_nobody_is_ready() -> None:
    async def body() -> None:
        with pytest.raises(DialError, match=f"no model was ready within {READY_TIMEOUT:g} s"):
            await Scene().play()

    run(body)


def test_nobody_answers() -> None:
    async def body() -> None:
        with pytest.raises(DialError, match=f"no answer within {ANSWER_TIMEOUT:g} s"):
            await Scene().play((0.0, rtvi("bot-ready")))

    run(body)


def test_a_fatal_error_and_the_end() -> None:
    async def body() -> None:
        fatal = rtvi("error", error="the model service refuses the API key", fatal=True)
        end = rtvi("server-message", type="call-ended", reason="model_refused", message="The model refused the call.")
        with pytest.raises(DialError, match=r"^the model service refuses the API key$"):
            await Scene().play((1.0, fatal), (1.0, end))
        with pytest.raises(DialError, match=r"^The model refused the call\.$"):
            await Scene().play((1.0, end))

    run(body)


@pytest.mark.parametrize("reason", ["max_duration", "model_hung_up", "hung_up_by_api"])
def test_a_normal_end_by_the_gateway(reason: str) -> None:
    async def body() -> None:
        scene = Scene()
        took = await scene.play((3.0, rtvi("server-message", type="call-ended", reason=reason)))
        assert took == pytest.approx(3.0)
        assert scene.caller.ended_by == reason

    run(body)


def test_a_lost_connection() -> None:
    async def body() -> None:
        scene = Scene()
        scene.caller.state("connecting")
        scene.caller.state("connected")
        await scene.caller.media()
        asyncio.get_running_loop().call_later(2.0, scene.caller.state, "failed")
        with pytest.raises(DialError, match="the connection was lost"):
            await scene.play((0.0, rtvi("bot-ready")))

    run(body)


def test_no_way_through() -> None:
    async def body() -> None:
        with pytest.raises(DialError, match=f"no network path was found within {CONNECT_TIMEOUT:g} s"):
            await Scene().caller.media()
        scene = Scene()
        scene.caller.state("failed")
        with pytest.raises(DialError, match="no network path was found"):
            await scene.caller.media()

    run(body)


TALK = [
    rtvi("user-transcription", text=" what", final=False),
    rtvi("user-transcription", text=" what time", final=True),
    rtvi("bot-output", text="It is", spoken=False),
    rtvi("bot-output", text="It", spoken=True),
    rtvi("bot-output", text=" is", spoken=True),
    rtvi("metrics", turn={"kind": "speech", "end": "completed", "response": 0.71}),
    rtvi("metrics", ttfb=[]),
    rtvi("error", message="slow", fatal=False),
    rtvi("bot-output", text=" noon", spoken=True),
    rtvi("metrics", turn={"kind": "speech", "end": "interrupted", "response": None}),
]


def test_what_is_told_as_json() -> None:
    async def body() -> None:
        scene = Scene()
        await scene.tell(*TALK)
        assert scene.lines() == [
            {"event": "caller", "text": " what time"},
            {"event": "model", "text": "It is"},
            {"event": "turn", "number": 1, "kind": "speech", "end": "completed", "response": 0.71},
            {"event": "error", "text": "slow"},
            {"event": "model", "text": " noon"},
            {"event": "turn", "number": 2, "kind": "speech", "end": "interrupted", "response": None},
        ]

    run(body)


def test_what_is_told_as_text() -> None:
    async def body() -> None:
        scene = Scene(as_json=False)
        await scene.tell(*TALK)
        assert scene.out.getvalue().splitlines() == [
            "caller: what time",
            "model: It is",
            "turn 1: completed, 0.71 s to answer",
            "error: slow",
            "model: noon",
            "turn 2: interrupted, no latency measured",
        ]

    run(body)


@given(st.text() | st.binary())
def test_any_message_is_read_or_passed_over(raw: str | bytes) -> None:
    try:
        kind, data = parse_rtvi(raw)
    except PacketError:
        return
    assert isinstance(kind, str)
    assert isinstance(data, dict)


_KINDS = st.sampled_from(
    ["bot-ready", "bot-output", "user-transcription", "metrics", "error", "server-message", "bot-stopped-speaking"]
)
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
_DATA = (
    st.dictionaries(st.sampled_from(["text", "final", "spoken", "turn", "error", "fatal", "type", "reason"]), _VALUES) | _VALUES
)


@given(_KINDS, _DATA)
def test_any_data_of_a_known_message(kind: str, data: object) -> None:
    scene_out = io.StringIO()
    caller = Caller(b"", Report(scene_out, as_json=True))
    caller.message(json.dumps({"label": "rtvi-ai", "type": kind, "data": data}))
    for line in scene_out.getvalue().splitlines():
        assert "event" in json.loads(line)
