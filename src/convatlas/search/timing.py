"""Which candidates are in time: predicted first, measured only where that decides.

Seconds of measuring are spent on the first networks of the ranking alone. It knows neither
machines nor torch: who predicts and who measures is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from convatlas.search.budget import Budget
from convatlas.search.candidate import Candidate
from convatlas.search.figures import Figure
from convatlas.search.limits import judged

__all__ = ["Forecaster", "Timer", "expected", "in_time"]

Timer = Callable[[Candidate], Figure]
"""Measures the milliseconds of a candidate for one image; whatever it gives counts as measured."""

Forecaster = Callable[[Candidate], Figure | None]
"""Predicts them with an interval, or does not know; without an upper end, they are the least."""

_SURE = 3  # networks of the ranking whose time is measured, however clear the prediction


def in_time(
    candidates: Sequence[Candidate],
    budget: Budget,
    order: Callable[[Sequence[Candidate]], list[Candidate]],
    forecaster: Forecaster,
    timer: Timer | None,
) -> tuple[list[Candidate], list[Candidate]]:
    """Part the candidates by the limit on their time, with what is known of it.

    Whose interval lies above the limit is dropped. Of the others the first three of the ranking
    are measured, and the next one for each that turns out too slow. The rest is judged by the
    median predicted; where nobody knows the time, it is dropped. When nothing is in time, the
    nearest is measured, so that what is said of it is sure.

    Args:
        candidates: Networks within every other limit.
        budget: Its limit on time, where it counts, and whether time is the objective.
        order: Ranks candidates, best first.
        forecaster: Predicts the time.
        timer: Measures it; None for predictions alone.
    """
    pending: list[Candidate] = []
    slow: list[Candidate] = []
    for candidate in candidates:
        told = expected(candidate, forecaster(candidate), budget)
        (pending if told.kept else slow).append(told)
    matters = budget.max_latency_ms is not None or budget.objective == "latency"
    while timer is not None and matters:
        unmeasured = [each for each in order(pending)[:_SURE] if not _is_measured(each)]
        if not unmeasured:
            break
        measured = _measured(unmeasured[0], budget, timer)
        pending.remove(unmeasured[0])
        (pending if measured.kept else slow).append(measured)
    found = [_final(each, budget, timed=timer is not None) for each in pending]
    slow += [each for each in found if not each.kept]
    within = [each for each in found if each.kept]
    if not within and slow and timer is not None:
        nearest = min(slow, key=lambda each: (each.cost.latency_ms or math.inf, each.cost.macs))
        slow.remove(nearest)
        measured = nearest if _is_measured(nearest) else _measured(nearest, budget, timer)
        (within if measured.kept else slow).append(measured)
    return within, slow


def expected(candidate: Candidate, figure: Figure | None, budget: Budget) -> Candidate:
    """Return the candidate with its predicted time; dropped if even the least is too much."""
    if figure is None:
        return candidate
    limit = math.inf if budget.max_latency_ms is None else budget.max_latency_ms
    least = figure.value if figure.low is None else figure.low
    if figure.origin == "measured":
        return judged(_timed(candidate, figure), budget)
    if figure.low is not None and figure.high is None:
        return candidate if least <= limit else _late(candidate, f"at least {least:.3g} ms", limit)
    known = _timed(candidate, figure)
    return known if least <= limit else judged(known, budget)


def _measured(candidate: Candidate, budget: Budget, timer: Timer) -> Candidate:
    """Return the candidate with its measured time, kept or dropped by it."""
    figure = replace(timer(candidate), origin="measured")
    return judged(replace(_timed(candidate, figure), kept=True, dropped_by=""), budget)


def _final(candidate: Candidate, budget: Budget, *, timed: bool) -> Candidate:
    """Judge a candidate by what is known in the end."""
    if candidate.cost.latency_ms is None and budget.max_latency_ms is not None:
        if timed:
            why = "time unknown: not measured, for better ones are in time"
            return replace(candidate, kept=False, dropped_by="unmeasured", reason=why)
        return _late(candidate, "time unknown: not predicted", budget.max_latency_ms)
    return judged(candidate, budget)


def _late(candidate: Candidate, why: str, limit: float) -> Candidate:
    return replace(
        candidate,
        kept=False,
        dropped_by="max_latency_ms",
        reason=f"{why}, limit {limit:.4g} ms",
    )


def _timed(candidate: Candidate, figure: Figure) -> Candidate:
    return replace(
        candidate,
        cost=replace(candidate.cost, latency_ms=figure.value),
        figures={**candidate.figures, "latency_ms": figure},
    )


def _is_measured(candidate: Candidate) -> bool:
    figure = candidate.figures.get("latency_ms")
    return figure is not None and figure.origin == "measured"
