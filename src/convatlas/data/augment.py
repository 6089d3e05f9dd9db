"""Random views of training images, each a pure function of (seed, epoch, image index).

What is drawn for an image depends neither on the batch it is in, nor on other options, nor on
how many workers there are. It works on batches of uint8 images already in memory; it knows
neither files nor networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.sampling import image_uniforms
from convatlas.data.warp import Rectangles, Views, center, erase, recolor, resample
from convatlas.errors import DataError, OptionError

__all__ = ["Augmentation", "for_digits", "for_photos"]

Floats = NDArray[np.float64]

_DRAWS = (
    *("crop_area", "crop_ratio", "crop_x", "crop_y", "shift_x", "shift_y", "rotate", "zoom"),
    *("flip", "brightness", "contrast", "saturation"),
    *("erase", "erase_area", "erase_ratio", "erase_x", "erase_y"),
)
_ERASED_AREA = (0.02, 1 / 3)  # Zhong et al., "Random erasing data augmentation", 2020
_ERASED_RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Which random changes a training image goes through; without arguments, none.

    Geometry is one bilinear resampling: crop (or the centre), zoom, rotation, shift, flip.
    Then come brightness, contrast, saturation and erasing.

    Attributes:
        crop_scale: Range of the cropped share of the area (Inception's random resized crop);
            None for the centre at the scale of evaluation.
        crop_ratio: Range of the crop's width / height, drawn on a log scale.
        pad_shift: Largest shift, in pixels of the input, along each axis.
        rotate_degrees: Largest rotation either way.
        zoom: The view is enlarged or reduced by up to 1 + zoom, drawn on a log scale.
        flip: Whether half of the images are mirrored left to right.
        brightness: Values are multiplied by 1 ± brightness.
        contrast: Distance from the mean grey is multiplied by 1 ± contrast.
        saturation: Distance from grey is multiplied by 1 ± saturation.
        random_erase: Probability that a rectangle is covered with the mean.
        padding: What lies outside an image: its ``"edge"`` pixels, or black (``"zeros"``).

    Raises:
        OptionError: An impossible value.
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    pad_shift: int = 0
    rotate_degrees: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    random_erase: float = 0.0
    padding: Literal["edge", "zeros"] = "edge"

    def __post_init__(self) -> None:
        low, high = self.crop_scale or (1.0, 1.0)
        _require(0 < low <= high <= 1, "0 < crop_scale ≤ 1, low before high", self.crop_scale)
        low, high = self.crop_ratio
        _require(0 < low <= high, "crop_ratio > 0, low before high", self.crop_ratio)
        _require(isinstance(self.pad_shift, int), "a whole pad_shift", self.pad_shift)
        for name, most in (("pad_shift", math.inf), ("rotate_degrees", 180), ("zoom", math.inf)):
            _require(0 <= getattr(self, name) <= most, f"0 ≤ {name} ≤ {most}", getattr(self, name))
        for name in ("brightness", "contrast", "saturation", "random_erase"):
            _require(0 <= getattr(self, name) <= 1, f"0 ≤ {name} ≤ 1", getattr(self, name))
        _require(self.padding in ("edge", "zeros"), "padding 'edge' or 'zeros'", self.padding)

    def apply(
        self,
        images: Tensor,
        indices: NDArray[np.int64],
        *,
        size: int,
        seed: int,
        epoch: int,
        fill: tuple[float, ...],
    ) -> Tensor:
        """Return a random view of each image.

        Args:
            images: uint8 (N, H, W, C), each side at least ``size``.
            indices: The images' places in the training set, which key the random numbers.
            size: Height and width of the result, in pixels.
            seed: The run's seed.
            epoch: The epoch.
            fill: Value of each channel that covers an erased rectangle, on the 0…1 scale.

        Returns:
            float32 (N, C, size, size) on the 0…1 scale.

        Raises:
            DataError: The images are smaller than ``size``.
        """
        height, width = images.shape[1:3]
        if min(height, width) < size:
            raise DataError(
                f"expected images of at least {size}×{size} to augment, got {height}×{width}: "
                "decode them with training_images"
            )
        u = dict(zip(_DRAWS, image_uniforms(seed, epoch, indices, len(_DRAWS)).T, strict=True))
        # Decided by the options, not by what was drawn: a batch must not change its images.
        if self._moves:
            x = resample(images, self._views(u, height, width, size), size, self.padding)
        else:
            x = center(images, size)
        if self.brightness or self.contrast or self.saturation:
            x = recolor(
                x,
                _around_one(u["brightness"], self.brightness),
                _around_one(u["contrast"], self.contrast),
                _around_one(u["saturation"], self.saturation),
            )
        return erase(x, self._rectangles(u, size), fill) if self.random_erase else x

    @property
    def _moves(self) -> bool:
        turned = self.pad_shift or self.rotate_degrees or self.zoom or self.flip
        return self.crop_scale is not None or bool(turned)

    def _views(self, u: dict[str, Floats], height: int, width: int, size: int) -> Views:
        """Return which part of each image is seen, in pixels of the image."""
        n = len(u["crop_area"])
        view_height, view_width = np.full(n, float(size)), np.full(n, float(size))
        center_y, center_x = (
            np.full(n, round((side - size) / 2) + size / 2) for side in (height, width)
        )
        if self.crop_scale is not None:
            area = _between(u["crop_area"], self.crop_scale) * height * width
            ratio = np.exp(_between(u["crop_ratio"], _logs(self.crop_ratio)))
            view_height = np.minimum(np.sqrt(area / ratio), height)
            view_width = np.minimum(np.sqrt(area * ratio), width)
            center_y = view_height / 2 + u["crop_y"] * (height - view_height)
            center_x = view_width / 2 + u["crop_x"] * (width - view_width)
        reach = math.log1p(self.zoom)
        zoom = np.exp(_between(u["zoom"], (-reach, reach)))
        steps = 2 * self.pad_shift + 1
        shift_y, shift_x = (np.floor(u[k] * steps) - self.pad_shift for k in ("shift_y", "shift_x"))
        degrees = _between(u["rotate"], (-self.rotate_degrees, self.rotate_degrees))
        return Views(
            center_y=center_y - shift_y * view_height / size,
            center_x=center_x - shift_x * view_width / size,
            height=view_height / zoom,
            width=view_width / zoom,
            radians=np.radians(degrees),
            mirrored=(u["flip"] < 0.5) & self.flip,
        )

    def _rectangles(self, u: dict[str, Floats], size: int) -> Rectangles:
        area = _between(u["erase_area"], _ERASED_AREA) * size * size
        ratio = np.exp(_between(u["erase_ratio"], _logs(_ERASED_RATIO)))
        erased = u["erase"] < self.random_erase
        height = np.where(erased, np.minimum(np.rint(np.sqrt(area * ratio)), size), 0)
        width = np.where(erased, np.minimum(np.rint(np.sqrt(area / ratio)), size), 0)
        top = np.floor(u["erase_y"] * (size - height + 1))
        left = np.floor(u["erase_x"] * (size - width + 1))
        return Rectangles(top=top, left=left, bottom=top + height, right=left + width)


def for_photos() -> Augmentation:
    """Return changes that leave a photo's class alone: crops, mirroring, moderate colour.

    Crops keep at least 35 % of the area, because smaller ones would magnify the images, which
    are held in memory only slightly above the input's size, more than 1.5 times.
    """
    return Augmentation(
        crop_scale=(0.35, 1.0), flip=True, brightness=0.2, contrast=0.2, saturation=0.2
    )


def for_digits(input_size: int = 28) -> Augmentation:
    """Return small shifts, rotations and zooms, and no mirroring: a mirrored 2 is no 2.

    Args:
        input_size: Side of the input, of which the shift is about a fourteenth.
    """
    return Augmentation(
        pad_shift=max(1, round(input_size / 14)), rotate_degrees=10.0, zoom=0.1, padding="zeros"
    )


def _between(uniform: Floats, ends: tuple[float, float]) -> Floats:
    return ends[0] + uniform * (ends[1] - ends[0])


def _around_one(uniform: Floats, reach: float) -> Floats:
    return _between(uniform, (1 - reach, 1 + reach))


def _logs(ends: tuple[float, float]) -> tuple[float, float]:
    return math.log(ends[0]), math.log(ends[1])


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise OptionError(f"expected an augmentation with {expected}, got {got!r}: correct it")
