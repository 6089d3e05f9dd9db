"""A network as stem, stages and head, its repeated blocks, and the graph inside each block.

Everything is read off one traced forward and the tree of modules, so it holds for any network
with the shared anatomy; knows no family, no colour and no place on a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from torch import nn

from convatlas.analysis.cost import report_of, traced
from convatlas.analysis.naming import name_operations
from convatlas.analysis.operation import Operation
from convatlas.analysis.report import CostReport
from convatlas.analysis.wiring import Wire, wire_up, words

if TYPE_CHECKING:
    from convatlas.models.anatomy import ConvNet

__all__ = ["Block", "Diagram", "Node", "Part", "diagram"]

_WEIGHTS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a block's graph.

    Attributes:
        label: What it does: ``"3×3 conv"``, ``"+"``, ``"concatenate"``.
        kind: ``"input"``, ``"weights"``, ``"pool"``, ``"join"``, ``"concatenate"``, ``"split"``
            or ``"plain"``.
        inputs: The nodes that it reads, by position in the block.
        channels: Channels of its output; 0 where they differ from block to block.
        stride: Step of its window.
        groups: Channel groups, 1 for a full or a depthwise convolution.
        detail: Normalisation, activation and gates behind it: ``("BN", "ReLU")``.
    """

    label: str
    kind: str
    inputs: tuple[int, ...] = ()
    channels: int = 0
    stride: int = 1
    groups: int = 1
    detail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Equal blocks one after another.

    Attributes:
        name: Class of the module in words, or the label of a single layer.
        count: How many there are.
        nodes: The graph of one of them, inputs first.
        channels: Channels of the output.
        size: Height and width of the output; () for a vector.
        params: Parameters of all of them.
        macs: Multiply-accumulates of all of them.
    """

    name: str
    count: int
    nodes: tuple[Node, ...]
    channels: int
    size: tuple[int, ...]
    params: int
    macs: int

    @property
    def is_layer(self) -> bool:
        """Whether it is one layer, which needs no picture of its own."""
        return len([node for node in self.nodes if node.kind != "input"]) == 1

    @property
    def shape(self) -> tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...]:
        """What blocks of one kind share: the graph without channels, groups and strides."""
        return tuple((node.label, node.detail, node.inputs) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Part:
    """The stem, one stage, or the head.

    Attributes:
        name: ``"stem"``, ``"stages.0"``, …, ``"head"``.
        blocks: Its layers and blocks in execution order.
        channels: Channels of the output.
        size: Height and width of the output; () for a vector.
        stride: Input pixels per output pixel along one axis, as the network declares it for
            a stage; None for a vector.
        params: Its parameters.
        macs: Its multiply-accumulates for one image.
    """

    name: str
    blocks: tuple[Block, ...]
    channels: int
    size: tuple[int, ...]
    stride: int | None
    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class Diagram:
    """What a picture of a network shows.

    Attributes:
        channels: Channels of the image.
        size: Height and width of the image.
        parts: Stem, stages and head.
        depth: Convolutions and linear layers on the longest path, as papers count layers: those
            of a gate, whose map is one pixel, are left out before the head.
        params: Parameters of the network, auxiliary classifiers included.
        macs: Multiply-accumulates for one image.
    """

    channels: int
    size: tuple[int, ...]
    depth: int
    parts: tuple[Part, ...]
    params: int
    macs: int

    @property
    def kinds(self) -> tuple[Block, ...]:
        """The first block of each kind that is more than one layer, in execution order."""
        first: dict[object, Block] = {}
        for part in self.parts:
            for block in part.blocks:
                if not block.is_layer:
                    first.setdefault(block.shape, block)
        return tuple(first.values())


def diagram(model: ConvNet, input_size: int | tuple[int, ...]) -> Diagram:
    """Return the picture's content for one image, without allocating activations.

    Args:
        model: A network with stem, stages and head.
        input_size: Height and width in pixels, as :func:`~convatlas.analysis.cost.analyze`
            reads it.

    Raises:
        InputSizeError: The image is too small.
        OptionError: The model cannot be analysed.
    """
    run = traced(model, input_size, in_channels=model.in_channels)
    report = report_of(run)
    builder = _Builder(model, run.trace.operations, report)
    image, *wires = wire_up(run.trace.operations, run.images, builder.owner)
    order = ["stem", *(f"stages.{i}" for i in range(len(model.stages))), "head"]
    members: dict[str, list[Wire]] = {}
    at = 0
    for wire in wires:
        # What the network's own forward runs, and a module that an earlier part shares with this
        # one, belongs to the part that has been reached.
        found = _part_of(wire.path)
        at = max(at, order.index(found)) if found in order else at
        members.setdefault(order[at], []).append(wire)
    return Diagram(
        channels=image.channels,
        size=image.size,
        depth=_depth(wires),
        parts=tuple(builder.part(name, found, image.size) for name, found in members.items()),
        params=report.params,
        macs=report.macs,
    )


def _depth(wires: Sequence[Wire]) -> int:
    """Return the most layers with weights that any path from the image passes."""
    depths: dict[int, int] = {}
    for wire in wires:
        is_gate = max(wire.size, default=1) == 1 and _part_of(wire.path) != "head"
        is_layer = wire.kind == "weights" and not is_gate
        before = max([depths.get(id(source), 0) for source in wire.inputs], default=0)
        depths[id(wire)] = before + is_layer
    return max(depths.values(), default=0)


class _Builder:
    """Turns the nodes of one part into its blocks."""

    def __init__(self, model: ConvNet, operations: Sequence[Operation], report: CostReport) -> None:
        self._blocks = dict(_blocks_of(model))
        self._names = [name for name, _ in name_operations(operations)]
        self._rows = {layer.name: layer for layer in report.layers}
        self._strides = {feature.name: feature.stride for feature in model.feature_info}

    def owner(self, path: str) -> str:
        """Return the block that a module is in, or the part when it is in none."""
        steps = path.split(".")
        for length in range(len(steps), 0, -1):
            start = ".".join(steps[:length])
            if start in self._blocks:
                return start
        return _part_of(path)

    def part(self, name: str, wires: Sequence[Wire], image: tuple[int, ...]) -> Part:
        """Return one part, made of ``wires``."""
        last = wires[-1]
        blocks: list[Block] = []
        for owner, group in groupby(wires, key=lambda wire: self.owner(wire.path)):
            found = list(group)
            if owner in self._blocks:
                blocks.append(self._block(found, self._blocks[owner]))
            else:
                blocks += [self._block([wire], wire.label) for wire in found]
        return Part(
            name=name,
            blocks=_grouped(blocks),
            channels=last.channels,
            size=last.size if max(last.size, default=1) > 1 else (),
            stride=self._strides.get(name, round(image[0] / last.size[0])) if last.size else None,
            params=sum([block.params for block in blocks]),
            macs=sum([block.macs for block in blocks]),
        )

    def _block(self, wires: Sequence[Wire], name: str) -> Block:
        rows = [self._rows.get(self._names[i]) for wire in wires for i in wire.operations]
        return Block(
            name=name,
            count=1,
            nodes=_graph(wires),
            channels=wires[-1].channels,
            size=wires[-1].size,
            params=sum([row.params for row in rows if row]),
            macs=sum([row.macs for row in rows if row]),
        )


def _part_of(path: str) -> str:
    first, *rest = path.split(".")
    return f"{first}.{rest[0]}" if first == "stages" and rest else first


def _blocks_of(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield path and name of the modules that are drawn as one block."""
    for name, part in model.named_children():
        if name == "stages":
            for number, stage in part.named_children():
                yield from _blocks_in(f"stages.{number}", stage, is_part=True)
        else:
            yield from _blocks_in(name, part, is_part=True)


