"""What can be made to go wrong, as a table, and how it is asked for.

A request is a query string, `goaway=3,1&pong_delay=8&times=2`: in `EmulatorSettings.faults`, after a `~` in the API key
or the model name, in the header `x-emulator-faults`, in the URL's query, in a scenario file, or by `POST /emu/faults`.

A fault with a *moment* takes it first: `2.5` seconds after `setupComplete`; `audio:1.2` once that much of the model's
audio was sent on this connection; `heard:3` once that much caller audio came; `turn:2` when the second turn of this
connection begins to sound. Without a moment it is drawn between 1 and 5 s from the emulator's seed.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl


class Basis(enum.StrEnum):
    """What a moment is counted in."""

    READY = "ready"
    AUDIO = "audio"
    HEARD = "heard"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Moment:
    """When, within one connection."""

    basis: Basis
    amount: float


class Takes(enum.Enum):
    """Which arguments a fault has."""

    NOTHING = "nothing"
    NUMBER = "a number"
    MOMENT = "a moment"
    MOMENT_AND_NUMBER = "a moment and a number"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One row: what it takes, the number when none is given, what it does."""

    takes: Takes
    default: float
    does: str


def _at(does: str) -> FaultKind:
    return FaultKind(Takes.MOMENT, 0.0, does)


def _number(default: float, does: str) -> FaultKind:
    return FaultKind(Takes.NUMBER, default, does)


def _plain(does: str) -> FaultKind:
    return FaultKind(Takes.NOTHING, 0.0, does)


FAULTS: Mapping[str, FaultKind] = {
    # the upgrade
    "http_401": _plain("refuse the upgrade"),
    "http_403": _plain("refuse the upgrade"),
    "http_404": _plain("refuse the upgrade"),
    "http_429": _plain("refuse the upgrade"),
    "http_503": _plain("refuse the upgrade"),
    # setup
    "setup_slow": _number(5.0, "seconds before setupComplete"),
    "setup_hang": _plain("never send setupComplete"),
    "setup_goaway": _plain("goAway as the first message, then silence"),
    "setup_error": _plain('{"error": …} as the first message, then silence'),
    "bad_key": _plain("1007 API key not valid, after setup"),
    "bad_model": _plain("1008 model not found, after setup"),
    "invalid_arg": _plain("1007 invalid argument, after setup"),
    "quota_connect": _plain("1011 quota, right after setupComplete"),
    "concurrency": _plain("1011 too many sessions, instead of setupComplete"),
    # the end of a connection
    "quota_mid": _at("1011 quota"),
    "goaway": FaultKind(Takes.MOMENT_AND_NUMBER, 5.0, "goAway, then the close after so many seconds"),
    "goaway_1011": _plain("the close after goAway is 1011 Deadline expired, not 1008"),
    "abrupt_1006": _at("reset the TCP connection"),
    "half_open": _at("stop reading and writing, keep TCP"),
    "close_1000": _at("close without a reason"),
    "close_1001": _at("close, going away"),
    "close_1011": _at("close, internal error"),
    "close_1008_abort": _at("close, the operation was aborted"),
    # resumption
    "stale_handle": _plain("every handle is unknown: 1008 session not found"),
    "poison_handle": _number(0.2, "resuming works, then 1011 after so many seconds"),
    "dup_socket_old": _plain("a second socket of a conversation closes the old one, not the new"),
    "no_handles": _plain("never issue a handle"),
    # pings
    "pong_delay": _number(10.0, "seconds before a ping is answered"),
    "no_pong": _plain("pings are never answered"),
    # tools
    "tool_cancel": _number(0.5, "cancel every tool call after so many seconds"),
    "tool_dup": _plain("send every tool call twice"),
    "tool_args_null": _plain("tool calls without args"),
    "tool_after_turn": _plain("turnComplete first, then the tool call"),
    "tool_mute": _plain("after the last answer to a blocking call the turn ends in silence: the model wants a nudge"),
    "tool_audio_1008": _plain("caller audio while a blocking call waits closes the session"),
    "tool_unknown_1007": _plain("an answer to an unknown call closes the session"),
    # flags at odd moments
    "interrupt_mid": _number(0.5, "interrupted and turnComplete after so many seconds of each answer's audio"),
    "interrupt_after_turn": _plain("interrupted right after every turnComplete"),
    "phantom_interrupt": _at("interrupted, for no reason"),
    "interrupt_flood": FaultKind(Takes.MOMENT_AND_NUMBER, 20.0, "so many interrupted in a row"),
    # defects of the model
    "freeze_after_interrupt": _plain("after an interruption nothing is answered any more"),
    "no_answer": _number(0.0, "turn N (0: every turn) is never answered, not even by turnComplete"),
    "empty_turn": _number(0.0, "turn N (0: every turn) is turnComplete without audio"),
    "premature_turn": _number(0.5, "every answer ends after so many seconds, in mid-word"),
    "double_answer": _plain("every answer starts again from its beginning, after it has ended"),
    # pacing
    "burst": _number(0.0, "speed of sending against real time; 0: all at once"),
    "starve": _number(0.7, "the same, meant to be below 1"),
    "gap": _number(500.0, "milliseconds of pause after every fourth chunk"),
    "jitter": _number(150.0, "milliseconds by which each chunk is late, at random"),
    # framing
    "interrupt_bundled": _plain("interrupted comes in one message with audio that is stale already"),
    "complete_bundled": _plain("generationComplete comes with the last audio"),
    "usage_bundled": _plain("usageMetadata comes with every audio message"),
    "odd_bytes": _plain("chunks are cut in the middle of a sample"),
    "rate_change": _number(16_000.0, "answers alternate between 24,000 Hz and this rate, said in the MIME type"),
    "huge_message": _plain("a whole answer in one message, padded over 1 MiB"),
    "tiny_chunks": _number(10.0, "milliseconds of audio per message"),
    # things that do not parse, put before the second chunk of each answer
    "malformed_json": _plain("half a message"),
    "bad_base64": _plain("audio whose data is not base64"),
    "unknown_only": _plain("a message of unknown fields"),
    "error_object": _plain('{"error": …}'),
    "empty_frame": _plain("an empty frame"),
    "wrong_type": _plain("numbers where strings belong"),
    "snake_top": _plain("server_content"),
    "json_list": _plain("a list instead of an object"),
    # transport
    "mixed_frames": _plain("text and binary frames, at random"),
    "text_frames": _plain("text frames"),
    "deflate_on": _plain("agree to permessage-deflate"),
    "deflate_off": _plain("decline permessage-deflate"),
    "slow_read": _number(200.0, "milliseconds of pause before every read"),
    # transcripts
    "transcript_late": _number(1.0, "seconds by which input transcripts come after the turn they belong to"),
    "transcript_missing": _plain("no transcripts"),
    "transcript_fragments": _plain("transcripts in pieces of 2 to 4 characters"),
    "utf8_raw": _plain("transcripts carry non-ASCII text"),
    "interim": _plain("interimInputTranscription while the caller speaks"),
}
"""Every fault by name. Whoever adds a row makes it happen in the module that owns the moment, and a test that sees it."""

