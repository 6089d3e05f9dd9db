"""How an image becomes the tensor that a network is evaluated on: one record, used everywhere.

Training, prediction and exported models read the same record, so they cannot drift apart.
It knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convatlas.errors import DataError, nearest

__all__ = ["IMAGENET", "Interpolation", "Preprocessing", "ResizeMode"]

Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
ResizeMode = Literal["crop", "crop_padding", "stretch"]

_TF_MARGIN = 32  # pixels that TensorFlow's EfficientNet evaluation cuts off, at any size
_MOST_RESIZED = 16  # squares of the input's area that resizing before cropping may fill
_MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image is resized, cropped and normalised.

    Attributes:
        input_size: Height and width of the network's input, in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean: Mean of each channel on the 0…1 scale, subtracted.
        std: Standard deviation of each channel on the 0…1 scale, divided by.
        interpolation: Pillow's filter, antialiased when shrinking (but for ``"nearest"``).
        resize_mode: ``"crop"``: resize the shorter side to ⌊input_size / crop_fraction⌋, then
            crop the centre, as torchvision and timm do. ``"crop_padding"``: crop the centre
            square of side input_size / (input_size + 32) · min(height, width), then resize it,
            as TensorFlow's EfficientNet does. ``"stretch"``: resize the whole image, whatever
            its aspect ratio.
        crop_fraction: Share of the resized shorter side that ``"crop"`` keeps; the other modes
            do not read it.

    Raises:
        DataError: An impossible value.
    """

    input_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    resize_mode: ResizeMode
    crop_fraction: float = 0.875

    def __post_init__(self) -> None:
        _require(self.channels in _MODES, "channels 1 or 3", self.channels)
        _require(
            _is_whole(self.input_size) and self.input_size > 0, "input_size > 0", self.input_size
        )
        for name in ("mean", "std"):
            values = getattr(self, name)
            fits = isinstance(values, tuple) and len(values) == self.channels
            _require(fits and all(map(_is_number, values)), f"one {name} per channel", values)
        _require(min(self.std) > 0, "std > 0", self.std)
        for name, kind in (("interpolation", Interpolation), ("resize_mode", ResizeMode)):
            known = get_args(kind)
            _require(getattr(self, name) in known, f"{name} of {known}", getattr(self, name))
        fits = _is_number(self.crop_fraction) and 0 < self.crop_fraction <= 1
        _require(fits, "0 < crop_fraction ≤ 1", self.crop_fraction)

    @property
    def resized_side(self) -> int:
        """Length, in pixels, of the whole image's shorter side at the scale of the input."""
        if self.resize_mode == "crop":
            return int(self.input_size / self.crop_fraction + 1e-6)  # 240 / (240 / 272) < 272
        return self.input_size + (_TF_MARGIN if self.resize_mode == "crop_padding" else 0)

    def image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return ``image`` as the network sees it before normalisation: uint8 (H, W, C).

        An image that already has the input's size is only converted to grey or RGB.
        """
        plain = image.convert(_MODES[self.channels])
        if plain.size != (self.input_size, self.input_size):
            plain = self._resize(plain)
        return np.array(plain).reshape(self.input_size, self.input_size, self.channels)

    def normalize(self, x: Tensor) -> Tensor:
        """Return (x − mean) / std for ``x`` of shape (…, C, H, W) on the 0…1 scale."""
        mean, std = self._statistics(x)
        return x.sub(mean).div_(std)

    def normalize_(self, x: Tensor) -> Tensor:
        """Do what ``normalize`` does to ``x`` itself, and return it."""
        mean, std = self._statistics(x)
        return x.sub_(mean).div_(std)

    def tensor(self, images: NDArray[np.uint8]) -> Tensor:
        """Return normalised float32 (N, C, H, W) for uint8 (N, H, W, C), or (H, W, C) as N = 1."""
        batch = torch.from_numpy(images if images.ndim == 4 else images[None])
        return self.normalize_(batch.permute(0, 3, 1, 2).contiguous().float().div_(255))

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the input (C, H, W), float32, for one image."""
        return self.tensor(self.image(image))[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        values = asdict(self)
        return {**values, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Build the record from :meth:`to_dict`'s values, all of them and no others.

        Raises:
            DataError: A field is missing, unknown or impossible.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise DataError(f"a preprocessing has no field {name!r}{nearest(str(name), known)}")
        missing = [name for name in known if name not in values]
        if missing:
            raise DataError(
                f"expected a preprocessing with {', '.join(known)}, got none of "
                f"{', '.join(missing)}: write it again"
            )
        lists = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(values, dtype=x.dtype, device=x.device).view(self.channels, 1, 1)
            for values in (self.mean, self.std)
        )
        return mean, std

    def _resize(self, image: Image.Image) -> Image.Image:
        size = (self.input_size, self.input_size)
        resample = Image.Resampling[self.interpolation.upper()]
        if self.resize_mode == "stretch":
            return image.resize(size, resample)
        if self.resize_mode == "crop_padding":
            return image.crop(self._padded_box(*image.size)).resize(size, resample)
        return self._resize_and_crop(image, resample)

    def _padded_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the centre square, rounded as TensorFlow rounds it."""
        share = self.input_size / (self.input_size + _TF_MARGIN)
        side = max(1, int(share * min(width, height)))
        left, top = (width - side + 1) // 2, (height - side + 1) // 2
        return left, top, left + side, top + side

    def _resize_and_crop(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """Return the centre of the resized image, rounded as torchvision rounds it."""
        shorter = min(image.size)
        width, height = (int(self.resized_side * side / shorter) for side in image.size)
        left, top = (round((side - self.input_size) / 2) for side in (width, height))
        box = (left, top, left + self.input_size, top + self.input_size)
        if width * height <= _MOST_RESIZED * self.resized_side**2:
            return image.resize((width, height), resample).crop(box)
        # A ribbon would swell to gigabytes: resize only what the crop keeps, to the same values
        # but for rounding.
        x, y = image.width / width, image.height / height
        source = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
        return image.resize((self.input_size, self.input_size), resample, box=source)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise DataError(f"expected a preprocessing with {expected}, got {got!r}: correct it")


IMAGENET = Preprocessing(
    input_size=224,
    channels=3,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bilinear",
    resize_mode="crop",
    crop_fraction=0.875,
)
"""The evaluation of ImageNet that most published weights were measured with."""
