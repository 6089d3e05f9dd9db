"""The common JPEG decoded straight from its bytes, as much smaller as its use allows.

Common is a YCbCr file of 8 bits, whichever way up; the rest is left to ``decode``. The decoder
is libjpeg-turbo, as in Pillow, so the pixels are Pillow's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.decode import FIRST_SWAPPING, read_orientation

__all__ = ["FACTORS", "Jpeg", "read_jpeg"]

FACTORS = (8, 4, 2, 1)
"""By how much the decoder can shrink an image in fast whole steps."""

Pixels = NDArray[np.uint8]

_START = b"\xff\xd8"
_MARKER, _APP1, _SCAN = 0xFF, 0xE1, 0xDA
# What Pillow reads the orientation from: an EXIF block, or its twin in XMP.
_TURNED = (b"Exif\x00\x00", b"tiff:Orientation")
# How the stored rows and columns become those of the upright image: EXIF 2.3, tag 0x0112.
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True, slots=True, eq=False)
class Jpeg:
    """A colour JPEG whose head has been read.

    Attributes:
        data: The file.
        height: Height of the upright image, in pixels.
        width: Its width.
        orientation: EXIF's number for the way it is stored, 1…8.
    """

    data: bytes
    height: int
    width: int
    orientation: int

    def pixels(self, factor: int) -> Pixels:
        """Return the upright image, each side shrunk by a factor of ``FACTORS`` and rounded up.

        Returns:
            uint8 (⌈height / factor⌉, ⌈width / factor⌉, 3), not always contiguous.

        Raises:
            ValueError: The data are damaged.
        """
        height, width = -(-self.height // factor), -(-self.width // factor)
        if self.orientation >= FIRST_SWAPPING:
            height, width = width, height
        stored = simplejpeg.decode_jpeg(
            self.data, min_height=height, min_width=width, min_factor=factor
        )
        return _UPRIGHT[self.orientation](stored)


def read_jpeg(data: bytes) -> Jpeg | None:
    """Return what ``data`` hold, or None where ``decode`` must look at them.

    That is: no JPEG, grey or CMYK, damaged, or above Pillow's limit.
    """
    if not data.startswith(_START):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        orientation = read_orientation(data) if _may_be_turned(data) else 1
    except ValueError:  # DataError is one
        return None
    most = 2 * (Image.MAX_IMAGE_PIXELS or height * width)
    if colours != "YCbCr" or height * width > most:
        return None
    if orientation >= FIRST_SWAPPING:
        height, width = width, height
    return Jpeg(data, height, width, orientation)


def _may_be_turned(data: bytes) -> bool:
    """Look for an orientation in the blocks before the pixels; to find it costs a parser."""
    place = len(_START)
    while place + 4 <= len(data) and data[place] == _MARKER:
        if data[place + 1] == _MARKER:  # fill bytes may stand before a marker
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        block = data[place + 4 : place + 2 + length]
        if data[place + 1] == _APP1 and any(mark in block for mark in _TURNED):
            return True
        if data[place + 1] == _SCAN or length < 2:
            return False
        place += 2 + length
    return False
