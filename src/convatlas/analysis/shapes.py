"""The output of each common operator, as a tensor without memory, from its arguments.

Every function in ``SHAPES`` takes the arguments of the torch function it stands for and
returns an ``Outcome``, or None when the case is unusual; then, as for every operator that is
not in the table, the operator runs on meta tensors instead (ten to a hundred times slower).
Adding an operator is one small function and one line in the table. Knows nothing about
costs, receptive fields or modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import floor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convatlas.analysis.windows import (
    ShapeError,
    Window,
    slide_convolution,
    slide_pool,
    slide_transposed,
)

__all__ = ["SHAPES", "Outcome", "Shape"]

_META = torch.device("meta")


class Outcome(NamedTuple):
    """What an operator returns, known without running it.

    Attributes:
        output: A meta tensor, several, or the input itself when nothing new is made.
        inputs: The tensors it reads, in the order of the torch signature, without None.
        window: The sliding window, for convolution and pooling.
    """

    output: Tensor | tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    window: Window | None = None


Shape = Callable[..., Outcome | None]


def _blank(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a meta tensor of ``shape`` with the dtype and the memory format of ``like``."""
    if not like.is_contiguous() and len(shape) == 4 == like.dim():
        formats = torch.channels_last
        if like.is_contiguous(memory_format=formats):
            return torch.empty(shape, dtype=like.dtype, device=_META, memory_format=formats)
    return torch.empty(shape, dtype=like.dtype, device=_META)


