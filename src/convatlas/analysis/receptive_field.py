"""Receptive fields along one axis: which input pixels can change which outputs.

An ``Axis`` holds the first and the last input pixel that each output sees. After ordinary
layers these advance by the same number of pixels from output to output, so one pair says it
all; after upsampling they advance in a repeating pattern, and the pair becomes one period of
it. Every rule here is exact, apart from clipping at the border: pixels outside of the image
(padding) have negative numbers or numbers past its end. Knows nothing about tensors.

Source of the arithmetic: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019; the periods are this file's extension to upsampling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import floor, gcd, lcm
from typing import NamedTuple

__all__ = [
    "Axis",
    "ReceptiveField",
    "identity_axis",
    "resample",
    "slide",
    "slide_transposed",
    "summarise",
    "union",
]

MAX_PERIOD = 4096  # far beyond any network; a longer pattern is reported as unknown
_NOTHING = 1 << 60  # first and last pixel of an output that sees none


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The theoretical receptive field of a feature map, in input pixels.

    One number per spatial axis, in torch's order: (height, width) for images. Output i sees
    the ``size`` pixels from ``start + i * stride``; a negative start is padding.

    Attributes:
        size: Pixels from the first to the last one that an output depends on; of the output
            that sees most, should they differ (after upsampling).
        stride: Pixels between the fields of neighbouring outputs; a fraction after
            upsampling beyond the input's resolution.
        start: First pixel, the left or top edge, that the first output depends on.
    """

    size: tuple[int, ...]
    stride: tuple[float, ...]
    start: tuple[int, ...]


class Axis(NamedTuple):
    """The first and the last input pixel of every output along one axis.

    Attributes:
        advance: Input pixels by which the pattern moves from one period to the next.
        first: First pixel of each output of the period that starts at output 0.
        last: Last pixel of the same outputs.
    """

    advance: int
    first: tuple[int, ...]
    last: tuple[int, ...]

    def sees(self, output: int) -> tuple[int, int]:
        """Return the first and last pixel of any output, also of one in the padding."""
        turns, phase = divmod(output, len(self.first))
        return self.first[phase] + turns * self.advance, self.last[phase] + turns * self.advance


def identity_axis() -> Axis:
    """Return the axis of the input itself: each pixel sees itself."""
    return Axis(1, (0,), (0,))


def slide(axis: Axis, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    """Pass a convolution or pooling window over the axis: output o reads o·s − p + k·d."""
    advance, first, last = axis
    period = len(first)
    if period == 1:
        begin, end = -padding * advance, ((kernel - 1) * dilation - padding) * advance
        return Axis(advance * stride, (first[0] + begin,), (last[0] + end,))
    turns = stride // gcd(stride, period)
    taps = range(-padding, (kernel - 1) * dilation - padding + 1, dilation)
    outputs = period // gcd(stride, period)
    return _axis(
        advance * turns,
        [[axis.sees(output * stride + tap) for tap in taps] for output in range(outputs)],
    )


def slide_transposed(axis: Axis, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    """Pass a transposed convolution over the axis: output o reads i where i·s + k·d − p = o."""
    period = len(axis.first) * stride
    reads = []
    for output in range(period):
        taps = (output + padding - k * dilation for k in range(kernel))
        reads.append([axis.sees(tap // stride) for tap in taps if tap % stride == 0])
    return _axis(axis.advance, reads)


def resample(axis: Axis, scale: Fraction, offset: Fraction, reach: tuple[int, int]) -> Axis | None:
    """Interpolate along the axis: output o reads around o · scale + offset.

    Args:
        axis: The axis to read from.
        scale: Input positions per output.
        offset: Position that output 0 reads.
        reach: Taps before and after the position's floor; they count where the position is
            between two inputs, for on an input all other taps weigh zero.

    Returns:
        None when the pattern repeats only after thousands of outputs.
    """
    period = len(axis.first)
    common = gcd(period, scale.numerator)
    outputs = scale.denominator * period // common
    if outputs > MAX_PERIOD:
        return None
    reads = []
    for output in range(outputs):
        position = output * scale + offset
        before, after = (0, 0) if position.denominator == 1 else reach
        taps = range(floor(position) - before, floor(position) + after + 1)
        reads.append([axis.sees(tap) for tap in taps])
    return _axis(axis.advance * scale.numerator // common, reads)


@lru_cache(maxsize=4096)
def union(one: Axis, other: Axis) -> Axis | None:
    """Join two branches: an output sees what either sees. None when their strides differ."""
    if one == other:
        return one
    if len(one.first) == len(other.first) == 1 and one.advance == other.advance:
        first, last = min(one.first, other.first), max(one.last, other.last)
        return Axis(one.advance, first, last)
    if one.advance * len(other.first) != other.advance * len(one.first):
        return None
    period = lcm(len(one.first), len(other.first))
    if period > MAX_PERIOD:
        return None
    advance = one.advance * period // len(one.first)
    return _axis(advance, [[one.sees(i), other.sees(i)] for i in range(period)])


def summarise(axes: Iterable[Axis]) -> ReceptiveField:
    """Return the numbers that describe the axes."""
    parts = [_summary(axis) for axis in axes]
    sizes, strides, starts = zip(*parts, strict=True)
    return ReceptiveField(sizes, strides, starts)


@lru_cache(maxsize=4096)
def _summary(axis: Axis) -> tuple[int, float, int]:
    fields = [(a, b) for a, b in zip(axis.first, axis.last, strict=True) if a <= b]
    stride = Fraction(axis.advance, len(axis.first))
    step = stride.numerator if stride.denominator == 1 else float(stride)
    return max((b - a + 1 for a, b in fields), default=0), step, fields[0][0] if fields else 0


def _axis(advance: int, reads: list[list[tuple[int, int]]]) -> Axis:
    """Return the axis whose outputs see all that each of their reads sees."""
    return Axis(
        advance,
        tuple(min((first for first, _ in seen), default=_NOTHING) for seen in reads),
        tuple(max((last for _, last in seen), default=-_NOTHING) for seen in reads),
    )
