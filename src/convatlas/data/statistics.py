"""Facts about images: exact channel statistics, and what a source holds.

Reading facts costs no decoding; nothing here decides what to do with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

import numpy as np
from numpy.typing import NDArray

from convatlas.data.parallel import Progress
from convatlas.data.source import ImageSource
from convatlas.errors import DataError

__all__ = [
    "Extent",
    "SourceFacts",
    "channel_statistics",
    "describe_source",
    "extent_of",
    "moments",
]


@dataclass(frozen=True, slots=True)
class Extent:
    """Smallest, median and largest of a number of pixels."""

    smallest: int
    median: float
    largest: int


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source holds.

    Attributes:
        name: The source's name.
        images: Number of images.
        per_class: Number of images of each class, in the order of the classes.
        channels: 1 if every image is stored as grey, else 3.
        height: Height of the upright images, in pixels.
        width: Width of the upright images, in pixels.
    """

    name: str
    images: int
    per_class: Mapping[str, int]
    channels: int
    height: Extent
    width: Extent


def describe_source(source: ImageSource, progress: Progress | None = None) -> SourceFacts:
    """Return what ``source`` holds, from the heads of its files alone.

    Raises:
        DataError: The source is empty, or a file's head cannot be read.
    """
    if not len(source):
        raise DataError(f"expected images in {source.name}, got none: add some")
    headers = []
    for index in range(len(source)):
        headers.append(source.header(index))
        if progress is not None:
            progress(index + 1, len(source))
    counts = Counter(source.labels)
    return SourceFacts(
        name=source.name,
        images=len(source),
        per_class={name: counts[label] for label, name in enumerate(source.classes)},
        channels=max(header.channels for header in headers),
        height=extent_of([header.height for header in headers]),
        width=extent_of([header.width for header in headers]),
    )


def channel_statistics(
    images: Iterable[NDArray[np.uint8]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population standard deviation of each channel, on the 0…1 scale.

    The sums are whole numbers, so the result is exact but for the last division and root.

    Args:
        images: uint8 arrays of shape (H, W, C); one array (N, H, W, C) is such a series.

    Raises:
        DataError: No images.
    """
    counts: NDArray[np.int64] | None = None
    for image in images:
        values = image.reshape(-1, image.shape[-1])
        histogram = np.stack([np.bincount(channel, minlength=256) for channel in values.T])
        counts = histogram if counts is None else counts + histogram
    if counts is None:
        raise DataError("expected images to measure, got none: add some")
    pairs = [moments(row.tolist()) for row in counts]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def moments(histogram: Sequence[int]) -> tuple[float, float]:
    """Return mean and population standard deviation, on the 0…1 scale, of counts per value.

    Args:
        histogram: How often each of the values 0 … 255 occurs.
    """
    n = sum(histogram)
    first = sum(value * count for value, count in enumerate(histogram))
    second = sum(value * value * count for value, count in enumerate(histogram))
    return first / (255 * n), sqrt(n * second - first * first) / (255 * n)


def extent_of(pixels: Sequence[int]) -> Extent:
    """Return smallest, median and largest of some numbers of pixels, at least one."""
    return Extent(min(pixels), median(pixels), max(pixels))
