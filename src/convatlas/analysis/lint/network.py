"""A traced forward as a graph of operations, the way the design rules look at it.

Every operation on maps is a node with its cost, what it reads and who reads it. Knows no
rule and no family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from torch import Tensor

from convatlas.analysis.cost import Run, report_of
from convatlas.analysis.naming import name_operations
from convatlas.analysis.operation import Operation
from convatlas.analysis.report import CostReport, LayerCost
from convatlas.analysis.windows import Window

__all__ = ["Network", "Node", "network_of"]

_CONVOLUTIONS = frozenset(("conv1d", "conv2d", "conv3d"))


@dataclass(slots=True, eq=False)
class Node:
    """One operation on maps, or an image.

    Attributes:
        name: The layer's name in the report, ``""`` for an image.
        shape: Shape of the first output, with the batch.
        operation: What ran, None for an image.
        cost: Its row in the report, None for an image.
        inputs: The nodes that it reads.
        readers: The nodes that read it.
        is_output: Whether the network returns it.
    """

    name: str
    shape: tuple[int, ...]
    operation: Operation | None = None
    cost: LayerCost | None = None
    inputs: list[Node] = field(default_factory=list)
    readers: list[Node] = field(default_factory=list)
    is_output: bool = False

    @property
    def operator(self) -> str:
        """Name of the operator, ``""`` for an image."""
        return self.operation.operator if self.operation else ""

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, transposed ones aside."""
        return self.operator in _CONVOLUTIONS

    @property
    def is_pool(self) -> bool:
        """Whether it pools, by a window or globally."""
        return "pool" in self.operator or (self.operator == "mean" and self.is_vector)

    @property
    def is_vector(self) -> bool:
        """Whether the output of an operation has one value per channel and no places."""
        return self.operation is not None and sum([side > 1 for side in self.shape[1:]]) <= 1

    @property
    def volume(self) -> int:
        """Values of one sample: H × W × C of a map."""
        return prod(self.shape[1:])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Spatial sizes, channels being on the second axis."""
        return self.shape[2:]

    @property
    def window(self) -> Window | None:
        """The window that a convolution or pooling slides; None for all others."""
        slides = self.is_convolution or self.is_pool
        return self.operation.window if self.operation and slides else None

    @property
    def weight(self) -> Tensor | None:
        """The weight of a convolution or linear layer: (out, in / groups, *kernel)."""
        has_one = self.is_convolution or self.operator == "linear"
        return self.operation.inputs[1] if self.operation and has_one else None

    @property
    def in_channels(self) -> int:
        """Channels that a convolution reads."""
        return self.operation.inputs[0].shape[1] if self.operation else 0

    @property
    def groups(self) -> int:
        """Channel groups of a convolution; 1 for all others."""
        weight = self.weight if self.is_convolution else None
        return 1 if weight is None else self.in_channels // weight.shape[1]

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a convolution in which no channel sees another."""
        return self.is_convolution and self.groups == self.in_channels > 1

    @property
    def has_bias(self) -> bool:
        """Whether a convolution or linear layer adds a bias."""
        return (
            self.operation is not None
            and self.weight is not None
            and len(self.operation.inputs) > 2
        )

    @property
    def kernel(self) -> tuple[int, ...]:
        """Taps of a convolution along each axis; () for all others."""
        return tuple(self.weight.shape[2:]) if self.weight is not None else ()

    @property
    def sizes_read(self) -> tuple[int, ...]:
        """Spatial sizes of the first map that it reads, channels being on the second axis."""
        return tuple(self.operation.inputs[0].shape[2:]) if self.operation else ()

    @property
    def covers_map(self) -> bool:
        """Whether a convolution's filter covers its whole map of several pixels: one output."""
        covers = self.is_convolution and self.kernel == self.sizes_read
        return covers and self.is_vector and prod(self.kernel) > 1


@dataclass(frozen=True)
class Network:
    """What the rules look at.

    Attributes:
        report: Costs of all layers.
        nodes: Images first, then what the outputs depend on, in execution order.
    """

    report: CostReport
    nodes: tuple[Node, ...]

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Spatial sizes of the (first) input."""
        return self.nodes[0].sizes

    @property
    def convolutions(self) -> Iterator[Node]:
        """The convolutions, transposed ones aside."""
        return (node for node in self.nodes if node.is_convolution)

    @cached_property
    def trunk(self) -> tuple[Node, ...]:
        """The nodes that every path from the images to any output passes.

        All information passes each of them: in execution order, no node after one of them
        reads a node before it, and none before it is an output.
        """
        places = {id(node): place for place, node in enumerate(self.nodes)}
        trunk, reach = [], 0
        for place, node in enumerate(self.nodes):
            if reach <= place:
                trunk.append(node)
            readers = [places[id(reader)] for reader in node.readers]
            reach = max([reach, *readers, len(places) if node.is_output else 0])
        return tuple(trunk)

    @cached_property
    def body(self) -> tuple[Node, ...]:
        """The part of the trunk before the maps become one vector, or several."""
        for place, node in enumerate(self.trunk):
            if node.is_vector or (node.inputs and all(each.is_vector for each in node.inputs)):
                return self.trunk[:place]
        return self.trunk

    @property
    def head(self) -> Node | None:
        """The node of the trunk that makes a vector of the last map, if there is one."""
        return self.trunk[len(self.body)] if len(self.body) < len(self.trunk) else None


def network_of(run: Run) -> Network:
    """Return the graph of a traced forward, without what its outputs do not depend on."""
    operations = run.trace.operations
    report = report_of(run)
    rows = {row.name: row for row in report.layers}
    images = [Node("", tuple(image.shape)) for image in run.images]
    # Tensors are known by id: the operations keep every one of them alive.
    writers = {id(image): node for image, node in zip(run.images, images, strict=True)}
    nodes = list(images)
    for op, (name, _) in zip(operations, name_operations(operations), strict=True):
        inputs = dict.fromkeys(writers[id(t)] for t in op.inputs if id(t) in writers)
        if not inputs:
            continue
        node = Node(name, tuple(op.outputs[0].shape), op, rows.get(name), list(inputs))
        writers.update((id(tensor), node) for tensor in op.outputs)
        nodes.append(node)
    outputs = [writers[id(tensor)] for tensor in run.outputs if id(tensor) in writers]
    for node in outputs:
        node.is_output = True
    alive = _needed(outputs)
    kept = [node for node in nodes if node.operation is None or id(node) in alive]
    for node in kept:
        for source in node.inputs:
            source.readers.append(node)
    return Network(report, tuple(kept))


def _needed(outputs: Iterable[Node]) -> set[int]:
    """Return the ids of the nodes that ``outputs`` depend on."""
    pending, needed = list(outputs), set[int]()
    while pending:
        node = pending.pop()
        if id(node) not in needed:
            needed.add(id(node))
            pending += node.inputs
    return needed
