"""The `script` persona: what the model says and does, turn by turn, from a JSON file.

```json
{"faults": "goaway=20,5",
 "turns": [{"say": "Hello, this is turn one.", "line": "greeting"},
           {"tone": 440, "seconds": 2, "input": "what the caller is taken to have said", "delay": 0.8},
           {"tools": [{"name": "weather", "args": {"city": "Oslo"}}]},
           {"echo": true, "say": "your own words"},
           {"wav": "answer.wav"}, {"count": 3}, {"silence": 1.5}, {"nothing": true},
           {"close": [1011, "Internal error encountered."]}],
 "otherwise": {"tone": 330, "seconds": 1}}
```

A turn is taken for each prompt, in order (a tool's answer is a prompt, too); when they are used up `otherwise` answers,
or the last turn again. Sound files are named relative to the script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.emulator import sound
from gateway.emulator.counting import count
from gateway.emulator.faults import OptionError, parse_options
from gateway.emulator.schema import ANY, Scalar, WireError, read
from gateway.emulator.sound import OUTPUT_RATE
from gateway.emulator.voices import SILENT, Answer, Call, Heard, Parrot, PcmSource, Persona, Prompt, Source

_TURN: Mapping[str, Any] = {
    "say": Scalar.STRING,
    "line": Scalar.STRING,
    "tone": Scalar.NUMBER,
    "seconds": Scalar.NUMBER,
    "wav": Scalar.STRING,
    "count": Scalar.NUMBER,
    "silence": Scalar.NUMBER,
    "echo": Scalar.BOOL,
    "nothing": Scalar.BOOL,
    "input": Scalar.STRING,
    "delay": Scalar.NUMBER,
    "tools": [{"name": Scalar.STRING, "args": ANY}],
    "search": Scalar.STRING,
    "code": Scalar.STRING,
    "close": ANY,
}
_SCRIPT: Mapping[str, Any] = {"faults": Scalar.STRING, "turns": [_TURN], "otherwise": _TURN}
_SOUNDS = ("line", "tone", "wav", "count", "silence", "echo", "nothing")


class ScriptError(ValueError):
    """The scenario file can't be used; the text says where."""


@dataclass(frozen=True, slots=True)
class _Turn:
    pcm: bytes | None
    """None: echo what was heard."""
    words: str
    understood: str | None
    delay: float | None
    calls: tuple[Call, ...]
    extra: tuple[dict[str, Any], ...]
    close: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script that was read, with all its sounds."""

    turns: tuple[_Turn, ...]
    otherwise: _Turn
    faults: str

    def persona(self) -> Persona:
        """A model that follows it from the beginning."""
        return _Actor(self)


class _Actor:
    listens = True

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._next = 0

    def answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        """See Persona."""
        turns = self._scenario.turns
        turn = turns[self._next] if self._next < len(turns) else self._scenario.otherwise
        self._next += 1
        source: Source = PcmSource(turn.pcm) if turn.pcm is not None else SILENT
        if turn.pcm is None and isinstance(prompt, Heard):
            heard = Parrot().answer(prompt, functions)
            assert heard is not None, "a parrot always answers what it heard"
            source = heard.source
        return Answer(
            source,
            turn.words,
            turn.understood if isinstance(prompt, Heard) else None,
            turn.calls,
            turn.delay,
            turn.extra,
            turn.close,
        )


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file. Raises ScriptError, OSError."""
    return parse_scenario(path.read_bytes(), lambda name: (path.parent / name).read_bytes())


def parse_scenario(raw: bytes, open_sound: Callable[[str], bytes]) -> Scenario:
    """The scenario in these bytes; `open_sound` gives the bytes of a sound file. Raises ScriptError, and what it raises."""
    try:
        body = read(orjson.loads(raw), _SCRIPT, "script").value
        parse_options(body.get("faults", ""))
    except (orjson.JSONDecodeError, WireError, OptionError) as error:
        raise ScriptError(str(error)) from None
    written = body.get("turns", [])
    turns = tuple(_turn(turn, f"turns[{index}]", open_sound) for index, turn in enumerate(written))
    if "otherwise" in body:
        otherwise = _turn(body["otherwise"], "otherwise", open_sound)
    elif turns:
        otherwise = turns[-1]
    else:
        raise ScriptError("script: neither turns nor otherwise")
    return Scenario(turns, otherwise, body.get("faults", ""))


def _turn(turn: dict[str, Any], where: str, open_sound: Callable[[str], bytes]) -> _Turn:
    sounds = [name for name in _SOUNDS if name in turn]
    if len(sounds) > 1:
        raise ScriptError(f"{where}: {' and '.join(sounds)} exclude one another")
    words = turn.get("say", "")
    pcm: bytes | None = b""
    seconds = turn.get("seconds", 2.0)
    match sounds:
        case ["line"]:
            if turn["line"] not in sound.LINES:
                raise ScriptError(f"{where}.line: one of {', '.join(sound.LINES)}")
            pcm, words = sound.line(turn["line"]).pcm, words or sound.LINES[turn["line"]]
        case ["tone"]:
            pcm = sound.tone(turn["tone"], seconds)
        case ["wav"]:
            try:
                pcm = sound.decode(open_sound(turn["wav"]))
            except ValueError as error:
                raise ScriptError(f"{where}.wav: {error}") from None
        case ["count"]:
            pcm = count(0, round(turn["count"] * OUTPUT_RATE))
        case ["silence"]:
            pcm = bytes(2 * round(turn["silence"] * OUTPUT_RATE))
        case ["echo"]:
            pcm = None
        case [] if words:
            # Words without a sound: a hum as long as it takes to say them, about 15 characters a second.
            pcm = sound.tone(220.0, max(0.5, len(words) / 15))
        case _:
            pcm = b""
    close = turn.get("close")
    if close is not None and not (
        isinstance(close, list) and len(close) == 2 and isinstance(close[0], int) and isinstance(close[1], str)
    ):
        raise ScriptError(f"{where}.close: [code, reason]")
    return _Turn(
        pcm,
        words,
        turn.get("input"),
        turn.get("delay"),
        tuple(Call(call.get("name", ""), call.get("args")) for call in turn.get("tools", ())),
        tuple(_extra(turn)),
        None if close is None else (close[0], close[1]),
    )


def _extra(turn: dict[str, Any]) -> list[dict[str, Any]]:
    extra: list[dict[str, Any]] = []
    if "code" in turn:
        extra.append({"modelTurn": {"parts": [{"executableCode": {"language": "PYTHON", "code": turn["code"]}}]}})
    if "search" in turn:
        extra.append({"groundingMetadata": {"webSearchQueries": [turn["search"]], "groundingChunks": []}})
    return extra
