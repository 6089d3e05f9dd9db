"""scikit-learn's 1,797 handwritten digits, 8×8 pixels: real images on every machine.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998;
scikit-learn carries its test part.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from convatlas.data.decode import ImageHeader

__all__ = ["Digits"]

_BRIGHTEST = 16


class Digits:
    """White strokes on black, grey values 0…16 scaled to 0…255."""

    name = "digits"

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        data = load_digits()
        self.classes: tuple[str, ...] = tuple(str(digit) for digit in range(10))
        self.labels: tuple[int, ...] = tuple(int(label) for label in data.target)
        self._images = np.rint(data.images * (255 / _BRIGHTEST)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return a digit, 8×8 in mode ``"L"``, whatever ``at_least`` is."""
        del at_least  # an array has no decoding to save
        return Image.fromarray(self._images[index])

    def header(self, index: int) -> ImageHeader:
        """Return the size and channels of a digit."""
        height, width = self._images[index].shape
        return ImageHeader(height, width, 1)

    def describe(self, index: int) -> str:
        """Return ``"digit 17"`` for index 17."""
        return f"digit {index}"
