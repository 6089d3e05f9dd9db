"""Which network for these images, within this budget, and why.

The rules, in order:

1. Images of up to 64 pixels are looked at in their own size by networks that were
   designed for such images; larger ones by the ImageNet networks at their own input size.
2. Below 100,000 photos, pretrained weights at hand beat training from scratch.
3. What breaks the budget is dropped.
4. Of the rest, the highest published accuracy; but fewer than 10,000 small images, with
   nothing pretrained, do not feed a deep net: then the fewest multiply-accumulates.

It knows no deployment, and imports torch only for figures that the catalogue lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from convatlas.errors import BudgetError
from convatlas.models.catalogue import Entry, find_entry, list_entries
from convatlas.search.budget import Budget, Cost

__all__ = ["Candidate", "Choice", "Task", "choose"]

_SMALL_IMAGE = 64
_MANY_PHOTOS = 100_000
_FEW_SMALL_IMAGES = 10_000

Timer = Callable[["Candidate"], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the choice needs to know of the data.

    Attributes:
        image_size: Median of the images' shorter sides, in pixels.
        channels: 1 for grey images, 3 for colour.
        num_classes: Number of classes.
        train_images: Number of training images.
    """

    image_size: int
    channels: int
    num_classes: int
    train_images: int

    @property
    def small(self) -> bool:
        """Whether the images are as small as those of CIFAR and MNIST."""
        return self.image_size <= _SMALL_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One network as it would be built for the task.

    Attributes:
        name: Name for ``create_model``.
        weights: Source of pretrained weights, or None for training from scratch.
        input_size: Height and width of its input, in pixels.
        in_channels: Channels of its input.
        stem: ``"small"`` or None.
        cost: What it costs at that input.
        top1: Published top-1 accuracy in per cent on ``dataset``, or None.
        dataset: What the published accuracy was measured on.
        kept: Whether it is on the shortlist.
        reason: Why it was kept or dropped.
    """

    name: str
    weights: str | None
    input_size: int
    in_channels: int
    stem: str | None
    cost: Cost
    top1: float | None
    dataset: str
    kept: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The answer.

    Attributes:
        chosen: The network to take.
        reason: Why, in one sentence.
        candidates: Every network of the catalogue, the shortlist first, best first.
        budget: The limits that were asked.
    """

    chosen: Candidate
    reason: str
    candidates: tuple[Candidate, ...]
    budget: Budget


def choose(
    task: Task,
    budget: Budget,
    *,
    name: str | None = None,
    pretrained: bool = True,
    timer: Timer | None = None,
) -> Choice:
    """Choose a network for ``task`` within ``budget``.

    Args:
        task: The data.
        budget: The limits.
        name: Take this network, if it meets the budget.
        pretrained: Whether pretrained weights may be used.
        timer: Measures a candidate's milliseconds for one image; needed for a latency limit.

    Raises:
        BudgetError: Nothing meets the budget; the nearest miss is named.
        UnknownNameError: No network is called ``name``.
    """
    entries = [find_entry(name)] if name else list_entries()
    fitting, unfit = _fitting([_candidate(e, task, pretrained) for e in entries], task, name)
    if name or task.small or any(candidate.weights for candidate in fitting):
        fitting = [replace(candidate, cost=_cost(candidate, task)) for candidate in fitting]
    if timer is not None and budget.max_latency_ms is not None:
        fitting = [_timed(candidate, budget, timer) for candidate in fitting]
    within = [_keep(c) for c in fitting if budget.excess(c.cost) <= 1]
    beyond = [_drop(c, budget.broken_limit(c.cost)) for c in fitting if budget.excess(c.cost) > 1]
    if not within:
        raise BudgetError(_nearest_miss(beyond, budget))
    few = task.small and task.train_images < _FEW_SMALL_IMAGES
    within.sort(key=_fewest_macs if few else _most_accurate)
    return Choice(
        chosen=within[0],
        reason=_reason(within, task, asked=name is not None),
        candidates=(*within, *beyond, *unfit),
        budget=budget,
    )


