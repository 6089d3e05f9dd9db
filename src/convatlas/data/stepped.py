"""Training batches of which each is a function of (seed, epoch, step), wherever the images lie.

So a run can stop and go on at any step. Mixing, the shares of several processes and preparing
ahead are the same for all; which images a batch has and how they are read is not known here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.augment import varied
from convatlas.data.augmentation import Augmentation
from convatlas.data.draws import Draws, draw
from convatlas.data.mixing import drawn_mix, mixed, mixes, partner_places
from convatlas.data.parallel import ordered_map
from convatlas.data.preprocess import Preprocessing
from convatlas.data.views import DecodedViews
from convatlas.errors import DataError, OptionError

__all__ = ["AHEAD", "Batch", "Places", "SteppedBatches", "require_batch_size"]

Places = NDArray[np.int64]

AHEAD = 2  # batches that are prepared while one is in use
_AT_ONCE = 4  # images that go through the processor's cache together


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some images, ready for a network.

    Attributes:
        images: float32 (N, C, H, W), normalised.
        labels: int64 (N,), class numbers.
        indices: int64 (N,), places in the array that the images came from, or in the epoch of a
            stream.
        partners: int64 (N,), class numbers of the images mixed into these, or None.
        shares: float32 (N,), what is left of each image's own label in 0…1; None unmixed.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    partners: Tensor | None = None
    shares: Tensor | None = None


class SteppedBatches(ABC):
    """Augmented, mixed, normalised batches of an epoch of so many images.

    The last batch of an epoch may be smaller. A single image left over is dropped, because
    batch normalisation cannot learn from one; the order makes it another one each epoch.

    Args:
        images: How many an epoch has.
        preprocessing: Input size and normalisation.
        augmentation: What to vary at random.
        batch_size: Images per batch.
        seed: Decides order and augmentation.
        device: Where images are augmented and batches live.
        sizes: Height and width of the images in each epoch, for progressive resizing, none
            above the input size; None for the input size throughout.

    Raises:
        DataError: Fewer than two images.
        OptionError: ``batch_size`` below 1, or impossible ``sizes``.
    """

    def __init__(
        self,
        images: int,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        sizes: Sequence[int] | None = None,
    ) -> None:
        require_batch_size(batch_size)
        if images < 2:
            raise DataError(f"expected at least 2 training images, got {images}: add some")
        _check_sizes(sizes, preprocessing.input_size)
        self._count = images
        self._preprocessing = preprocessing
        self._augmentation = augmentation
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._sizes = None if sizes is None else tuple(sizes)
        self._rank, self._world_size = 0, 1

    @abstractmethod
    def _indices(self, epoch: int, turns: Places) -> Places:
        """Return which images have these turns, 0 … images - 1, of an epoch."""

    @abstractmethod
    def _read(self, epoch: int, indices: Places, u: Draws, size: int) -> tuple[Tensor, Tensor]:
        """Return augmented and normalised images, and the class number of each.

        Args:
            epoch: The epoch.
            indices: Which images; they come in the order of their turns, some perhaps repeatedly.
            u: The numbers that chance gave each.
            size: Height and width.
        """

    def shard(self, rank: int, world_size: int) -> Self:
        """Return the batches of one of several processes, which share each batch evenly.

        A process takes every ``world_size``-th image, so all of them together have the batch
        of one process. Of an epoch's last batch, images are dropped until it can be shared.

        Args:
            rank: Which process, from 0.
            world_size: How many there are.

        Raises:
            OptionError: No such process, or a batch that cannot be shared evenly.
        """
        if not 0 <= rank < world_size:
            raise OptionError(f"expected 0 ≤ rank < {world_size}, got {rank}: count from 0")
        if self._batch_size % world_size:
            less = self._batch_size - self._batch_size % world_size
            raise OptionError(
                f"expected a batch_size that {world_size} processes can share, got "
                f"{self._batch_size}: take {less or world_size}"
            )
        part = copy(self)
        part._rank, part._world_size = rank, world_size
        return part

    def __len__(self) -> int:
        """Return the number of steps per epoch."""
        full, rest = divmod(self._count, self._batch_size)
        return full + (rest // self._world_size > 1)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step ``first``, prepared in the background."""
        steps = len(self) - first
        return ordered_map(
            lambda number: self.batch(epoch, first + number), steps, threads=1, ahead=AHEAD
        )

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of a step, 0 … len(self) - 1, of an epoch, 0 or more.

        Raises:
            DataError: A file cannot be read; the message names it.
            OptionError: No such step, or no size for the epoch.
        """
        if not 0 <= step < len(self):
            raise OptionError(f"expected 0 ≤ step < {len(self)}, got {step}: start the next epoch")
        size = self._size_of(epoch)
        indices, copies = self._members(epoch, step)
        own = np.arange(self._rank, len(indices), self._world_size)
        if not mixes(self._augmentation):
            return self._unmixed(epoch, indices[own], copies[own], size)
        partners = partner_places(len(indices))[own]
        needed, found = np.unique(np.concatenate((own, partners)), return_inverse=True)
        batch = self._unmixed(epoch, indices[needed], copies[needed], size)
        mine, theirs = torch.from_numpy(found).to(self._device).chunk(2)
        mix = drawn_mix(self._augmentation, self._seed, epoch, step, size)
        return Batch(
            mixed(batch.images[mine], batch.images[theirs], mix),
            batch.labels[mine],
            batch.indices[mine],
            batch.labels[theirs],
            torch.full((len(own),), mix.share, device=self._device),
        )

    def _size_of(self, epoch: int) -> int:
        if self._sizes is None:
            return self._preprocessing.input_size
        if not 0 <= epoch < len(self._sizes):
            raise OptionError(
                f"expected an epoch with a size, 0 ≤ epoch < {len(self._sizes)}, got {epoch}: "
                "give sizes for more epochs"
            )
        return self._sizes[epoch]

    def _members(self, epoch: int, step: int) -> tuple[Places, Places]:
        """Return the images of all processes at a step, and which view of each it is."""
        start = step * self._batch_size
        stop = min(start + self._batch_size, self._count)
        places = np.arange(start, stop - (stop - start) % self._world_size, dtype=np.int64)
        turns, copies = np.divmod(places, self._augmentation.repeats)
        return self._indices(epoch, turns), copies

    def _unmixed(self, epoch: int, indices: Places, copies: Places, size: int) -> Batch:
        u = draw(self._augmentation, self._seed, epoch, indices, copies)
        x, labels = self._read(epoch, indices, u, size)
        places = torch.from_numpy(indices)
        return Batch(x.to(self._device), labels.to(self._device), places.to(self._device))

    def _decoded(self, images: DecodedViews, indices: Places, u: Draws, size: int) -> Tensor:
        """Return views of files, augmented and normalised a few at a time."""
        pixels = images.views(self._augmentation, u, indices, size)
        x = torch.empty(len(indices), self._preprocessing.channels, size, size)
        for start in range(0, len(indices), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            part = x[some].copy_(pixels[some]).div_(255)
            done = self._finished({name: values[some] for name, values in u.items()}, part)
            if done.data_ptr() != part.data_ptr():
                part.copy_(done)
        return x

    def _finished(self, u: Draws, x: Tensor) -> Tensor:
        record = self._preprocessing
        return record.normalize_(varied(self._augmentation, u, x, record.mean))


def require_batch_size(batch_size: int) -> None:
    """Raise an ``OptionError`` unless there is at least one image per batch."""
    if batch_size < 1:
        raise OptionError(f"expected batch_size ≥ 1, got {batch_size}: pass 32")


def _check_sizes(sizes: Sequence[int] | None, input_size: int) -> None:
    for size in () if sizes is None else sizes:
        if not 1 <= size <= input_size:
            raise OptionError(
                f"expected sizes in 1…{input_size}, the input size, got {size}: correct them"
            )
