"""What a network costs as it would be built, counted on tensors without memory; needs torch."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn

from convatlas.analysis.cost import analyze
from convatlas.analysis.memory import TrainingMemory, predict_memory
from convatlas.models.anatomy import ConvNet
from convatlas.models.costs import TRAINED_IMAGES
from convatlas.models.registry import create_model
from convatlas.search.budget import Budget, Cost
from convatlas.search.candidate import Candidate, Task
from convatlas.search.rules import priced

__all__ = ["as_built", "cost_of", "last_field", "with_memory", "without_weights"]


def without_weights(candidate: Candidate, num_classes: int) -> ConvNet:
    """Build a candidate whose weights take no memory."""
    return _built(candidate.name, num_classes, candidate.in_channels, candidate.stem)


def cost_of(
    model: nn.Module, input_size: int, *, memory: bool = False, training: bool = False
) -> Cost:
    """Count a model's cost for square images.

    Args:
        model: Any classifier, also without memory for its weights.
        input_size: Height and width, in pixels.
        memory: Whether the peak of one image in inference is predicted as well.
        training: Whether the peak of a training step is, too; then the model is left in
            training mode.
    """
    report = analyze(model, input_size)
    tensors = (*model.parameters(), *model.buffers())
    return Cost(
        params=report.params,
        macs=report.macs,
        size_bytes=sum([tensor.numel() * tensor.element_size() for tensor in tensors]),
        memory_bytes=_peak_bytes(model, input_size, training=False) if memory else None,
        train_bytes=_peak_bytes(model, input_size, training=True) if training else None,
    )


def as_built(candidate: Candidate, data: Task) -> Candidate:
    """Return the candidate with the cost as built for the data, which the catalogue cannot know.

    Args:
        candidate: The network.
        data: What the images are.
    """
    return priced(candidate, _counted(*_key(candidate, data)), data.num_classes)


def with_memory(candidate: Candidate, data: Task, budget: Budget) -> Candidate:
    """Return the candidate with the memory that the budget limits, as far as it is not known.

    Args:
        candidate: The network, with its other costs.
        data: What the images are.
        budget: Its limits say which memory is predicted.
    """
    key, cost = _key(candidate, data), candidate.cost
    if budget.max_memory is not None and cost.memory_bytes is None:
        cost = replace(cost, memory_bytes=_memory(*key, training=False))
    if budget.train_memory is not None and cost.train_bytes is None:
        cost = replace(cost, train_bytes=_memory(*key, training=True))
    return priced(candidate, cost, data.num_classes)


def last_field(model: ConvNet, input_size: int) -> int | None:
    """Return the pixels along one axis that the last stage sees; None without a local field."""
    stage = f"{model.feature_info[-1].name}."
    layers = [row for row in analyze(model, input_size).layers if row.name.startswith(stage)]
    field = layers[-1].receptive_field if layers else None
    return None if field is None else max(field.size)


def _built(name: str, num_classes: int, in_channels: int, stem: str | None) -> ConvNet:
    with torch.device("meta"):
        return create_model(name, num_classes=num_classes, in_channels=in_channels, stem=stem)


def _key(candidate: Candidate, data: Task) -> tuple[str, int, int, str | None, int]:
    """Return all that decides what a candidate costs."""
    size, channels = candidate.input_size, candidate.in_channels
    return candidate.name, data.num_classes, channels, candidate.stem, size


@lru_cache(maxsize=1024)  # one question is asked again: to measure, to train, to go on
def _counted(
    name: str, num_classes: int, in_channels: int, stem: str | None, input_size: int
) -> Cost:
    return cost_of(_built(name, num_classes, in_channels, stem), input_size)


@lru_cache(maxsize=1024)
def _memory(
    name: str,
    num_classes: int,
    in_channels: int,
    stem: str | None,
    input_size: int,
    *,
    training: bool,
) -> int:
    model = _built(name, num_classes, in_channels, stem)
    return _peak_bytes(model, input_size, training=training)


def _peak_bytes(model: nn.Module, input_size: int, *, training: bool) -> int:
    """Return the peak of one image in inference, or of a training step."""
    if not training:
        return predict_memory(model, input_size).peak_bytes
    step = TrainingMemory("momentum")
    return predict_memory(model.train(), input_size, batch=TRAINED_IMAGES, training=step).peak_bytes
