"""The limits of a budget, held against one network: what is left, what is broken, what would do.

It knows neither the data nor how networks are ranked.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace

from convatlas.models.catalogue import find_entry
from convatlas.search.budget import PERMISSIVE, Budget
from convatlas.search.candidate import Candidate

__all__ = [
    "LIMITS",
    "Check",
    "Limit",
    "checks",
    "judged",
    "licence_words",
    "refused",
    "weighed",
    "wish_words",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A number that networks are held against.

    Attributes:
        name: The field of ``Budget``.
        figure: The field of ``Cost`` that it limits, or ``"top1"``; empty for the smallest input.
        words: What the figure is.
        short: The same as the header of a column.
        value: Writes the figure of a network, in the limit's unit.
        bound: Writes the limit.
        unit: One of the limit's units in those of the figure.
        prefixed: Whether k, M and G stand before the unit.
        is_floor: Whether the figure must be at least so much, not at most.
    """

    name: str
    figure: str
    words: str
    short: str
    value: str
    bound: str = "{}"
    unit: float = 1.0
    prefixed: bool = False
    is_floor: bool = False


LIMITS = (
    Limit(
        name="max_params",
        figure="params",
        words="parameters",
        short="params",
        value="{} parameters",
        prefixed=True,
    ),
    Limit(
        name="max_macs",
        figure="macs",
        words="MACs",
        short="MACs",
        value="{} MACs",
        prefixed=True,
    ),
    Limit(
        name="max_size_mb",
        figure="size_bytes",
        words="size of the weights",
        short="size",
        value="{} MB of weights",
        bound="{} MB",
        unit=1e6,
    ),
    Limit(
        name="max_memory",
        figure="memory_bytes",
        words="memory of one image",
        short="memory",
        value="{}B in inference",
        bound="{}B",
        prefixed=True,
    ),
    Limit(
        name="train_memory",
        figure="train_bytes",
        words="memory of a training step",
        short="training",
        value="{}B in training",
        bound="{}B",
        prefixed=True,
    ),
    Limit(
        name="max_latency_ms",
        figure="latency_ms",
        words="latency of one image",
        short="latency",
        value="{} ms",
        bound="{} ms",
    ),
    Limit(
        name="min_top1",
        figure="top1",
        words="published top-1 accuracy",
        short="top-1",
        value="{} % top-1",
        bound="{} %",
        is_floor=True,
    ),
    Limit(
        name="min_input",
        figure="",
        words="smallest input",
        short="input",
        value="inputs from {} px",
        bound="{} px",
    ),
)
"""Every limit of a budget; what else it asks (family, licence, export …) are wishes."""

_NAMED = {limit.name: limit for limit in LIMITS}
_UNSTATED = "not stated"
_LEARNING_BYTES = 8  # of each parameter: its gradient and its momentum in single precision
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


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
        limit = _NAMED[self.name]
        told = _prefixed if limit.prefixed else _plain
        value = "unknown" if self.value is None else told(self.value)
        return f"{limit.value.format(value)}, limit {limit.bound.format(told(self.bound))}"

    @property
    def enough(self) -> float | None:
        """The limit that would do, rounded to what is told of it; None for no limit."""
        if self.value is None:
            return None
        if self.name == "min_top1":
            return math.floor(self.value * 10) / 10
        return _raised(self.value)

    @property
    def remedy(self) -> str:
        """What to ask for instead: ``"max_macs=384M would do"``."""
        if self.enough is None:
            return f"leave {self.name} out"
        limit, told = _NAMED[self.name], f"{self.enough:g}"
        if limit.prefixed:
            told = limit.bound.format(_prefixed(self.enough)).replace(" ", "")
        return f"{self.name}={told} would do"


def checks(candidate: Candidate, budget: Budget) -> list[Check]:
    """Hold every limit that was set against a network."""
    found = []
    for limit in LIMITS:
        if (bound := getattr(budget, limit.name)) is None:
            continue
        value = _figure(candidate, limit)
        found.append(Check(limit.name, None if value is None else value / limit.unit, bound))
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


def weighed(candidate: Candidate, budget: Budget) -> Candidate:
    """Return the candidate; dropped if its weights alone need more memory than is allowed.

    Memory that is not known yet is at least that of the weights, and in training of their
    gradients and momentum as well; so what is hopeless needs no counting.
    """
    cost = candidate.cost
    size = cost.size_bytes or 0
    known = {"memory_bytes": cost.memory_bytes, "train_bytes": cost.train_bytes}
    floors = {"memory_bytes": size, "train_bytes": size + _LEARNING_BYTES * cost.params}
    least = {name: floors[name] if value is None else value for name, value in known.items()}
    found = judged(replace(candidate, cost=replace(cost, **least)), budget)
    if found.kept:
        return candidate
    return replace(found, cost=cost, reason=f"at least {found.reason}")


def refused(candidate: Candidate, budget: Budget) -> tuple[str, str]:
    """Return which wish that is no number drops a candidate, and why; empty if none does."""
    entry = find_entry(candidate.name)
    if budget.family and entry.family.name != budget.family:
        return "family", wish_words(candidate, "family", budget)
    if not budget.needs_weights or candidate.weights:
        return "", ""
    licences = {source.licence for source in entry.weights}
    is_barred = budget.licence and licences and PERMISSIVE.isdisjoint(licences)
    wish = "licence" if is_barred else "needs_weights"
    return wish, wish_words(candidate, wish, budget)


def wish_words(candidate: Candidate, wish: str, budget: Budget) -> str:
    """Say what stands against a network where one wish is the reason; empty if nothing does.

    Args:
        candidate: The network, with the weights that it has without the wish.
        wish: The field of ``Budget``: ``"family"``, ``"licence"`` or ``"needs_weights"``.
        budget: What is asked.
    """
    entry = find_entry(candidate.name)
    if wish == "family":
        own = entry.family.name
        return "" if own == budget.family else f"of the family {own}, asked was {budget.family}"
    if wish == "licence":
        barred = {source.licence for source in entry.weights} - PERMISSIVE
        return licence_words(barred) if barred else ""
    if candidate.weights:
        return ""
    return f"no pretrained weights to use{' under a permissive licence' if budget.licence else ''}"


def licence_words(licences: Set[str], where: str = "") -> str:
    """Say that weights are under no permissive licence; ``where`` they are: ``" at hand"``."""
    stated = sorted(licences - {_UNSTATED})
    if not stated:
        return f"the licence of its weights{where} is not stated, asked was permissive"
    return f"its weights{where} are under {', '.join(stated)}, asked was permissive"


def _figure(candidate: Candidate, limit: Limit) -> float | None:
    if not limit.figure:
        return find_entry(candidate.name).min_input_size
    if limit.figure == "top1":
        return candidate.top1
    value: float | None = getattr(candidate.cost, limit.figure)
    return value


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
