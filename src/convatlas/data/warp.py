"""Batched image operations with other parameters for each image; nothing here is random.

Everything is elementwise over the batch, so an image's pixels do not depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Rectangles", "Views", "center", "erase", "recolor", "relight", "resample"]

Floats = NDArray[np.float64]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's grey


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """One turned rectangle of each image, in pixels; the first pixel spans 0…1.

    Attributes:
        center_y: Its centre from the top, (N,).
        center_x: Its centre from the left, (N,).
        height: Its height, (N,).
        width: Its width, (N,).
        radians: How far the image is turned clockwise, (N,).
        mirrored: Whether left and right are swapped, (N,).
    """

    center_y: Floats
    center_x: Floats
    height: Floats
    width: Floats
    radians: Floats
    mirrored: NDArray[np.bool_]

    def one(self, place: int) -> Views:
        """Return the view of one image."""
        which = slice(place, place + 1)
        return Views(
            center_y=self.center_y[which],
            center_x=self.center_x[which],
            height=self.height[which],
            width=self.width[which],
            radians=self.radians[which],
            mirrored=self.mirrored[which],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rectangles:
    """One rectangle of each image, in whole pixels, empty where bottom equals top; each (N,)."""

    top: Floats
    left: Floats
    bottom: Floats
    right: Floats


def center(images: Tensor, size: int) -> Tensor:
    """Return the central square of uint8 (N, H, W, C), in the shape and scale of ``resample``."""
    top, left = (round((side - size) / 2) for side in images.shape[1:3])
    window = images[:, top : top + size, left : left + size].permute(0, 3, 1, 2)
    return window.contiguous().float().div_(255)


def resample(
    images: Tensor, views: Views, size: int, padding: Literal["edge", "zeros"] = "edge"
) -> Tensor:
    """Return each image's view, bilinear, on the 0…1 scale.

    There is no antialiasing, so a view should be less than twice ``size`` pixels long.

    Args:
        images: uint8 (N, H, W, C).
        views: What to show of each.
        size: Height and width of the result, in pixels.
        padding: What lies outside an image: its edge, or black.

    Returns:
        float32 (N, C, size, size).
    """
    height, width = images.shape[1:3]
    grid = _grid(views, height, width, size, images.device)
    mode = "border" if padding == "edge" else "zeros"
    pixels = images.permute(0, 3, 1, 2).float()
    return F.grid_sample(pixels, grid, padding_mode=mode, align_corners=False).div_(255)


def recolor(x: Tensor, brightness: Floats, contrast: Floats, saturation: Floats) -> Tensor:
    """Return ``x`` with brightness b, then contrast c, then saturation s, within 0…1.

    With luma L and its mean m the three are one line: s·c·b·x + (1 − s)·c·b·L + (1 − c)·b·m.
    A grey image has no saturation.

    Args:
        x: (N, C, H, W) on the 0…1 scale, 1 or 3 channels.
        brightness: Factor of every value, (N,).
        contrast: Factor of the distance from the mean luma, (N,).
        saturation: Factor of the distance from the luma of each pixel, (N,).
    """
    b, c, s = (_column(values, x.device, x.ndim) for values in (brightness, contrast, saturation))
    if x.shape[1] == 1:
        mean = _mean(x)
        return (x * (c * b)).add_((1 - c) * b * mean).clamp_(0, 1)
    luma = x[:, :1] * _LUMA[0]
    luma.add_(x[:, 1:2], alpha=_LUMA[1]).add_(x[:, 2:], alpha=_LUMA[2])
    mean = _mean(luma)
    grey = luma.mul_((1 - s) * c * b).add_((1 - c) * b * mean)
    return (x * (s * c * b)).add_(grey).clamp_(0, 1)


def relight(x: Tensor, light: Floats) -> Tensor:
    """Return ``x`` (N, 3, H, W) with a colour added to every pixel of an image, (N, 3)."""
    return x + torch.from_numpy(light.astype(np.float32)).to(x.device)[:, :, None, None]


def erase(x: Tensor, rectangles: Rectangles, fill: tuple[float, ...]) -> Tensor:
    """Return ``x`` (N, C, H, W) with each image's rectangle covered by a colour of C values."""
    rows = torch.arange(x.shape[2], device=x.device)[None, None, :, None]
    columns = torch.arange(x.shape[3], device=x.device)[None, None, None, :]
    top, left, bottom, right = (
        _column(values, x.device, x.ndim)
        for values in (rectangles.top, rectangles.left, rectangles.bottom, rectangles.right)
    )
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    color = torch.tensor(fill, dtype=x.dtype, device=x.device)[None, :, None, None]
    return torch.where(inside, color, x)


def _mean(x: Tensor) -> Tensor:
    """Return the mean of each image of (N, 1, H, W), as (N, 1, 1, 1).

    First along rows, because torch splits the sum of a lone large image among its threads.
    """
    return x.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


def _grid(views: Views, height: int, width: int, size: int, device: torch.device) -> Tensor:
    """Return where each result pixel looks, in grid_sample's −1…1, (N, size, size, 2)."""
    cos, sin = np.cos(views.radians), np.sin(views.radians)
    across = np.where(views.mirrored, -views.width, views.width)
    x = _coordinate(views.center_x, across * cos, views.height * sin, width, size, device)
    y = _coordinate(views.center_y, -across * sin, views.height * cos, height, size, device)
    return torch.stack((x, y), dim=-1)


def _coordinate(
    center: Floats,
    per_column: Floats,
    per_row: Floats,
    length: int,
    size: int,
    device: torch.device,
) -> Tensor:
    """Return one coordinate of every result pixel; the steps are those of the whole view."""
    steps = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size - 0.5
    offset, across, down = (
        _column(values, device, 3)
        for values in (2 * center / length - 1, 2 * per_column / length, 2 * per_row / length)
    )
    return offset + across * steps[None, None, :] + down * steps[None, :, None]


def _column(values: Floats, device: torch.device, ndim: int) -> Tensor:
    column = torch.from_numpy(np.asarray(values, dtype=np.float32)).to(device)
    return column.view(-1, *(1,) * (ndim - 1))
