"""Which words of a transcript lie where in their audio, from nothing but the text and where the audio sounds.

The service does not time its words: fragments come before or with their audio, on some backends seconds ahead. What can be
seen is where speech pauses. So the words are laid over the stretches of sound by dynamic programming: a unit of one or several
stretches takes a run of words; it is cheap when its length is what the run should last at this voice's speaking rate, and when
pauses fall where punctuation stands. Within a unit words last as long as their letters. Everything is in seconds of the answer's
audio; `weight` is letters and a little more for each word.

Measured on spoken numbers with pauses of 30 to 400 ms (`tests/chaos/heard.py`): the place is right to some 30 ms in the middle.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

PAUSE = 0.05
"""Seconds of quiet that part two stretches. The closure before a t or a k lasts 20 to 50 ms."""

WORD_WEIGHT = 2.0
"""Letters that every word takes beyond its own: a short word does not last much less than a longer one."""

DIGIT_WEIGHT = 4.0
"""Letters that a digit is worth when it is read out."""

SIGN_WEIGHT = 3.0
"""Letters that a sign of a script without spaces (Chinese, Japanese, Korean, Thai) is worth."""

SLOWEST, FASTEST = 6.0, 45.0
"""Letters a second that a voice may speak at."""

LENGTHENED = 0.12
"""Seconds by which a word lasts longer before a pause."""

PRIOR = 2.0
"""Seconds of speech at the rate known before that an answer's own rate is weighed against."""

PRIOR_WORDS = 4
"""The same for how often the voice pauses, in words."""

LAG = 0.4
"""Seconds by which words are given later than they are placed while what follows them is not known: it may move them."""

LAY_EVERY = 0.2
"""Seconds of playing between two layings of what more text or sound has moved."""

MAX_SPAN = 3
"""Stretches that one unit may have: a word may have a pause inside (`sixteen` has two)."""

KEPT = 8
"""Ways to lay the words that are followed, the cheapest."""

OPEN_ROWS = 40
FIXED_AT_ONCE = 16
"""When so many stretches are laid, the oldest of them stay as they are."""

_SIGNS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGNS}][^\w\s]*|[^\s{_SIGNS}]+")
_SIGN = re.compile(rf"[{_SIGNS}]")

# What a way costs, as the logarithm of how unlikely it is.
_SPREAD = 0.1
"""Seconds by which one word's length usually misses what its letters say."""
_TEMPO = 0.1
"""Share by which the rate itself changes from phrase to phrase."""
_BREAK = (0.0, 0.1, 0.0)  # a pause after a word with a comma, with the end of a sentence; without either the voice says
_NO_BREAK = (0.0, 0.7, 1.5)  # no pause there
_NO_WORD, _NO_WORD_SECOND = 2.0, 15.0  # a sound that is no word: a breath


@dataclass(frozen=True, slots=True)
class Word:
    """`text[begin:end]`, without spaces around it. `stop`: 0 nothing, 1 a comma or the like, 2 a sentence's end follows."""

    begin: int
    end: int
    weight: float
    stop: int


@dataclass(frozen=True, slots=True)
class Unit:
    """Stretches of sound, (begin, end) each, in which the words from `first` up to but not `after` are spoken."""

    stretches: tuple[tuple[float, float], ...]
    first: int
    after: int


@dataclass(frozen=True, slots=True)
class Voice:
    """How somebody speaks: `rate` is weight a second, `pauses` the share of words without punctuation that a pause follows."""

    rate: float
    pauses: float


def words_of(text: str, begin: int = 0) -> list[Word]:
    """The words of `text` from `begin` on."""
    found = []
    for match in _WORD.finditer(text, begin):
        word = match[0]
        letters = sum(DIGIT_WEIGHT if sign.isdecimal() else float(sign.isalnum()) for sign in word)
        weight = SIGN_WEIGHT if _SIGN.match(word) else letters + WORD_WEIGHT if letters else 0.0
        last = word.rstrip("\"'”’)]»*")[-1:]
        stop = 2 if last and last in ".!?…:。！？" else 1 if last and last in ",;、，–—-" else 0
        found.append(Word(match.start(), match.end(), weight, stop))
    return found


