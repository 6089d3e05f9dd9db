"""What an operation asks of a machine, in the numbers that its time depends on.

One record for an operator inside a network and for the same operator alone in a calibration,
so that the one prices the other. Counts elements, not bytes: the precision is known elsewhere.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.analysis.formulas import FORMULAS
from convatlas.analysis.operation import Operation
from convatlas.analysis.operators import MOVES

__all__ = ["VIEW", "Work", "kind_of", "works_of"]

VIEW = "view"
"""The operator of every call that moves nothing: a new shape for the same memory."""

_WEIGHTED = frozenset(
    (
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "convolution",
        "linear",
        "batch_norm",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "rms_norm",
        "prelu",
    )
)
_CONVOLUTIONS = frozenset(("conv1d", "conv2d", "conv3d", "convolution"))
_SAME_CODE = dict.fromkeys(("bmm", "mm", "addmm", "baddbmm", "mv"), "matmul")
_SAME_CODE |= {"relu6": "hardtanh", "clamp": "hardtanh", "max_pool2d_with_indices": "max_pool2d"}
_BY_LAST_AXIS = frozenset(("linear", "layer_norm", "rms_norm", "matmul", "bmm", "softmax"))
_MOVED = dict.fromkeys(("cat", "stack", "hstack", "vstack", "dstack"), "cat")
_MOVED |= dict.fromkeys(("pad", "constant_pad_nd"), "pad")
_GLOBAL = frozenset(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "mean"))


class Work(NamedTuple):
    """One operator at one shape.

    Attributes:
        operator: ``"conv2d"``; one name for operators that run the same code.
        macs: Multiply-accumulates.
        read: Elements of the activations that it reads.
        weights: Elements of the parameters that it reads.
        written: Elements that it writes.
        batch: Samples.
        channels: Input channels, or the last axis of what has no channels.
        filters: Output channels, likewise.
        positions: Output positions per channel of one sample.
        taps: Weights per window, or inputs under a pooling window; 1 for others.
        side: Side of the (first axis of the) window.
        stride: Stride of the window.
        dilation: Dilation of the window.
        groups: Groups of channels.
        layout: 0 for rows that follow each other in memory, 1 for channels last, 2 for another
            order, 3 for operands of different orders.
        in_place: 1 when it needs no memory for its output.
    """

    operator: str
    macs: int
    read: int
    weights: int
    written: int
    batch: int = 1
    channels: int = 1
    filters: int = 1
    positions: int = 1
    taps: int = 1
    side: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    layout: int = 0
    in_place: int = 0


def works_of(op: Operation) -> tuple[Work, ...]:
    """Return the work of an operation, or of its parts when it has no formula of its own."""
    if op.parts and op.operator not in FORMULAS:
        return tuple([work for part in op.parts for work in works_of(part)])
    if not op.inputs or (op.operator in MOVES and not op.allocated):
        return (Work(VIEW, 0, 0, 0, 0),) if op.inputs else ()
    return (_work_of(op),)


def kind_of(work: Work) -> str:
    """Name the code that a work runs: dense, grouped and depthwise convolutions differ."""
    if not work.operator.startswith("conv") or work.groups == 1:
        return work.operator
    return f"{'depthwise' if work.groups == work.channels else 'grouped'} {work.operator}"


def _work_of(op: Operation) -> Work:
    formula = FORMULAS.get(op.operator)
    count = 1 if op.operator in _WEIGHTED else len(op.inputs)
    read = {id(tensor): tensor for tensor in op.inputs[:count]}.values()
    source, output = op.inputs[0], op.outputs[0]
    is_last = op.operator in _BY_LAST_AXIS
    channels, filters = _width(source, is_last), _width(output, is_last)
    window = op.window
    is_convolution = op.operator in _CONVOLUTIONS
    groups = max(1, channels // op.inputs[1].shape[1]) if is_convolution else 1
    return Work(
        operator=_name(op),
        macs=formula(op).macs if formula else 0,
        read=sum([tensor.numel() for tensor in read]),
        weights=sum([tensor.numel() for tensor in op.inputs[count:]]),
        written=sum([tensor.numel() for tensor in op.outputs]),
        batch=output.shape[0] if output.dim() else 1,
        channels=channels,
        filters=filters,
        positions=_positions(output, filters),
        taps=prod(window.kernel) if window else 1,
        side=window.kernel[0] if window else 1,
        stride=window.stride[0] if window else 1,
        dilation=window.dilation[0] if window else 1,
        groups=groups,
        layout=_layout([tensor for tensor in read if tensor.numel() > 1]),
        in_place=int(not op.allocated),
    )


def _name(op: Operation) -> str:
    """Name the code that runs: a mean over positions is the global pooling, and so on."""
    if op.operator in _GLOBAL:
        return "global_pool" if op.outputs[0].numel() * 16 <= op.inputs[0].numel() else op.operator
    if op.operator.lstrip("_").startswith("scaled_dot_product"):
        return "scaled_dot_product_attention"
    if op.operator in MOVES:
        return _MOVED.get(op.operator, "copy")
    if op.operator == "interpolate":
        return f"interpolate_{op.argument(3, 'mode', 'nearest')}"
    if op.operator == "convolution":
        return f"conv{op.inputs[1].dim() - 2}d"
    return _SAME_CODE.get(op.operator, op.operator)


def _width(tensor: Tensor, is_last: bool) -> int:
    """Return the channels of a map, or the features of vectors and tokens."""
    if tensor.dim() < 2:
        return tensor.numel()
    return tensor.shape[-1 if is_last or tensor.dim() not in (4, 5) else 1]


def _positions(tensor: Tensor, width: int) -> int:
    batch = tensor.shape[0] if tensor.dim() else 1
    return max(1, tensor.numel() // max(1, batch * width))


def _layout(tensors: list[Tensor]) -> int:
    orders = {_order(tensor) for tensor in tensors if tensor.dim() > 1}
    return 3 if len(orders) > 1 else next(iter(orders), 0)


def _order(tensor: Tensor) -> int:
    if tensor.is_contiguous():
        return 0
    is_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return 1 if is_last else 2
