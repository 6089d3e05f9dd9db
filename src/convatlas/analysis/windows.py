"""Sliding windows: how torch reads kernel, stride, padding and dilation, and what fits.

Sizes are those of the spatial axes only, in torch's order: (length,), (height, width) or
(depth, height, width). Knows nothing about tensors, operators or modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "Extent",
    "ShapeError",
    "Slide",
    "Window",
    "slide_convolution",
    "slide_pool",
    "slide_transposed",
]

Extent = int | tuple[int, ...]


class ShapeError(Exception):
    """Arguments that an operator refuses; the message says which and why."""


class Window(NamedTuple):
    """A sliding window, one number per spatial axis.

    Attributes:
        kernel: Taps.
        stride: Input positions between two outputs; for a transposed convolution, output
            positions between two inputs.
        padding: Zeros before the first input position.
        dilation: Input positions between two taps.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


class Slide(NamedTuple):
    """A window and the output sizes that it leaves."""

    sizes: tuple[int, ...]
    window: Window


@lru_cache(maxsize=8192)
def slide_convolution(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Extent,
    padding: Extent | str,
    dilation: Extent,
) -> Slide:
    """Slide a convolution over a map of ``sizes``: floor((n + 2p − d(k−1) − 1) / s) + 1."""
    axes = len(kernel)
    dilations = _per_axis(dilation, axes)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    if padding == "same":
        before, total = tuple((span - 1) // 2 for span in spans), [span - 1 for span in spans]
    else:
        before = (0,) * axes if isinstance(padding, str) else _per_axis(padding, axes)
        total = [2 * p for p in before]
    window = Window(kernel, _per_axis(stride, axes), before, dilations)
    out = tuple(
        (n + p - span) // s + 1
        for n, p, span, s in zip(sizes, total, spans, window.stride, strict=True)
    )
    return Slide(_fitting(out, sizes, window), window)


@lru_cache(maxsize=8192)
def slide_pool(
    sizes: tuple[int, ...],
    kernel: Extent,
    stride: Extent | None,
    padding: Extent,
    dilation: Extent,
    ceil_mode: bool,
) -> Slide:
    """Slide a pooling window; with ``ceil_mode`` the last one may hang over the edge."""
    window = pool_window(len(sizes), kernel, stride, padding, dilation)
    out = tuple(
        _pooled(*values, ceil_mode=ceil_mode) for values in zip(sizes, *window, strict=True)
    )
    return Slide(_fitting(out, sizes, window), window)


@lru_cache(maxsize=8192)
def slide_transposed(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Extent,
    padding: Extent,
    output_padding: Extent,
    dilation: Extent,
) -> Slide:
    """Slide a transposed convolution: (n − 1)s − 2p + d(k−1) + output_padding + 1."""
    axes = len(kernel)
    window = Window(
        kernel, _per_axis(stride, axes), _per_axis(padding, axes), _per_axis(dilation, axes)
    )
    extra = _per_axis(output_padding, axes)
    out = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + more + 1
        for n, k, s, p, d, more in zip(sizes, *window, extra, strict=True)
    )
    return Slide(_fitting(out, sizes, window), window)


def pool_window(
    axes: int, kernel: Extent, stride: Extent | None, padding: Extent, dilation: Extent
) -> Window:
    """Return the window of a pooling; without a stride, windows touch."""
    taps = _per_axis(kernel, axes)
    return Window(
        taps,
        _per_axis(stride, axes) if stride else taps,
        _per_axis(padding, axes),
        _per_axis(dilation, axes),
    )


def _pooled(n: int, k: int, s: int, p: int, d: int, *, ceil_mode: bool) -> int:
    """Return how many windows fit; one that would start in the right padding is dropped."""
    room = n + 2 * p - d * (k - 1) - 1
    if not ceil_mode:
        return room // s + 1
    windows = -(-room // s) + 1
    return windows - 1 if (windows - 1) * s >= n + p else windows


def _per_axis(value: Extent, axes: int) -> tuple[int, ...]:
    """Spread one number over all axes, as torch does."""
    if isinstance(value, int):
        return (value,) * axes
    return value if len(value) == axes else value * axes


def _fitting(out: tuple[int, ...], sizes: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Return ``out``, refusing a map smaller than the window."""
    if min(out) < 1:
        raise ShapeError(
            f"gets a {_times(sizes)} map, too small for its {_times(window.kernel)} window"
        )
    return out


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))
