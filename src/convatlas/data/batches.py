"""Batches of tensors; every training batch is a function of (seed, epoch, step).

So a run can stop and go on at any step. It knows neither models nor losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from convatlas.data.augment import views_of
from convatlas.data.augmentation import Augmentation
from convatlas.data.cache import ImageArray
from convatlas.data.draws import Draws
from convatlas.data.parallel import ordered_map
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sampling import epoch_order
from convatlas.data.stepped import AHEAD, Batch, Places, SteppedBatches, require_batch_size
from convatlas.data.views import DecodedViews
from convatlas.errors import DataError

__all__ = ["Batch", "EvalBatches", "TrainBatches"]


class TrainBatches(SteppedBatches):
    """Shuffled, augmented, mixed, normalised batches; see :class:`SteppedBatches`.

    Args:
        images: uint8 (N, H, W, C) or views of files, as from ``training_images``.
        labels: Class number of each image.
        preprocessing: Input size and normalisation.
        augmentation: What to vary at random.
        batch_size: Images per batch.
        seed: Decides order and augmentation.
        device: Where images are augmented and batches live.
        sizes: Height and width of the images in each epoch, for progressive resizing, none
            above the input size; None for the input size throughout.

    Raises:
        DataError: Labels or channels that do not fit the images, or fewer than two images.
        OptionError: ``batch_size`` below 1, or impossible ``sizes``.
    """

    def __init__(
        self,
        images: ImageArray | DecodedViews,
        labels: Sequence[int],
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            len(images), preprocessing, augmentation, batch_size, seed, device=device, sizes=sizes
        )
        _check(images, labels, preprocessing)
        self._images = images
        self._labels = torch.tensor(list(labels), dtype=torch.int64)
        self._order: tuple[int, Places] = (-1, np.empty(0, dtype=np.int64))

    def _indices(self, epoch: int, turns: Places) -> Places:
        order = self._order
        if order[0] != epoch:
            self._order = order = (epoch, epoch_order(len(self._images), self._seed, epoch))
        return order[1][turns]

    def _read(self, epoch: int, indices: Places, u: Draws, size: int) -> tuple[Tensor, Tensor]:
        del epoch  # the order has seen to it
        labels = self._labels[torch.from_numpy(indices)]
        if isinstance(self._images, DecodedViews):
            return self._decoded(self._images, indices, u, size), labels
        pixels = torch.from_numpy(self._images[indices]).to(self._device)
        x = views_of(self._augmentation, u, pixels, self._preprocessing.input_size, size)
        return self._finished(u, x), labels


class EvalBatches:
    """All images once, in order, as evaluation and prediction see them.

    Args:
        images: uint8 (N, H, W, C), as from ``evaluation_images``.
        labels: Class number of each image.
        preprocessing: Normalisation.
        batch_size: Images per batch; the last one may be smaller.
        device: Where batches live.

    Raises:
        DataError: Labels, size or channels that do not fit the images.
        OptionError: ``batch_size`` below 1.
    """

    def __init__(
        self,
        images: ImageArray,
        labels: Sequence[int],
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        require_batch_size(batch_size)
        _check(images, labels, preprocessing)
        size = preprocessing.input_size
        if images.shape[1:3] != (size, size):
            raise DataError(
                f"expected images of {size}×{size}, got {images.shape[1]}×{images.shape[2]}: "
                "make them with evaluation_images"
            )
        self._images = images
        self._labels = torch.tensor(list(labels), dtype=torch.int64)
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._device = torch.device(device)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._images) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches in order, prepared in the background."""
        return ordered_map(self._batch, len(self), threads=1, ahead=AHEAD)

    def _batch(self, number: int) -> Batch:
        start = number * self._batch_size
        indices = np.arange(start, min(start + self._batch_size, len(self._images)))
        images = self._preprocessing.tensor(self._images[indices]).to(self._device)
        places = torch.from_numpy(indices)
        return Batch(images, self._labels[places].to(self._device), places.to(self._device))


def _check(
    images: ImageArray | DecodedViews,
    labels: Sequence[int],
    preprocessing: Preprocessing,
) -> None:
    if len(labels) != len(images):
        raise DataError(f"expected {len(images)} labels, got {len(labels)}: pass one per image")
    if images.shape[-1] != preprocessing.channels:
        raise DataError(
            f"expected images of {preprocessing.channels} channels, got {images.shape[-1]}: "
            "decode them with the same preprocessing"
        )
