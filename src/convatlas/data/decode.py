"""From a file to an upright 8-bit image, grey (``"L"``) or colour (``"RGB"``).

16-bit values are scaled to 8 bits, transparent pixels are laid on white, CMYK and palettes
become RGB, an animation gives its first frame, and the EXIF orientation is applied. Colour
profiles (ICC) are ignored: the stored values are taken as they are, as other loaders of training
images do, so a photo in Adobe RGB or Display P3 looks a little paler than its owner meant it.
It knows neither folders nor classes nor networks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from convatlas.errors import DataError

__all__ = [
    "EXTENSIONS",
    "FIRST_SWAPPING",
    "ImageHeader",
    "decode",
    "printable",
    "read_header",
    "read_orientation",
    "why_unreadable",
]

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
# Named, because Pillow would also hand a disguised PostScript file to an interpreter.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_DEEP_FORMATS = ("PNG", "PPM")
_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_GREY = frozenset({"1", "L", "LA", "La", "I", "F"}) | _SIXTEEN_BIT
_TIFF_WIDTH, _TIFF_HEIGHT, _ORIENTATION_TAG = 0x0100, 0x0101, 0x0112
FIRST_SWAPPING = 5
"""EXIF's orientations from here on swap height and width."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the head of a file says: size in pixels once upright, 1 (grey) or 3 channels."""

    height: int
    width: int
    channels: int


def decode(
    file: str | Path | bytes, at_least: int | None = None, *, name: str | Path = ""
) -> Image.Image:
    """Return the image in ``file``, upright, in mode ``"L"`` or ``"RGB"``.

    Args:
        file: The path of an image file, or its content.
        at_least: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is faster, as long
            as neither side gets shorter than this many pixels; None for full size.
        name: What messages call the file; needed for a content alone.

    Raises:
        DataError: Missing, damaged, no image, larger than Pillow's decompression-bomb limit,
            or with 32-bit values that have no fixed range.
    """
    with _opened(file, name) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        plain = _eight_bit(image)
        return plain if turn is None else plain.transpose(turn)


def read_header(file: str | Path | bytes, *, name: str | Path = "") -> ImageHeader:
    """Return size and channels of the image in ``file`` without decoding its pixels.

    The arguments are those of :func:`decode`.

    Raises:
        DataError: Missing, no image, or larger than Pillow's decompression-bomb limit.
    """
    with _opened(file, name) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # whether its size is upright depends on Pillow
            width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
            turned = image.tag_v2.get(_ORIENTATION_TAG, 1) >= FIRST_SWAPPING
        else:  # the other formats would decode all pixels to look for a block that is not there
            turned = "exif" in image.info and _orientation(image) >= FIRST_SWAPPING
        height, width = (width, height) if turned else (height, width)
        return ImageHeader(height, width, 1 if image.mode in _GREY else 3)


def read_orientation(file: str | Path | bytes, *, name: str | Path = "") -> int:
    """Return EXIF's number for the way the image in ``file`` is stored: 1…8, 1 if it has none.

    The arguments and errors are those of :func:`read_header`.
    """
    with _opened(file, name) as image:
        orientation = _orientation(image)
    return orientation if orientation in _UPRIGHT else 1


def printable(name: str | Path) -> str:
    """Return a file name that any terminal can print on one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


def why_unreadable(error: BaseException) -> str:
    """Return in a few words what is wrong with the image whose reading raised ``error``."""
    if isinstance(error, UnidentifiedImageError):
        return "its content is not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


class _QuietPillow:
    """Mutes Pillow's warnings while at least one thread reads an image.

    Odd metadata and large photos are no fault that a user could mend. The count is needed
    because ``catch_warnings`` alone would restore the filters in the order in which threads end.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._readers = 0
        self._outer = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._outer = warnings.catch_warnings()
                self._outer.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._outer.__exit__(None, None, None)


_QUIET = _QuietPillow()


@contextmanager
def _opened(file: str | Path | bytes, name: str | Path) -> Iterator[Image.Image]:
    """Open an image, and turn what Pillow raises over a damaged one into a DataError."""
    shown = printable(name if isinstance(file, bytes) or name else file)
    try:
        if (len(file) if isinstance(file, bytes) else os.path.getsize(file)) == 0:
            raise DataError("the file is empty")
        # A stream, because Pillow maps a plain TIFF given by its path into memory, and then
        # garbles it if its orientation swaps height and width.
        with _QUIET, _stream(file) as stream, Image.open(stream, formats=_FORMATS) as image:
            yield image
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"expected an image below Pillow's limit of {2 * (Image.MAX_IMAGE_PIXELS or 0):,} "
            f"pixels, got more in {shown}: "
            "make it smaller or raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except Exception as error:  # decoders raise nearly every class over damaged bytes
        raise DataError(
            f"expected an image in {shown}, got a file that cannot be read because "
            f"{why_unreadable(error)}: remove it or save it again"
        ) from error


def _stream(file: str | Path | bytes) -> BinaryIO:
    return BytesIO(file) if isinstance(file, bytes) else open(file, "rb")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in _SIXTEEN_BIT or (mode == "I" and image.format in _DEEP_FORMATS):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if mode in ("I", "F"):
        raise DataError("its 32-bit values have no fixed range (8 and 16 bits have)")
    target = "L" if mode in _GREY else "RGB"
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert(target)
    return image.copy() if mode == target else image.convert(target)
