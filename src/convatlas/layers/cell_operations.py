"""Operations between the states of a searched cell, each from any channels to any others.

Source: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017,
arXiv 1707.07012, section 3 and appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.layers.conv import SameConv2d, named

__all__ = ["FactorisedReduction", "Norm", "linear", "operation", "project", "reduce"]

Norm: TypeAlias = Callable[[int], nn.Module]


def linear(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """Return 1×1 convolution → norm."""
    return named(conv=nn.Conv2d(in_channels, out_channels, 1, bias=False), norm=norm(out_channels))


def project(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """Return ReLU → 1×1 convolution → norm."""
    return nn.Sequential(nn.ReLU(), linear(in_channels, out_channels, norm))


def reduce(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """Return ReLU → factorised reduction: ``project`` with half the map's size."""
    return nn.Sequential(nn.ReLU(), FactorisedReduction(in_channels, out_channels, norm))


class FactorisedReduction(nn.Module):
    """``norm(cat(f(x), g(y)))``, f and g = 1×1 of stride 2, y = x moved by one pixel."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        half = out_channels // 2
        self.even = nn.Conv2d(in_channels, half, 1, 2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - half, 1, 2, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, ⌈H / 2⌉, ⌈W / 2⌉)."""
        paths = [self.even(x), self.odd(F.pad(x, (-1, 1, -1, 1)))]
        return self.norm(torch.cat(paths, dim=1))


class _HalvingPad(nn.Module):
    """TensorFlow's ``SAME`` padding for a 3×3 window of stride 2."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Pad ``x`` (N, C, H, W) after the map, and before it where the size is odd."""
        height, width = x.shape[-2:]
        return F.pad(x, (width % 2, 1, height % 2, 1), value=self.value)


def _pool(name: str, stride: int) -> nn.Module:
    if stride == 1:
        average = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
        return average if name == "avg3" else nn.MaxPool2d(3, 1, padding=1)
    if name == "avg3":
        return named(pad=_HalvingPad(0.0), pool=nn.AvgPool2d(3, 2))
    return named(pad=_HalvingPad(-math.inf), pool=nn.MaxPool2d(3, 2))


def _separable_twice(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, norm: Norm
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, step in ((in_channels, stride), (out_channels, 1)):
        depthwise = SameConv2d(channels, channels, kernel_size, step, groups=channels, bias=False)
        # The first activation reads a state, which other operations read too.
        layers += [nn.ReLU(inplace=bool(layers)), depthwise, *linear(channels, out_channels, norm)]
    return nn.Sequential(*layers)


def operation(name: str, in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module:
    """Return the operation of a name.

    Args:
        name: ``"identity"``, ``"avg3"``, ``"max3"``, or ``"sep"`` and a kernel size: ReLU →
            depthwise → 1×1 → norm, twice. What cannot change the channels itself is projected.
        in_channels: Channels of the state that it reads.
        out_channels: Channels of its output.
        stride: 1, or 2 to halve the map.
        norm: Normalisation of so many channels.
    """
    if name.startswith("sep"):
        kernel_size = int(name.removeprefix("sep"))
        return _separable_twice(in_channels, out_channels, kernel_size, stride, norm)
    same = in_channels == out_channels
    if name == "identity":
        if stride > 1:
            return FactorisedReduction(in_channels, out_channels, norm)
        return nn.Identity() if same else project(in_channels, out_channels, norm)
    pool = _pool(name, stride)
    return pool if same else nn.Sequential(pool, linear(in_channels, out_channels, norm))
