"""What the computations share: a network and its costs, without memory for its weights.

Everything is counted by ``analysis`` on networks of ``models`` or small ones of ``layers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from convatlas.analysis.cost import analyze, traced
from convatlas.analysis.report import CostReport, LayerCost
from convatlas.claims.verdicts import Step
from convatlas.models.catalogue import find_entry
from convatlas.models.registry import create_model

__all__ = [
    "WEIGHTED",
    "Measured",
    "activations",
    "activations_step",
    "macs_step",
    "measure",
    "network",
    "params_step",
    "path_length",
]

WEIGHTED = ("conv2d", "linear")
"""Operators with a weight matrix or kernel: what papers count as layers."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A network and what it costs for one image."""

    model: nn.Module
    report: CostReport

    def rows(self, *operators: str, prefix: str = "") -> list[LayerCost]:
        """Return the layers that run one of ``operators`` below a path."""
        layers = self.report.layers
        return [row for row in layers if row.operator in operators and row.name.startswith(prefix)]


def network(name: str, input_size: int | None = None, **options: Any) -> Measured:
    """Build a network of the atlas by name, and analyse it at its paper's size or another."""
    return measure(lambda: create_model(name, **options), input_size or find_entry(name).input_size)


def measure(build: Callable[[], nn.Module], input_size: int | tuple[int, ...]) -> Measured:
    """Build any network and analyse it; ``input_size`` is that of ``analyze``."""
    with torch.device("meta"):
        model = build()
    return Measured(model, analyze(model, input_size))


def activations(rows: Iterable[LayerCost]) -> int:
    """Return the number of values in the outputs of some layers."""
    return sum([prod(row.output_shape) for row in rows])


def path_length(model: nn.Module, input_size: int, *operators: str) -> int:
    """Return how many of ``operators`` the longest way from the image to the output passes."""
    depth: dict[int, int] = {}
    longest = 0
    for op in traced(model, input_size).trace.operations:
        before = max((depth.get(id(tensor), 0) for tensor in op.inputs), default=0)
        reached = before + (op.operator in operators)
        depth.update((id(tensor), reached) for tensor in op.outputs)
        longest = max(longest, reached)
    return longest


def params_step(measured: Measured, row: LayerCost) -> Step:
    """Return a layer's parameters with the lectures' formula for them."""
    module = measured.model.get_submodule(row.name)
    bias = " + 1" if getattr(module, "bias", None) is not None else ""
    if isinstance(module, nn.Conv2d):
        each = "·".join(map(str, (module.in_channels // module.groups, *module.kernel_size)))
        return Step(row.name, f"({each}{bias})·{module.out_channels}", row.params)
    if isinstance(module, nn.Linear):
        return Step(row.name, f"({module.in_features}{bias})·{module.out_features}", row.params)
    return Step(row.name, row.operator.replace("_", " "), row.params)


def macs_step(measured: Measured, row: LayerCost) -> Step:
    """Return a layer's multiply-accumulates with the formula for them."""
    module = measured.model.get_submodule(row.name)
    if isinstance(module, nn.Conv2d):
        factors = (*row.output_shape[2:], module.in_channels // module.groups, *module.kernel_size)
        return Step(row.name, "·".join(map(str, (*factors, module.out_channels))), row.macs)
    if isinstance(module, nn.Linear):
        return Step(row.name, f"{module.in_features}·{module.out_features}", row.macs)
    return Step(row.name, row.operator.replace("_", " "), row.macs)


def activations_step(row: LayerCost) -> Step:
    """Return the number of values in a layer's output: H·W·C."""
    channels, *size = row.output_shape[1:]
    return Step(row.name, "·".join(map(str, (*size, channels))), activations([row]))
