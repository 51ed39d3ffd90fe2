"""How small the delay could be on a trace: what no receiver can do better, and what one can that knows how long packets take.

A receiver says the frames in order, so a frame leaves when it and all before it are there or given up. To be whole it has to
wait for what comes late; a gap whose packet is lost looks just like one whose packet is still on its way.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WHOLE = 0.995
"""Share of the recoverable frames that a receiver must have whole."""

EXACT = 0.0002
"""Seconds to which a bound is found."""

Times = npt.NDArray[np.float64]


def may_give_up(came: Times, within: Times) -> int:
    """Recoverable frames a receiver may miss. `came`: when each frame could first be had (inf: never); `within`: until when that
    counts."""
    return int((1.0 - WHOLE) * np.count_nonzero(came <= within) + 1e-9)


def least_delay(sent: Times, due: Times, came: Times, within: Times, share: float, spare: int) -> float:
    """The least delay in seconds that `share` of all frames can have, if the receiver knows the whole trace in advance.

    It fills what never comes the moment it is due, and gives up the `spare` frames that are best given up: no receiver with its
    frames as whole is faster, whatever it does. Times are loop times, one for each frame in the order of sending.
    """
    wanted = int(np.ceil(share * len(sent)))
    low, high = 0.0, float((np.maximum.accumulate(np.where(came <= within, came, due)) - sent).max())
    while high - low > EXACT:
        middle = (low + high) / 2
        if _most_within(sent, due, came, within, middle, spare) >= wanted:
            high = middle
        else:
            low = middle
    return low


def _most_within(sent: Times, due: Times, came: Times, within: Times, delay: float, spare: int) -> int:
    """How many frames can leave within `delay` of their sending."""
    # When the last frame may have left: how many left in time, at most, by the number of frames given up for it.
    lines = {-np.inf: np.zeros(spare + 1)}
    for at, is_due, at_hand, good in zip(sent.tolist(), due.tolist(), came.tolist(), (came <= within).tolist(), strict=True):
        after: dict[float, npt.NDArray[np.float64]] = {}
        for line, counts in lines.items():
            if good:
                _keep(after, max(line, at_hand), counts, at + delay)
                if at_hand > line and spare:
                    _keep(after, max(line, is_due), np.concatenate([[-np.inf], counts[:-1]]), at + delay)
            else:
                _keep(after, max(line, is_due), counts, at + delay)
        lines = after
    return int(max(counts.max() for counts in lines.values()))


def _keep(lines: dict[float, npt.NDArray[np.float64]], line: float, counts: npt.NDArray[np.float64], in_time: float) -> None:
    counts = counts + (line <= in_time)
    known = lines.get(line)
    lines[line] = counts if known is None else np.maximum(known, counts)


def patient(sent: Times, due: Times, came: Times, within: Times, spare: int) -> tuple[Times, float]:
    """Delays of a receiver that does not know the future, only how long packets take, and so waits the same time for every frame
    that is not there; and that time, in seconds: the shortest with which no more than `spare` recoverable frames are given up.

    Where packets are late independently of each other, how long it has waited is all that tells a late one from a lost one.
    """
    low, high = 0.0, float((within - due).max())
    while high - low > EXACT:
        middle = (low + high) / 2
        if _wait(due, came, within, middle)[1] <= spare:
            high = middle
        else:
            low = middle
    return _wait(due, came, within, high)[0] - sent, high


def _wait(due: Times, came: Times, within: Times, patience: float) -> tuple[Times, int]:
    """When each frame left, and how many recoverable ones were given up."""
    left, line, missed = [], -np.inf, 0
    for is_due, at_hand, good in zip(due.tolist(), came.tolist(), (came <= within).tolist(), strict=True):
        until = max(line, is_due + patience)
        missed += good and at_hand > until
        line = max(line, min(at_hand, until))
        left.append(line)
    return np.array(left), missed
