"""What there is to say about a data set before anybody trains on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.duplicates import Group, Leak, Member
from convatlas.data.inspection import SplitFacts
from convatlas.data.source import ImageSource

__all__ = ["THUMBNAIL_SIDE", "DataReport", "Picture", "thumbnail"]

THUMBNAIL_SIDE = 160
"""Longer side, in pixels, that a picture is shrunk to; a smaller image stays as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A small picture of an image.

    Attributes:
        split: Name of its split.
        name: Words by which to find the image.
        label: Its class.
        pixels: uint8 (H, W, C) with 1 or 3 channels.
    """

    split: str
    name: str
    label: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class DataReport:
    """What a data set holds.

    Attributes:
        name: What to call it.
        origin: How its splits came about, in words.
        splits: Facts about what is trained on, then about what is judged by.
        groups: Images that occur more than once, those across splits first.
        leak: Images to judge by that also occur among those to train on.
        unrecognised: Images too small for likeness, which were compared pixel by pixel alone.
        sheet: Class → a few of its images; the first classes only where there are many.
        group_pictures: A few images of each of the first groups.
    """

    name: str
    origin: str
    splits: tuple[SplitFacts, ...]
    groups: tuple[Group, ...]
    leak: Leak
    unrecognised: int
    sheet: Mapping[str, tuple[Picture, ...]]
    group_pictures: tuple[tuple[Picture, ...], ...]

    @property
    def images(self) -> int:
        """Number of images in all splits."""
        return sum(split.images for split in self.splits)

    @property
    def looked_at(self) -> int:
        """Number of images that were decoded, or that it was tried with."""
        return sum(split.looked_at for split in self.splits)

    @property
    def per_class(self) -> Mapping[str, int]:
        """Number of images of each class in all splits, in the order of the classes."""
        totals: Counter[str] = Counter()
        for split in self.splits:
            totals.update(split.per_class)
        return dict(totals)

    @property
    def imbalance(self) -> float:
        """Images of the largest class per image of the smallest; infinite for an empty class."""
        counts = self.per_class.values()
        return max(counts) / min(counts) if min(counts) else float("inf")

    @property
    def conflicts(self) -> tuple[Group, ...]:
        """Groups of equal or alike images that do not have one label."""
        return tuple(group for group in self.groups if len(group.labels) > 1)


def thumbnail(source: ImageSource, member: Member) -> Picture:
    """Return a small picture of an image.

    Raises:
        DataError: It cannot be read any more.
    """
    image = source.load(member.index, THUMBNAIL_SIDE)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    pixels = np.array(image)
    return Picture(
        member.split, member.name, member.label, pixels[..., None] if pixels.ndim == 2 else pixels
    )
