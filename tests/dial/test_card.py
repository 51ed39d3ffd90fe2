"""The sound card of the terminal caller, without a sound card: its thread is played by the test."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gateway.dial.card import AHEAD, BLOCK, MAX_HEARD, MAX_UNPLAYED, SoundCard, open_portaudio
from gateway.dial.errors import DialError
from tests.audio import tone


class FakeStream:
    """A card that is driven block by block."""

    def __init__(self, exchange: Callable[[Any, Any], None]) -> None:
        self.exchange = exchange
        self.running = False

    def start(self) -> None:
        self.running = True

    def close(self) -> None:
        self.running = False

    def block(self, said: bytes = bytes(2 * BLOCK)) -> bytes:
        """One block of the microphone in, what the speaker plays out."""
        assert self.running
        speaker = bytearray(b"\1" * 2 * BLOCK)
        thread = threading.Thread(target=self.exchange, args=(memoryview(said), memoryview(speaker)))
        thread.start()
        thread.join()
        return bytes(speaker)


class Scene:
    """A card and its stream."""

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.card = SoundCard(self._open)

    def _open(self, exchange: Callable[[Any, Any], None]) -> FakeStream:
        self.streams.append(FakeStream(exchange))
        return self.streams[-1]


def test_the_stream_lives_as_long_as_the_block() -> None:
    scene = Scene()
    with scene.card:
        assert scene.streams[0].running
    assert not scene.streams[0].running


def test_what_is_said_comes_in_order_and_not_at_all_when_it_is_old() -> None:
    scene = Scene()
    blocks = [bytes([number]) * 2 * BLOCK for number in range(MAX_HEARD + 3)]
    with scene.card as card:
        assert card.take() == b""
        scene.streams[0].block(blocks[0])
        assert card.take() == b"", "it waits until the card is ahead"
        for block in blocks[1:]:
            scene.streams[0].block(block)
        assert [card.take() for _ in range(MAX_HEARD)] == blocks[-MAX_HEARD:]
        assert card.take() == b""
        for block in blocks[:AHEAD]:
            scene.streams[0].block(block)
        assert card.take() == blocks[0]


def test_what_is_heard_is_played_at_its_pitch() -> None:
    scene = Scene()
    sound = tone(440, 24_000, 0.4)
    with scene.card as card:
        for at in range(0, len(sound), 960):
            card.play(sound[at : at + 960])
        played = b"".join(scene.streams[0].block() for _ in range(20))
    samples = np.frombuffer(played, np.int16)[: 48_000 * 3 // 10]
    assert np.argmax(np.abs(np.fft.rfft(samples))) / 0.3 == pytest.approx(440, abs=5)


def test_silence_when_there_is_nothing_and_the_newest_when_there_is_too_much() -> None:
    scene = Scene()
    with scene.card as card:
        assert scene.streams[0].block() == bytes(2 * BLOCK)
        card.play(tone(440, 24_000, 5.0))
        played = [scene.streams[0].block() for _ in range(MAX_UNPLAYED + 1)]
        assert any(played[MAX_UNPLAYED - 1])
        assert played[MAX_UNPLAYED] == bytes(2 * BLOCK)
        card.play(tone(440, 24_000, 0.2))
        card.hush()
        assert scene.streams[0].block() == bytes(2 * BLOCK)


def nothing(microphone: object, speaker: object) -> None:
    del microphone, speaker


def test_without_the_extra_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DialError, match=r"gemini-voice-gateway\[mic\]"):
        open_portaudio(nothing)


def portaudio(monkeypatch: pytest.MonkeyPatch, raw_stream: Callable[..., Any]) -> None:
    """A `sounddevice` package with this stream."""
    module = ModuleType("sounddevice")
    module.PortAudioError = type("PortAudioError", (Exception,), {})  # type: ignore[attr-defined]
    module.RawStream = raw_stream  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_a_machine_without_a_microphone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise sys.modules["sounddevice"].PortAudioError("Error querying device -1\nsecond line")  # type: ignore[attr-defined]

    portaudio(monkeypatch, refuse)
    with pytest.raises(DialError) as caught:
        open_portaudio(nothing)
    assert str(caught.value) == "no microphone and speaker: Error querying device -1"


def test_the_stream_is_full_duplex_and_mono(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    exchanged: list[tuple[object, object]] = []
    portaudio(monkeypatch, lambda **options: asked.update(options) or "stream")
    assert open_portaudio(lambda microphone, speaker: exchanged.append((microphone, speaker))) == "stream"
    assert (asked["samplerate"], asked["blocksize"], asked["channels"], asked["dtype"]) == (48_000, BLOCK, 1, "int16")
    asked["callback"](b"in", b"out", BLOCK, None, None)
    assert exchanged == [(b"in", b"out")]
