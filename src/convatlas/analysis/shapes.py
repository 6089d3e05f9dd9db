"""The output of each common operator, as a tensor without memory, from its arguments.

Every function in ``SHAPES`` takes the arguments of the torch function it stands for and
returns an ``Outcome``, or None when the case is unusual; then, as for every operator that is
not in the table, the operator runs on meta tensors instead (ten to a hundred times slower).
Adding an operator is one small function and one line in the table. Knows nothing about
costs, receptive fields or modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convatlas.analysis import sliding_shapes as sliding
from convatlas.analysis.outcome import Outcome, Shape, blank, present
from convatlas.analysis.windows import ShapeError

__all__ = ["SHAPES"]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Outcome | None:
    if weight.dim() != 2:
        return None
    if x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"expects {weight.shape[1]} features, got {x.shape[-1]}")
    output = blank((*x.shape[:-1], weight.shape[0]), x)
    return Outcome(output, present(x, weight, bias))


def _matmul(x: Tensor, other: Tensor, *, out: Tensor | None = None) -> Outcome | None:
    """Matmul, bmm and mm of operands with the same number of axes, two or more."""
    a, b = x.shape, other.shape
    if out is not None or len(a) != len(b) or len(a) < 2 or a[-1] != b[-2] or a[:-2] != b[:-2]:
        return None
    return Outcome(blank((*a[:-1], b[-1]), x), (x, other))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> Outcome | None:
    if query.shape[-1] != key.shape[-1] or query.shape[:-2] != value.shape[:-2]:
        return None
    output = blank((*query.shape[:-1], value.shape[-1]), query)
    return Outcome(output, present(query, key, value, attn_mask))


def _normalised(x: Tensor, *others: Any, **keywords: Any) -> Outcome:
    """Any normalisation by given or measured statistics, with or without scale and shift."""
    tensors = [x]
    for other in (*others, *keywords.values()):
        if isinstance(other, Tensor):
            tensors.append(other)
    return Outcome(blank(x.shape, x), tuple(tensors))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> Outcome:
    shape = x.shape
    others = present(running_mean, running_var, weight, bias)
    for other in others:
        if other.numel() != shape[1]:
            raise ShapeError(f"expects {other.numel()} channels, got {shape[1]}")
    return Outcome(blank(shape, x), (x, *others))


def _unary(x: Tensor, *_: Any, inplace: bool = False, **keywords: Any) -> Outcome | None:
    """An activation or another function of one tensor, element by element."""
    if "out" in keywords or not x.is_floating_point():
        return None
    return Outcome(x if inplace else blank(x.shape, x), (x,))


def _softmax(x: Tensor, *settings: Any, **keywords: Any) -> Outcome | None:
    changes_dtype = any(isinstance(s, torch.dtype) for s in (*settings, *keywords.values()))
    return None if changes_dtype else _unary(x, **keywords)


def _prelu(x: Tensor, weight: Tensor) -> Outcome:
    return Outcome(blank(x.shape, x), (x, weight))


def _kept(x: Tensor, *_: Any, **__: Any) -> Outcome:
    """Dropout in eval mode: the input itself."""
    return Outcome(x, (x,))


def _binary(x: Any, other: Any, *_: Any, **keywords: Any) -> Outcome | None:
    """Arithmetic between two tensors of one dtype, or a floating tensor and a number."""
    if "out" in keywords:
        return None
    if not isinstance(x, Tensor):
        x, other = other, x
    if not isinstance(other, Tensor):
        floating = x.is_floating_point() and isinstance(other, int | float)
        return Outcome(blank(x.shape, x), (x,)) if floating else None
    a, b = x.shape, other.shape
    if x.dtype != other.dtype:
        return None
    if a == b:
        return Outcome(blank(a, x), (x, other))
    shape = _broadcast(a, b)
    return Outcome(blank(shape, x if shape == a else other), (x, other)) if shape else None


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """Return the common shape of two operands, or None when torch has to say what is wrong."""
    if len(a) < len(b):
        a, b = b, a
    b = (1,) * (len(a) - len(b)) + tuple(b)
    if any(n != m and n != 1 and m != 1 for n, m in zip(a, b, strict=True)):
        return None
    return tuple(m if n == 1 else n for n, m in zip(a, b, strict=True))


def _pad(x: Tensor, pad: Any, *_: Any, **__: Any) -> Outcome:
    shape = list(x.shape)
    for pair in range(len(pad) // 2):
        shape[-1 - pair] += pad[2 * pair] + pad[2 * pair + 1]
    if min(shape) < 0:
        raise ShapeError(f"cannot crop a {tuple(x.shape)} tensor by {tuple(pad)}")
    return Outcome(blank(shape, x), (x,))


def _cat(tensors: Any, dim: int = 0, **keywords: Any) -> Outcome | None:
    inputs = tuple(tensors)
    first = inputs[0]
    shape = list(first.shape)
    dim %= len(shape) or 1
    rest = (*shape[:dim], *shape[dim + 1 :])
    for other in inputs[1:]:
        sizes = other.shape
        if (*sizes[:dim], *sizes[dim + 1 :]) != rest or other.dtype != first.dtype:
            return None
        shape[dim] += sizes[dim]
    return None if keywords else Outcome(blank(shape, first), inputs)


def _reduction(x: Tensor, dim: Any = None, keepdim: bool = False, **others: Any) -> Outcome | None:
    """Mean, sum and the like over some axes; whole-tensor and typed ones run on meta tensors."""
    if dim is None or others or not x.is_floating_point():
        return None
    axes = x.dim()
    gone = {d % axes for d in ((dim,) if isinstance(dim, int) else dim)}
    kept = enumerate(x.shape)
    shape = [1 if d in gone else n for d, n in kept if keepdim or d not in gone]
    return Outcome(blank(shape, x), (x,))


_UNARY = """
    relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid tanh hardtanh hardswish hardsigmoid
    softplus softsign logsigmoid exp sqrt rsqrt neg abs square erf log
    sin cos local_response_norm
"""

SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), sliding.convolution),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), sliding.transposed
    ),
    "linear": _linear,
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), _normalised),
    **dict.fromkeys(_UNARY.split(), _unary),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), _softmax),
    "prelu": _prelu,
    **dict.fromkeys(("dropout", "alpha_dropout", "feature_alpha_dropout"), _kept),
    **dict.fromkeys(("dropout1d", "dropout2d", "dropout3d", "feature_dropout"), _kept),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "maximum", "minimum"), _binary),
    "interpolate": sliding.interpolate,
    "pad": _pad,
    "cat": _cat,
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduction),
}
for _axes in (1, 2, 3):
    SHAPES[f"max_pool{_axes}d"] = partial(sliding.max_pool, axes=_axes)
    SHAPES[f"max_pool{_axes}d_with_indices"] = partial(sliding.max_pool_indices, axes=_axes)
    SHAPES[f"avg_pool{_axes}d"] = partial(sliding.average_pool, axes=_axes)
    SHAPES[f"adaptive_avg_pool{_axes}d"] = partial(sliding.adaptive_pool, axes=_axes)
    SHAPES[f"adaptive_max_pool{_axes}d"] = partial(sliding.adaptive_pool, axes=_axes)
