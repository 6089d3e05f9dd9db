"""Which network to take within this budget, for these images, and why.

1. ``rules``: networks that are not made for the data, or that a wish rules out, are dropped.
2. ``limits``: what breaks a limit is dropped; what remains has a margin to each.
3. ``timing``: time comes last, predicted first and measured only where that decides.
4. ``ranking``: of the rest, the order of the objective; the highest published accuracy unless
   another is asked. But fewer than 10,000 small images, with nothing pretrained, do not feed a
   deep net: then the fewest multiply-accumulates.

It knows no deployment, and imports torch only for figures that the catalogue lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from convatlas.errors import BudgetError, OptionError
from convatlas.models.catalogue import find_entry, list_entries
from convatlas.search.advice import advice_on
from convatlas.search.budget import Budget
from convatlas.search.candidate import Candidate, Choice, Neighbour, Task
from convatlas.search.limits import judged, refused, weighed
from convatlas.search.misses import nearest_misses
from convatlas.search.ranking import is_timed, neighbours_of, pareto_names, ranked
from convatlas.search.rules import RULES, candidate_of, is_few, is_priced, is_remembered, made_for
from convatlas.search.timing import Forecaster, Timer, in_time

__all__ = ["Candidate", "Choice", "Forecaster", "Neighbour", "Task", "Timer", "choose"]

_Watch = Callable[[str], Callable[[int, int], None]]
_Parts = tuple[list[Candidate], list[Candidate], list[Candidate]]


def choose(
    budget: Budget,
    data: Task | None = None,
    *,
    name: str | None = None,
    pretrained: bool = True,
    timer: Timer | None = None,
    forecaster: Forecaster | None = None,
    watch: _Watch | None = None,
) -> Choice:
    """Choose a network within ``budget``: for ``data``, or of the whole catalogue.

    Args:
        budget: The limits, and what ranks the networks that meet them.
        data: What the images are; None compares every ImageNet network at its own input size.
        name: Take this network, if it meets the budget.
        pretrained: Whether pretrained weights may be used.
        timer: Measures a candidate's milliseconds for one image, with their interval: of the
            first three of the ranking, when there is a limit on them, or when they are the
            objective and predicted.
        forecaster: Predicts them. With a limit on them and neither of the two, the calibration
            of this machine does.
        watch: Called with what is done for a while; returns what is told (done, total) of it.

    Raises:
        BudgetError: Nothing meets the budget; the nearest misses are named, with what would do.
        CalibrationError: Times have to be predicted, and this machine was never calibrated.
        OptionError: A limit on the time of a GPU without a timer.
        UnknownNameError: No network is called ``name``.
    """
    asked = name is not None
    entries = list_entries() if name is None else [find_entry(name)]

    def part(limits: Budget, sure: str = "") -> _Parts:
        everyone = [candidate_of(entry, data, limits, pretrained=pretrained) for entry in entries]
        fitting, unfit = made_for(everyone, data, limits, asked=asked)
        return *_affordable(fitting, data, limits, sure, watch or _nobody), unfit

    def order(candidates: Sequence[Candidate]) -> list[Candidate]:
        return ranked(candidates, budget.objective, few=is_few(data))

    within, beyond, unfit = part(budget)
    if within and (budget.max_latency_ms is not None or forecaster is not None):
        clock = forecaster or _own_forecaster(budget, data, timer)
        within, slow = in_time(within, budget, order, clock, timer)
        beyond += slow
    if not within:
        told = nearest_misses(
            beyond, unfit, budget, lambda *other: part(*other)[:2], order, forecaster
        )
        raise BudgetError(_nothing([*beyond, *unfit], budget, told))
    kept = _kept(order(within), data)
    return Choice(
        chosen=kept[0],
        reason=_reason(kept, data, budget, asked=asked),
        candidates=(*kept, *beyond, *unfit),
        budget=budget,
        neighbours=neighbours_of(kept[0], kept),
        advice=advice_on(kept[0], data, budget),
    )


def _affordable(
    candidates: Sequence[Candidate], data: Task | None, budget: Budget, sure: str, watch: _Watch
) -> tuple[list[Candidate], list[Candidate]]:
    """Part the candidates by every limit but that on time, with their costs as they are built.

    Memory is counted where it decides: of networks within every other limit whose weights alone
    are not too much; where none fits, of the nearest of those as well, and of ``sure``.
    """
    untimed = replace(budget, max_latency_ms=None)
    if data is None:
        return _parted(candidates, untimed)
    costed = _counted(candidates, data, watch)
    within, beyond = _parted(costed, replace(untimed, max_memory=None, train_memory=None))
    unsure = [each for each in within if not is_remembered(each, untimed)]
    heavy = [each for one in unsure if not (each := weighed(one, untimed)).kept]
    spared = {each.name for each in heavy} - {sure}
    light = _remembered([one for one in within if one.name not in spared], data, untimed, watch)
    fitting, more = _parted(light, untimed)
    heavy = [each for each in heavy if each.name != sure]
    if not fitting:
        heavy = list(_nearest_known(heavy, more, data, untimed))
    return fitting, [*beyond, *more, *heavy]


def _counted(candidates: Sequence[Candidate], data: Task, watch: _Watch) -> list[Candidate]:
    """Return the candidates with the costs that the catalogue cannot know."""
    unknown = [each for each in candidates if not is_priced(each)]
    if not unknown:
        return [*candidates]
    from convatlas.search.costing import as_built

    built = {each.name: as_built(each, data) for each in _watched(unknown, "the cost", watch)}
    return [built.get(each.name, each) for each in candidates]


def _remembered(
    candidates: Sequence[Candidate], data: Task, budget: Budget, watch: _Watch
) -> list[Candidate]:
    """Return the candidates with the memory that the budget limits."""
    unknown = [each for each in candidates if not is_remembered(each, budget)]
    if not unknown:
        return [*candidates]
    from convatlas.search.costing import with_memory

    watched = _watched(unknown, "the memory", watch)
    known = {each.name: with_memory(each, data, budget) for each in watched}
    return [known.get(each.name, each) for each in candidates]


def _nearest_known(
    heavy: Sequence[Candidate], others: Sequence[Candidate], data: Task, budget: Budget
) -> Iterator[Candidate]:
    """Yield networks whose weights are too much, the memory counted of those that may be nearest.

    What the weights lack at the least bounds what the network lacks: once one was counted that
    lacks no more than the weights of the rest, no more need be.
    """
    nearest = max([_lack(each) for each in others], default=-math.inf)
    for each in sorted(heavy, key=_lack, reverse=True):
        found = each
        if _lack(each) > nearest:
            kept = replace(each, kept=True, dropped_by="")
            found = judged(_remembered([kept], data, budget, _nobody)[0], budget)
            nearest = max(nearest, _lack(found))
        yield found


def _lack(candidate: Candidate) -> float:
    """Return the smallest margin, which is negative where something is too much."""
    return min(candidate.margins.values())


def _watched(candidates: Sequence[Candidate], what: str, watch: _Watch) -> Iterator[Candidate]:
    """Yield the candidates, and tell how far it is."""
    show = watch(f"counting {what} of networks")
    for number, each in enumerate(candidates):
        show(number, len(candidates))
        yield each
    show(len(candidates), len(candidates))


def _nobody(_what: str) -> Callable[[int, int], None]:
    """Watch for nobody."""
    return lambda *_: None


def _parted(
    candidates: Sequence[Candidate], budget: Budget
) -> tuple[list[Candidate], list[Candidate]]:
    found = [judged(candidate, budget) for candidate in candidates]
    return [each for each in found if each.kept], [each for each in found if not each.kept]


def _own_forecaster(budget: Budget, data: Task | None, timer: Timer | None) -> Forecaster:
    """Return the calibration's forecaster, unless somebody measures."""
    if timer is not None:
        return lambda _: None
    if budget.on != "cpu":
        raise OptionError(
            f"the time on {budget.on} can only be measured: pass a timer, or leave "
            "max_latency_ms out"
        )
    from convatlas.search.forecasting import calibrated

    return calibrated(data)