class Alignment:
    """One answer's. Feed it text and sound in the order they come; ask `place` at any time. `voice`: as known before."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        """As far as this answer tells."""
        self._prior = voice
        self._words: list[Word] = []
        self._weights = [0.0]  # before each word, and after the last
        self._complete = False
        self._sounds: deque[tuple[float, float]] = deque()  # stretches; bounded by OPEN_ROWS and what is not laid yet
        self._total = 0.0  # seconds of audio
        self._sounding = 0.0  # of it, seconds of sound
        self._begun = False
        # Row n: after the first n of `_sounds`, words said so far → (cost, stretches of the last unit, words before it).
        self._rows: list[dict[int, tuple[float, int, int]]] = [{0: (0.0, 0, 0)}]
        self._settled = 1  # rows that more text would not change
        self._fixed: deque[Unit] = deque()  # bounded: what has been played is forgotten
        self._path: list[Unit] = []
        self._dirty = False
        self._laid_for = -LAY_EVERY
        self._sure_until = 0.0  # what comes later has no say in what lies before this moment

    # --- what is known ---

    def text(self, text: str) -> None:
        """The whole transcript so far. A word at its end may still grow."""
        words = self._words
        begin = 0
        if words:
            begin = words.pop().begin
            self._weights.pop()
        for word in words_of(text, begin):
            words.append(word)
            self._weights.append(self._weights[-1] + word.weight)
        self._settled = min(self._settled, len(self._rows))
        self._dirty = True

    def sound(self, seconds: float, sounding: tuple[tuple[float, float], ...]) -> None:
        """`seconds` more of audio, in which it sounds from … to …, counted from its beginning."""
        sounds = self._sounds
        for begin, end in sounding:
            begin, end = begin + self._total, end + self._total
            self._sounding += end - begin
            if sounds and begin - sounds[-1][1] < PAUSE:
                # Only the newest stretch grows, and it is never laid for good before the pause after it.
                sounds[-1] = (sounds[-1][0], end)
            else:
                sounds.append((begin, end))
        self._total += seconds
        self._complete = False
        self._dirty = self._begun = True

    def complete(self) -> None:
        """All text and all audio are here."""
        self._complete = self._dirty = True

    # --- what follows ---

    def reached(self, seconds: float) -> int:
        """How many characters of the text have been spoken at `seconds`, to the end of the last whole word. Cheap."""
        words = self._words
        if not words:
            return 0
        if self._dirty and seconds >= self._sure_until and seconds >= self._laid_for + LAY_EVERY:
            self._laid_for = seconds
            self._lay()
        lag = 0.0 if self._complete or seconds < self._sure_until else LAG
        index = bisect_right(self._weights, self._weight_at(seconds - lag) + 1e-9) - 1
        return words[min(index, len(words)) - 1].end if index else 0

    def place(self, seconds: float) -> int:
        """The same, to the letter, from all that is known."""
        words, weights = self._words, self._weights
        if not words:
            return 0
        if self._dirty:
            self._lay()
        reached = self._weight_at(seconds)
        index = min(bisect_right(weights, reached + 1e-9) - 1, len(words))
        whole = words[index - 1].end if index else 0
        if index == len(words):
            return whole
        word = words[index]
        share = (reached - weights[index]) / word.weight if word.weight else 1.0
        letter = word.begin + round(share * (word.end - word.begin))
        return letter if letter > word.begin else whole

    def _weight_at(self, seconds: float) -> float:
        weights = self._weights
        if not self._sounds and not self._fixed:
            if not self._complete or not self._total:
                return 0.0  # nothing has sounded yet
            return weights[-1] * min(1.0, seconds / self._total)
        while len(self._fixed) > 1 and self._fixed[1].stretches[0][0] <= seconds:
            self._fixed.popleft()
        before: Unit | None = None
        for unit in (*self._fixed, *self._path):
            if unit.stretches[0][0] > seconds:
                break
            before = unit
        if before is None:
            return 0.0
        if seconds > before.stretches[-1][1] and before.after == len(self._words) and self._complete:
            return weights[-1]
        if before.first == before.after:
            return weights[before.first]
        passed = sum(min(end, seconds) - begin for begin, end in before.stretches if begin < seconds)
        length = sum(end - begin for begin, end in before.stretches)
        start, last = weights[before.first], weights[before.after - 1]
        longer = LENGTHENED * self.voice.rate  # the last word of a unit
        share = min(1.0, passed / length) if length else 1.0  # a sound can be shorter than its time can tell
        reached = start + share * (weights[before.after] - start + longer)
        if reached <= last:
            return reached
        own = weights[before.after] - last
        return last + own * min(1.0, (reached - last) / (own + longer))

    # --- laying ---

    def _lay(self) -> None:
        self._dirty = False
        rows, count = self._rows, len(self._sounds)
        del rows[self._settled :]
        sounds = list(self._sounds)
        for number in range(len(rows), count + 1):
            last = number == count
            open_end = last and not self._complete and self._total - sounds[-1][1] < PAUSE
            row, sure = self._row(sounds, number, final=last and self._complete, open_end=open_end)
            rows.append(row)
            if sure and not last and self._settled == number:
                self._settled += 1
        if count > OPEN_ROWS and self._settled > FIXED_AT_ONCE:
            self._fix(sounds)
            sounds = list(self._sounds)
        self._path = self._back(sounds, len(self._rows) - 1)
        surely = min(self._settled - 1, len(sounds) - 1) - 2
        self._sure_until = math.inf if self._complete else sounds[surely][0] if surely > 0 else self._sure_until
        self._pace()

    def _row(
        self, sounds: list[tuple[float, float]], number: int, *, final: bool, open_end: bool
    ) -> tuple[dict[int, tuple[float, int, int]], bool]:
        """The row after stretch `number`, and whether more text would leave it as it is."""
        weights, words, rate = self._weights, self._words, self.voice.rate
        known, sure = len(words), True
        on, off = -math.log(self.voice.pauses), -math.log(1.0 - self.voice.pauses)
        breaks, no_breaks = (on, *_BREAK[1:]), (off, *_NO_BREAK[1:])
        found: dict[int, tuple[float, int, int]] = {}
        inner = 0.0
        for span in range(1, min(MAX_SPAN, number) + 1):
            begin, end = sounds[number - span][0], sounds[number - 1][1]
            if span > 1:
                pause = sounds[number - span + 1][0] - sounds[number - span][1]
                inner += 0.8 + (pause / 0.1) ** 2
            closed = sum(sounds[at][1] - sounds[at][0] for at in range(number - span, number - 1))
            length = closed + sounds[number - 1][1] - sounds[number - 1][0]
            for first, (cost, _, _) in self._rows[number - span].items():
                if span == 1:
                    _keep(found, first, cost + _NO_WORD + _NO_WORD_SECOND * (end - begin), span, first)
                skipped = 0.0
                for after in range(first + 1, known + 1):
                    if after > first + 1:
                        skipped += no_breaks[words[after - 2].stop]
                    if final and after < known:
                        continue
                    due = (weights[after] - weights[first]) / rate + (0.0 if open_end else LENGTHENED)
                    if not final and due > 2.0 * length + 0.4:
                        break
                    # The rest of a stretch that is still growing is not known: only too many words in it are too many, and
                    # too few those that do not even fill the stretches before it.
                    miss = max(0.0, due - length, closed - due) if open_end else length - due
                    spread = _SPREAD * _SPREAD * (after - first) + (_TEMPO * due) ** 2
                    price = cost + inner + skipped + miss * miss / (2 * spread)
                    if not final and not open_end:
                        price += breaks[words[after - 1].stop]
                    _keep(found, after, price, span, first)
                else:
                    sure = sure and final
        if len(found) > KEPT:
            cheapest = sorted(found.items(), key=lambda item: item[1][0])[:KEPT]
            found = dict(sorted(cheapest))
        return found, sure and not open_end

    def _back(self, sounds: list[tuple[float, float]], number: int) -> list[Unit]:
        """The cheapest way to the row `number`, as units. The newest stretch, when it still sounds, goes on at the usual rate."""
        rows = self._rows
        row = rows[number]
        at = min(row, key=lambda words: row[words][0])
        if self._complete and len(self._words) in row:
            at = len(self._words)
        units: list[Unit] = []
        while number > 0:
            _, span, before = rows[number][at]
            units.append(Unit(tuple(sounds[number - span : number]), before, at))
            number, at = number - span, before
        units.reverse()
        if units and not self._complete and self._total - sounds[-1][1] < PAUSE:
            units[-1] = self._growing(units[-1])
        return units

    def _growing(self, unit: Unit) -> Unit:
        """Which words a stretch without an end has so far: as many as the rate says, the last to its end."""
        weights, rate = self._weights, self.voice.rate
        length = sum(end - begin for begin, end in unit.stretches)
        after = min(bisect_right(weights, weights[unit.first] + length * rate), len(self._words))
        due = (weights[after] - weights[unit.first]) / rate + LENGTHENED
        begin, end = unit.stretches[-1]
        return Unit((*unit.stretches[:-1], (begin, max(end, end + due - length))), unit.first, after)

    def _fix(self, sounds: list[tuple[float, float]]) -> None:
        """The oldest rows stay as they are."""
        count, units = 0, []
        for unit in self._back(sounds, len(self._rows) - 1):
            if count + len(unit.stretches) > min(FIXED_AT_ONCE, self._settled - 1):
                break
            count += len(unit.stretches)
            units.append(unit)
        if not units:
            return
        self._fixed.extend(units)
        for _ in range(count):
            self._sounds.popleft()
        self._rows, self._settled = [{units[-1].after: (0.0, 0, 0)}], 1
        left = list(self._sounds)
        for number in range(1, len(left) + 1):
            row, sure = self._row(left, number, final=False, open_end=False)
            self._rows.append(row)
            if sure and number < len(left) and self._settled == number:
                self._settled += 1

    def _pace(self) -> None:
        """This voice, from what has been laid so far for good or nearly so."""
        units = self._path if self._complete else self._path[:-2]
        if not units:
            return
        prior, words = self._prior, self._words
        weight = self._weights[units[-1].after] - self._weights[units[0].first]
        length = sum(end - begin for unit in units for begin, end in unit.stretches) - LENGTHENED * len(units)
        rate = (weight + prior.rate * PRIOR) / (max(length, 0.0) + PRIOR)
        inside = sum(not word.stop for unit in units for word in words[unit.first : unit.after - 1])
        pauses = sum(unit.after > unit.first and not words[unit.after - 1].stop for unit in units)
        share = (pauses + prior.pauses * PRIOR_WORDS) / (pauses + inside + PRIOR_WORDS)
        self.voice = Voice(min(FASTEST, max(SLOWEST, rate)), min(0.9, max(0.1, share)))


def _keep(row: dict[int, tuple[float, int, int]], after: int, cost: float, span: int, first: int) -> None:
    if after not in row or row[after][0] > cost:
        row[after] = (cost, span, first)
