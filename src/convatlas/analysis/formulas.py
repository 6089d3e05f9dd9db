"""Operator → cost: how many multiply-accumulates and how many arithmetic operations.

Two columns that are never mixed.

* ``macs``: multiply-accumulates of convolutions, linear layers and matrix or attention
  products, and nothing else: what papers and model tables publish (often as "FLOPs").
* ``flops``: every arithmetic operation: one multiply, one add, one comparison, one division,
  one square root, one exponential … is one FLOP.

With n outputs, m inputs, K taps of a window:

| operator                              | macs                  | flops                          |
|---------------------------------------|-----------------------|--------------------------------|
| convolution                           | n · C_in/groups · K   | 2 · macs + n for the bias      |
| transposed convolution                | m · C_out/groups · K  | 2 · macs + n for the bias      |
| linear, matmul, bmm, addmm            | n · inner size        | 2 · macs + n for the bias      |
| attention, L queries, S keys, E dims  | heads · L · S · 2E    | 2 · macs + 6 per score         |
| batch norm (folded: scale and shift)  | 0                     | 2n                             |
| layer, group, instance norm           | 0                     | 5n, + n for scale, + n for shift |
| RMS norm                              | 0                     | 3n, + n for scale              |
| local response norm over k channels   | 0                     | (k + 4)n                       |
| max pooling                           | 0                     | (K − 1)n comparisons           |
| average pooling                       | 0                     | K n                            |
| adaptive pooling, mean                | 0                     | m                              |
| sum, max, min                         | 0                     | m − n                          |
| softmax, log-softmax                  | 0                     | 5n                             |
| add, mul, relu, exp, sqrt, tanh, …    | 0                     | n                              |
| sigmoid, silu, gelu, hardswish, …     | 0                     | n · the entry of ``POINTWISE`` |
| interpolation, grid sampling          | 0                     | (2 · taps − 1)n; nearest 0      |
| affine grid in a axes                 | n (a + 1)             | 2 · macs                        |
| bilinear layer of x, y                | n · size y (size x + 1) | 2 · macs + n for the bias     |
| fold, index or scatter add            | 0                     | 1 per element that is added     |
| views, joins, padding, dropout (eval) | 0                     | 0                              |

Padding zeros are multiplied like any input, as every published count does. Adding an
operator is one line in ``FORMULAS``. Knows nothing about modules or receptive fields.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from convatlas.analysis.operation import Operation
from convatlas.analysis.operators import MOVES

__all__ = ["FORMULAS", "POINTWISE", "Cost", "Formula", "cost_of"]


class Cost(NamedTuple):
    """What one operation costs: multiply-accumulates, and all arithmetic operations."""

    macs: int
    flops: int


Formula = Callable[[Operation], Cost]

_ONE_FLOP = """
    add sub mul div floor_divide remainder fmod pow neg abs sign exp exp2 expm1 log log2 log10
    log1p sqrt rsqrt square reciprocal sin cos tan asin acos atan atan2 sinh cosh tanh erf erfc
    floor ceil round trunc relu threshold maximum minimum fmax fmin clamp_min clamp_max
    eq ne lt le gt ge logical_and logical_or logical_xor logical_not
    bitwise_and bitwise_or bitwise_xor bitwise_not outer isnan isinf isfinite cumsum cumprod
    rsub frac
