"""What a calibration times: single operators at random shapes, as convolutional networks use them.

Shapes are drawn log-uniformly under a cap of work, so that a sample is short; the draw is the
same every time. Knows how operators are called, and nothing about clocks or networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MOST_ELEMENTS", "Primitive", "primitives"]

MOST_ELEMENTS = 40_000_000
"""Elements of the largest weight: that of a classifier's first layer."""

_MOST_MACS, _MOST_ACTIVATIONS = 1_000_000_000, 3_300_000
_USUAL_SIDES = (7, 14, 28, 56, 112)


@dataclass(frozen=True, slots=True)
class Primitive:
    """One call to time.

    Attributes:
        run: The call; it takes the tensors.
        shapes: Shapes of the tensors, the activation that was just written first.
        activations: How many of them are activations; the others are weights.
        order: Axes of the first tensor as it lies in memory, () for rows.
    """

    run: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    activations: int = 1
    order: tuple[int, ...] = ()


Draw = Callable[[Random], Primitive]


def primitives(seed: int = 0) -> Iterator[Primitive]:
    """Yield primitives without end, the frequent and varied operators more often."""
    random = Random(seed)  # noqa: S311 (no secret)
    deck = [draw for draw, times in _DECK for _ in range(times)]
    while True:
        random.shuffle(deck)
        yield from (draw(random) for draw in deck)


def _between(random: Random, low: float, high: float) -> int:
    """Draw a whole number log-uniformly."""
    return round(math.exp(random.uniform(math.log(low), math.log(high))))


def _channels(random: Random, low: int = 8, high: int = 2048) -> int:
    """Draw a number of channels, mostly a multiple of 8 or 16."""
    step = random.choice((1, 4, 8, 8, 8, 16, 16, 16, 32))
    return max(step, round(_between(random, low, high) / step) * step)


def _side(random: Random) -> int:
    return random.choice(_USUAL_SIDES) if random.random() < 0.5 else _between(random, 4, 230)


def _batch(random: Random) -> int:
    return 1 if random.random() < 0.75 else _between(random, 2, 32)


def _map(random: Random, most: int = _MOST_ACTIVATIONS) -> tuple[int, ...]:
    while True:
        shape = (_batch(random), _channels(random), side := _side(random), side)
        if math.prod(shape) <= most:
            return shape


def _order(random: Random, share: float = 0.15) -> tuple[int, ...]:
    return (0, 2, 3, 1) if random.random() < share else ()


