"""The personas: what the model says, and to what. Made per conversation, so that a count or a script survives a swap."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import orjson

from gateway.emulator import messages, sound
from gateway.emulator.counting import count
from gateway.emulator.models import Backend
from gateway.emulator.schema import Json
from gateway.emulator.sound import OUTPUT_RATE

FIRST_CHUNK_BYTES = 9_600
CHUNK_BYTES = 11_520
"""200 ms, then 240 ms: the chunk sizes of the service's recordings."""


# --- what an answer answers ---


@dataclass(frozen=True, slots=True)
class Heard:
    """A turn of the caller, spoken: PCM at `rate`, with a little before and after; `seconds` of it were speech."""

    pcm: bytes
    rate: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Typed:
    """A turn of the caller in text."""

    text: str
    opens: bool = False
    """Nothing was said or heard in this conversation before."""
    at_once: bool = False
    """It came sooner after setup than a person types: a program wrote it."""


@dataclass(frozen=True, slots=True)
class ToolsAnswered:
    """Results of tool calls, by function name."""

    results: tuple[tuple[str, object], ...]


Prompt = Heard | Typed | ToolsAnswered


# --- what it is made of ---


class Source(Protocol):
    """Where the audio of an answer comes from."""

    seconds: float | None
    """None: endless."""

    def read(self, size: int) -> bytes:
        """The next `size` bytes of PCM at 24 kHz; fewer at the end, then none."""


class PcmSource:
    """Audio that is there already."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = memoryview(pcm)
        self._at = 0
        self.seconds: float | None = len(pcm) / (2 * OUTPUT_RATE)

    def read(self, size: int) -> bytes:
        """See Source."""
        part = bytes(self._pcm[self._at : self._at + size])
        self._at += len(part)
        return part


class CountSource:
    """Numbered samples, made as they are read; `told` gets each next number, so that what was never sent is not skipped."""

    def __init__(self, first: int, seconds: float, told: Callable[[int], None]) -> None:
        self.seconds: float | None = seconds
        self._next, self._end, self._told = first, first + round(seconds * OUTPUT_RATE), told

    def read(self, size: int) -> bytes:
        """See Source."""
        samples = min(size // 2, self._end - self._next)
        pcm = count(self._next, samples)
        self._next += samples
        self._told(self._next)
        return pcm


class LoopSource:
    """Chunks that are ready messages already, over and over: nothing is encoded while it plays."""

    def __init__(self, loop: PreparedLoop, seconds: float | None) -> None:
        self.seconds = seconds
        self._loop = loop
        self._left = math.inf if seconds is None else max(1, round(seconds / loop.chunk_seconds))
        self._index = 0

    def read_prepared(self) -> tuple[bytes, bytes] | None:
        """The next (PCM, message); None at the end."""
        if self._left <= 0:
            return None
        self._left -= 1
        self._index = (self._index + 1) % len(self._loop.chunks)
        return self._loop.chunks[self._index - 1]

    def read(self, size: int) -> bytes:
        """See Source; `size` is not heeded, the chunks are what they are."""
        prepared = self.read_prepared()
        return prepared[0][:size] if prepared else b""


@dataclass(frozen=True, slots=True)
class PreparedLoop:
    """(PCM, message) of every chunk, all of `chunk_seconds`."""

    chunks: tuple[tuple[bytes, bytes], ...]
    chunk_seconds: float


@cache
def prepared_loop(backend: Backend) -> PreparedLoop:
    """Eight seconds or so of speech as messages of 240 ms."""
    pcm = sound.line("greeting").pcm + sound.line("typed").pcm
    pcm = pcm[: len(pcm) // CHUNK_BYTES * CHUNK_BYTES]
    parts = [pcm[at : at + CHUNK_BYTES] for at in range(0, len(pcm), CHUNK_BYTES)]
    return PreparedLoop(
        tuple((part, messages.encode(messages.server_content(**messages.audio_part(part, backend)))) for part in parts),
        CHUNK_BYTES / (2 * OUTPUT_RATE),
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A function the model wants called."""

    name: str
    args: Json | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One turn of the model."""

    source: Source
    words: str = ""
    """Its output transcription."""
    understood: str | None = None
    """Input transcription of what it answers; None: say honestly how long was heard."""
    calls: tuple[Call, ...] = ()
    """Tool calls; they come before the audio."""
    delay: float | None = None
    """Seconds until the first chunk; None: the emulator's setting."""
    extra: tuple[Json, ...] = ()
    """Further serverContent fields (groundingMetadata, executableCode parts), each a message before the audio."""
    close: tuple[int, str] | None = None
    """Close the connection with this after the audio."""
    goes_on: bool = False
    """When its turn is over the persona is asked again at once."""


