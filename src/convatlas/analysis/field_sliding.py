"""Receptive field rules of operators that slide over positions, resize or pad a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from torch import Tensor

from convatlas.analysis.field import GATE, Field, Source, joined, lost
from convatlas.analysis.operation import Operation
from convatlas.analysis.receptive_field import resample, slide, slide_transposed

__all__ = [
    "adaptive",
    "interpolated",
    "padded",
    "pixel_shuffled",
    "pixel_unshuffled",
    "windowed",
]


def _trailing(tensor: Tensor, field: Field) -> bool:
    """Whether the spatial axes are the last ones, as in N, C, H, W."""
    return field.dims == tuple(range(tensor.dim() - len(field.dims), tensor.dim()))


def windowed(op: Operation, sources: Sequence[Source]) -> Field:
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


def adaptive(op: Operation, sources: Sequence[Source]) -> Field:
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


def interpolated(op: Operation, sources: Sequence[Source]) -> Field:
    """Interpolation; sampled without smoothing, as torch does unless asked."""
    tensor, field = sources[0]
    mode = op.argument(3, "mode", "nearest")
    if mode == "area":
        return adaptive(op, sources)
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


def padded(op: Operation, sources: Sequence[Source]) -> Field:
    """Padding or, with negative numbers, cropping."""
    tensor, field = sources[0]
    pad, last = op.argument(1, "pad"), tensor.dim() - 1
    axes = []
    for dim, axis in zip(field.dims, field.axes, strict=True):
        place = 2 * (last - dim)
        axes.append(slide(axis, 1, 1, pad[place] if place < len(pad) else 0, 1))
    return Field(field.dims, tuple(axes), field.note)


def pixel_shuffled(op: Operation, sources: Sequence[Source]) -> Field:
    """Channels become positions: neighbours see what one position saw."""
    tensor, field = sources[0]
    if not _trailing(tensor, field):
        return lost(f"{op.operator} does not work on the image's axes")
    factor = op.argument(1, "upscale_factor")
    scale = Fraction(1, factor)
    axes = [resample(axis, scale, Fraction(0), (0, 0)) for axis in field.axes]
    return joined(field.dims, axes, field.note, "pixels shuffled too far")


def pixel_unshuffled(op: Operation, sources: Sequence[Source]) -> Field:
    """Positions become channels: an output sees a square of them."""
    tensor, field = sources[0]
    if not _trailing(tensor, field):
        return lost(f"{op.operator} does not work on the image's axes")
    factor = op.argument(1, "downscale_factor")
    return Field(
        field.dims, tuple(slide(axis, factor, factor, 0, 1) for axis in field.axes), field.note
    )