def _convolution(random: Random, kernels: tuple[tuple[int, int], ...]) -> Primitive:
    """A dense convolution."""
    while True:
        kernel, side, batch = random.choice(kernels), _side(random), _batch(random)
        stride = random.choice((1, 1, 1, 1, 2))
        inputs, filters = _channels(random), _channels(random)
        out = batch * (-(-side // stride)) ** 2
        most = max(inputs * batch * side * side, filters * out)
        if inputs * filters * math.prod(kernel) * out <= _MOST_MACS and most <= _MOST_ACTIVATIONS:
            shape = (batch, inputs, side, side)
            return _slide(shape, filters, kernel, stride, 1, _order(random, 0.1))


def _stem(random: Random) -> Primitive:
    """The first convolution of a network: few channels, many positions."""
    side, stride = random.choice((1, 2, 4, 7)), random.choice((1, 2, 2, 2, 4))
    kernel = max(side, stride) if side % 2 else random.choice((3, 3, 7, 11))
    shape = (1, random.choice((1, 3, 3, 3)), pixels := random.choice((96, 160, 224, 299)), pixels)
    return _slide(shape, _channels(random, 16, 96), (kernel, kernel), stride, 1, ())


def _depthwise(random: Random) -> Primitive:
    shape, kernel = _map(random), random.choice((3, 3, 3, 5, 5, 7))
    stride, order = random.choice((1, 1, 1, 2)), _order(random, 0.25)
    return _slide(shape, shape[1], (kernel,) * 2, stride, shape[1], order)


def _grouped(random: Random) -> Primitive:
    while True:
        groups, width = random.choice((2, 3, 4, 8, 16, 32, 64)), _channels(random, 4, 128)
        side, kernel = _side(random), random.choice((1, 3, 3, 3, 5))
        channels = groups * width
        filters = channels * random.choice((1, 1, 1, 2))
        if channels <= 2048 and width * filters * (kernel * side) ** 2 <= _MOST_MACS // 2:
            break
    stride = random.choice((1, 1, 1, 2))
    return _slide((1, channels, side, side), filters, (kernel,) * 2, stride, groups, ())


def _slide(
    shape: tuple[int, ...],
    filters: int,
    kernel: tuple[int, int],
    stride: int,
    groups: int,
    order: tuple[int, ...],
) -> Primitive:
    padding = (kernel[0] // 2, kernel[1] // 2)
    run = partial(F.conv2d, stride=stride, padding=padding, groups=groups)
    return Primitive(run, (shape, (filters, shape[1] // groups, *kernel), (filters,)), 1, order)


def _transposed(random: Random) -> Primitive:
    channels, side = _channels(random, 8, 512), _between(random, 4, 56)
    kernel = random.choice((2, 4))
    run = partial(F.conv_transpose2d, stride=2, padding=kernel // 2 - 1)
    filters = max(1, channels // 2)
    return Primitive(run, ((1, channels, side, side), (channels, filters, kernel, kernel)))


def _classifier(random: Random) -> Primitive:
    """A linear layer over one vector: as much reading of weights as arithmetic."""
    while True:
        features, classes = _channels(random, 8, 16384), _channels(random, 8, 8192)
        if features * classes <= MOST_ELEMENTS * (1 if random.random() < 0.1 else 0.1):
            shape = (_batch(random), features)
            return Primitive(F.linear, (shape, (classes, features), (classes,)))


def _tokens(random: Random) -> Primitive:
    """A linear layer over the positions of a map."""
    while True:
        side, features, more = _side(random), _channels(random), _channels(random)
        if side**2 * features * more <= _MOST_MACS and side**2 * max(features, more) <= 3_300_000:
            shape = random.choice(((1, side, side, features), (1, side * side, features)))
            return Primitive(F.linear, (shape, (more, features), (more,)))


def _heads(random: Random) -> tuple[int, int, int, int]:
    tokens = random.choice((49, 64, 144, 196, 197))
    windows = _between(random, 1, 64 if tokens <= 64 else 8)
    return windows, random.choice((1, 3, 6, 12)), tokens, 32 * random.choice((1, 2))


def _attention(random: Random) -> Primitive:
    return Primitive(F.scaled_dot_product_attention, (_heads(random),) * 3, 3)


def _product(random: Random) -> Primitive:
    windows, heads, tokens, width = _heads(random)
    first = (windows, heads, tokens, width)
    second = (windows, heads, width, tokens)
    shapes = random.choice(((first, second), ((*first[:3], tokens), first)))
    return Primitive(torch.matmul, shapes, 2)


def _softmax(random: Random) -> Primitive:
    windows, heads, tokens, _ = _heads(random)
    return Primitive(partial(F.softmax, dim=-1), ((windows, heads, tokens, tokens),))


def _batch_norm(random: Random) -> Primitive:
    shape = _map(random)
    return Primitive(F.batch_norm, (shape, *(shape[1:2],) * 4), 1, _order(random))


def _layer_norm(random: Random) -> Primitive:
    batch, channels, side, _ = _map(random)
    run = partial(_normalised, channels=channels)
    order = (0, 3, 1, 2) if random.random() < 0.3 else ()
    return Primitive(run, ((batch, side, side, channels), (channels,), (channels,)), 1, order)


def _normalised(x: Tensor, weight: Tensor, bias: Tensor, *, channels: int) -> Tensor:
    return F.layer_norm(x, (channels,), weight, bias)


def _group_norm(random: Random) -> Primitive:
    batch, channels, side, _ = _map(random)
    shape = (batch, 8 * -(-channels // 8), side, side)
    return Primitive(partial(F.group_norm, num_groups=8), (shape,))


def _pointwise(random: Random, function: Callable[..., Any]) -> Primitive:
    shape = (_batch(random), _channels(random)) if random.random() < 0.2 else _map(random)
    return Primitive(function, (shape,), 1, _order(random) if len(shape) == 4 else ())


def _activation(random: Random, function: Callable[..., Any]) -> Primitive:
    return _pointwise(random, partial(function, inplace=random.random() < 0.5))


def _pair(random: Random, function: Callable[..., Any]) -> Primitive:
    """Two maps of one shape, or a map and one number per channel."""
    shape = _map(random)
    other = (*shape[:2], 1, 1) if random.random() < 0.5 else shape
    return Primitive(function, (shape, other), 2, _order(random))


def _pool(random: Random, function: Callable[..., Any]) -> Primitive:
    kernel = random.choice((2, 3, 3))
    run = partial(
        function, kernel_size=kernel, stride=random.choice((1, 2, 2)), padding=kernel // 3
    )
    return Primitive(run, (_map(random),), 1, _order(random))


def _global_pool(random: Random) -> Primitive:
    run = random.choice((partial(F.adaptive_avg_pool2d, output_size=1), _mean))
    return Primitive(run, (_map(random),), 1, _order(random))


def _adaptive_pool(random: Random) -> Primitive:
    run = partial(F.adaptive_avg_pool2d, output_size=random.choice((1, 6, 7)))
    shape = (_batch(random), _channels(random), side := random.choice((6, 7, 12, 13, 14)), side)
    return Primitive(run, (shape,))


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _cat(random: Random) -> Primitive:
    side, count = _side(random), random.choice((2, 2, 3, 4, 6, 12))
    channels = [_channels(random, 8, 1024) for _ in range(count)]
    while sum(channels) * side * side > _MOST_ACTIVATIONS:
        side = side // 2 + 1
    shapes = tuple((1, each, side, side) for each in channels)
    return Primitive(_joined, shapes, count)


def _joined(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors, 1)


def _pad(random: Random) -> Primitive:
    return Primitive(partial(F.pad, pad=(0, 1, 0, 1)), (_map(random),))


def _copy(random: Random) -> Primitive:
    """Another order of the axes, or the same one."""
    order = random.choice(((0, 2, 3, 1), (0, 3, 1, 2), ()))
    run = partial(torch.clone, memory_format=torch.contiguous_format)
    return Primitive(run, (_map(random),), 1, order)


def _interpolate(random: Random, mode: str) -> Primitive:
    run = partial(F.interpolate, scale_factor=2, mode=mode)
    return Primitive(run, (_map(random, _MOST_ACTIVATIONS // 4),))


def _turned(x: Tensor) -> Tensor:
    return x.permute(*reversed(range(x.dim())))


def _local_response(random: Random) -> Primitive:
    return Primitive(partial(F.local_response_norm, size=5), (_map(random, 500_000),))


def _each(draw: Callable[..., Primitive], *functions: Any, times: int) -> list[tuple[Draw, int]]:
    return [(partial(draw, function=function), times) for function in functions]


_DECK: list[tuple[Draw, int]] = [
    (partial(_convolution, kernels=((1, 1),)), 40),
    (partial(_convolution, kernels=((3, 3),)), 32),
    (partial(_convolution, kernels=((5, 5), (7, 7), (1, 7), (7, 1), (1, 3), (3, 1))), 14),
    (_stem, 6),
    (_depthwise, 26),
    (_grouped, 16),
    (_transposed, 2),
    (_classifier, 8),
    (_tokens, 10),
    (_attention, 3),
    (_product, 4),
    (_softmax, 3),
    (_batch_norm, 8),
    (_layer_norm, 5),
    (_group_norm, 2),
    (_global_pool, 5),
    (_adaptive_pool, 3),
    (_cat, 6),
    (_pad, 2),
    (_copy, 6),
    (_local_response, 2),
    *_each(_activation, F.relu, times=8),
    *_each(_activation, F.relu6, F.hardswish, F.silu, times=4),
    *_each(_activation, F.hardsigmoid, times=3),
    *_each(_pointwise, torch.sigmoid, F.gelu, times=4),
    *_each(_pointwise, torch.tanh, torch.exp, torch.sqrt, torch.square, times=1),
    *_each(_pointwise, _turned, partial(F.dropout, training=False), times=2),
    *_each(_pair, torch.mul, torch.add, times=5),
    *_each(_pair, torch.sub, torch.div, times=1),
    *_each(_pool, F.max_pool2d, F.avg_pool2d, times=4),
    (partial(_interpolate, mode="nearest"), 2),
    (partial(_interpolate, mode="bilinear"), 2),
]
