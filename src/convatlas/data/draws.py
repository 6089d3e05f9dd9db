"""What chance decides about each image: numbers by name, and the geometry they stand for.

All of it is a pure function of (seed, epoch, index, copy). It touches no pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convatlas.data.augmentation import Augmentation
from convatlas.data.sampling import image_uniforms
from convatlas.data.warp import Rectangles, Views

__all__ = [
    "Draws",
    "Frames",
    "around_one",
    "draw",
    "drawn_light",
    "drawn_rectangles",
    "drawn_views",
]

Floats = NDArray[np.float64]
Draws = dict[str, Floats]
"""Uniform numbers in [0, 1), (N,) of each name."""

_NAMES = (
    *("crop_area", "crop_ratio", "crop_x", "crop_y", "shift_x", "shift_y", "rotate", "zoom"),
    *("flip", "brightness", "contrast", "saturation"),
    *("erase", "erase_area", "erase_ratio", "erase_x", "erase_y"),
    *(f"light_{part}_{axis}" for axis in range(3) for part in ("radius", "angle")),
)
_ERASED_AREA = (0.02, 1 / 3)  # Zhong et al., "Random erasing data augmentation", 2020
_ERASED_RATIO = (0.3, 1 / 0.3)
# Variances and axes (rows) of ImageNet's colours on the 0…1 scale, which AlexNet's section 4.1
# asks for without printing them; these are the figures of facebook/fb.resnet.torch.
_COLOR_VARIANCES = np.array([0.2175, 0.0188, 0.0045])
_COLOR_AXES = np.array(
    [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]]
)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Images, and the part of each that is seen when nothing varies; in pixels, each (N,)."""

    height: Floats
    width: Floats
    view_height: Floats
    view_width: Floats
    center_y: Floats
    center_x: Floats


def draw(
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    indices: NDArray[np.int64],
    copies: NDArray[np.int64] | None = None,
) -> Draws:
    """Return the numbers of each image, those of the policy's operations included."""
    operations = range(augmentation.policy_operations)
    parts = ("operation", "sign", "level")
    names = (*_NAMES, *(f"{part}_{place}" for place in operations for part in parts))
    numbers = image_uniforms(seed, epoch, indices, len(names), copies)
    return dict(zip(names, numbers.T, strict=True))


def drawn_views(augmentation: Augmentation, u: Draws, frames: Frames, size: int) -> Views:
    """Return which part of each image is seen, in pixels of the image.

    Args:
        augmentation: What to vary.
        u: The numbers.
        frames: The images.
        size: Height and width that the parts will get, in which shifts are counted.
    """
    height, width = frames.view_height, frames.view_width
    center_y, center_x = frames.center_y, frames.center_x
    if augmentation.crop_scale is not None:
        area = _between(u["crop_area"], augmentation.crop_scale) * frames.height * frames.width
        ratio = np.exp(_between(u["crop_ratio"], _logs(augmentation.crop_ratio)))
        height = np.minimum(np.sqrt(area / ratio), frames.height)
        width = np.minimum(np.sqrt(area * ratio), frames.width)
        center_y = height / 2 + u["crop_y"] * (frames.height - height)
        center_x = width / 2 + u["crop_x"] * (frames.width - width)
    reach = math.log1p(augmentation.zoom)
    zoom = np.exp(_between(u["zoom"], (-reach, reach)))
    farthest = augmentation.shift_pixels(size)
    steps = 2 * farthest + 1
    shift_y, shift_x = (np.floor(u[name] * steps) - farthest for name in ("shift_y", "shift_x"))
    turn = augmentation.rotate_degrees
    return Views(
        center_y=center_y - shift_y * height / size,
        center_x=center_x - shift_x * width / size,
        height=height / zoom,
        width=width / zoom,
        radians=np.radians(_between(u["rotate"], (-turn, turn))),
        mirrored=(u["flip"] < 0.5) & augmentation.flip,
    )


def drawn_rectangles(augmentation: Augmentation, u: Draws, size: int) -> Rectangles:
    """Return what is erased of each view of ``size``×``size`` pixels."""
    area = _between(u["erase_area"], _ERASED_AREA) * size * size
    ratio = np.exp(_between(u["erase_ratio"], _logs(_ERASED_RATIO)))
    erased = u["erase"] < augmentation.random_erase
    height = np.where(erased, np.minimum(np.rint(np.sqrt(area * ratio)), size), 0)
    width = np.where(erased, np.minimum(np.rint(np.sqrt(area / ratio)), size), 0)
    top = np.floor(u["erase_y"] * (size - height + 1))
    left = np.floor(u["erase_x"] * (size - width + 1))
    return Rectangles(top=top, left=left, bottom=top + height, right=left + width)


def drawn_light(augmentation: Augmentation, u: Draws) -> Floats:
    """Return what is added to the red, green and blue of each image, (N, 3), on the 0…1 scale.

    Source: Krizhevsky et al. 2012, section 4.1: Σ αᵢ λᵢ pᵢ over axes pᵢ with variances λᵢ, αᵢ
    normal; a normal number comes of two uniform ones (Box and Muller, 1958).
    """
    normal = [
        np.sqrt(-2 * np.log1p(-u[f"light_radius_{axis}"]))
        * np.cos(2 * np.pi * u[f"light_angle_{axis}"])
        for axis in range(3)
    ]
    alphas = augmentation.pca_colour * np.stack(normal, axis=1)
    return (alphas * _COLOR_VARIANCES) @ _COLOR_AXES


def around_one(uniform: Floats, reach: float) -> Floats:
    """Return factors in 1 - ``reach`` … 1 + ``reach``."""
    return _between(uniform, (1 - reach, 1 + reach))


def _between(uniform: Floats, ends: tuple[float, float]) -> Floats:
    return ends[0] + uniform * (ends[1] - ends[0])


def _logs(ends: tuple[float, float]) -> tuple[float, float]:
    return math.log(ends[0]), math.log(ends[1])
