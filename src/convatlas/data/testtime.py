"""Several views of each test image, whose probabilities a task averages.

All come from the one preprocessing record: its filter, its resized square and its normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.batches import Batch
from convatlas.data.parallel import ordered_map
from convatlas.data.preprocess import Preprocessing, ResizeMode
from convatlas.data.sources.splits import ImageSource
from convatlas.errors import OptionError

__all__ = ["Crop", "ViewBatches", "dense", "multi_scale", "ten_crop"]

_MIRRORED = (False, True)
_CORNERS_AND_CENTER = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))


@dataclass(frozen=True, slots=True)
class Crop:
    """One view: a square of the image's central square.

    Attributes:
        side: Side of the central square once resized, in pixels; at least ``size``.
        size: Side of the view.
        top: Where it lies between the upper (0) and the lower end (1).
        left: Where it lies between the left (0) and the right end (1).
        mirrored: Whether left and right are swapped.
    """

    side: int
    size: int
    top: float = 0.5
    left: float = 0.5
    mirrored: bool = False

    def of(self, square: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view (size, size, C) of a square (side, side, C)."""
        top, left = (round(share * (self.side - self.size)) for share in (self.top, self.left))
        view = square[top : top + self.size, left : left + self.size]
        return view[:, ::-1] if self.mirrored else view


def ten_crop(preprocessing: Preprocessing) -> tuple[Crop, ...]:
    """Return the four corners and the centre of the resized square, and their mirror images.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks",
    2012, section 4.1: 224×224 of 256×256.

    Raises:
        OptionError: The record resizes to the input size, so that all crops are one.
    """
    side, size = preprocessing.resized_side, preprocessing.input_size
    if side == size:
        raise OptionError(
            f"expected a preprocessing that leaves a margin for ten crops, got {size} of {side} "
            "pixels: use the centre, or several scales"
        )
    return tuple(
        Crop(side, size, top, left, mirrored)
        for mirrored, (top, left) in product(_MIRRORED, _CORNERS_AND_CENTER)
    )


def multi_scale(preprocessing: Preprocessing, sides: Sequence[int]) -> tuple[Crop, ...]:
    """Return the centre at several scales, and its mirror images.

    Source: He et al., "Deep residual learning for image recognition", 2015, section 3.4, whose
    sides are 224, 256, 384, 480 and 640 pixels.

    Args:
        preprocessing: The record, whose input size every view has.
        sides: The resized image's shorter side at each scale, in pixels.

    Raises:
        OptionError: No sides, or one below the input size.
    """
    size = preprocessing.input_size
    if not sides or min(sides) < size:
        raise OptionError(f"expected sides of at least {size} pixels, got {list(sides)}: add some")
    return tuple(Crop(side, size, mirrored=mirrored) for mirrored in _MIRRORED for side in sides)


def dense(side: int) -> tuple[Crop, ...]:
    """Return the whole central square at one scale, and its mirror image.

    A network that pools globally then averages over all places, as the fully convolutional test
    of He et al. 2015 does; there the image keeps its longer side too.
    """
    return tuple(Crop(side, side, mirrored=mirrored) for mirrored in _MIRRORED)


class ViewBatches:
    """All images of a source once, in order, each as several views.

    A batch's images are float32 (N, V, C, size, size), normalised.

    Args:
        source: The images.
        preprocessing: How each is resized and normalised.
        crops: The views, all of one size.
        batch_size: Images per batch; the last one may be smaller.
        device: Where batches live.

    Raises:
        OptionError: ``batch_size`` below 1, no crops, or crops of several sizes.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocessing: Preprocessing,
        crops: Sequence[Crop],
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise OptionError(f"expected batch_size ≥ 1, got {batch_size}: pass 8")
        sizes = {crop.size for crop in crops}
        if len(sizes) != 1:
            shown = ", ".join(map(str, sorted(sizes))) or "none"
            raise OptionError(f"expected crops of one size, got {shown}: make batches of each")
        self._source = source
        self._crops = tuple(crops)
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._device = torch.device(device)
        mode: ResizeMode = "stretch" if preprocessing.resize_mode == "stretch" else "crop"
        self._squares = {
            side: replace(preprocessing, input_size=side, resize_mode=mode, crop_fraction=1.0)
            for side in sorted({crop.side for crop in crops})
        }

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._source) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches in order.

        Raises:
            DataError: A file cannot be read; the message names it.
        """
        views = ordered_map(lambda index: self.views(self._source.load(index)), len(self._source))
        labels = torch.tensor(self._source.labels, dtype=torch.int64)
        for start in range(0, len(self._source), self._batch_size):
            places = torch.arange(start, min(start + self._batch_size, len(self._source)))
            pixels = np.stack([next(views) for _ in places])
            images = self._preprocessing.tensor(pixels.reshape(-1, *pixels.shape[2:]))
            yield Batch(
                images.reshape(*pixels.shape[:2], *images.shape[1:]).to(self._device),
                labels[places].to(self._device),
                places.to(self._device),
            )

    def views(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the views of one image, uint8 (V, size, size, C)."""
        squares = {side: record.image(image) for side, record in self._squares.items()}
        return np.stack([crop.of(squares[crop.side]) for crop in self._crops])
