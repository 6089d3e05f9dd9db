"""Which of the networks within a budget come first, and what a little more or less costs.

It knows figures, but neither the data nor where the figures come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from convatlas.search.candidate import Candidate, Neighbour

__all__ = ["compromise", "is_timed", "neighbours_of", "pareto_names", "ranked"]

_EACH_SIDE = 2
_SAVED = 1.2  # chosen per cheaper MACs from which a saving is worth a word


def ranked(candidates: Iterable[Candidate], objective: str, *, few: bool) -> list[Candidate]:
    """Return the candidates, best first.

    Args:
        candidates: Networks within the budget.
        objective: ``"accuracy"``: the highest published top-1. ``"latency"``: the fewest
            milliseconds first; those whose time is not known follow, the fewest
            multiply-accumulates first.
            ``"balanced"``: see :func:`compromise`.
        few: Whether the images are too few for a deep network; then ``"accuracy"`` means the
            fewest multiply-accumulates.
    """
    found = list(candidates)
    if objective == "balanced":
        distance = compromise(found)
        return sorted(found, key=lambda each: (distance[each.name], each.cost.macs))
    if objective == "latency":
        return sorted(found, key=_fewest_milliseconds)
    return sorted(found, key=_fewest_macs if few else _most_accurate)


def compromise(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Return how far each network is from the ideal one, as accurate and as cheap as any.

    Accuracy and the logarithm of the multiply-accumulates are each scaled by their range on the
    Pareto front of the two, and the two distances are added: the smallest sum marks the knee of
    the front. Networks without an accuracy are infinitely far.

    Source: Chiu, Yen, Juan, "Minimum Manhattan Distance Approach to Multiple Criteria Decision
    Making in Multiobjective Optimization Problems", 2017, arXiv 1705.01705.
    """
    front = _front(candidates)
    if not front:
        return {candidate.name: math.inf for candidate in candidates}
    best, worst = front[-1].top1 or 0.0, front[0].top1 or 0.0
    least, most = math.log(front[0].cost.macs), math.log(front[-1].cost.macs)

    def distance(candidate: Candidate) -> float:
        if candidate.top1 is None:
            return math.inf
        error = (best - candidate.top1) / ((best - worst) or 1.0)
        return error + (math.log(candidate.cost.macs) - least) / ((most - least) or 1.0)

    return {candidate.name: distance(candidate) for candidate in candidates}


def pareto_names(candidates: Sequence[Candidate]) -> set[str]:
    """Return the networks that no other beats.

    One beats another that is no better in accuracy, multiply-accumulates and, where both are
    timed, latency, when it is better in one of them. Networks without an accuracy have no part.
    """
    rivals = [candidate for candidate in candidates if candidate.top1 is not None]
    return {one.name for one in rivals if not any(_beats(other, one) for other in rivals)}


def neighbours_of(chosen: Candidate, candidates: Sequence[Candidate]) -> tuple[Neighbour, ...]:
    """Return what the Pareto front of accuracy and multiply-accumulates offers beside a network.

    Up to two networks that save a sixth of the multiply-accumulates or more, and two dearer ones
    that are more accurate; the nearest, the cheapest first.
    """
    if chosen.top1 is None:
        return ()
    front = [each for each in _front(candidates) if each.name != chosen.name]
    cheaper = [each for each in front if _SAVED * each.cost.macs <= chosen.cost.macs]
    dearer = [each for each in front if each.cost.macs >= chosen.cost.macs]
    better = [each for each in dearer if (each.top1 or 0.0) > chosen.top1]
    beside = (*cheaper[-_EACH_SIDE:], *better[:_EACH_SIDE])
    return tuple(_neighbour(chosen, chosen.top1, each) for each in beside)


def is_timed(candidate: Candidate) -> bool:
    """Whether the time of a network is known, measured or predicted."""
    return candidate.cost.latency_ms is not None


def _front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the Pareto front of accuracy and multiply-accumulates, the cheapest first."""
    known = [candidate for candidate in candidates if candidate.top1 is not None]
    front: list[Candidate] = []
    for candidate in sorted(known, key=lambda each: (each.cost.macs, -(each.top1 or 0.0))):
        if not front or (candidate.top1 or 0.0) > (front[-1].top1 or 0.0):
            front.append(candidate)
    return front


def _beats(one: Candidate, other: Candidate) -> bool:
    gains = [(one.top1 or 0.0) - (other.top1 or 0.0), float(other.cost.macs - one.cost.macs)]
    if one.cost.latency_ms is not None and other.cost.latency_ms is not None:
        gains.append(other.cost.latency_ms - one.cost.latency_ms)
    return min(gains) >= 0 and max(gains) > 0


def _neighbour(chosen: Candidate, top1: float, other: Candidate) -> Neighbour:
    gain = (other.top1 or 0.0) - top1
    ratio = other.cost.macs / chosen.cost.macs
    points = f"{gain:+.1f}" if abs(gain) >= 0.05 else f"{gain:+.2f}"
    times = f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"
    return Neighbour(other.name, gain, ratio, f"{points} points for {times}× the MACs")


def _most_accurate(candidate: Candidate) -> tuple[float, float]:
    return -(candidate.top1 or 0.0), candidate.cost.macs


def _fewest_macs(candidate: Candidate) -> tuple[float, float]:
    return candidate.cost.macs, -(candidate.top1 or 0.0)


def _fewest_milliseconds(candidate: Candidate) -> tuple[bool, float, float, float]:
    return not is_timed(candidate), candidate.cost.latency_ms or 0.0, *_fewest_macs(candidate)
