"""scikit-learn's 1,797 handwritten digits, 8×8 pixels: real images on every machine.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998;
scikit-learn carries its test part.
"""

from __future__ import annotations

import numpy as np

from convatlas.data.sources.stored import PixelImages

__all__ = ["Digits"]

_BRIGHTEST = 16


class Digits(PixelImages):
    """White strokes on black, grey values 0…16 scaled to 0…255."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        data = load_digits()
        pixels = np.rint(data.images * (255 / _BRIGHTEST)).astype(np.uint8)
        labels = [int(label) for label in data.target]
        super().__init__("digits", [str(digit) for digit in range(10)], labels, pixels, "digit")
