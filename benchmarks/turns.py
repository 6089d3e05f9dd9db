"""Ratios of two durations, measured in turns, so that a noisy machine slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

__all__ = ["Comparison", "compare"]

_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the turns gave.

    Attributes:
        ratio: Median over the turns of our time divided by theirs in the same turn.
        low: First quartile of these.
        high: Third quartile.
        ours_ms: Median of our times, in milliseconds.
        theirs_ms: Median of theirs.
    """

    ratio: float
    low: float
    high: float
    ours_ms: float
    theirs_ms: float

    def cells(self) -> str:
        """Return the row of a table."""
        times = f"{self.ours_ms:>10.1f}{self.theirs_ms:>10.1f}"
        return f"{times}{self.ratio:>8.3f}   {self.low:.3f}–{self.high:.3f}"


HEADERS = f"{'ours ms':>10}{'theirs ms':>10}{'ratio':>8}   {'middle half'}"


def compare(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    turns: int,
    clock: Callable[[], float] = time.process_time,
) -> Comparison:
    """Time both ``turns`` times, first one and then the other, and in the next turn the reverse.

    Args:
        ours: What is timed.
        theirs: What it is compared with.
        turns: Number of pairs, after three that are not counted.
        clock: Seconds: processor time, which other programs disturb least, or the wall's where
            several threads share the work.
    """
    pairs = []
    for turn in range(-_WARM_UP, turns):
        if turn % 2:
            pair = _seconds(ours, clock), _seconds(theirs, clock)
        else:
            pair = (_seconds(theirs, clock), _seconds(ours, clock))[::-1]
        if turn >= 0:
            pairs.append(pair)
    ratios = [mine / other for mine, other in pairs]
    low, middle, high = quantiles(ratios, n=4)
    milliseconds = [1000 * median(side) for side in zip(*pairs, strict=True)]
    return Comparison(middle, low, high, *milliseconds)


def _seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start
