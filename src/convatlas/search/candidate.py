"""What a choice is made of: the data, the networks looked at, and the answer.

It knows no rules and does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from convatlas.search.budget import Budget, Cost
from convatlas.search.figures import Figure

__all__ = ["Candidate", "Choice", "Neighbour", "Task"]

_SMALL_IMAGE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the choice needs to know of the data.

    Attributes:
        image_size: Median of the images' shorter sides, in pixels.
        channels: 1 for grey images, 3 for colour.
        num_classes: Number of classes.
        train_images: Number of training images.
        per_class: Training images of each class, or () if unknown.
    """

    image_size: int
    channels: int
    num_classes: int
    train_images: int
    per_class: tuple[int, ...] = ()

    @property
    def small(self) -> bool:
        """Whether the images are as small as those of CIFAR and MNIST."""
        return self.image_size <= _SMALL_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One network as it would be built.

    Attributes:
        name: Name for ``create_model``.
        weights: Source of pretrained weights, or None for training from scratch.
        input_size: Height and width of its input, in pixels.
        in_channels: Channels of its input.
        stem: ``"small"`` or None.
        cost: What it costs at that input.
        top1: Published top-1 accuracy in per cent on ``dataset``, or None.
        dataset: What the published accuracy was measured on.
        kept: Whether it meets the budget.
        reason: Why it was kept or dropped.
        figures: Its figures with their origins: ``"top1"`` and the fields of ``Cost``, as far
            as they are known.
        margins: Name of each limit → the share of it that is left: 0.25 is a quarter; a
            negative share is missing.
        dropped_by: ``""`` when kept; else the field of ``Budget`` that dropped it, or
            ``"data"``, ``"weights"``, ``"accuracy"`` or, without a time because better ones are
            in time, ``"unmeasured"``.
        pareto: Whether no other kept network is as good in accuracy, multiply-accumulates and
            latency, and better in one of them.
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
    figures: Mapping[str, Figure] = field(default_factory=dict)
    margins: Mapping[str, float] = field(default_factory=dict)
    dropped_by: str = ""
    pareto: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A network of the Pareto set beside the chosen one.

    Attributes:
        name: Name for ``create_model``.
        top1_gain: Points of published top-1 accuracy more than the chosen one's.
        macs_ratio: Multiply-accumulates per one of the chosen network's.
        sentence: Both in words: ``"+1.2 points for 2.1x the MACs"``.
    """

    name: str
    top1_gain: float
    macs_ratio: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The answer.

    Attributes:
        chosen: The network to take.
        reason: Why, in one sentence.
        candidates: Every network of the catalogue: those within the budget, best first, then
            those that were dropped.
        budget: The limits that were asked.
        neighbours: What a little more or less accuracy costs.
        advice: What else the figures and the data say, one sentence each.
    """

    chosen: Candidate
    reason: str
    candidates: tuple[Candidate, ...]
    budget: Budget
    neighbours: tuple[Neighbour, ...] = ()
    advice: tuple[str, ...] = ()
