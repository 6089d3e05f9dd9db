"""Which operation reads which: a traced forward as a graph of few, readable nodes.

A convolution and the normalisation and activation behind it are one node; views, dropout and
what prepares weights are none. Knows nothing about costs, stages or drawing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from torch import Tensor

from convatlas.analysis.operation import Operation
from convatlas.analysis.operators import MOVES

__all__ = ["Wire", "wire_up", "words"]

_JOINS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "maximum": "max", "minimum": "min"}
_SPLITS = frozenset(("chunk", "split", "split_with_sizes", "tensor_split", "unbind"))
_CONCATENATIONS = frozenset(("cat", "stack"))
_DROPOUTS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")
_CONVOLUTIONS = frozenset(("conv1d", "conv2d", "conv3d"))
_NAMES = {
    "batch_norm": "BN",
    "cat": "concatenate",
    "chunk": "split",
    "gelu": "GELU",
    "getitem": "slice",
    "hardsigmoid": "hard sigmoid",
    "hardswish": "hard swish",
    "hardtanh": "ReLU6",
    "layer_norm": "LN",
    "local_response_norm": "LRN",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "scaled_dot_product_attention": "attention",
    "silu": "SiLU",
    "unbind": "split",
}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_AXES = re.compile(r"(?<=[a-z])\dd$")  # the end of ZeroPad2d


@dataclass(slots=True, eq=False)
class Wire:
    """One node of the graph of a whole forward.

    Attributes:
        label: What it does (``"3×3 conv"``).
        kind: ``"image"``, ``"weights"`` (convolution, linear layer), ``"pool"``, ``"join"``
            (arithmetic on several maps), ``"concatenate"``, ``"split"`` or ``"plain"``.
        path: The module that runs it.
        inputs: The nodes that it reads.
        operations: What it is made of, by position in the trace.
        channels: Channels of its output.
        size: Spatial sizes of its output.
        stride: Step of its window along the first axis.
        groups: Channel groups of a convolution that is neither full nor depthwise, else 1.
        detail: Normalisation, activation and gates behind it, in order.
    """

    label: str
    kind: str
    path: str
    inputs: list[Wire]
    operations: list[int]
    channels: int
    size: tuple[int, ...]
    stride: int = 1
    groups: int = 1
    detail: list[str] = field(default_factory=list)


def wire_up(
    operations: Sequence[Operation], images: Iterable[Tensor], owner: Callable[[str], str]
) -> list[Wire]:
    """Return the nodes of a traced forward in execution order, the first one being the image.

    Args:
        operations: What ran.
        images: The inputs of the model.
        owner: Path of a module → what it belongs to; only nodes of one owner are put together.
    """
    # Tensors are known by id: the operations keep every one of them alive.
    first, *others = images
    image = Wire("image", "image", "", [], [], first.shape[1], tuple(first.shape[2:]))
    writers = {id(tensor): image for tensor in (first, *others)}
    wires = [image]
    for _, group in groupby(enumerate(operations), key=lambda item: _run_of(item[1])):
        members = _on_maps(list(group), set(writers))
        if members:
            _add(members, writers, wires)
    return _folded(wires, owner)


def words(name: str) -> str:
    """Return the name of a class as words: ``"SqueezeExcite"`` → ``"squeeze excite"``."""
    parts = _WORDS.sub(" ", _AXES.sub("", name.strip("_"))).split()
    return " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts)


def _run_of(op: Operation) -> int:
    """Return what operations of one node share: one run of a module that has no modules."""
    return id(op.call) if op.call.is_leaf else id(op)


def _on_maps(members: list[tuple[int, Operation]], known: set[int]) -> list[tuple[int, Operation]]:
    """Leave out what does not depend on the image."""
    kept = []
    for place, op in members:
        if any(id(tensor) in known for tensor in op.inputs):
            known.update(id(tensor) for tensor in op.outputs)
            kept.append((place, op))
    return kept


def _add(members: list[tuple[int, Operation]], writers: dict[int, Wire], wires: list[Wire]) -> None:
    """Make a node of ``members``, or pass their input on when they only rename values."""
    read = [writers[id(t)] for _, op in members for t in op.inputs if id(t) in writers]
    inputs = list(dict.fromkeys(read))
    outputs = [tensor for _, op in members for tensor in op.outputs]
    operations = [op for _, op in members]
    if _is_silent(operations, len(inputs)):
        if inputs[0].operations:  # the costs of views are 0, but every row has its place
            inputs[0].operations += [place for place, _ in members]
        writers.update((id(tensor), inputs[0]) for tensor in outputs)
        return
    shape = tuple(operations[-1].outputs[0].shape)
    work = _work_of(operations)
    channels, size = _layout(work, shape)
    wire = Wire(
        label=_label(work, operations[-1], len(inputs)),
        kind=_kind(work, len(inputs), inputs[0].size, size),
        path=operations[-1].call.path,
        inputs=inputs,
        operations=[place for place, _ in members],
        channels=channels,
        size=size,
        stride=work.window.stride[0] if work is not None and work.window else 1,
        groups=_groups(work) if work is not None and "conv" in work.operator else 1,
    )
    writers.update((id(tensor), wire) for tensor in outputs)
    wires.append(wire)


def _is_silent(operations: Sequence[Operation], inputs: int) -> bool:
    """Whether the operations only rename or hand on the values of one tensor."""
    if inputs > 1 or any(op.operator not in MOVES for op in operations):
        return False
    last = operations[-1]
    if last.call.is_leaf:
        kind = last.call.module_type
        return kind in ("Flatten", "Unflatten", "Identity") or kind.endswith(_DROPOUTS)
    return last.operator not in _SPLITS | _CONCATENATIONS


def _work_of(operations: Sequence[Operation]) -> Operation | None:
    """Return the one operation that computes something, if there is just one."""
    if len(operations) == 1:
        return operations[0]
    work = [op for op in operations if op.operator not in MOVES]
    return work[0] if len(work) == 1 else None


def _kind(
    work: Operation | None, inputs: int, before: tuple[int, ...], after: tuple[int, ...]
) -> str:
    operator = work.operator if work else ""
    if operator in _CONVOLUTIONS or operator == "linear":
        return "weights"
    if operator in _CONCATENATIONS:
        return "concatenate"
    if operator in _SPLITS:
        return "split"
    if inputs > 1:
        return "join"
    return "pool" if "pool" in operator or (operator == "mean" and before != after) else "plain"


def _label(work: Operation | None, last: Operation, inputs: int) -> str:
    if work is None:
        return words(last.call.module_type)
    operator = work.operator
    if operator in _CONVOLUTIONS:
        return _convolution(work)
    if "pool" in operator or operator == "mean":
        return _pooling(work)
    if operator in _JOINS:
        if inputs > 1:
            return _JOINS[operator]
        return words(last.call.module_type) if last.call.is_leaf else f"{_JOINS[operator]} constant"
    if operator in MOVES and last.call.is_leaf and operator not in _CONCATENATIONS | _SPLITS:
        return words(last.call.module_type)
    return _NAMES.get(operator, operator.replace("_", " "))


def _convolution(op: Operation) -> str:
    weight = op.inputs[1]
    kernel = "×".join(map(str, weight.shape[2:]))
    is_depthwise = op.inputs[0].shape[1] > weight.shape[1] == 1
    dilation = max(op.window.dilation) if op.window else 1
    rate = f", dilation {dilation}" if dilation > 1 else ""
    return f"{kernel} {'depthwise' if is_depthwise else 'conv'}{rate}"


def _groups(op: Operation) -> int:
    channels, of_group = op.inputs[0].shape[1], op.inputs[1].shape[1]
    return 1 if of_group == 1 else channels // of_group


def _pooling(op: Operation) -> str:
    what = "max pool" if "max" in op.operator else "average pool"
    if max(op.outputs[0].shape[2:], default=1) == 1:
        return f"global {what}"
    if op.window and "adaptive" not in op.operator:
        return f"{'×'.join(map(str, op.window.kernel))} {what}"
    return f"{what} to {'×'.join(map(str, op.outputs[0].shape[2:]))}"


def _layout(work: Operation | None, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return the channels and the spatial sizes of an output.

    The channels of a linear layer are on the last axis, and so are those of a map that is
    square without its last axis only.
    """
    is_linear = work is not None and work.operator == "linear"
    is_square_before = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    if is_linear or is_square_before or len(shape) < 2:
        return shape[-1], shape[1:-1]
    return shape[1], shape[2:]


def _folded(wires: list[Wire], owner: Callable[[str], str]) -> list[Wire]:
    """Put what normalises, activates or scales a map beside what made the map."""
    readers = Counter(id(source) for wire in wires for source in wire.inputs)
    into: dict[int, Wire] = {}
    kept = []
    for wire in wires:
        wire.inputs = list(dict.fromkeys(into.get(id(i), i) for i in wire.inputs))
        source = wire.inputs[0] if wire.inputs else wire
        folds = wire.kind == "plain" and source.kind not in ("image", "split", "pool")
        if folds and readers[id(source)] == 1 and owner(wire.path) == owner(source.path):
            source.detail.append(wire.label)
            source.operations += wire.operations
            into[id(wire)] = source
            readers[id(source)] = readers[id(wire)]
        else:
            kept.append(wire)
    return kept
