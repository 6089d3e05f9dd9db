"""Batches of tensors from images in memory; every one is a function of (seed, epoch, step).

So a run can stop and go on at any step. It knows neither models nor losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.augment import Augmentation
from convatlas.data.cache import ImageArray
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sampling import epoch_order
from convatlas.errors import DataError, OptionError

__all__ = ["Batch", "EvalBatches", "TrainBatches"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some images, ready for a network.

    Attributes:
        images: float32 (N, C, H, W), normalised.
        labels: int64 (N,), class numbers.
        indices: int64 (N,), places in the array that the images came from.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class TrainBatches:
    """Shuffled, augmented, normalised batches.

    The last batch of an epoch may be smaller. A single image left over is dropped, because
    batch normalisation cannot learn from one; the shuffle makes it another one each epoch.

    Args:
        images: uint8 (N, H, W, C), as from ``training_images``.
        labels: Class number of each image.
        preprocessing: Input size and normalisation.
        augmentation: What to vary at random.
        batch_size: Images per batch.
        seed: Decides order and augmentation.
        device: Where images are augmented and batches live.

    Raises:
        DataError: Labels or channels that do not fit the images, or fewer than two images.
        OptionError: ``batch_size`` below 1.
    """

    def __init__(
        self,
        images: ImageArray,
        labels: Sequence[int],
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        _check(images, labels, preprocessing, batch_size)
        if len(images) < 2:
            raise DataError(f"expected at least 2 training images, got {len(images)}: add some")
        self._images = images
        self._labels = torch.tensor(list(labels), dtype=torch.int64)
        self._preprocessing = preprocessing
        self._augmentation = augmentation
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        """Return the number of steps per epoch."""
        full, rest = divmod(len(self._images), self._batch_size)
        return full + (rest > 1)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        for step in range(len(self)):
            yield self.batch(epoch, step)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of a step, 0 … len(self) - 1, of an epoch, 0 or more.

        Raises:
            OptionError: No such step.
        """
        if not 0 <= step < len(self):
            raise OptionError(f"expected 0 ≤ step < {len(self)}, got {step}: start the next epoch")
        start = step * self._batch_size
        indices = self._order_of(epoch)[start : start + self._batch_size]
        views = self._augmentation.apply(
            torch.from_numpy(self._images[indices]).to(self._device),
            indices,
            size=self._preprocessing.input_size,
            seed=self._seed,
            epoch=epoch,
            fill=self._preprocessing.mean,
        )
        places = torch.from_numpy(indices)
        return Batch(
            self._preprocessing.normalize(views),
            self._labels[places].to(self._device),
            places.to(self._device),
        )

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(len(self._images), self._seed, epoch))
        return self._order[1]


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
        _check(images, labels, preprocessing, batch_size)
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
        """Yield the batches in order."""
        for start in range(0, len(self._images), self._batch_size):
            indices = np.arange(start, min(start + self._batch_size, len(self._images)))
            images = self._preprocessing.tensor(self._images[indices]).to(self._device)
            places = torch.from_numpy(indices)
            yield Batch(images, self._labels[places].to(self._device), places.to(self._device))


def _check(
    images: ImageArray, labels: Sequence[int], preprocessing: Preprocessing, batch_size: int
) -> None:
    if batch_size < 1:
        raise OptionError(f"expected batch_size ≥ 1, got {batch_size}: pass 32")
    if len(labels) != len(images):
        raise DataError(f"expected {len(images)} labels, got {len(labels)}: pass one per image")
    if images.shape[-1] != preprocessing.channels:
        raise DataError(
            f"expected images of {preprocessing.channels} channels, got {images.shape[-1]}: "
            "decode them with the same preprocessing"
        )
