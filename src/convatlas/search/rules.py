"""Which networks are made for the data, and how each would be built for them.

1. Images of up to 64 pixels are looked at in their own size by networks that were designed for
   such images; larger ones by the ImageNet networks at their own input size.
2. Below 100,000 photos, pretrained weights at hand beat training from scratch: where a network
   that the wishes allow has such weights, only those that have are looked at.
3. A network without a published accuracy cannot be ranked.

Without data the ImageNet networks stand side by side, each at its own input. It does not import
torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from convatlas.models.catalogue import Entry, WeightSource, find_entry
from convatlas.models.costs import find_costs
from convatlas.search.budget import PERMISSIVE, Budget, Cost
from convatlas.search.candidate import Candidate, Task
from convatlas.search.figures import Figure, Origin
from convatlas.search.limits import licence_words, refused

__all__ = [
    "MANY_PHOTOS",
    "RULES",
    "candidate_of",
    "is_few",
    "is_priced",
    "is_remembered",
    "made_for",
    "priced",
]

MANY_PHOTOS = 100_000
"""Photos from which on training from scratch is considered; ImageNet-1k has 1,281,167."""

RULES = ("data", "accuracy", "weights")
"""What drops a network whatever the limits are."""

_FEW_SMALL_IMAGES = 10_000
_IMAGENET = "ImageNet-1k"
_ORIGINS: dict[str, Origin] = {
    "params": "computed",
    "macs": "computed",
    "size_bytes": "computed",
    "memory_bytes": "predicted",
    "train_bytes": "predicted",
}


def is_few(data: Task | None) -> bool:
    """Whether the images are small and fewer than a deep network wants: 10,000."""
    return data is not None and data.small and data.train_images < _FEW_SMALL_IMAGES


def candidate_of(entry: Entry, data: Task | None, budget: Budget, *, pretrained: bool) -> Candidate:
    """Return a network as it would be built, with its costs as far as the catalogue knows them.

    Those of photos are for their classes and channels; those of small images, and of weights for
    another input, still the catalogue's own: see :func:`is_priced`.
    """
    weights = _weights(entry, data, budget) if pretrained else None
    cost = _cost(entry, entry.num_classes, entry.in_channels)
    candidate = Candidate(
        name=entry.name,
        weights=weights.source if weights else None,
        input_size=entry.input_size,
        in_channels=entry.in_channels,
        stem=None,
        cost=cost,
        top1=entry.top1,
        dataset=entry.dataset,
        kept=True,
        reason="",
    )
    candidate = priced(candidate, cost, entry.num_classes)
    if entry.top1 is not None:
        top1 = Figure(entry.top1, "published", f"{entry.accuracy_source}, on {entry.dataset}")
        candidate = replace(candidate, figures={"top1": top1, **candidate.figures})
    return candidate if data is None else _fitted(candidate, entry, data, weights)


def is_priced(candidate: Candidate) -> bool:
    """Whether the catalogue could tell what a candidate costs for the images, but for memory.

    Args:
        candidate: As :func:`candidate_of` gives it.
    """
    own = find_entry(candidate.name).input_size
    return not candidate.stem and candidate.input_size == own


def is_remembered(candidate: Candidate, budget: Budget) -> bool:
    """Whether the memory that a budget limits is known of a candidate with its other costs."""
    cost = candidate.cost
    wanted = (budget.max_memory, cost.memory_bytes), (budget.train_memory, cost.train_bytes)
    return all(limit is None or known is not None for limit, known in wanted)


def made_for(
    candidates: Iterable[Candidate], data: Task | None, budget: Budget, *, asked: bool
) -> tuple[list[Candidate], list[Candidate]]:
    """Part the networks into those to look at, and those that the data or a wish rules out.

    Args:
        candidates: As :func:`candidate_of` gives them.
        data: What the images are.
        budget: Its family, weights and licence are looked at here.
        asked: Whether the network was asked for by name; then the data rule nothing out.
    """
    fitting, unfit = [], []
    looked_at = []
    for candidate in candidates:
        name, reason = ("", "") if asked else _misfit(candidate, data)
        if not name:
            name, reason = refused(candidate, budget)
        looked_at.append((candidate, name, reason))
    allowed = [candidate for candidate, name, _ in looked_at if not name]
    some_pretrained = not asked and _some_pretrained(allowed, data)
    for candidate, name, reason in looked_at:
        if not name and some_pretrained and candidate.weights is None and data is not None:
            name, reason = _without_weights(candidate, data)
        if name:
            unfit.append(replace(candidate, kept=False, dropped_by=name, reason=reason))
        else:
            fitting.append(candidate)
    return fitting, unfit


def priced(candidate: Candidate, cost: Cost, num_classes: int) -> Candidate:
    """Return the candidate with a cost and its figures for so many classes, in place of others."""
    where = f"{candidate.input_size} px, {num_classes:,} classes"
    source = {"computed": f"counted for {where}", "predicted": f"predict_memory for {where}"}
    figures = {
        name: Figure(value, origin, source[origin])
        for name, origin in _ORIGINS.items()
        if (value := getattr(cost, name)) is not None
    }
    kept = {name: each for name, each in candidate.figures.items() if name not in _ORIGINS}
    return replace(candidate, cost=cost, figures={**kept, **figures})


def _weights(entry: Entry, data: Task | None, budget: Budget) -> WeightSource | None:
    """Return the weights to use: those at hand; without data and when needed, any published."""
    if data is not None and data.small:
        return None
    allowed = [s for s in entry.weights if not budget.licence or s.licence in PERMISSIVE]
    at_hand = next((source for source in allowed if source.is_at_hand), None)
    if at_hand is None and data is None and budget.needs_weights and allowed:
        return allowed[0]
    return at_hand


def _fitted(
    candidate: Candidate, entry: Entry, data: Task, weights: WeightSource | None
) -> Candidate:
    """Return the candidate with the input, channels, stem and classes that the data want."""
    if data.small:
        size = max(data.image_size, 8)
        return replace(candidate, input_size=size, in_channels=data.channels, stem="small")
    fitted = replace(candidate, in_channels=data.channels)
    if weights:
        fitted = replace(candidate, input_size=weights.input_size)
    if not is_priced(fitted):
        return fitted
    cost = _cost(entry, data.num_classes, fitted.in_channels)
    return priced(fitted, cost, data.num_classes)


def _cost(entry: Entry, num_classes: int, in_channels: int) -> Cost:
    """Return what a network costs at its own input; memory only where that is known exactly.

    Classes are in the last layer and channels in the first, so both add straight lines.
    """
    costs = find_costs(entry.name)
    classes, channels = num_classes - entry.num_classes, in_channels - entry.in_channels
    params = classes * costs.class_params + channels * costs.channel_params

    def memory(own: int, per_class: int | None) -> int | None:
        if (classes, channels) == (0, 0):
            return own
        if per_class is None or classes > 0 or channels:
            return None
        return own + classes * per_class

    return Cost(
        params=entry.params + params,
        macs=entry.macs + classes * costs.class_macs + channels * costs.channel_macs,
        size_bytes=costs.size_bytes + 4 * params,
        memory_bytes=memory(costs.memory_bytes, costs.class_memory_bytes),
        train_bytes=memory(costs.train_bytes, costs.class_train_bytes),
    )


def _some_pretrained(candidates: Sequence[Candidate], data: Task | None) -> bool:
    if data is None or data.train_images >= MANY_PHOTOS:
        return False
    return any(candidate.weights for candidate in candidates)


def _without_weights(candidate: Candidate, data: Task) -> tuple[str, str]:
    """Return what drops a network that would be trained from scratch beside pretrained ones."""
    barred = find_entry(candidate.name).weights_at_hand
    if barred is not None:
        return "licence", licence_words({barred.licence}, " at hand")
    few = f"{data.train_images:,} photos are few"
    return "weights", f"no pretrained weights at hand, and {few} without"


def _misfit(candidate: Candidate, data: Task | None) -> tuple[str, str]:
    for_photos = candidate.dataset == _IMAGENET
    if data is None:
        if not for_photos:
            return (
                "data",
                f"made for small images ({candidate.dataset}), compared are {_IMAGENET}'s",
            )
    elif for_photos == data.small:
        others = "photos" if for_photos else f"small images ({candidate.dataset})"
        return "data", f"made for {others}, these have {data.image_size} px"
    if candidate.top1 is None:
        return "accuracy", f"no published accuracy on {candidate.dataset} to rank it by"
    return "", ""
