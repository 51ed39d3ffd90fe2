"""Where voice activity sees speech begin and end, in each noise: `python -m tests.bench.edges [--json]`, in fake time.

34 utterances of ten espeak-ng voices in four languages, with pauses of one to three seconds, in white, pink and brown noise. An
edge is where speech is 15.9 dB under its active level (ITU-T P.56); it counts when the detector says it within 60 ms.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import json
import subprocess
import sys
import wave
from dataclasses import dataclass

import numpy as np

from gateway.media.vad import HANGOVER
from tests.audio import floats, resampled
from tests.media.test_vad import LEVEL, RATE, Floats, active_level, edges, follow, noise

WITHIN = 0.06
SEEDS = 3
SAYINGS = {
    "en-us": (
        "Could you tell me what the weather will be like tomorrow?",
        "I would like to change my appointment to Thursday.",
        "Yes, that works.",
        "My number is five five one, seven oh three.",
        "Stop, wait a minute, that is not what I asked.",
        "What does the ticket cost?",
        "Please speak louder, it is noisy on the streets.",
    ),
    "de": (
        "Wie komme ich am schnellsten zum Bahnhof?",
        "Ich möchte einen Tisch für vier Personen.",
        "Nein, das stimmt leider nicht.",
        "Das ist doch ganz einfach.",
    ),
    "fr": (
        "Je voudrais réserver une chambre pour deux nuits.",
        "Pouvez-vous répéter, s'il vous plaît?",
        "D'accord, merci beaucoup.",
    ),
    "es": ("Necesito hablar con una persona.", "¿A qué hora sale el próximo tren?", "Muchas gracias, hasta luego."),
}
VOICES = {"en-us": ("", "+f3", "+m5", "+f2"), "de": ("", "+f4"), "fr": ("+m3", "+f1"), "es": ("+f5", "+m1")}


@dataclass(frozen=True, slots=True)
class Cell:
    """One noise at one level. Shares in 0 … 1."""

    snr: int
    noise: str
    onsets: float
    offsets: float
    false_per_minute: float

    @property
    def both(self) -> float:
        """Of all edges; there are as many of either kind."""
        return (self.onsets + self.offsets) / 2


def _utterance(voice: str, text: str, words_a_minute: int) -> Floats:
    made = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(words_a_minute), "--stdout", text], capture_output=True, check=True
    ).stdout
    with wave.open(io.BytesIO(made)) as file:
        # espeak-ng does not know the length when it writes the header: all that is there is taken.
        return np.trim_zeros(floats(resampled(file.readframes(len(made)), file.getframerate(), RATE)))


@functools.cache
def clean() -> Floats:
    """All of it, at the level that P.56 measurements are made at."""
    pauses = np.random.default_rng(4)
    parts = []
    for language, voices in VOICES.items():
        for number, variant in enumerate(voices):
            for index, text in enumerate(SAYINGS[language]):
                if language == "en-us" and (number + index) % 2:
                    continue
                said = _utterance(language + variant, text, 140 + 10 * (index % 4))
                parts += [np.zeros(int(RATE * pauses.uniform(1.0, 3.0))), said / active_level(said) * LEVEL]
    return np.concatenate([*parts, np.zeros(RATE)])


def cell(snr: int, colour: str) -> Cell:
    """One row."""
    speech = clean()
    truth = edges(speech)
    # A pause about as long as the hangover may fall to either side of it: such edges say nothing.
    far = HANGOVER * 1.5
    onsets = [begin for (_, end), (begin, _) in zip([(0.0, -1.0), *truth], truth, strict=False) if begin - end > far]
    offsets = [end for (_, end), (begin, _) in zip(truth, [*truth[1:], (1e9, 1e9)], strict=True) if begin - end > far]
    began_well = ended_well = false = 0
    for seed in range(SEEDS):
        said = follow(speech + noise(colour, len(speech), snr + 100 * seed) * LEVEL / 10 ** (snr / 20))
        began_well += sum(any(abs(began - onset) <= WITHIN for _, began, _ in said) for onset in onsets)
        ended_well += sum(any(abs(ended - offset) <= WITHIN for _, _, ended in said) for offset in offsets)
        false += sum(not any(begin - WITHIN <= at <= end + WITHIN for begin, end in truth) for at, _, _ in said)
    return Cell(
        snr,
        colour,
        began_well / (SEEDS * len(onsets)),
        ended_well / (SEEDS * len(offsets)),
        false / (SEEDS * len(speech) / RATE / 60),
    )


def main() -> int:
    """Print the table; 1 when a noise has under 95 % of edges, or more than one false start a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cells = [cell(snr, colour) for snr in (20, 10) for colour in ("white", "pink", "brown")]
    if arguments.json:
        json.dump([dataclasses.asdict(one) for one in cells], sys.stdout, indent=1)
    else:
        print(f"{'SNR':>5} {'noise':6} {'onsets':>7} {'offsets':>7} {'both':>7} {'false/min':>9}")
        for one in cells:
            print(
                f"{one.snr:2} dB {one.noise:6} {one.onsets:7.1%} {one.offsets:7.1%} {one.both:7.1%} {one.false_per_minute:9.2f}"
            )
    return int(any(one.both < 0.95 or one.false_per_minute > 1.0 for one in cells))


if __name__ == "__main__":
    raise SystemExit(main())