def _blocks_in(path: str, module: nn.Module, *, is_part: bool = False) -> Iterator[tuple[str, str]]:
    """Look through what only puts layers in a row; the rest with weights inside is a block."""
    weights = _weights(module)
    if not weights or not module._modules:
        return
    is_list = isinstance(module, nn.ModuleList)
    is_row = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    # A row in a numbered place is one of several alike; a named one has a role of its own.
    is_plain = type(module) is nn.Sequential and not path.rpartition(".")[2].isdigit()
    if is_part and not is_row:  # a stage of its own class around one list of blocks
        inner = [child for child in module.children() if _weights(child)]
        is_list = is_list or (len(inner) == 1 and isinstance(inner[0], nn.ModuleList))
    if is_list or (is_row and (is_part or is_plain or weights == 1)):
        for name, child in module.named_children():
            yield from _blocks_in(f"{path}.{name}", child)
    else:
        yield path, "block" if type(module) is nn.Sequential else words(type(module).__name__)


def _weights(module: nn.Module) -> int:
    return len([child for child in module.modules() if isinstance(child, _WEIGHTS)])


def _graph(wires: Sequence[Wire]) -> tuple[Node, ...]:
    """Return the nodes of one block, with an input for each map that comes from outside.

    The maps that a concatenation collects are one input, however many there are.
    """
    inside = {id(wire) for wire in wires}
    outside = [(wire, i) for wire in wires for i in wire.inputs if id(i) not in inside]
    collected = dict.fromkeys(i for wire, i in outside if wire.kind == "concatenate")
    places = {id(source): 0 for source in collected}
    nodes: list[Node] = []
    if collected:
        channels = next(iter(collected)).channels if len(collected) == 1 else 0
        nodes.append(Node("input", "input", channels=channels))
    for _, source in outside:
        if id(source) not in places:
            places[id(source)] = len(nodes)
            nodes.append(Node("input", "input", channels=source.channels))
    for wire in wires:
        inputs = tuple(dict.fromkeys(places[id(source)] for source in wire.inputs))
        places[id(wire)] = len(nodes)
        detail = tuple(wire.detail)
        nodes.append(
            Node(wire.label, wire.kind, inputs, wire.channels, wire.stride, wire.groups, detail)
        )
    return tuple(nodes)


def _grouped(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Put equal blocks that follow each other together."""
    kept: list[Block] = []
    for block in blocks:
        before = kept[-1] if kept else None
        if before and _identity(before) == _identity(block):
            kept[-1] = replace(
                before,
                count=before.count + 1,
                nodes=tuple(map(_merged, before.nodes, block.nodes)),
                channels=block.channels,
                params=before.params + block.params,
                macs=before.macs + block.macs,
            )
        else:
            kept.append(block)
    return tuple(kept)


def _identity(block: Block) -> tuple[object, ...]:
    """Return what blocks of one group share; what they collect from before may differ."""
    kinds = ("input", "concatenate")
    nodes = [replace(n, channels=0) if n.kind in kinds else n for n in block.nodes]
    return block.name, block.size, nodes


def _merged(one: Node, other: Node) -> Node:
    return one if one == other else replace(one, channels=0)
