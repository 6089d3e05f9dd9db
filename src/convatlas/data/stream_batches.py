"""Training batches out of a stream, in its order; the images are neither listed nor stored."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from convatlas.data.augmentation import Augmentation
from convatlas.data.draws import Draws
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sources.streams import EpochReader, ImageStream, Sample, SampleImages
from convatlas.data.stepped import Places, SteppedBatches
from convatlas.data.views import DecodedViews
from convatlas.errors import DataError

__all__ = ["StreamBatches"]


class StreamBatches(SteppedBatches):
    """Batches in the order of a stream; see :class:`SteppedBatches`.

    An epoch is the first images of a pass, and every pass has another order. What is drawn for
    an image depends on (seed, epoch, place in the pass). Batches that are asked for in turn are
    read in one go. To begin at a later one, the shards before it are opened unless their numbers
    of images are known. Of a tar, each process reads only the images that it needs; but each
    fetches every shard that is not a local file.

    Args:
        stream: The images; its own state and consumer make no difference.
        images: How many an epoch has.
        preprocessing: Input size and normalisation.
        augmentation: What to vary at random.
        batch_size: Images per batch.
        seed: Decides the augmentation; the stream's own seed decides the order.
        device: Where images are augmented and batches live.
        sizes: Height and width of the images in each epoch, or None.

    Raises:
        DataError: Fewer than two images.
        OptionError: ``batch_size`` below 1, or impossible ``sizes``.
    """

    def __init__(
        self,
        stream: ImageStream,
        images: int,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            images, preprocessing, augmentation, batch_size, seed, device=device, sizes=sizes
        )
        self._stream = stream
        self._reader: tuple[int, EpochReader] | None = None
        self._lock = Lock()

    def _indices(self, epoch: int, turns: Places) -> Places:
        del epoch  # the stream has the order
        return turns

    def _read(self, epoch: int, indices: Places, u: Draws, size: int) -> tuple[Tensor, Tensor]:
        places, found = np.unique(indices, return_inverse=True)
        samples = self._samples(epoch, places)
        source = SampleImages("stream", self._stream.classes, samples)
        x = self._decoded(DecodedViews(source, self._preprocessing), found, u, size)
        return x, torch.tensor(source.labels, dtype=torch.int64)[torch.from_numpy(found)]

    def _samples(self, epoch: int, places: Places) -> list[Sample]:
        """Return the images at ascending places of an epoch."""
        with self._lock:
            if (
                self._reader is None
                or self._reader[0] != epoch
                or self._reader[1].place > places[0]
            ):
                self._reader = epoch, self._stream.reader(epoch)
            reader = self._reader[1]
            try:
                return [_required(reader, int(place), self._count) for place in places]
            except BaseException:
                self._reader = None
                raise


def _required(reader: EpochReader, place: int, images: int) -> Sample:
    sample = reader.sample(place)
    if sample is None:
        raise DataError(
            f"expected {images:,} images per epoch in the stream, got {reader.before:,}: pass "
            f"--images-per-epoch {reader.before} or less, and start a new run"
        )
    return sample
