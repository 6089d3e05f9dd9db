"""What an analysis says: costs per layer, their totals and their sums by stage or operator.

Plain numbers and names; printing them is another room's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from convatlas.analysis.receptive_field import ReceptiveField

__all__ = ["SUMMED", "CostReport", "GroupCost", "LayerCost", "Uncounted"]

# The figures that add up over layers.
SUMMED = (
    "params",
    "macs",
    "flops",
    "backward_macs",
    "activation_bytes",
    "read_bytes",
    "written_bytes",
)


class LayerCost(NamedTuple):
    """What one operation costs, the module that ran it, and what its output sees.

    Attributes:
        name: Path of the module (``"stages.0.1.conv2"``); for an operator called in a
            module's forward next to others, the module's path and the operator
            (``"stages.0.1.add"``). A repetition ends in ``#2``, ``#3``, …: names are unique.
        operator: What ran: ``"conv2d"``, ``"batch_norm"``, ``"add"``.
        module_type: Class of the module, ``""`` for an operator called in a forward.
        output_shape: Shape of the (first) output, with the batch.
        params: Elements of the parameters that are used here for the first time; a shared
            parameter counts in the first of the layers that use it.
        macs: Multiply-accumulates of convolutions, linear layers and matrix products.
        flops: All arithmetic operations, one multiply-accumulate being two.
        backward_macs: Multiply-accumulates of its gradients in a training step: for the
            weight unless it is frozen, for the input unless nothing before it is trained.
        activation_bytes: Memory of the output; 0 for views and in-place operators.
        read_bytes: Bytes of its operands, each read once; 0 for views.
        written_bytes: Bytes of its results, each written once; 0 for views.
        receptive_field: What the output sees of the input, or None.
        receptive_field_note: Why there is no receptive field, or what it leaves out.
        is_counted: False when the operator has no formula; then macs and flops are 0.
    """

    name: str
    operator: str
    module_type: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    flops: int
    backward_macs: int
    activation_bytes: int
    read_bytes: int
    written_bytes: int
    receptive_field: ReceptiveField | None
    receptive_field_note: str
    is_counted: bool

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written together."""
        return self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs per byte moved; 0 where nothing is moved."""
        return self.flops / self.moved_bytes if self.moved_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An operator without a formula, and how often it ran."""

    operator: str
    count: int


@dataclass(frozen=True, slots=True)
class GroupCost:
    """The sum over some layers; ``output_shape`` is the last one's."""

    name: str
    layers: int
    params: int
    macs: int
    flops: int
    backward_macs: int
    activation_bytes: int
    read_bytes: int
    written_bytes: int
    output_shape: tuple[int, ...]

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs per byte moved; 0 where nothing is moved."""
        moved = self.read_bytes + self.written_bytes
        return self.flops / moved if moved else 0.0


@dataclass(frozen=True, slots=True)
class CostReport:
    """What a model costs for one input.

    Attributes:
        layers: One entry per operation, in execution order.
        input_shape: Shape of the (first) input, with the batch.
        output_shape: Shape of the (first) output.
        params: Elements of all distinct parameters of the model, also of those that this
            forward does not use (auxiliary heads): the number that papers publish.
        trainable_params: Those of them that require gradients.
        macs: Multiply-accumulates, for the whole batch.
        flops: Arithmetic operations, for the whole batch.
        backward_macs: Multiply-accumulates that a training step adds to ``macs``.
        activation_bytes: Memory of all outputs together, as if none were ever freed.
        read_bytes: Bytes that the operations read, each operand once per operation.
        written_bytes: Bytes that they write.
        receptive_field: That of the last layer that has one.
        uncounted: The operators without a formula.
        is_lower_bound: Whether any operator was not counted, so that macs, flops or both
            are at least what is said.
    """

    layers: tuple[LayerCost, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    params: int
    trainable_params: int
    macs: int
    flops: int
    backward_macs: int
    activation_bytes: int
    read_bytes: int
    written_bytes: int
    receptive_field: ReceptiveField | None
    uncounted: tuple[Uncounted, ...]

    @property
    def is_lower_bound(self) -> bool:
        """Whether any operator was not counted."""
        return bool(self.uncounted)

    def by_prefix(self, depth: int = 1) -> tuple[GroupCost, ...]:
        """Sum the layers whose names share their first ``depth`` components."""
        return _grouped(self.layers, lambda layer: ".".join(layer.name.split(".")[:depth]))

    def by_stage(self) -> tuple[GroupCost, ...]:
        """Sum the layers per stem, ``stages.0``, ``stages.1``, … and head."""
        return _grouped(self.layers, _stage)

    def by_operator(self) -> tuple[GroupCost, ...]:
        """Sum the layers per operator."""
        return _grouped(self.layers, lambda layer: layer.operator)

    def by_size(self) -> tuple[GroupCost, ...]:
        """Sum the layers per side of their output, ``"56×56"``; the rest is ``"vectors"``."""
        return _grouped(self.layers, _side)


def _stage(layer: LayerCost) -> str:
    first, *rest = layer.name.split(".")
    return f"{first}.{rest[0]}" if first == "stages" and rest else first


def _side(layer: LayerCost) -> str:
    return "×".join(map(str, layer.output_shape[2:])) or "vectors"


def _grouped(layers: Iterable[LayerCost], key: Callable[[LayerCost], str]) -> tuple[GroupCost, ...]:
    """Sum layers by key, in the order in which the keys first ran."""
    groups: dict[str, list[LayerCost]] = {}
    for layer in layers:
        groups.setdefault(key(layer), []).append(layer)
    return tuple(
        GroupCost(
            name=name,
            layers=len(members),
            output_shape=members[-1].output_shape,
            **{field: sum([getattr(layer, field) for layer in members]) for field in SUMMED},
        )
        for name, members in groups.items()
    )
