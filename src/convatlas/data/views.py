"""Random views straight from the files: decoded, cropped and shrunk each time they are asked for.

For data sets that do not fit into memory. A crop comes from the whole image at its full
resolution, and is shrunk with antialiasing, as Pillow shrinks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.augmentation import Augmentation
from convatlas.data.decode import decode, read_header
from convatlas.data.draws import Draws, Frames, drawn_views
from convatlas.data.jpeg import FACTORS, Jpeg, read_jpeg
from convatlas.data.parallel import ordered_map
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sources.splits import ImageSource
from convatlas.data.warp import Views, resample

__all__ = ["DecodedViews"]

Pixels = NDArray[np.uint8]

# How many times the result's size the decoder must leave of a view that it shrinks. Below 2 its
# own, coarser filter would show: photos stay above 42 dB to Pillow's resize with 2, 30 with 1.
_SPARE = 2


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """An image whose head has been read.

    Attributes:
        index: Its place in the source.
        height: Height of the upright image, in pixels.
        width: Its width.
        data: Its file, or None where there are only pixels.
        jpeg: The file as a common JPEG, or None.
    """

    index: int
    height: int
    width: int
    data: bytes | None = None
    jpeg: Jpeg | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows and columns of an upright image, in pixels, all multiples of ``factor``."""

    top: int
    bottom: int
    left: int
    right: int
    factor: int

    def of(self, pixels: Pixels, shrunk: int = 1) -> Pixels:
        """Return the part of an image whose sides were divided by ``shrunk``."""
        rows = slice(self.top // shrunk, self.bottom // shrunk)
        return pixels[rows, self.left // shrunk : self.right // shrunk]


@dataclass(frozen=True, slots=True)
class DecodedViews:
    """Images of a source, of which a part is decoded whenever it is asked for.

    Attributes:
        source: The images.
        preprocessing: Channels, filter, and which part is seen when nothing varies.
    """

    source: ImageSource
    preprocessing: Preprocessing

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C) of the views that training sees at the full input size."""
        side = self.preprocessing.input_size
        return len(self.source), side, side, self.preprocessing.channels

    def __len__(self) -> int:
        return len(self.source)

    def views(
        self, augmentation: Augmentation, u: Draws, indices: NDArray[np.int64], size: int
    ) -> Tensor:
        """Return a random part of each image: the crop, zoom, rotation, shift and flip.

        Args:
            augmentation: What to vary; ``crop_scale`` counts from the area of the whole image.
            u: The numbers that chance gave each image.
            indices: Which images.
            size: Height and width of the result.

        Returns:
            uint8 (N, C, size, size).

        Raises:
            DataError: A file cannot be read; the message names it.
        """
        files = list(ordered_map(lambda place: self._opened(int(indices[place])), len(indices)))
        views = drawn_views(augmentation, u, self._frames(files), size)
        channels = self.preprocessing.channels
        pixels = torch.empty(len(files), channels, size, size, dtype=torch.uint8)

        def show(place: int) -> None:
            pixels[place] = self._view(augmentation, files[place], views.one(place), size)

        for _ in ordered_map(show, len(files)):
            pass
        return pixels

    def _opened(self, index: int) -> _File:
        data = self.source.encoded(index)
        if data is None:
            header = self.source.header(index)
            return _File(index, header.height, header.width)
        jpeg = read_jpeg(data) if self.preprocessing.channels == 3 else None
        if jpeg is not None:
            return _File(index, jpeg.height, jpeg.width, data, jpeg)
        header = read_header(data, name=self.source.describe(index))
        return _File(index, header.height, header.width, data)

    def _frames(self, files: list[_File]) -> Frames:
        height, width = (
            np.array([getattr(file, side) for file in files], dtype=np.float64)
            for side in ("height", "width")
        )
        record = self.preprocessing
        if record.resize_mode == "stretch":
            return Frames(height, width, height, width, height / 2, width / 2)
        side = np.minimum(height, width) * (record.input_size / record.resized_side)
        return Frames(height, width, side, side, height / 2, width / 2)

    def _view(self, augmentation: Augmentation, file: _File, view: Views, size: int) -> Tensor:
        (height,), (width,), (turn,) = view.height, view.width, view.radians
        (middle,), (center,) = view.center_y, view.center_x
        reach_y = (height * abs(math.cos(turn)) + width * abs(math.sin(turn))) / 2
        reach_x = (width * abs(math.cos(turn)) + height * abs(math.sin(turn))) / 2
        ends = (middle - reach_y, middle + reach_y, center - reach_x, center + reach_x)
        factor = _factor(min(height, width), size)
        beyond = max(-ends[0], ends[1] - file.height, -ends[2], ends[3] - file.width)
        if beyond < 0.5 and not (augmentation.rotate_degrees or augmentation.zoom):
            pixels = self._crop(file, _part(ends, file, factor, 0))
            return self._resized(pixels, (size, size), bool(view.mirrored[0]))
        scale = min(1.0, size / min(height, width))
        part = _part(ends, file, factor, 2 / scale)
        rows = max(1, round(scale * (part.bottom - part.top)))
        columns = max(1, round(scale * (part.right - part.left)))
        crop = self._resized(self._crop(file, part), (rows, columns))
        return _turned(crop, view, part, size, augmentation)

    def _crop(self, file: _File, part: _Part) -> Pixels:
        if file.jpeg is not None:
            try:
                return part.of(file.jpeg.pixels(part.factor), part.factor)
            except ValueError:  # damaged: Pillow forgives more, and names the fault otherwise
                pass
        if file.data is None:
            image = self.source.load(file.index)
        else:
            image = decode(file.data, name=self.source.describe(file.index))
        channels = self.preprocessing.channels
        plain = np.array(image.convert("L" if channels == 1 else "RGB"))
        return part.of(plain.reshape(file.height, file.width, channels))

    def _resized(self, pixels: Pixels, sides: tuple[int, int], mirrored: bool = False) -> Tensor:
        # On eight bits torch gives Pillow's values, several times as fast.
        mode = "bicubic" if self.preprocessing.interpolation == "bicubic" else "bilinear"
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        if x.shape[2:] != sides:
            x = F.interpolate(x, sides, mode=mode, antialias=True)
        return (x.flip(3) if mirrored else x)[0]


def _factor(shorter: float, size: int) -> int:
    return next(f for f in FACTORS if f == 1 or shorter >= f * _SPARE * size)


def _part(
    ends: tuple[float, float, float, float], file: _File, factor: int, margin: float
) -> _Part:
    """Return the whole pixels nearest to the ends, within the image, at least one of them.

    Args:
        ends: Top, bottom, left and right, in pixels.
        file: The image.
        factor: What the pixels are multiples of.
        margin: Pixels to add on every side.
    """
    (top, bottom), (left, right) = (
        _whole(low - margin, high + margin, -(-side // factor), factor)
        for low, high, side in ((*ends[:2], file.height), (*ends[2:], file.width))
    )
    return _Part(top, bottom, left, right, factor)


def _whole(low: float, high: float, most: int, factor: int) -> tuple[int, int]:
    first = min(max(round(low / factor), 0), most - 1)
    last = min(max(round(high / factor), first + 1), most)
    return first * factor, last * factor


def _turned(
    crop: Tensor, view: Views, part: _Part, size: int, augmentation: Augmentation
) -> Tensor:
    """Return the view from a crop around it that was shrunk to about its scale."""
    scale_y = crop.shape[1] / (part.bottom - part.top)
    scale_x = crop.shape[2] / (part.right - part.left)
    inside = Views(
        center_y=(view.center_y - part.top) * scale_y,
        center_x=(view.center_x - part.left) * scale_x,
        height=view.height * scale_y,
        width=view.width * scale_x,
        radians=view.radians,
        mirrored=view.mirrored,
    )
    x = resample(crop.permute(1, 2, 0)[None], inside, size, augmentation.padding)
    return x[0].mul_(255).round_().byte()
