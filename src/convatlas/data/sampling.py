"""Chance as a pure function: numbers, orders and splits that depend on their arguments alone.

Everything is drawn from Philox, a counter-based generator whose stream numpy never changes:
key = (seed, epoch), counter = (·, copy, index, purpose). So neither the order of the calls nor
the number of workers nor a resumed run can change a draw.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convatlas.errors import DataError, OptionError

__all__ = ["batch_uniforms", "epoch_order", "image_uniforms", "stratified_split"]

Indices = NDArray[np.int64]

_ORDER, _IMAGE, _SPLIT, _BATCH = range(4)
_SEEDS = 2**64


def epoch_order(n: int, seed: int, epoch: int) -> Indices:
    """Return the permutation of 0 … n-1 in which an epoch visits the images."""
    return _permutation(n, seed, epoch, 0, _ORDER)


def image_uniforms(
    seed: int, epoch: int, indices: Indices, count: int, copies: Indices | None = None
) -> NDArray[np.float64]:
    """Return ``count`` uniform numbers in [0, 1) for each image, of shape (len(indices), count).

    A row depends on (seed, epoch, index, copy) alone, and its first numbers not on ``count``.
    ``copies`` counts from 0 the views of one image in one epoch; None for one view of each.
    """
    numbers = np.zeros_like(indices) if copies is None else copies
    rows = [
        _raw(count, seed, epoch, int(index), _IMAGE, int(copy))
        for index, copy in zip(indices, numbers, strict=True)
    ]
    return _uniform(np.stack(rows) if rows else np.empty((0, count), dtype=np.uint64))


def batch_uniforms(seed: int, epoch: int, step: int, count: int) -> NDArray[np.float64]:
    """Return ``count`` uniform numbers in [0, 1) that depend on (seed, epoch, step) alone."""
    return _uniform(_raw(count, seed, epoch, step, _BATCH))


def stratified_split(
    labels: Sequence[int], fraction: float, seed: int, classes: Sequence[str] | None = None
) -> tuple[Indices, Indices]:
    """Split images so that every class gives the same share to the hold-out.

    The hold-out has ⌈fraction · n⌉ images, shared out by largest remainder; only where that
    would leave a class without an image on one side does the total move.

    Args:
        labels: Class number of each image.
        fraction: Share to hold out, between 0 and 1.
        seed: Decides which images.
        classes: Class names, for the error message.

    Returns:
        Indices to train on and indices held out, both ascending.

    Raises:
        OptionError: ``fraction`` is not between 0 and 1.
        DataError: A class has a single image, which cannot be on both sides.
    """
    if not 0 < fraction < 1:
        raise OptionError(f"expected 0 < holdout < 1, got {fraction}: pass 0.2 for a fifth")
    values = np.asarray(labels, dtype=np.int64)
    numbers, counts = np.unique(values, return_counts=True)
    _require_pairs(numbers[counts < 2].tolist(), classes)
    held: list[Indices] = []
    for number, quota in zip(numbers, _quotas(counts, fraction), strict=True):
        members = np.flatnonzero(values == number)
        held.append(members[_permutation(len(members), seed, 0, int(number), _SPLIT)[:quota]])
    holdout = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(values)), holdout), holdout


def _require_pairs(lone: Sequence[int], classes: Sequence[str] | None) -> None:
    """Refuse classes of one image, which cannot be on both sides."""
    if not lone:
        return
    name = lone[0] if classes is None else repr(classes[lone[0]])
    others = f" (and of {len(lone) - 1:,} more)" if len(lone) > 1 else ""
    them = "them" if others else "it"
    raise DataError(
        f"expected at least 2 images of class {name}{others} to train on and to hold out, got 1: "
        f"add images of {them} or remove {them}"
    )


def _quotas(counts: NDArray[np.int64], fraction: float) -> Indices:
    exact = counts * fraction
    total = int(np.ceil(exact.sum() - 1e-9))  # 0.1 · 30 is 3.0000000000000004
    quotas = np.floor(exact + 1e-9).astype(np.int64)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    quotas[by_remainder[: total - int(quotas.sum())]] += 1
    return np.clip(quotas, 1, counts - 1)


def _permutation(n: int, seed: int, epoch: int, index: int, purpose: int) -> Indices:
    return np.argsort(_raw(n, seed, epoch, index, purpose), kind="stable").astype(np.int64)


def _uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _raw(
    count: int, seed: int, epoch: int, index: int, purpose: int, copy: int = 0
) -> NDArray[np.uint64]:
    """Return ``count`` raw 64-bit words; the first counter word steps through them."""
    if not 0 <= seed < _SEEDS:
        raise OptionError(f"expected 0 ≤ seed < 2⁶⁴, got {seed}: pass 0")
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, copy, index, purpose], dtype=np.uint64)
    return np.asarray(np.random.Philox(key=key, counter=counter).random_raw(count), dtype=np.uint64)