def _kept(ranking: Sequence[Candidate], data: Task | None) -> list[Candidate]:
    """Return the candidates with why they stay, and with their places in the Pareto set."""
    front = pareto_names(ranking)
    kept = []
    for candidate in ranking:
        start = "no weights at hand" if data is None else "from scratch"
        if candidate.weights:
            start = f"{candidate.weights} weights"
        published = f"{candidate.top1:.1f} % on {candidate.dataset}, " if candidate.top1 else ""
        reason = f"within the budget, {published}{start}"
        kept.append(replace(candidate, reason=reason, pareto=candidate.name in front))
    return kept


def _reason(kept: Sequence[Candidate], data: Task | None, budget: Budget, *, asked: bool) -> str:
    best = kept[0]
    if asked:
        return f"{best.name} was asked for and meets the budget."
    if len(kept) == 1:
        these = "network" if data is None else "network for such images"
        return f"{best.name} is the only {these} within the budget."
    rivals = f"of the {len(kept)} networks within the budget"
    if budget.objective == "balanced":
        return (
            f"{best.name} is the best balance {rivals}: {best.top1:.1f} % on {best.dataset} for "
            f"{best.cost.macs / 1e6:,.0f} M MACs, nearest to the most accurate and the cheapest "
            "at once."
        )
    if budget.objective == "latency":
        return f"{best.name} {_fastest(kept, rivals)}"
    if data is not None and is_few(data):
        return (
            f"{best.name} has the fewest multiply-accumulates {rivals}: "
            f"{data.train_images:,} small images do not feed a deeper one."
        )
    start = "with pretrained weights at hand" if best.weights else "trained from scratch"
    how = "" if data is None else f", {start}"
    return f"{best.name} has the highest published accuracy {rivals}{how}."


def _fastest(kept: Sequence[Candidate], rivals: str) -> str:
    count = sum(is_timed(each) for each in kept)
    if count:
        figure = kept[0].figures["latency_ms"]
        among = rivals if count == len(kept) else f"of the {count} timed {rivals}"
        return f"takes the shortest time {among}, {figure.value:.3g} ms ({figure.origin})."
    return (
        f"has the fewest multiply-accumulates {rivals}; they stand in for the time, which is not "
        "known."
    )


def _nothing(dropped: Sequence[Candidate], budget: Budget, told: str) -> str:
    """Say that nothing meets the budget, and with ``told`` what would have to give way."""
    unfit = [each for each in dropped if each.dropped_by in RULES]
    if budget.family:
        unfit = [each for each in unfit if find_entry(each.name).family.name == budget.family]
    if budget.family or not told:
        nearest = [f"{each.name}: {each.reason}" for each in (unfit or ([] if told else dropped))]
        told = "; or ".join([*nearest[:1], *([told] if told else [])])
    return f"no network meets the budget; the nearest: {told}{_narrowed(dropped, budget)}"


def _narrowed(dropped: Sequence[Candidate], budget: Budget) -> str:
    """Say that only networks with weights at hand were looked at, where that is so."""
    if all(each.dropped_by != "weights" for each in dropped):
        return ""
    count = sum(bool(each.weights) and not refused(each, budget)[0] for each in dropped)
    at_hand = f"the {count} networks with weights at hand"
    if count == 1:
        at_hand = "the only network with weights at hand, convatlas[weights] brings more"
    return f" (of {at_hand}; pretrained=False looks at all)"
