"""A source decoded once into one uint8 array; too large for memory, and it decodes on demand.

For evaluation both give the same pixels, so nothing but speed depends on the memory limit. For
training what is too large becomes ``DecodedViews``, which see more of an image and sharper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from convatlas.data.parallel import Progress, ordered_map
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sources.splits import ImageSource
from convatlas.data.views import DecodedViews

__all__ = [
    "DEFAULT_MEMORY_LIMIT_BYTES",
    "ImageArray",
    "OnDemandImages",
    "evaluation_images",
    "training_images",
]

DEFAULT_MEMORY_LIMIT_BYTES = 2 * 1024**3


class ImageArray(Protocol):
    """Images of one size as uint8 (N, H, W, C): a numpy array, or one that decodes on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[NDArray[np.uint8]]: ...

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True)
class OnDemandImages:
    """Images of a source that are decoded each time they are asked for.

    Attributes:
        source: The images.
        preprocessing: What is done to each, short of normalising it.
        at_least: Passed to ``ImageSource.load``.
    """

    source: ImageSource
    preprocessing: Preprocessing
    at_least: int | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        side = self.preprocessing.input_size
        return len(self.source), side, side, self.preprocessing.channels

    @property
    def nbytes(self) -> int:
        """Bytes that all images together would take."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return the images at ``indices``, uint8 (len(indices), H, W, C).

        Raises:
            DataError: A file cannot be read; the message names it.
        """
        return self._decode(np.asarray(indices, dtype=np.int64), None)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every image, uint8 (H, W, C), in order."""
        return ordered_map(self._one, len(self))

    def decode_all(self, progress: Progress | None = None) -> NDArray[np.uint8]:
        """Return all images as one array.

        Raises:
            DataError: A file cannot be read; the message names it.
        """
        return self._decode(np.arange(len(self)), progress)

    def _one(self, index: int) -> NDArray[np.uint8]:
        return self.preprocessing.image(self.source.load(index, self.at_least))

    def _decode(self, indices: NDArray[np.int64], progress: Progress | None) -> NDArray[np.uint8]:
        images = np.empty((len(indices), *self.shape[1:]), dtype=np.uint8)
        decoded = ordered_map(lambda place: self._one(int(indices[place])), len(indices), progress)
        for place, image in enumerate(decoded):
            images[place] = image
        return images


def evaluation_images(
    source: ImageSource,
    preprocessing: Preprocessing,
    progress: Progress | None = None,
    *,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
) -> ImageArray:
    """Return exactly what ``preprocessing.image`` makes of every image, fully decoded.

    Args:
        source: The images.
        preprocessing: How the network wants them.
        progress: Called as ``progress(done, total)``.
        memory_limit_bytes: An array above this is decoded on demand instead.

    Raises:
        DataError: A file cannot be read; the message names it.
    """
    images = OnDemandImages(source, preprocessing)
    return images if images.nbytes > memory_limit_bytes else images.decode_all(progress)


def training_images(
    source: ImageSource,
    preprocessing: Preprocessing,
    progress: Progress | None = None,
    *,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
) -> ImageArray | DecodedViews:
    """Return every image with a margin around what evaluation sees, for crops and shifts.

    The scale is that of evaluation: the shorter side is ``preprocessing.resized_side`` pixels
    long and the centre square is kept, so the centre of each is what evaluation sees. Only the
    ends of the longer side are lost. There is no margin, and so no loss, with ``"stretch"``, nor
    where every image already has the input's size. JPEGs far above that are decoded at
    1/2, 1/4 or 1/8, never below twice the side. Above the memory limit the images stay in their
    files, and each view is cut from the whole of one.

    The arguments and errors are those of :func:`evaluation_images`.
    """
    side = preprocessing.resized_side
    if side == preprocessing.input_size or _all_of_size(source, preprocessing.input_size):
        wide = preprocessing
    else:
        wide = replace(preprocessing, input_size=side, resize_mode="crop", crop_fraction=1.0)
    images = OnDemandImages(source, wide, at_least=2 * side)
    if images.nbytes > memory_limit_bytes:
        return DecodedViews(source, preprocessing)
    return images.decode_all(progress)


def _all_of_size(source: ImageSource, side: int) -> bool:
    headers = (source.header(index) for index in range(len(source)))
    return all(header.height == header.width == side for header in headers)