CONTROLS = ("times", "persona", "seed", "key", "access_token", "$httpHeaders", "alt")
"""Words of the same query strings that are not faults."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as asked for."""

    name: str
    number: float
    moment: Moment | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """All that a request asked of the emulator."""

    faults: Mapping[str, Fault]
    persona: str = ""
    times: int | None = None
    """Only the first so many connections with the same words; None: all of them."""
    words: str = ""
    """The words themselves: what `times` counts."""

    def number(self, name: str) -> float | None:
        """The fault's number, or None when it was not asked for."""
        fault = self.faults.get(name)
        return fault.number if fault else None

    def __contains__(self, name: str) -> bool:
        return name in self.faults

    def without_faults(self) -> Options:
        """The same, harmless."""
        return Options({}, self.persona, self.times, self.words)


NO_OPTIONS = Options({})


class OptionError(ValueError):
    """The words ask for something that does not exist."""


def parse_options(words: str, *, seed: int = 0, strict: bool = True) -> Options:
    """`goaway=3,1&persona=tone` as a value. Raises OptionError; with `strict=False` unknown words are passed over."""
    faults: dict[str, Fault] = {}
    persona, times = "", None
    draw = random.Random(f"{seed}:{words}")
    for name, value in parse_qsl(words, keep_blank_values=True):
        if name == "persona":
            persona = value
        elif name == "times":
            times = int(_amount(name, value))
        elif name in FAULTS:
            faults[name] = _fault(name, value, draw)
        elif strict and name not in CONTROLS:
            raise OptionError(f"no such fault: {name}")
    return Options(faults, persona, times, words)


def merge_options(parts: Iterable[Options]) -> Options:
    """Later parts win."""
    faults: dict[str, Fault] = {}
    persona, times, words = "", None, []
    for part in parts:
        faults.update(part.faults)
        persona = part.persona or persona
        times = times if part.times is None else part.times
        if part.faults:
            words.append(part.words)
    return Options(faults, persona, times, "&".join(words))


def _fault(name: str, value: str, draw: random.Random) -> Fault:
    kind = FAULTS[name]
    match kind.takes:
        case Takes.NOTHING:
            return Fault(name, 0.0)
        case Takes.NUMBER:
            return Fault(name, _amount(name, value) if value else kind.default)
    when, _, number = value.partition(",")
    moment = _moment(name, when) if when else Moment(Basis.READY, round(draw.uniform(1.0, 5.0), 3))
    return Fault(name, _amount(name, number) if number else kind.default, moment)


def _moment(name: str, text: str) -> Moment:
    basis, colon, amount = text.rpartition(":")
    if not colon:
        return Moment(Basis.READY, _amount(name, text))
    if basis not in {item.value for item in Basis}:
        raise OptionError(f"{name}: a moment is seconds, audio:…, heard:… or turn:…, not {text}")
    return Moment(Basis(basis), _amount(name, amount))


def _amount(name: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        raise OptionError(f"{name}: {text!r} is not a number") from None
    if not 0 <= amount < 1e9:
        raise OptionError(f"{name}: {text} is out of range")
    return amount
