"""Callers who speak over answers: where the stored answer ends, against what truly left for their ears.

`python -m tests.chaos.heard` interrupts a few answers at random moments, `--full` a hundred; `--seed N` with other chance,
`--json FILE` writes what was found. The model says numbers whose place in the sound is known exactly; emulator and gateway talk
over real sockets, the leg is in this process and knows every frame that left.

A stored answer may end within a word: a word's letters are taken to be spread evenly over its sound. It is right for the whole of
the pause between two words (`tests.words.Spoken.miss`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from gateway.events import Interrupted, ModelConnected, ModelHeard, ModelSaid, ModelStartedSpeaking, TurnEnded
from gateway.media.audio import PTIME
from tests.audio import speech
from tests.chaos.house import FRAME, RATE, Caller, draw, house, percentile
from tests.chaos.rows import Finding, Scale
from tests.words import NUMBERS, Spoken, speak
from tests.words import RATE as SPOKEN_RATE

WORDS = 16
"""Of an answer: about ten seconds."""

SAID = 0.6
"""Seconds of the caller's words."""

LIMIT = 300.0
"""Seconds for all of it; a hundred interruptions take two minutes."""

BAR = 0.1
STOP_BAR = 0.04
"""20 ms and a tick."""

_QUOTED = r'("(?:[^"\\]|\\.)*")'
_HEARD = re.compile(f"up to these words: {_QUOTED}")
_UNHEARD = re.compile(f"Not heard was: {_QUOTED}")


class Voice:
    """A caller who is silent until told to speak; an iterator of frames."""

    def __init__(self) -> None:
        self._words = speech(RATE, SAID)
        self._left = b""

    def say(self) -> None:
        """Something, from now on."""
        self._left = self._words

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        frame, self._left = self._left[: 2 * FRAME], self._left[2 * FRAME :]
        return frame.ljust(2 * FRAME, b"\0")


@dataclass(frozen=True, slots=True)
class Cut:
    """One interruption."""

    heard: str
    unheard: str
    sent: float
    """Seconds that truly left."""
    miss: float
    """Seconds by which the stored answer ends too late."""
    stale: float
    """Seconds from the reading of `interrupted` to the last packet of the answer."""


@dataclass(slots=True)
class _Answer:
    said: str = ""
    heard: str = ""
    began: float = field(default=0.0)


def cuts(caller: Caller, answers: list[Spoken]) -> list[Cut]:
    """Every interruption of this caller's answers, in order. Asserts that what was said is what the model was to say."""
    found, answer = [], _Answer()
    for at, event in caller.seen:
        match event:
            case ModelSaid(text=text):
                answer.said += text
            case ModelHeard(text=text):
                answer.heard += text
            case Interrupted(stop=stop):
                read_at = at - stop
                frames = [sent for sent, _ in caller.leg.frames if answer.began < sent <= at]
                spoken = next(one for one in answers if one.text.startswith(answer.said))
                assert spoken.text.startswith(answer.heard), "heard is what was said"
                sent = len(frames) * PTIME
                later = [sent for sent, read in caller.leg.frames if sent > read_at and read <= read_at]
                found.append(
                    Cut(
                        answer.heard,
                        answer.said[len(answer.heard) :],
                        sent,
                        spoken.miss(len(answer.heard), sent),
                        max(later, default=read_at) - read_at,
                    )
                )
            case TurnEnded():
                answer = _Answer(began=at)
    return found


def notes(contexts: list[str]) -> Counter[tuple[str, str]]:
    """What the model was told: (heard, unheard) and how often."""
    told: Counter[tuple[str, str]] = Counter()
    for text in contexts:
        heard, unheard = _HEARD.search(text), _UNHEARD.search(text)
        if unheard:
            told[(json.loads(heard[1]) if heard else "", json.loads(unheard[1]))] += 1
    return told