SILENT = PcmSource(b"")


class Persona(Protocol):
    """Decides what is said."""

    listens: bool
    """False: caller audio is only recorded, nothing interrupts, and the first message of all is the only prompt unless silent."""

    def answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        """The answer to this prompt; None: the model decides not to answer. `functions`: those declared."""


def seconds_in_words(seconds: float) -> str:
    """`2.4 seconds`."""
    return "1 second" if round(seconds, 1) == 1.0 else f"{seconds:.1f} seconds"


def understood(prompt: Prompt) -> str | None:
    """An honest input transcription: the emulator does not understand speech."""
    return f"(you spoke for {seconds_in_words(prompt.seconds)})" if isinstance(prompt, Heard) else None


# A gateway that wants its greeting says so in words like these; what a caller types rarely opens a call with them.
_ASKS_FOR_GREETING = re.compile(
    r"\b(greet\w*|welcom\w*|say (hello|hi)|introduc\w*|caller|the call\b|(call|conversation) has|begin|answer the phone)",
    re.IGNORECASE,
)
_ASKS_FOR_GOODBYE = re.compile(r"\b(say (good)?bye|goodbye|farewell|hang up|the call (will|must|is about to) end)", re.IGNORECASE)
_ASKS_TO_GO_ON = re.compile(r"\bgo on (exactly )?where you stopped\b", re.IGNORECASE)
_ASKS_FOR_CALL = re.compile(r"\s*/call\s+(\w+)\s*(\{.*\})?\s*", re.DOTALL)


def _spoken(name: str, words: str | None = None) -> Answer:
    line = sound.line(name)
    return Answer(PcmSource(line.pcm), line.words if words is None else words)


class Parrot:
    """Says back what it hears, in the caller's own voice; has a few lines for everything else."""

    listens = True

    def __init__(self) -> None:
        self._source = PcmSource(b"")  # of the answer it gave last, and its words
        self._words: list[str] = []

    def answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        """See Persona. `/call name {"a": 1}` typed by the caller makes it call that tool, when it is declared.

        Asked to go on where it stopped it says the rest of its last answer: what was never sent of it.
        """
        if isinstance(prompt, Typed) and _ASKS_TO_GO_ON.search(prompt.text):
            return self._rest()
        answer = self._answer(prompt, functions)
        if answer is not None and isinstance(answer.source, PcmSource):
            self._source, self._words = answer.source, re.findall(r"\s*\S+", answer.words)
        return answer

    def _rest(self) -> Answer | None:
        total = self._source.seconds or 0.0
        pcm = self._source.read(1 << 30)
        if not pcm:
            return None
        # Words run half a second ahead of the audio, as in `Mouth`.
        said = min(1.0, (total - len(pcm) / (2 * OUTPUT_RATE) + 0.5) / total)
        self._words = self._words[round(said * len(self._words)) :]
        self._source = PcmSource(pcm)
        return Answer(self._source, "".join(self._words))

    def _answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        match prompt:
            case Heard(pcm, rate, seconds):
                said = f"(your own words: {seconds_in_words(seconds)})"
                return Answer(PcmSource(sound.level(sound.resample(pcm, rate))), said)
            case Typed(text) if (wanted := _ASKS_FOR_CALL.fullmatch(text)) and wanted[1] in functions:
                return Answer(SILENT, calls=(Call(wanted[1], _arguments(wanted[2])),))
            case Typed(text, opens=True, at_once=at_once) if at_once or _ASKS_FOR_GREETING.search(text):
                return _spoken("greeting")
            case Typed(text) if _ASKS_FOR_GOODBYE.search(text):
                return _spoken("goodbye")
            case Typed(text):
                return _spoken("typed", f"You typed: {text.strip()[:500]}" if text.strip() else None)
            case ToolsAnswered(results):
                told = "; ".join(f"{name}: {orjson.dumps(result, default=str).decode()[:200]}" for name, result in results)
                return _spoken("tool", f"{sound.LINES['tool']} ({told})")


