"""Branches side by side, and the convolutions that the later Inception nets build them of.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015,
arXiv 1512.00567, section 3.2 (rectangular kernels).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from convatlas.layers.conv import named

__all__ = [
    "Branches",
    "Step",
    "chain",
    "inception_conv",
    "inception_stem",
    "inception_stem_end",
    "pooled",
]

# output channels and kernel size of one convolution
Step: TypeAlias = tuple[int, int | tuple[int, int]]
_norm = partial(nn.BatchNorm2d, eps=1e-3)


class Branches(nn.Module):
    """``cat(b_1(x), …, b_n(x))`` along the channels.

    Args:
        **branches: The branches, each under its own name, in the order of their channels.
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, ΣC_i, H', W')."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)


def inception_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int] = 1,
    stride: int = 1,
    *,
    pad: bool = True,
) -> nn.Sequential:
    """Return convolution, batch norm (ε = 0.001) and ReLU, with a square or rectangular kernel.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, or its (height, width).
        stride: Step of the kernel.
        pad: Whether stride 1 keeps the map's size; the papers' figures mark the others "V".
    """
    height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    return named(
        conv=nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            stride,
            padding=(height // 2, width // 2) if pad else 0,
            bias=False,
        ),
        norm=_norm(out_channels),
        act=nn.ReLU(inplace=True),
    )


def chain(
    in_channels: int,
    *steps: Step,
    stride: int = 1,
    pad: bool = False,
    conv: Callable[..., nn.Module] = inception_conv,
) -> nn.Sequential:
    """Return convolutions one after another, the last of which may halve the map.

    Args:
        in_channels: Channels of the input.
        *steps: Output channels and kernel size of each.
        stride: Step of the last.
        pad: Whether the last is padded even when its stride is not 1.
        conv: A convolution that takes the arguments of ``inception_conv``.
    """
    layers = []
    for i, (out_channels, kernel_size) in enumerate(steps, start=1):
        step = stride if i == len(steps) else 1
        padded = pad or step == 1
        layers.append(conv(in_channels, out_channels, kernel_size, step, pad=padded))
        in_channels = out_channels
    return nn.Sequential(*layers)


def pooled(
    in_channels: int,
    out_channels: int,
    pool: nn.Module | None = None,
    *,
    conv: Callable[..., nn.Module] = inception_conv,
) -> nn.Sequential:
    """Return a pooling that keeps the map's size, and a 1×1 convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        pool: The pooling; None for averages 3×3 in which the zeros around the map count.
        conv: A convolution that takes the arguments of ``inception_conv``.
    """
    pool = pool or nn.AvgPool2d(3, 1, padding=1)
    return named(pool=pool, project=conv(in_channels, out_channels))


def inception_stem(in_channels: int, *, small: bool) -> nn.Sequential:
    """Return the three 3×3 convolutions that begin every later Inception net: 64 channels.

    Args:
        in_channels: Channels of the image.
        small: Whether to keep the image's size instead of halving it.
    """
    return named(
        conv1=inception_conv(in_channels, 32, 3, 1 if small else 2, pad=small),
        conv2=inception_conv(32, 32, 3, pad=small),
        conv3=inception_conv(32, 64, 3),
    )


def inception_stem_end(*, small: bool) -> nn.Sequential:
    """Return what follows ``inception_stem`` in v3 and Inception-ResNet: 64 channels to 192.

    Args:
        small: Whether to keep the map's size instead of halving it.
    """
    return named(
        pool=nn.Identity() if small else nn.MaxPool2d(3, 2),
        reduce=inception_conv(64, 80),
        conv=inception_conv(80, 192, 3, pad=small),
    )
