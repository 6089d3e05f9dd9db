"""Operator → receptive field of its output, from the fields of its inputs.

A rule gets the operation and the fields of those inputs that depend on the image; what has no
rule ends with no field and the reason. Three conventions:

* A global operation (global pooling, flattening positions, attention, …) leaves no local
  field; the reason is kept.
* Arithmetic with a value that all positions share (a squeeze-and-excitation gate, a globally
  pooled context) keeps the local path's field and notes it.
* Group, instance and spatial layer norm keep the field and note that their statistics come
  from the whole map.

Adding an operator is one line in ``RULES``. Knows nothing about modules or costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from torch import Tensor

from convatlas.analysis import field_layout as layout
from convatlas.analysis.field import GATE, STATISTICS, Field, Source, combined, joined, lost
from convatlas.analysis.formulas import POINTWISE
from convatlas.analysis.operation import Operation
from convatlas.analysis.receptive_field import resample, slide, slide_transposed

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


def _trailing(tensor: Tensor, field: Field) -> bool:
    """Whether the spatial axes are the last ones, as in N, C, H, W."""
    return field.dims == tuple(range(tensor.dim() - len(field.dims), tensor.dim()))


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
    """Layer norm over the last axes; the positions are often among them in no ConvNet."""
    tensor, field = sources[0]
    first = tensor.dim() - len(tuple(op.argument(1, "normalized_shape")))
    if any(dim >= first for dim in field.dims):
        return _whole_map_statistics(op, sources)
    return field


def _windowed(op: Operation, sources: Sequence[Source]) -> Field:
    """Convolution and pooling; a kernel made from the image counts as a gate."""
    tensor, field = sources[0]
    window = op.window
    if tensor is not op.inputs[0] or window is None or not _trailing(tensor, field):
        return lost(f"{op.operator} does not slide over the image's axes")
    if len(sources) > 1:
        field = replace(field, note=field.note or GATE)
    if max(window.kernel) == max(window.stride) == 1 and not any(window.padding):
        return field
    passes = slide_transposed if "transpose" in op.operator else slide
    return Field(field.dims, tuple(map(passes, field.axes, *window)), field.note)


def _adaptive(op: Operation, sources: Sequence[Source]) -> Field:
    """Adaptive pooling: regular windows where the output size divides the input size."""
    tensor, field = sources[0]
    if not _trailing(tensor, field):
        return lost(f"{op.operator} does not slide over the image's axes")
    axes = []
    for dim, axis in zip(field.dims, field.axes, strict=True):
        inputs, outputs = tensor.shape[dim], op.outputs[0].shape[dim]
        if outputs == 1:
            return lost(f"{op.operator} reads the whole map")
        if inputs % outputs:
            return lost(f"{op.operator} from {inputs} to {outputs} has uneven windows")
        taps = inputs // outputs
        axes.append(slide(axis, taps, taps, 0, 1))
    return Field(field.dims, tuple(axes), field.note)


def _interpolated(op: Operation, sources: Sequence[Source]) -> Field:
    """Interpolation; sampled without smoothing, as torch does unless asked."""
    tensor, field = sources[0]
    mode = op.argument(3, "mode", "nearest")
    if mode == "area":
        return _adaptive(op, sources)
    if op.argument(6, "antialias", False) or not _trailing(tensor, field):
        return lost("interpolation smooths over a range that has no rule")
    aligned = bool(op.argument(4, "align_corners"))
    axes = []
    for place, (dim, axis) in enumerate(zip(field.dims, field.axes, strict=True)):
        scale = _scale(op, place, tensor.shape[dim], op.outputs[0].shape[dim], aligned)
        axes.append(resample(axis, scale, *_sampling(mode, scale, aligned)))
    return joined(field.dims, axes, field.note, "interpolation between unrelated sizes")


def _scale(op: Operation, place: int, inputs: int, outputs: int, aligned: bool) -> Fraction:
    """Return how many inputs one output advances along one axis."""
    factor = op.argument(2, "scale_factor")
    if aligned:
        return Fraction(inputs - 1, max(1, outputs - 1))
    if factor is None or op.argument(5, "recompute_scale_factor"):
        return Fraction(inputs, outputs)
    own = factor[place] if isinstance(factor, list | tuple) else factor
    return 1 / Fraction(own).limit_denominator(1000)


def _sampling(mode: str, scale: Fraction, aligned: bool) -> tuple[Fraction, tuple[int, int]]:
    """Return where output 0 reads, and the taps before and after it."""
    centred = scale / 2 - Fraction(1, 2)
    if mode == "nearest":
        return Fraction(0), (0, 0)
    if mode == "nearest-exact":
        return scale / 2, (0, 0)
    return Fraction(0) if aligned else centred, (1, 2) if mode == "bicubic" else (0, 1)


def _padded(op: Operation, sources: Sequence[Source]) -> Field:
    """Padding or, with negative numbers, cropping."""
    tensor, field = sources[0]
    pad, last = op.argument(1, "pad"), tensor.dim() - 1
    axes = []
    for dim, axis in zip(field.dims, field.axes, strict=True):
        place = 2 * (last - dim)
        axes.append(slide(axis, 1, 1, pad[place] if place < len(pad) else 0, 1))
    return Field(field.dims, tuple(axes), field.note)


def _pixel_shuffled(op: Operation, sources: Sequence[Source]) -> Field:
    tensor, field = sources[0]
    if not _trailing(tensor, field):
        return lost(f"{op.operator} does not work on the image's axes")
    factor = op.argument(1, "upscale_factor")
    scale = Fraction(1, factor)
    axes = [resample(axis, scale, Fraction(0), (0, 0)) for axis in field.axes]
    return joined(field.dims, axes, field.note, "pixels shuffled too far")


def _pixel_unshuffled(op: Operation, sources: Sequence[Source]) -> Field:
    tensor, field = sources[0]
    if not _trailing(tensor, field):
        return lost(f"{op.operator} does not work on the image's axes")
    factor = op.argument(1, "downscale_factor")
    return Field(
        field.dims, tuple(slide(axis, factor, factor, 0, 1) for axis in field.axes), field.note
    )


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
    "interpolate": _interpolated,
    "pad": _padded,
    "pixel_shuffle": _pixel_shuffled,
    "pixel_unshuffle": _pixel_unshuffled,
    **_LAYOUT,
}
for _axes in ("1d", "2d", "3d"):
    for _name in ("conv", "conv_transpose", "max_pool", "avg_pool"):
        RULES[f"{_name}{_axes}"] = _windowed
    RULES[f"max_pool{_axes}_with_indices"] = _windowed
    RULES[f"adaptive_avg_pool{_axes}"] = _adaptive
    RULES[f"adaptive_max_pool{_axes}"] = _adaptive