def scenario(folder: Path, answers: list[Spoken]) -> Path:
    """The emulator's script: each answer is the next of these."""
    turns = []
    for at, spoken in enumerate(answers):
        with wave.open(str(folder / f"{at}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SPOKEN_RATE)
            file.writeframes(spoken.pcm)
        turns.append({"wav": f"{at}.wav", "say": spoken.text})
    path = folder / "numbers.json"
    path.write_text(json.dumps({"turns": turns}))
    return path


async def heard(scale: Scale) -> tuple[list[Finding], list[Cut]]:
    """`scale.rounds` interruptions of each of `scale.calls` callers."""
    assert scale.rounds < len(NUMBERS), "each answer begins with its own number"
    answers = [
        speak(draw("heard", scale.seed, at), WORDS, first=NUMBERS[at], pauses=(0.08, 0.3)) for at in range(scale.rounds + 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        script = scenario(Path(folder), answers)
        async with house(scenario=script, vertex=scale.vertex, seed=scale.seed) as place:

            async def live(caller: Caller, voice: Voice) -> None:
                chance = draw("heard", scale.seed, "caller", caller.number)
                await caller.until(ModelConnected, 1, 10)
                await asyncio.sleep(chance.uniform(0.2, 0.7))
                voice.say()
                for number in range(1, scale.rounds + 1):
                    if not await caller.until(ModelStartedSpeaking, number, 15):
                        return
                    await asyncio.sleep(chance.uniform(0.1, 6.0))
                    voice.say()
                    if not await caller.until(Interrupted, number, 15):
                        return
                await asyncio.sleep(0.5)

            async with asyncio.TaskGroup() as lives:
                for _ in range(scale.calls):
                    voice = Voice()
                    lives.create_task(live(place.call(voice), voice))
            await place.hang_up()
            found = [cut for caller in place.callers for cut in cuts(caller, answers)]
            told = notes([text for record in place.emulator.sessions for text in record.context])
    wanted = Counter((" ".join(cut.heard.split()), " ".join(cut.unheard.split())) for cut in found if cut.unheard.strip())
    misses = [abs(cut.miss) for cut in found]
    stale = [cut.stale for cut in found]
    count = scale.calls * scale.rounds
    return [
        Finding("interruptions missing", count - len(found), 0, f"of {count}"),
        _ms("stored end against what left, p50", percentile(misses, 0.5), BAR),
        _ms("stored end against what left, worst", max(misses, default=0.0), BAR),
        Finding("notes missing at the model", sum((wanted - told).values()), 0, f"of {sum(wanted.values())}"),
        Finding("notes too many or wrong", sum((told - wanted).values()), 0),
        _ms("`interrupted` read to last stale packet, p50", percentile(stale, 0.5), STOP_BAR, timing=True),
        _ms("`interrupted` read to last stale packet, p99", percentile(stale, 0.99), STOP_BAR, timing=True),
    ], found


def _ms(what: str, seconds: float, bar: float, *, timing: bool = False) -> Finding:
    return Finding(what, seconds * 1000, bar * 1000, "ms", timing)


FAST = Scale(calls=4, rounds=2, outage=0.0)
FULL = Scale(calls=10, rounds=10, outage=0.0)


def main() -> int:
    """1 when a bar is not reached."""
    flags = argparse.ArgumentParser(description="Speak over answers and see where the stored ones end.")
    flags.add_argument("--full", action="store_true")
    flags.add_argument("--vertex", action="store_true")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--json", type=Path)
    asked = flags.parse_args()
    size = FULL if asked.full else FAST
    scale = Scale(calls=size.calls, rounds=size.rounds, outage=0.0, seed=asked.seed, vertex=asked.vertex)

    async def bounded() -> tuple[list[Finding], list[Cut]]:
        async with asyncio.timeout(LIMIT):
            return await heard(scale)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        findings, found = runner.run(bounded())
    print(f"{scale.calls * scale.rounds} interruptions at random moments, seed {scale.seed}")
    for finding in findings:
        sign = "✓" if finding.good() else "✗"
        print(f"  {sign} {finding.what:<48} {finding.value:>6.0f} {finding.unit:<7} bar {finding.bar:g}")
    if asked.json:
        report = {"findings": [asdict(finding) for finding in findings], "cuts": [asdict(cut) for cut in found]}
        asked.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(not all(finding.good() for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