"""

# FLOPs per output element.
POINTWISE: dict[str, int] = {
    **dict.fromkeys(_ONE_FLOP.split(), 1),
    **dict.fromkeys(("clamp", "clip", "hardtanh", "relu6", "leaky_relu", "prelu", "batch_norm"), 2),
    **dict.fromkeys(("hardshrink", "softshrink"), 2),
    **dict.fromkeys(("elu", "celu", "softplus", "softsign", "addcmul", "addcdiv", "lerp"), 3),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "selu", "log_sigmoid", "logsigmoid"), 4),
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "mish", "hardswish", "silu", "gelu"), 5),
    **dict.fromkeys(("glu",), 5),
}


def _convolution(op: Operation) -> Cost:
    weight = op.inputs[1]
    return _products(op, op.outputs[0].numel() * (weight.numel() // weight.shape[0]), 2)


def _transposed(op: Operation) -> Cost:
    weight = op.inputs[1]
    return _products(op, op.inputs[0].numel() * (weight.numel() // weight.shape[0]), 2)


def _aten_convolution(op: Operation) -> Cost:
    return (_transposed if op.argument(6, "transposed") else _convolution)(op)


def _linear(op: Operation) -> Cost:
    return _products(op, op.outputs[0].numel() * op.inputs[0].shape[-1], 2)


def _matmul(op: Operation) -> Cost:
    return _products(op, op.outputs[0].numel() * op.inputs[0].shape[-1], 2)


def _added_matmul(op: Operation) -> Cost:
    """Addmm, baddbmm, addmv: the first tensor is added to the product of the others."""
    return _products(op, op.outputs[0].numel() * op.inputs[1].shape[-1], 0)


def _products(op: Operation, macs: int, operands: int) -> Cost:
    """Return the cost of ``macs`` products, plus a bias when there are more tensors."""
    return Cost(macs, 2 * macs + (op.outputs[0].numel() if len(op.inputs) > operands else 0))


def _attention(op: Operation) -> Cost:
    query, key, value = op.inputs[:3]
    scores = query.numel() // query.shape[-1] * key.shape[-2]
    macs = scores * (query.shape[-1] + value.shape[-1])
    return Cost(macs, 2 * macs + 6 * scores)


def _normalisation(statistics: int) -> Formula:
    """A normalisation with ``statistics`` FLOPs per element, one more for scale and for shift."""

    def formula(op: Operation) -> Cost:
        return Cost(0, (statistics + len(op.inputs) - 1) * op.inputs[0].numel())

    return formula


def _local_response(op: Operation) -> Cost:
    return Cost(0, (op.argument(1, "size", 1) + 4) * op.outputs[0].numel())


def _max_pool(op: Operation) -> Cost:
    return Cost(0, (_taps(op) - 1) * op.outputs[0].numel())


def _average_pool(op: Operation) -> Cost:
    return Cost(0, _taps(op) * op.outputs[0].numel())


def _taps(op: Operation) -> int:
    """Return the number of inputs under one pooling window."""
    if op.window is not None:
        return prod(op.window.kernel)
    kernel = op.argument(1, "kernel_size")
    sides = (kernel,) if isinstance(kernel, int) else tuple(kernel)
    axes = int(op.operator.partition("pool")[2][0])
    return prod(sides) if len(sides) == axes else int(sides[0] ** axes)


def _interpolation(op: Operation) -> Cost:
    mode, axes = op.argument(3, "mode", "nearest"), op.inputs[0].dim() - 2
    if mode == "area":
        return _per_input(1)(op)
    taps = {"bicubic": 4**axes}.get(mode, 2**axes if mode.endswith("linear") else 0)
    return Cost(0, max(0, 2 * taps - 1) * op.outputs[0].numel())


def _grid_sampling(op: Operation) -> Cost:
    mode, axes = op.argument(2, "mode", "bilinear"), op.inputs[0].dim() - 2
    taps = {"bicubic": 4**axes, "bilinear": 2**axes}.get(mode, 0)
    return Cost(0, max(0, 2 * taps - 1) * op.outputs[0].numel())


def _affine_grid(op: Operation) -> Cost:
    """Each coordinate is a row of theta times the homogeneous position."""
    macs = op.outputs[0].numel() * op.inputs[0].shape[-1]
    return Cost(macs, 2 * macs)


def _bilinear(op: Operation) -> Cost:
    """For each output k, x W_k and its product with y."""
    x, y = op.inputs[:2]
    return _products(op, op.outputs[0].numel() * y.shape[-1] * (x.shape[-1] + 1), 3)


def _added_elements(op: Operation) -> Cost:
    return Cost(0, op.inputs[-1].numel())


def _reduction(op: Operation) -> Cost:
    if len(op.inputs) > 1:  # the larger one of two tensors, element by element
        return _per_output(1)(op)
    return Cost(0, op.inputs[0].numel() - op.outputs[0].numel())


def _per_input(flops: int) -> Formula:
    return lambda op: Cost(0, flops * op.inputs[0].numel())


def _per_output(flops: int) -> Formula:
    return lambda op: Cost(0, flops * op.outputs[0].numel())


def _free(op: Operation) -> Cost:
    del op
    return Cost(0, 0)


FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(MOVES, _free),
    **{operator: _per_output(flops) for operator, flops in POINTWISE.items()},
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    "convolution": _aten_convolution,
    "linear": _linear,
    **dict.fromkeys(("matmul", "bmm", "mm", "mv", "dot", "vdot"), _matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added_matmul),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm"), _normalisation(5)),
    "rms_norm": _normalisation(3),
    "local_response_norm": _local_response,
    **dict.fromkeys(("sum", "amax", "amin", "max", "min", "argmax", "argmin"), _reduction),
    **dict.fromkeys(("prod", "any", "all"), _reduction),
    "mean": _per_input(1),
    "linalg_vector_norm": _per_input(2),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean", "logsumexp"), _per_input(4)),
    "interpolate": _interpolation,
    "grid_sample": _grid_sampling,
    "affine_grid": _affine_grid,
    "bilinear": _bilinear,
    **dict.fromkeys(("fold", "col2im", "index_add", "scatter_add"), _added_elements),
}
for _kernel in ("flash_attention", "flash_attention_for_cpu", "efficient_attention"):
    FORMULAS[f"_scaled_dot_product_{_kernel}"] = _attention
for _kernel in ("cudnn_attention", "fused_attention_overrideable", "attention_math"):
    FORMULAS[f"_scaled_dot_product_{_kernel}"] = _attention
for _axes in ("1d", "2d", "3d"):
    FORMULAS[f"max_pool{_axes}"] = FORMULAS[f"max_pool{_axes}_with_indices"] = _max_pool
    FORMULAS[f"avg_pool{_axes}"] = _average_pool
    FORMULAS[f"adaptive_avg_pool{_axes}"] = _per_input(1)
    FORMULAS[f"adaptive_max_pool{_axes}"] = _per_input(1)


def cost_of(op: Operation) -> Cost:
    """Return what ``op`` costs; one without a formula costs its parts, as far as they are known."""
    formula = FORMULAS.get(op.operator)
    if formula:
        return formula(op)
    parts = [cost_of(part) for part in op.parts]
    return Cost(sum([part.macs for part in parts]), sum([part.flops for part in parts]))