def _arguments(text: str | None) -> Json:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {"text": text}
    return value if isinstance(value, dict) else {"value": value}


@dataclass(slots=True)
class Tone:
    """Answers everything with a sine."""

    hz: float = 440.0
    seconds: float = 2.0
    listens: bool = True

    def answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        """See Persona."""
        del prompt, functions
        return Answer(PcmSource(_tone(self.hz, self.seconds)), f"(a tone of {self.hz:g} Hz for {self.seconds:g} seconds)")


@cache
def _tone(hz: float, seconds: float) -> bytes:
    return sound.tone(hz, seconds)


@dataclass(slots=True)
class Talker:
    """Talks from the first prompt or audio on and never stops; with on and off, so many seconds each. Hears nothing."""

    backend: Backend
    on: float | None = None
    off: float = 0.0
    listens: bool = False
    _begun: bool = False

    def answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        """See Persona."""
        del prompt, functions
        delay = self.off if self._begun else None
        self._begun = True
        return Answer(LoopSource(prepared_loop(self.backend), self.on), delay=delay, goes_on=self.on is not None)


@dataclass(slots=True)
class Counter:
    """Answers with numbered samples, going on with the number after the last one sent. Hears nothing, is never interrupted."""

    seconds: float = 5.0
    listens: bool = False
    next: int = field(default=0)

    def answer(self, prompt: Prompt, functions: Mapping[str, bool]) -> Answer | None:
        """See Persona."""
        del prompt, functions
        return Answer(CountSource(self.next, self.seconds, self._told), f"(a count of {self.seconds:g} seconds)")

    def _told(self, number: int) -> None:
        self.next = number


class PersonaError(ValueError):
    """No persona of this name, or not with these arguments."""


def make_persona(spec: str, backend: Backend, script: Callable[[], Persona] | None = None) -> Persona:
    """`parrot`, `tone:440,2`, `talker:3,2`, `counter:60` or `script` as an object. Raises PersonaError."""
    name, _, rest = spec.partition(":")
    try:
        numbers = [float(part) for part in rest.split(",")] if rest else []
    except ValueError:
        raise PersonaError(f"persona {spec}: arguments are numbers") from None
    if not all(0 < number < 1e6 for number in numbers):
        raise PersonaError(f"persona {spec}: a number is out of range")
    match name, numbers:
        case "parrot", []:
            return Parrot()
        case "tone", []:
            return Tone()
        case "tone", [hz]:
            return Tone(hz)
        case "tone", [hz, seconds]:
            return Tone(hz, seconds)
        case "talker", []:
            return Talker(backend)
        case "talker", [on, off]:
            return Talker(backend, on, off)
        case "counter", []:
            return Counter()
        case "counter", [seconds]:
            return Counter(seconds)
        case "script", [] if script is not None:
            return script()
        case "script", []:
            raise PersonaError("persona script wants a scenario")
    raise PersonaError(f"no persona {spec!r}: parrot, tone:HZ,S, talker:ON,OFF, counter:S" + (", script" if script else ""))
