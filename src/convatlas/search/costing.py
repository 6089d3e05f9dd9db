"""What a network costs as it would be built, counted on tensors without memory; needs torch."""

from __future__ import annotations

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

__all__ = ["as_built", "cost_of", "last_field", "without_weights"]


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
    inference = predict_memory(model, input_size) if memory else None
    step = None
    if training:
        step = predict_memory(
            model.train(), input_size, batch=TRAINED_IMAGES, training=TrainingMemory("momentum")
        )
    return Cost(
        params=report.params,
        macs=report.macs,
        size_bytes=sum([tensor.numel() * tensor.element_size() for tensor in tensors]),
        memory_bytes=inference.peak_bytes if inference else None,
        train_bytes=step.peak_bytes if step else None,
    )


def as_built(candidate: Candidate, data: Task, memory_of: Budget | None = None) -> Candidate:
    """Return the candidate with the cost as built for the data, which the catalogue cannot know.

    Args:
        candidate: The network.
        data: What the images are.
        memory_of: Its limits say which memory is predicted too; None for none.
    """
    cost = _counted(
        candidate.name,
        data.num_classes,
        candidate.in_channels,
        candidate.stem,
        candidate.input_size,
        memory=memory_of is not None and memory_of.max_memory is not None,
        training=memory_of is not None and memory_of.train_memory is not None,
    )
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


@lru_cache(maxsize=1024)  # one question is asked again: to measure, to train, to go on
def _counted(
    name: str,
    num_classes: int,
    in_channels: int,
    stem: str | None,
    input_size: int,
    *,
    memory: bool,
    training: bool,
) -> Cost:
    model = _built(name, num_classes, in_channels, stem)
    return cost_of(model, input_size, memory=memory, training=training)
