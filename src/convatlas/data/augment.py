"""Random views of training images, each a pure function of (seed, epoch, image index).

What is drawn for an image depends neither on the batch it is in, nor on other options, nor on
how many workers there are. It works on batches of uint8 images already in memory; it knows
neither files nor networks.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from convatlas.data.augmentation import Augmentation
from convatlas.data.draws import (
    Draws,
    Frames,
    around_one,
    drawn_light,
    drawn_rectangles,
    drawn_views,
)
from convatlas.data.policy import apply_policy
from convatlas.data.warp import center, erase, recolor, relight, resample
from convatlas.errors import DataError

__all__ = ["varied", "views_of"]


def views_of(
    augmentation: Augmentation, u: Draws, images: Tensor, input_size: int, size: int
) -> Tensor:
    """Return a random part of each image: the crop, zoom, rotation, shift and flip.

    Args:
        augmentation: What to vary.
        u: The numbers that chance gave each image.
        images: uint8 (N, H, W, C); its central square of ``input_size`` is what evaluation sees.
        input_size: Scale of the images, in pixels; each side at least this long.
        size: Height and width of the result, at most ``input_size``.

    Returns:
        float32 (N, C, size, size) on the 0…1 scale.

    Raises:
        DataError: The images are smaller than ``input_size``.
    """
    height, width = images.shape[1:3]
    if min(height, width) < input_size:
        raise DataError(
            f"expected images of at least {input_size}×{input_size} to augment, got "
            f"{height}×{width}: decode them with training_images"
        )
    if size < input_size:
        images = _shrunk(images, size / input_size)
    # Decided by the options, not by what was drawn: a batch must not change its images.
    if not _moves(augmentation):
        return center(images, size)
    views = drawn_views(augmentation, u, _central(images, size), size)
    return resample(images, views, size, augmentation.padding)


def varied(augmentation: Augmentation, u: Draws, x: Tensor, fill: tuple[float, ...]) -> Tensor:
    """Return ``x`` with its colours changed and parts of it erased.

    Args:
        augmentation: What to vary.
        u: The numbers that chance gave each image.
        x: (N, C, S, S) on the 0…1 scale.
        fill: Value of each channel where nothing of the image is left, on the 0…1 scale.
    """
    if augmentation.policy != "none":
        x = apply_policy(augmentation, u, x, fill)
    if augmentation.brightness or augmentation.contrast or augmentation.saturation:
        x = recolor(
            x,
            around_one(u["brightness"], augmentation.brightness),
            around_one(u["contrast"], augmentation.contrast),
            around_one(u["saturation"], augmentation.saturation),
        )
    if augmentation.pca_colour and x.shape[1] == 3:
        x = relight(x, drawn_light(augmentation, u))
    if augmentation.random_erase:
        x = erase(x, drawn_rectangles(augmentation, u, x.shape[-1]), fill)
    return x


def _moves(augmentation: Augmentation) -> bool:
    turned = augmentation.rotate_degrees or augmentation.zoom or augmentation.flip
    return augmentation.crop_scale is not None or bool(augmentation.shift or turned)


def _shrunk(images: Tensor, scale: float) -> Tensor:
    sides = [round(side * scale) for side in images.shape[1:3]]
    pixels = images.permute(0, 3, 1, 2).float()
    return F.interpolate(pixels, sides, mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _central(images: Tensor, size: int) -> Frames:
    count, height, width = images.shape[:3]
    values = {
        "height": height,
        "width": width,
        "view_height": size,
        "view_width": size,
        "center_y": round((height - size) / 2) + size / 2,
        "center_x": round((width - size) / 2) + size / 2,
    }
    return Frames(**{name: np.full(count, float(value)) for name, value in values.items()})