def _present(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple([tensor for tensor in tensors if tensor is not None])


def _fixed(value: Any) -> Any:
    """Return ``value`` as a key of a cache: lists become tuples."""
    return tuple(value) if isinstance(value, list) else value


def _convolution(
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
    output = _blank((shape[0], weights[0], *sizes), x)
    return Outcome(output, _present(x, weight, bias), window)


def _transposed(
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
    output = _blank((shape[0], weights[1] * groups, *sizes), x)
    return Outcome(output, _present(x, weight, bias), window)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Outcome | None:
    if weight.dim() != 2:
        return None
    if x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"expects {weight.shape[1]} features, got {x.shape[-1]}")
    output = _blank((*x.shape[:-1], weight.shape[0]), x)
    return Outcome(output, _present(x, weight, bias))


def _matmul(x: Tensor, other: Tensor, *, out: Tensor | None = None) -> Outcome | None:
    """Matmul, bmm and mm of operands with the same number of axes, two or more."""
    a, b = x.shape, other.shape
    if out is not None or len(a) != len(b) or len(a) < 2 or a[-1] != b[-2] or a[:-2] != b[:-2]:
        return None
    return Outcome(_blank((*a[:-1], b[-1]), x), (x, other))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> Outcome | None:
    if query.shape[-1] != key.shape[-1] or query.shape[:-2] != value.shape[:-2]:
        return None
    output = _blank((*query.shape[:-1], value.shape[-1]), query)
    return Outcome(output, _present(query, key, value, attn_mask))


def _normalised(x: Tensor, *others: Any, **keywords: Any) -> Outcome:
    """Any normalisation by given or measured statistics, with or without scale and shift."""
    tensors = [x]
    for other in (*others, *keywords.values()):
        if isinstance(other, Tensor):
            tensors.append(other)
    return Outcome(_blank(x.shape, x), tuple(tensors))


def _batch_norm(x: Tensor, *others: Any, **keywords: Any) -> Outcome:
    outcome = _normalised(x, *others, **keywords)
    for other in outcome.inputs[1:]:
        if other.numel() != x.shape[1]:
            raise ShapeError(f"expects {other.numel()} channels, got {x.shape[1]}")
    return outcome


def _unary(x: Tensor, *_: Any, inplace: bool = False, **keywords: Any) -> Outcome | None:
    """An activation or another function of one tensor, element by element."""
    if "out" in keywords or not x.is_floating_point():
        return None
    return Outcome(x if inplace else _blank(x.shape, x), (x,))


def _softmax(x: Tensor, *settings: Any, **keywords: Any) -> Outcome | None:
    changes_dtype = any(isinstance(s, torch.dtype) for s in (*settings, *keywords.values()))
    return None if changes_dtype else _unary(x, **keywords)


def _prelu(x: Tensor, weight: Tensor) -> Outcome:
    return Outcome(_blank(x.shape, x), (x, weight))


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
        return Outcome(_blank(x.shape, x), (x,)) if floating else None
    a, b = x.shape, other.shape
    if x.dtype != other.dtype:
        return None
    if a == b:
        return Outcome(_blank(a, x), (x, other))
    shape = _broadcast(a, b)
    return Outcome(_blank(shape, x if shape == a else other), (x, other)) if shape else None


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """Return the common shape of two operands, or None when torch has to say what is wrong."""
    if len(a) < len(b):
        a, b = b, a
    b = (1,) * (len(a) - len(b)) + tuple(b)
    if any(n != m and n != 1 and m != 1 for n, m in zip(a, b, strict=True)):
        return None
    return tuple(m if n == 1 else n for n, m in zip(a, b, strict=True))


def _max_pool(
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
    settings = (kernel_size, stride, padding, dilation)
    return None if return_indices else _pool(x, settings, ceil_mode, axes)


def _max_pool_indices(x: Tensor, *args: Any, axes: int, **keywords: Any) -> Outcome | None:
    """Max pooling that also returns where each maximum was, as SegNet's encoder wants."""
    keywords.pop("return_indices", None)
    outcome = _max_pool(x, *args, axes=axes, **keywords)
    if outcome is None or not isinstance(outcome.output, Tensor):
        return None
    indices = torch.empty(outcome.output.shape, dtype=torch.int64, device=_META)
    return outcome._replace(output=(outcome.output, indices))


def _average_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *_: Any,
    axes: int,
    **__: Any,
) -> Outcome | None:
    return _pool(x, (kernel_size, stride, padding, 1), ceil_mode, axes)


def _pool(x: Tensor, settings: Sequence[Any], ceil_mode: bool, axes: int) -> Outcome | None:
    shape = x.shape
    if len(shape) != axes + 2:
        return None
    kernel, stride, padding, dilation = map(_fixed, settings)
    sizes, window = slide_pool(shape[2:], kernel, stride, padding, dilation, ceil_mode)
    return Outcome(_blank((*shape[:2], *sizes), x), (x,), window)


def _adaptive_pool(
    x: Tensor, output_size: Any, return_indices: bool = False, *, axes: int
) -> Outcome | None:
    sizes = x.shape[2:]
    asked = (output_size,) * axes if isinstance(output_size, int) else output_size
    if return_indices or len(sizes) != axes or len(asked) != axes:
        return None
    kept = tuple(n if size is None else size for n, size in zip(sizes, asked, strict=True))
    return Outcome(_blank((*x.shape[:2], *kept), x), (x,))


def _interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, *_: Any, **__: Any
) -> Outcome | None:
    sizes = x.shape[2:]
    asked = scale_factor if size is None else size
    per_axis: tuple[Any, ...] = (
        (asked,) * len(sizes) if isinstance(asked, int | float) else tuple(asked or ())
    )
    if len(per_axis) != len(sizes):
        return None
    if size is None:
        per_axis = tuple(floor(n * by) for n, by in zip(sizes, per_axis, strict=True))
    return Outcome(_blank((*x.shape[:2], *per_axis), x), (x,))


def _pad(x: Tensor, pad: Any, *_: Any, **__: Any) -> Outcome:
    shape = list(x.shape)
    for pair in range(len(pad) // 2):
        shape[-1 - pair] += pad[2 * pair] + pad[2 * pair + 1]
    if min(shape) < 0:
        raise ShapeError(f"cannot crop a {tuple(x.shape)} tensor by {tuple(pad)}")
    return Outcome(_blank(shape, x), (x,))


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
    return None if keywords else Outcome(_blank(shape, first), inputs)


def _reduction(x: Tensor, dim: Any = None, keepdim: bool = False, **others: Any) -> Outcome | None:
    """Mean, sum and the like over some axes; whole-tensor and typed ones run on meta tensors."""
    if dim is None or others or not x.is_floating_point():
        return None
    axes = x.dim()
    gone = {d % axes for d in ((dim,) if isinstance(dim, int) else dim)}
    kept = enumerate(x.shape)
    shape = [1 if d in gone else n for d, n in kept if keepdim or d not in gone]
    return Outcome(_blank(shape, x), (x,))


_UNARY = """
    relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid tanh hardtanh hardswish hardsigmoid
    softplus softsign logsigmoid exp sqrt rsqrt neg abs square erf log
    sin cos local_response_norm
"""

SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
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
    "interpolate": _interpolate,
    "pad": _pad,
    "cat": _cat,
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduction),
}
for _axes in (1, 2, 3):
    SHAPES[f"max_pool{_axes}d"] = partial(_max_pool, axes=_axes)
    SHAPES[f"max_pool{_axes}d_with_indices"] = partial(_max_pool_indices, axes=_axes)
    SHAPES[f"avg_pool{_axes}d"] = partial(_average_pool, axes=_axes)
    SHAPES[f"adaptive_avg_pool{_axes}d"] = partial(_adaptive_pool, axes=_axes)
    SHAPES[f"adaptive_max_pool{_axes}d"] = partial(_adaptive_pool, axes=_axes)
