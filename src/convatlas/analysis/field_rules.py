"""Operator → receptive field of its output, from the fields of its inputs.

A rule gets the operation and the fields of those inputs that depend on the image; what has no
rule ends with no field and the reason. Three conventions:

* A global operation (global pooling, flattening positions, attention, …) leaves no local
  field; the reason is kept.
* Arithmetic with a value that all positions share (a squeeze-and-excitation gate, a globally
  pooled context) keeps the local path's field and notes it.
* Group, instance and spatial layer norm keep the field and note that their statistics come
  from the whole map.

Adding an operator is one line in ``RULES``. Knows nothing about modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from convatlas.analysis import field_layout as layout
from convatlas.analysis import field_sliding as sliding
from convatlas.analysis.field import STATISTICS, Field, Source, combined, lost
from convatlas.analysis.formulas import POINTWISE
from convatlas.analysis.operation import Operation

__all__ = ["RULES", "Rule", "propagate"]

Rule = Callable[[Operation, Sequence[Source]], Field]


def propagate(op: Operation, sources: Sequence[Source]) -> Field:
    """Return the field of an operation's outputs.

    Args:
        op: The operation.
        sources: Those of its inputs that depend on the model's input, with their fields.
    """
    if not any(field.axes for _, field in sources):
        return sources[0][1]
    rule = RULES.get(op.operator)
    return rule(op, sources) if rule else lost(f"{op.operator} has no receptive field rule")


def _same(op: Operation, sources: Sequence[Source]) -> Field:
    """Element by element of the first input, or along its channels only."""
    del op
    return sources[0][1]


def _arithmetic(op: Operation, sources: Sequence[Source]) -> Field:
    tensor, field = sources[0]
    if len(sources) == 1 and tensor.shape == op.outputs[0].shape:
        return field
    return combined(op, sources)


def _linear(op: Operation, sources: Sequence[Source]) -> Field:
    tensor, field = sources[0]
    return lost(f"{op.operator} mixes positions") if tensor.dim() - 1 in field.dims else field


def _global(op: Operation, sources: Sequence[Source]) -> Field:
    del sources
    return lost(f"{op.operator} mixes all positions")


def _whole_map_statistics(op: Operation, sources: Sequence[Source]) -> Field:
    del op
    return replace(sources[0][1], note=sources[0][1].note or STATISTICS)


def _layer_norm(op: Operation, sources: Sequence[Source]) -> Field:
    """Layer norm over the last axes, which are seldom the positions."""
    tensor, field = sources[0]
    first = tensor.dim() - len(tuple(op.argument(1, "normalized_shape")))
    if any(dim >= first for dim in field.dims):
        return _whole_map_statistics(op, sources)
    return field


_LAYOUT: dict[str, Rule] = {
    **dict.fromkeys(
        ("view", "view_as", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel"),
        layout.reshaped,
    ),
    **dict.fromkeys(("permute", "transpose", "movedim", "t", "T", "mT"), layout.permuted),
    **dict.fromkeys(("expand", "expand_as", "repeat", "tile", "broadcast_to"), layout.expanded),
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "narrow", "tensor_split"), layout.split),
    **dict.fromkeys(("select", "unbind"), layout.removed),
    "getitem": layout.indexed,
    "cat": layout.concatenated,
    "stack": layout.stacked,
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "max", "min", "prod", "var", "std"), layout.reduced
    ),
    **dict.fromkeys(("argmax", "argmin", "linalg_vector_norm", "logsumexp"), layout.reduced),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), layout.normalised),
}

RULES: dict[str, Rule] = {
    **dict.fromkeys(POINTWISE, _arithmetic),
    **dict.fromkeys(("where", "masked_fill"), _arithmetic),
    **dict.fromkeys(("batch_norm", "local_response_norm", "alias", "clone", "contiguous"), _same),
    **dict.fromkeys(("to", "cpu", "cuda", "half", "float", "double", "bfloat16", "type"), _same),
    **dict.fromkeys(("detach", "data", "dropout", "dropout1d", "dropout2d", "dropout3d"), _same),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout", "feature_dropout"), _same),
    **dict.fromkeys(("channel_shuffle",), _same),
    **dict.fromkeys(("group_norm", "instance_norm"), _whole_map_statistics),
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "linear": _linear,
    **dict.fromkeys(("matmul", "bmm", "mm", "addmm", "scaled_dot_product_attention"), _global),
    "interpolate": sliding.interpolated,
    "pad": sliding.padded,
    "pixel_shuffle": sliding.pixel_shuffled,
    "pixel_unshuffle": sliding.pixel_unshuffled,
    **_LAYOUT,
}
for _axes in ("1d", "2d", "3d"):
    for _name in ("conv", "conv_transpose", "max_pool", "avg_pool"):
        RULES[f"{_name}{_axes}"] = sliding.windowed
    RULES[f"max_pool{_axes}_with_indices"] = sliding.windowed
    RULES[f"adaptive_avg_pool{_axes}"] = sliding.adaptive
    RULES[f"adaptive_max_pool{_axes}"] = sliding.adaptive
