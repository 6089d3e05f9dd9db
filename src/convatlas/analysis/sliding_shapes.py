"""The output shapes of operators that slide over a map or resize it.

Parameters are those of the torch functions; ``shapes`` has the table and explains the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any

import torch
from torch import Tensor

from convatlas.analysis.outcome import META, Outcome, blank, present
from convatlas.analysis.windows import (
    ShapeError,
    slide_convolution,
    slide_pool,
    slide_transposed,
)

__all__ = [
    "adaptive_pool",
    "average_pool",
    "convolution",
    "interpolate",
    "max_pool",
    "max_pool_indices",
    "transposed",
]


def _fixed(value: Any) -> Any:
    """Return ``value`` as a key of a cache: lists become tuples."""
    return tuple(value) if isinstance(value, list) else value


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Outcome | None:
    """conv1d, conv2d, conv3d: weight (C_out, C_in / groups, *K)."""
    shape, weights = x.shape, weight.shape
    if len(shape) != len(weights):
        return None
    if shape[1] != weights[1] * groups:
        raise ShapeError(f"expects {weights[1] * groups} channels, got {shape[1]}")
    stride, padding, dilation = _fixed(stride), _fixed(padding), _fixed(dilation)
    sizes, window = slide_convolution(shape[2:], weights[2:], stride, padding, dilation)
    output = blank((shape[0], weights[0], *sizes), x)
    return Outcome(output, present(x, weight, bias), window)


def transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Outcome | None:
    """conv_transpose1d, 2d, 3d: weight (C_in, C_out / groups, *K)."""
    shape, weights = x.shape, weight.shape
    if len(shape) != len(weights):
        return None
    if shape[1] != weights[0]:
        raise ShapeError(f"expects {weights[0]} channels, got {shape[1]}")
    settings = (_fixed(stride), _fixed(padding), _fixed(output_padding), _fixed(dilation))
    sizes, window = slide_transposed(shape[2:], weights[2:], *settings)
    output = blank((shape[0], weights[1] * groups, *sizes), x)
    return Outcome(output, present(x, weight, bias), window)


def max_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    axes: int,
) -> Outcome | None:
    """max_pool1d, 2d, 3d."""
    settings = (kernel_size, stride, padding, dilation)
    return None if return_indices else _pool(x, settings, ceil_mode, axes)


def max_pool_indices(x: Tensor, *args: Any, axes: int, **keywords: Any) -> Outcome | None:
    """Max pooling that also returns where each maximum was, as SegNet's encoder wants."""
    keywords.pop("return_indices", None)
    outcome = max_pool(x, *args, axes=axes, **keywords)
    if outcome is None or not isinstance(outcome.output, Tensor):
        return None
    indices = torch.empty(outcome.output.shape, dtype=torch.int64, device=META)
    return outcome._replace(output=(outcome.output, indices))


def average_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *_: Any,
    axes: int,
    **__: Any,
) -> Outcome | None:
    """avg_pool1d, 2d, 3d."""
    return _pool(x, (kernel_size, stride, padding, 1), ceil_mode, axes)


def _pool(x: Tensor, settings: Sequence[Any], ceil_mode: bool, axes: int) -> Outcome | None:
    shape = x.shape
    if len(shape) != axes + 2:
        return None
    kernel, stride, padding, dilation = map(_fixed, settings)
    sizes, window = slide_pool(shape[2:], kernel, stride, padding, dilation, ceil_mode)
    return Outcome(blank((*shape[:2], *sizes), x), (x,), window)


def adaptive_pool(
    x: Tensor, output_size: Any, return_indices: bool = False, *, axes: int
) -> Outcome | None:
    """Average or maximum over windows that cover the map; None keeps a size."""
    sizes = x.shape[2:]
    asked = (output_size,) * axes if isinstance(output_size, int) else output_size
    if return_indices or len(sizes) != axes or len(asked) != axes:
        return None
    kept = tuple(n if size is None else size for n, size in zip(sizes, asked, strict=True))
    return Outcome(blank((*x.shape[:2], *kept), x), (x,))


def interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, *_: Any, **__: Any
) -> Outcome | None:
    """Resizing to ``size`` or by ``scale_factor``, whatever the mode."""
    sizes = x.shape[2:]
    asked = scale_factor if size is None else size
    per_axis: tuple[Any, ...] = (
        (asked,) * len(sizes) if isinstance(asked, int | float) else tuple(asked or ())
    )
    if len(per_axis) != len(sizes):
        return None
    if size is None:
        per_axis = tuple(floor(n * by) for n, by in zip(sizes, per_axis, strict=True))
    return Outcome(blank((*x.shape[:2], *per_axis), x), (x,))
