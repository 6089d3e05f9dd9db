"""A budget held against one network: what is left of each limit, what is broken, what would do.

It knows neither the data nor how networks are ranked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from convatlas.models.catalogue import find_entry
from convatlas.search.budget import PERMISSIVE, Budget
from convatlas.search.candidate import Candidate

__all__ = ["Check", "checks", "judged", "nearest_misses", "refused"]


class _Kind(NamedTuple):
    """What a limit is about: a field of ``Cost``, its units in one of the limit's, and words."""

    figure: str
    per: float
    value: str
    bound: str
    prefixed: bool = False


_KINDS = {
    "max_params": _Kind("params", 1, "{} parameters", "{}", True),
    "max_macs": _Kind("macs", 1, "{} MACs", "{}", True),
    "max_latency_ms": _Kind("latency_ms", 1, "{} ms", "{} ms"),
    "max_memory": _Kind("memory_bytes", 1, "{}B in inference", "{}B", True),
    "train_memory": _Kind("train_bytes", 1, "{}B in training", "{}B", True),
    "max_size_mb": _Kind("size_bytes", 1e6, "{} MB of weights", "{} MB"),
    "min_top1": _Kind("", 1, "{} % top-1", "{} %"),
    "min_input": _Kind("", 1, "inputs from {} px", "{} px"),
}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_MISSES = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One limit held against one network.

    Attributes:
        name: The field of ``Budget``.
        value: What the network has, in the limit's unit, or None if nobody knows.
        bound: The limit.
    """

    name: str
    value: float | None
    bound: float

    @property
    def excess(self) -> float:
        """How far it is off as a ratio, up to 1 within; infinite if unknown.

        A value over its limit; for the accuracy, the error over the largest error allowed.
        """
        if self.value is None:
            return math.inf
        if self.name == "min_top1":
            return (100 - self.value) / max(100 - self.bound, 1e-3)
        return self.value / self.bound

    @property
    def margin(self) -> float | None:
        """The share of the limit that is left; negative if it is broken, None if unknown."""
        if self.value is None:
            return None
        left = 1 - self.value / self.bound
        return -left if self.name == "min_top1" else left

    @property
    def words(self) -> str:
        """Value and limit: ``"383.9 M MACs, limit 1 M"``."""
        kind = _KINDS[self.name]
        told = _prefixed if kind.prefixed else _plain
        value = "unknown" if self.value is None else told(self.value)
        return f"{kind.value.format(value)}, limit {kind.bound.format(told(self.bound))}"

    @property
    def remedy(self) -> str:
        """What to ask for instead: ``"max_macs=384M would do"``."""
        if self.value is None:
            return f"leave {self.name} out"
        kind, unit = _KINDS[self.name], ""
        if self.name == "min_top1":
            enough = f"{math.floor(self.value * 10) / 10:g}"
        elif kind.prefixed:
            enough = _prefixed(_raised(self.value)).replace(" ", "")
            unit = "B" if kind.bound == "{}B" else ""
        else:
            enough = f"{_raised(self.value):g}"
        return f"{self.name}={enough}{unit} would do"


def checks(candidate: Candidate, budget: Budget) -> list[Check]:
    """Hold every limit that was set against a network."""
    found = []
    for name, kind in _KINDS.items():
        if (bound := getattr(budget, name)) is None:
            continue
        value: float | None
        if name == "min_top1":
            value = candidate.top1
        elif name == "min_input":
            value = find_entry(candidate.name).min_input_size
        else:
            cost = getattr(candidate.cost, kind.figure)
            value = None if cost is None else cost / kind.per
        found.append(Check(name, value, bound))
    return found


def judged(candidate: Candidate, budget: Budget) -> Candidate:
    """Return the candidate with its margins; dropped by the limit that it breaks most, if any."""
    found = checks(candidate, budget)
    margins = {each.name: each.margin for each in found if each.margin is not None}
    worst = max(found, key=lambda each: each.excess, default=None)
    if worst is None or worst.excess <= 1:
        return replace(candidate, margins=margins)
    return replace(
        candidate, margins=margins, kept=False, reason=worst.words, dropped_by=worst.name
    )


def refused(candidate: Candidate, budget: Budget) -> tuple[str, str]:
    """Return which wish that is no number drops a candidate, and why; empty if none does."""
    entry = find_entry(candidate.name)
    if budget.family and entry.family.name != budget.family:
        return "family", f"of the family {entry.family.name}, asked was {budget.family}"
    if not budget.needs_weights or candidate.weights:
        return "", ""
    licences = sorted({source.licence for source in entry.weights})
    if budget.licence and licences and PERMISSIVE.isdisjoint(licences):
        return "licence", f"its weights are under {', '.join(licences)}, asked was permissive"
    return "needs_weights", "no pretrained weights to use"


def nearest_misses(candidates: Iterable[Candidate], budget: Budget) -> str:
    """Say what nearly meets the budget, and which limits would have to be what.

    One network, the nearest, for each set of limits that would have to give way; up to three
    sets, and of up to three limits if there are any such. Limits on figures that nobody looked
    at, because another was broken before, are named; such networks come last.

    Args:
        candidates: Networks that would do but for the budget.
        budget: What none of them meets.
    """
    nearest: dict[tuple[str, ...], tuple[tuple[bool, bool, bool, float], str]] = {}
    for candidate in candidates:
        found = [each for each in checks(candidate, budget) if each.excess > 1]
        broken = [each for each in found if each.value is not None] or found
        unseen = [each.name for each in found if each not in broken]
        wish, why = refused(candidate, budget)
        if not wish and candidate.dropped_by == "licence":
            wish, why = "licence", candidate.reason
        names = tuple([each.name for each in broken] + ([wish] if wish else []))
        told = [f"{each.words} ({each.remedy})" for each in broken]
        told += [f"{why} (leave {wish} out)"] if wish else []
        open_end = f", {' and '.join(unseen)} not looked at" if unseen else ""
        worst = max([each.excess for each in broken], default=1.0)
        rank = (len(names) > _MISSES, bool(unseen), bool(wish), worst)
        if names and (names not in nearest or rank < nearest[names][0]):
            nearest[names] = (rank, f"{candidate.name}: {' and '.join(told)}{open_end}")
    return "; or ".join([words for _, words in sorted(nearest.values())[:_MISSES]])


def _raised(value: float) -> float:
    """Round up to three digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2) if value > 0 else 1.0
    return math.ceil(value / step - 1e-9) * step


def _prefixed(value: float) -> str:
    for factor, prefix in _PREFIXES:
        if value >= factor:
            return f"{value / factor:.4g} {prefix}"
    return f"{value:.4g}"


def _plain(value: float) -> str:
    return f"{value:.4g}"
