"""The three ways in which a source holds its images: pixels, files, and files inside others.

The formats say where an image lies; here it becomes one. It knows no format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.decode import ImageHeader, decode, printable, read_header, why_unreadable
from convatlas.errors import DataError

__all__ = ["EmbeddedImages", "ImageFiles", "PixelImages"]


class PixelImages:
    """Images of one size that are held as an array.

    Args:
        name: What to call the source.
        classes: Class names.
        labels: Class number of every image.
        pixels: uint8 (N, H, W) or (N, H, W, 3).
        word: What one image is called.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        labels: Sequence[int],
        pixels: NDArray[np.uint8],
        word: str = "image",
    ) -> None:
        self.name = name
        self.classes: tuple[str, ...] = tuple(classes)
        self.labels: tuple[int, ...] = tuple(labels)
        self._pixels = pixels
        self._word = word

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return an image in full size, whatever ``at_least`` is."""
        del at_least  # an array has no decoding to save
        return Image.fromarray(np.ascontiguousarray(self._pixels[index]))

    def header(self, index: int) -> ImageHeader:
        """Return the size and channels of an image."""
        shape = self._pixels[index].shape
        return ImageHeader(shape[0], shape[1], 3 if len(shape) == 3 else 1)

    def encoded(self, index: int) -> None:
        """Return None: there are only pixels."""
        del index

    def describe(self, index: int) -> str:
        """Return ``"image 17"`` for index 17."""
        return f"{self._word} {index}"


class ImageFiles:
    """Images that are files of their own.

    Args:
        root: The folder to which :meth:`describe` relates the paths.
        name: What to call the source.
        classes: Class names.
        labels: Class number of every image.
        paths: The files.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        classes: Sequence[str],
        labels: Sequence[int],
        paths: Sequence[Path],
    ) -> None:
        self.root = root
        self.name = name
        self.classes: tuple[str, ...] = tuple(classes)
        self.labels: tuple[int, ...] = tuple(labels)
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return an image, upright, in mode ``"L"`` or ``"RGB"``; see ``decode``.

        Raises:
            DataError: The file cannot be read as an image.
        """
        return decode(self._paths[index], at_least)

    def header(self, index: int) -> ImageHeader:
        """Return size and channels of an image without decoding its pixels.

        Raises:
            DataError: The file cannot be read as an image.
        """
        return read_header(self._paths[index])

    def encoded(self, index: int) -> bytes | None:
        """Return the content of an image's file.

        Raises:
            DataError: The file cannot be read.
        """
        path = self._paths[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(
                f"expected an image in {printable(path)}, got a file that cannot be read because "
                f"{why_unreadable(error)}: restore it or remove it from the data"
            ) from error

    def describe(self, index: int) -> str:
        """Return the path of an image, relative to the folder where it lies inside."""
        path = self._paths[index]
        inside = path.is_relative_to(self.root)
        return printable((path.relative_to(self.root) if inside else path).as_posix())


class EmbeddedImages(ABC):
    """Images whose files lie inside others: tar shards, tables.

    Args:
        name: What to call the source.
        classes: Class names.
        labels: Class number of every image.
    """

    def __init__(self, name: str, classes: Sequence[str], labels: Sequence[int]) -> None:
        self.name = name
        self.classes: tuple[str, ...] = tuple(classes)
        self.labels: tuple[int, ...] = tuple(labels)

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """Return the content of an image's file."""

    @abstractmethod
    def describe(self, index: int) -> str:
        """Return words by which a person finds the image."""

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return an image, upright, in mode ``"L"`` or ``"RGB"``; see ``decode``.

        Raises:
            DataError: The content cannot be read as an image.
        """
        return decode(self.encoded(index), at_least, name=self.describe(index))

    def header(self, index: int) -> ImageHeader:
        """Return size and channels of an image without decoding its pixels.

        Raises:
            DataError: The content cannot be read as an image.
        """
        return read_header(self.encoded(index), name=self.describe(index))
