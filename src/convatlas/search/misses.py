"""What is said when nothing meets a budget: the nearest networks, and what would let them in.

Every way out is tried before it is told: a budget that is relaxed as told chooses that network.
Only times that were not measured can prove it wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from convatlas.search.budget import Budget
from convatlas.search.candidate import Candidate
from convatlas.search.limits import Check, checks, wish_words
from convatlas.search.timing import Forecaster, expected

__all__ = ["Ask", "nearest_misses"]

Ask = Callable[[Budget, str], tuple[list[Candidate], list[Candidate]]]
"""Parts the networks that the data and a budget's wishes allow: within its limits, and beyond.

The figures of the one whose name is given are known for sure; "" for none.
"""

_Order = Callable[[Sequence[Candidate]], list[Candidate]]

_NO_WISH: dict[str, Any] = {"family": None, "licence": None, "needs_weights": False}
_MISSES = 3
_TRIALS = 4


@dataclass(frozen=True, slots=True)
class _Way:
    """A network, and what would have to give way for it.

    Attributes:
        candidate: The network.
        broken: Limits that it breaks.
        unseen: Limits on figures that nobody looked at, because another was broken before.
        wishes: Fields of the budget that would have to be left out.
    """

    candidate: Candidate
    broken: tuple[Check, ...]
    unseen: tuple[str, ...]
    wishes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All that would have to give way."""
        return (*[each.name for each in self.broken], *self.wishes)

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """What ways are sorted by, the nearest first."""
        worst = max([each.excess for each in self.broken], default=1.0)
        return len(self.names) > _MISSES, bool(self.unseen), len(self.wishes), worst

    def words(self, budget: Budget) -> str:
        """Return what is told of what stands against the network."""
        told = [f"{each.words} ({each.remedy})" for each in self.broken]
        if self.wishes:
            against = [wish_words(self.candidate, each, budget) for each in self.wishes]
            told.append(
                f"{' and '.join(filter(None, against))} (leave {' and '.join(self.wishes)} out)"
            )
        open_end = f", {' and '.join(self.unseen)} not looked at" if self.unseen else ""
        return f"{self.candidate.name}: {' and '.join(told)}{open_end}"


def nearest_misses(
    beyond: Sequence[Candidate],
    refused: Sequence[Candidate],
    budget: Budget,
    ask: Ask,
    order: _Order,
    forecaster: Forecaster | None = None,
) -> str:
    """Say what nearly meets the budget, and which limits would have to be what.

    One network for each set of limits that would have to give way; up to three sets, the nearest
    first, and of up to three limits if there are any such. Limits on figures that nobody looked
    at are named; such networks come last.

    Args:
        beyond: Networks that would do but for the limits, with their times as far as known.
        refused: Those that the data or a wish rule out.
        budget: What none of them meets.
        ask: Looks at all networks again for another budget; times are left out.
        order: Ranks networks, the best first.
        forecaster: Predicts the time of a network that a wish rules out, where time is limited.
    """
    names = {each.name for each in refused}
    ways = [_way(each, budget) for each in beyond]
    ways += _without_wishes(budget, ask, order, names)
    if forecaster is not None and budget.max_latency_ms is not None:
        ways = list(_in_time(ways, budget, forecaster))
    trial = _Trial(ways, budget, ask, order)
    told: dict[tuple[str, ...], str] = {}
    tried: set[tuple[str, ...]] = set()
    for way in sorted(ways, key=lambda way: way.rank):
        if len(told) == _MISSES:
            break
        if way.names and way.names not in tried:
            tried.add(way.names)
            if found := trial.outcome(way):
                told.setdefault(found.names, found.words(budget))
    return "; or ".join(told.values())


class _Trial:
    """Follows ways out, to see where they lead.

    Args:
        ways: All of them.
        budget: What is asked.
        ask: See :func:`nearest_misses`.
        order: The same.
    """

    def __init__(self, ways: Sequence[_Way], budget: Budget, ask: Ask, order: _Order) -> None:
        self._known = {(way.candidate.name, way.names) for way in ways}
        self._times = {way.candidate.name: way.candidate.cost.latency_ms for way in ways}
        self._budget = budget
        self._ask = ask
        self._order = order

    def outcome(self, way: _Way) -> _Way | None:
        """Return the way that leads to its own network, or None where less is enough."""
        for _ in range(_TRIALS):
            name, relaxed = way.candidate.name, _relaxed(self._budget, way)
            parts = self._ask(relaxed, name)
            within, beyond = ([self._timed(one) for one in part] for part in parts)
            itself = next(one for one in (*within, *beyond) if one.name == name)
            seen = _way(itself, self._budget, way.wishes)
            if seen.names != way.names:  # its memory was looked at now, and is too much
                way = seen
                continue
            best = self._order([one for one in within if _fits(one, relaxed, name)])
            if not best or best[0].name == name:
                return seen
            if (best[0].name, way.names) not in self._known:
                return None
            way = _way(best[0], self._budget, way.wishes)
        return None

    def _timed(self, candidate: Candidate) -> Candidate:
        time = self._times.get(candidate.name)
        return replace(candidate, cost=replace(candidate.cost, latency_ms=time))


def _without_wishes(budget: Budget, ask: Ask, order: _Order, refused: Set[str]) -> Iterator[_Way]:
    """Yield the ways that leave out a wish, or, where that does not help, all of them.

    Where time is limited, they lead to the fewest multiply-accumulates instead of the best.
    """
    asked = [name for name, none in _NO_WISH.items() if getattr(budget, name) != none]
    found: set[str] = set()
    for wishes in [*((each,) for each in asked), *([tuple(asked)] if len(asked) > 1 else [])]:
        within, beyond = ask(replace(budget, **{name: _NO_WISH[name] for name in wishes}), "")
        within = [one for one in within if one.name in refused]
        best = order(within)[:1]
        if within and budget.max_latency_ms is not None:
            best = [min(within, key=lambda one: one.cost.macs)]
        allowed = [*best, *(one for one in beyond if one.name in refused)]
        if len(wishes) == 1 or not found:
            yield from (_way(one, budget, wishes) for one in allowed)
        found.update(one.name for one in allowed)


def _in_time(ways: Iterable[_Way], budget: Budget, forecaster: Forecaster) -> Iterator[_Way]:
    """Yield the ways, but of a wish alone only where time does not stand against it."""
    for way in ways:
        if way.broken or not way.wishes:
            yield way
            continue
        one = expected(way.candidate, forecaster(way.candidate), budget)
        if one.kept or one.cost.latency_ms is not None:
            yield _way(one, budget, way.wishes)


def _way(candidate: Candidate, budget: Budget, wishes: tuple[str, ...] = ()) -> _Way:
    found = [each for each in checks(candidate, budget) if each.excess > 1]
    broken = [each for each in found if each.value is not None]
    if not broken and not wishes:
        broken = found
    unseen = tuple([each.name for each in found if each not in broken])
    return _Way(candidate, tuple(broken), unseen, wishes)


def _relaxed(budget: Budget, way: _Way) -> Budget:
    """Return the budget after what is told of a way."""
    limits: dict[str, Any] = {each.name: each.enough for each in way.broken}
    return replace(budget, **limits, **{name: _NO_WISH[name] for name in way.wishes})


def _fits(candidate: Candidate, budget: Budget, name: str) -> bool:
    """Whether a network is within; of the one called ``name``, as far as that is known."""
    found = [each for each in checks(candidate, budget) if each.excess > 1]
    return all(each.value is None and candidate.name == name for each in found)