def _candidate(entry: Entry, task: Task, pretrained: bool) -> Candidate:
    weights = entry.weights_at_hand if pretrained and not task.small else None
    own_size = weights.input_size if weights else entry.input_size
    return Candidate(
        name=entry.name,
        weights=weights.source if weights else None,
        input_size=max(task.image_size, 8) if task.small else own_size,
        in_channels=entry.in_channels if weights else task.channels,
        stem="small" if task.small else None,
        cost=Cost(params=entry.params, macs=entry.macs),
        top1=entry.top1,
        dataset=entry.dataset,
        kept=True,
        reason="",
    )


def _fitting(
    candidates: Sequence[Candidate], task: Task, name: str | None
) -> tuple[list[Candidate], list[Candidate]]:
    """Part the candidates into those made for such data and the others; a ``name`` always fits."""
    if name:
        return list(candidates), []
    some_pretrained = any(c.weights for c in candidates) and task.train_images < _MANY_PHOTOS
    fitting, unfit = [], []
    for candidate in candidates:
        reason = _misfit(candidate, task, some_pretrained)
        if reason:
            unfit.append(_drop(candidate, reason))
        else:
            fitting.append(candidate)
    return fitting, unfit


def _misfit(candidate: Candidate, task: Task, some_pretrained: bool) -> str:
    for_photos = candidate.dataset == "ImageNet-1k"
    if for_photos == task.small:
        made_for = "photos" if for_photos else f"small images ({candidate.dataset})"
        return f"made for {made_for}, these have {task.image_size} px"
    if candidate.top1 is None:
        return f"no published accuracy on {candidate.dataset} to rank it by"
    if some_pretrained and candidate.weights is None:
        return f"no pretrained weights at hand, and {task.train_images:,} photos are few without"
    return ""


def _cost(candidate: Candidate, task: Task) -> Cost:
    """Return the cost as built for the task, which the catalogue cannot know."""
    import torch

    from convatlas.analysis.cost import analyze
    from convatlas.models.registry import create_model

    with torch.device("meta"):
        model = create_model(
            candidate.name,
            num_classes=task.num_classes,
            in_channels=candidate.in_channels,
            stem=candidate.stem,
        )
    report = analyze(model, candidate.input_size, in_channels=candidate.in_channels)
    return Cost(params=report.params, macs=report.macs)


def _timed(candidate: Candidate, budget: Budget, timer: Timer) -> Candidate:
    """Measure the latency, unless the network breaks another limit already."""
    if budget.excess(candidate.cost) > 1:
        return candidate
    return replace(candidate, cost=replace(candidate.cost, latency_ms=timer(candidate)))


def _keep(candidate: Candidate) -> Candidate:
    start = f"{candidate.weights} weights" if candidate.weights else "from scratch"
    published = f"{candidate.top1:.1f} % on {candidate.dataset}, " if candidate.top1 else ""
    return replace(candidate, reason=f"within the budget, {published}{start}")


def _drop(candidate: Candidate, reason: str) -> Candidate:
    return replace(candidate, kept=False, reason=reason)


def _most_accurate(candidate: Candidate) -> tuple[float, int]:
    return -(candidate.top1 or 0.0), candidate.cost.macs


def _fewest_macs(candidate: Candidate) -> int:
    return candidate.cost.macs


def _reason(shortlist: Sequence[Candidate], task: Task, *, asked: bool) -> str:
    best = shortlist[0]
    if asked:
        return f"{best.name} was asked for and meets the budget."
    if len(shortlist) == 1:
        return f"{best.name} is the only network for such images within the budget."
    rivals = f"of the {len(shortlist)} networks within the budget"
    if task.small and task.train_images < _FEW_SMALL_IMAGES:
        return (
            f"{best.name} has the fewest multiply-accumulates {rivals}: "
            f"{task.train_images:,} small images do not feed a deeper one."
        )
    start = "with pretrained weights at hand" if best.weights else "trained from scratch"
    return f"{best.name} has the highest published accuracy {rivals}, {start}."


def _nearest_miss(beyond: Sequence[Candidate], budget: Budget) -> str:
    nearest = min(beyond, key=lambda candidate: budget.excess(candidate.cost))
    return (
        f"no network meets the budget; the nearest miss is {nearest.name} with "
        f"{budget.broken_limit(nearest.cost)}: "
        f"raise the limit {budget.excess(nearest.cost):.3g}-fold"
    )
