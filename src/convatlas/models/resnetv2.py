"""ResNet v2: normalisation and ReLU before each convolution, and nothing after the sum.

"Identity Mappings in Deep Residual Networks", Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun,
2016, arXiv 1603.05027.

Differences from the paper: a bottleneck that halves the map does so in its 3×3 convolution, as
``resnet50`` does. A first block without projection takes its shortcut before its norm. The
ImageNet nets of 18 and 34 layers are public implementations' addition.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from convatlas.layers.conv import named
from convatlas.models.registry import register
from convatlas.models.resnet import (
    PaddedShortcut,
    Part,
    Shortcut,
    Variant,
    basics,
    bottlenecks,
    cifar,
    resnet,
)

__all__ = ["Preactivated", "preactivated", "resnetv2"]


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


def _norm_act(channels: int) -> nn.Sequential:
    return named(norm=nn.BatchNorm2d(channels), act=nn.ReLU(inplace=True))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    same = in_channels == out_channels and stride == 1
    return nn.Identity() if same else _conv(in_channels, out_channels, 1, stride)


class Preactivated(nn.Module):
    """``s(x) + f(x)``, f = 3×3 → 3×3 or others, each after its norm and ReLU (figure 4e).

    A shortcut s that is a convolution reads the first norm and ReLU too.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the block, in the first 3×3.
        kernel_sizes: Sides of the kernels; ``(1, 3, 1)`` is the bottleneck.
        width_ratio: Channels of all convolutions but the last, per output channel.
        shortcut: Makes the shortcut.
        attention: Makes what scales f's output, or None for nothing.
        dropout: Probability of a zero before the last convolution while training (Wide
            Residual Networks, section 2.4).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        kernel_sizes: tuple[int, ...] = (3, 3),
        width_ratio: float = 1.0,
        shortcut: Shortcut = _projection,
        attention: Part | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.norm = _norm_act(in_channels)
        width, last = round(out_channels * width_ratio), len(kernel_sizes) - 1
        layers: dict[str, nn.Module] = {}
        for i, kernel_size in enumerate(kernel_sizes):
            if i:
                layers[f"norm{i}"] = _norm_act(width)
            if i == last:
                layers["dropout"] = nn.Dropout(dropout)
            inputs, outputs = width if i else in_channels, width if i < last else out_channels
            step = stride if i == kernel_sizes.index(3) else 1
            layers[f"conv{i}"] = _conv(inputs, outputs, kernel_size, step)
        self.convs = named(**layers)
        self.attention = attention(out_channels) if attention else nn.Identity()
        self.branch_end = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        activated = self.norm(x)
        shortcut = self.shortcut(activated if isinstance(self.shortcut, nn.Conv2d) else x)
        return shortcut + self.branch_end(self.attention(self.convs(activated)))


def preactivated(variant: Variant) -> Variant:
    """Return ``variant`` with a bare convolution as stem, and norm and ReLU after its last sum."""
    return replace(variant, stem=_conv, end=_norm_act)


_bottleneck = partial(Preactivated, kernel_sizes=(1, 3, 1), width_ratio=0.25)
_padded = partial(Preactivated, shortcut=PaddedShortcut)

VARIANTS = {
    **{f"resnetv2_{n}": preactivated(basics(n, Preactivated)) for n in (18, 34)},
    **{f"resnetv2_{n}": preactivated(bottlenecks(n, _bottleneck)) for n in (50, 101, 152, 200)},
    "cifar_resnetv2_110": preactivated(cifar(18, _padded)),
    "cifar_resnetv2_164": preactivated(cifar(18, _bottleneck, 64)),
    "cifar_resnetv2_1001": preactivated(cifar(111, _bottleneck, 64)),
}

resnetv2 = register(VARIANTS)(resnet)
