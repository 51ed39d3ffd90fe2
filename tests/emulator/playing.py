"""One client of the emulator in fake time: no socket, no loop, no waiting."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from gateway.emulator.connection import Close, Frame, Output
from gateway.emulator.faults import NO_OPTIONS, merge_options
from gateway.emulator.models import Backend
from gateway.emulator.record import SessionRecord
from gateway.emulator.session import Session
from gateway.emulator.settings import EmulatorSettings
from gateway.emulator.world import Upgrade, World

MODEL = "models/gemini-3.8-live"
VERTEX_MODEL = "projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash-native-audio"


def loud(seconds: float, rate: int = 16_000) -> bytes:
    """Speech, as far as an energy detector knows: a 300 Hz tone with a slow swell, about −12 dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    return (9000 * np.sin(2 * np.pi * 300 * time) * (0.75 + 0.25 * np.sin(2 * np.pi * 3 * time))).astype("<i2").tobytes()


def quiet(seconds: float, rate: int = 16_000) -> bytes:
    """A silent room, about −70 dBFS."""
    noise = np.random.default_rng(1).normal(0, 10, round(seconds * rate))
    return noise.round().astype("<i2").tobytes()


def audio(pcm: bytes, mime_type: str = "audio/pcm;rate=16000") -> dict[str, Any]:
    """A realtime audio message."""
    return {"realtimeInput": {"audio": {"data": base64.b64encode(pcm).decode(), "mimeType": mime_type}}}


class Play:
    """Drives a session. `sent` collects (time, JSON) of the server's messages, `output` everything else it did."""

    def __init__(
        self,
        words: str = "",
        *,
        world: World | None = None,
        backend: Backend = Backend.DEVELOPER,
        now: float = 100.0,
        key: str = "KEY",
        constrained: bool = False,
        **settings: Any,
    ) -> None:
        self.world = world or World(EmulatorSettings(**{"setup_delay": 0.02, "idle_handle": 1e6, **settings}))
        self.now = now
        version = "v1beta" if backend is Backend.DEVELOPER else "v1beta1"
        options = merge_options((self.world.default_options(), self.world.options(words) if words else NO_OPTIONS))
        upgrade = Upgrade("/ws", backend, version, constrained, key, options)
        self.record: SessionRecord = self.world.new_record("/ws", now)
        self.session = Session(self.world, upgrade, self.record, now)
        self.world.running[self.record.session_id] = self.session
        self.sent: list[tuple[float, Any]] = []
        self.output: list[tuple[float, Output]] = []

    def say(self, message: object) -> None:
        """One message of the client, a value or raw."""
        raw = message if isinstance(message, bytes | str) else orjson.dumps(message).decode()
        self.session.receive(raw, self.now)
        self._collect()

    def set_up(self, model: str = MODEL, **fields: object) -> Play:
        """Setup, and on to setupComplete."""
        self.say({"setup": {"model": model, **fields}})
        return self.pass_time(self.world.settings.setup_delay + 0.001)

    def pass_time(self, seconds: float) -> Play:
        """Let time go on; everything due happens at its own time."""
        end = self.now + seconds
        while (when := self.session.next_at) is not None and when <= end:
            self.now = max(self.now, when)
            self.session.wake(self.now)
            self._collect()
        self.now = end
        return self

    def speak(self, pcm: bytes, *, chunk: float = 0.02, rate: int = 16_000) -> Play:
        """Audio in real time."""
        size = round(chunk * rate) * 2
        for at in range(0, len(pcm), size):
            part = pcm[at : at + size]
            self.pass_time(len(part) / (2 * rate))
            self.say(audio(part, f"audio/pcm;rate={rate}"))
        return self

    def turn(self, seconds: float = 1.0, silence: float = 0.7) -> Play:
        """A turn of the caller: speech, then enough silence to end it."""
        return self.speak(loud(seconds) + quiet(silence))

    def _collect(self) -> None:
        for item in self.session.take():
            self.output.append((self.now, item))
            if isinstance(item, Frame):
                try:
                    self.sent.append((self.now, orjson.loads(item.data)))
                except orjson.JSONDecodeError:
                    self.sent.append((self.now, item.data))

    def kinds(self) -> list[str]:
        """What was sent, by kind as recorded, audio and status messages taken together when repeated."""
        kinds: list[str] = []
        for kind in self.record.sent_kinds():
            if not kinds or kinds[-1] != kind:
                kinds.append(kind)
        return kinds

    def contents(self, name: str) -> list[tuple[float, Any]]:
        """(time, value) of a serverContent field wherever it was sent."""
        return [
            (at, message["serverContent"][name])
            for at, message in self.sent
            if isinstance(message, dict) and name in message.get("serverContent", {})
        ]

    def messages(self, name: str) -> list[tuple[float, Any]]:
        """(time, value) of a top-level field."""
        return [(at, message[name]) for at, message in self.sent if isinstance(message, dict) and name in message]

    def chunks(self) -> list[tuple[float, bytes]]:
        """(time, PCM) of every audio part."""
        return [(at, pcm) for at, turn in self.contents("modelTurn") for pcm in _pcm(turn)]

    @property
    def closed(self) -> tuple[int, str] | None:
        """(code, reason) with which the server closed."""
        for _, item in self.output:
            if isinstance(item, Close):
                return item.code, item.reason
        return None


def _pcm(turn: dict[str, Any]) -> Iterator[bytes]:
    for part in turn["parts"]:
        if "inlineData" in part:
            yield base64.b64decode(part["inlineData"]["data"], validate=True)
