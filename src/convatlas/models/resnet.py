"""ResNet and its plain twins.

"Deep Residual Learning for Image Recognition", Kaiming He, Xiangyu Zhang, Shaoqing Ren,
Jian Sun, 2015, arXiv 1512.03385.

Differences from the paper: a bottleneck that halves the map does so in its 3×3 convolution,
as public implementations do (often called v1.5); ``stride_in="1x1"`` builds the paper's. Every
other size, including the parameter-free shortcuts of the CIFAR nets, is the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["BasicBlock", "Bottleneck", "PlainBlock", "Variant", "bottlenecks", "resnet"]

Part = Callable[[int], nn.Module]
Shortcut = Callable[[int, int, int], nn.Module]


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return the shortcut of option B: identity, or a 1×1 convolution where the shape changes."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return ConvNormAct(in_channels, out_channels, 1, stride, act=None)


class PaddedShortcut(nn.Module):
    """The shortcut of option A: every ``stride``-th pixel, new channels filled with zeros."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, H, W) as (N, C + new, H / stride, W / stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


class PlainBlock(nn.Sequential):
    """``f(x)``, f = 3×3 → 3×3: the basic block without its shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            ConvNormAct(in_channels, out_channels, 3, stride),
            ConvNormAct(out_channels, out_channels, 3),
        )


class BasicBlock(nn.Module):
    """``relu(x + f(x))``, f = 3×3 → 3×3 (figure 5, left)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        shortcut: Shortcut = projection,
        attention: Part | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, out_channels, 3, stride)
        self.conv2 = ConvNormAct(out_channels, out_channels, 3, act=None)
        self.attention = attention(out_channels) if attention else nn.Identity()
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        residual = self.attention(self.conv2(self.conv1(x)))
        return self.act(self.shortcut(x) + residual)


class Bottleneck(nn.Module):
    """``relu(x + f(x))``, f = 1×1 → 3×3 → 1×1 (figure 5, right).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the block.
        width_ratio: Channels of the 3×3 per output channel.
        groups: Number of channel groups of the 3×3.
        shortcut: Makes the shortcut.
        attention: Makes what scales f's output, or None for nothing.
        stride_in: The convolution that has the stride, ``"3x3"`` or the paper's ``"1x1"``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        width_ratio: float = 0.25,
        groups: int = 1,
        shortcut: Shortcut = projection,
        attention: Part | None = None,
        stride_in: str = "3x3",
    ) -> None:
        super().__init__()
        width = round(out_channels * width_ratio)
        first, second = (1, stride) if stride_in == "3x3" else (stride, 1)
        self.conv1 = ConvNormAct(in_channels, width, 1, first)
        self.conv2 = ConvNormAct(width, width, 3, second, groups)
        self.conv3 = ConvNormAct(width, out_channels, 1, act=None)
        self.attention = attention(out_channels) if attention else nn.Identity()
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        residual = self.attention(self.conv3(self.conv2(self.conv1(x))))
        return self.act(self.shortcut(x) + residual)


def _stage(
    block: Callable[[int, int, int], nn.Module],
    in_channels: int,
    out_channels: int,
    stride: int,
    depth: int,
) -> nn.Sequential:
    blocks = [block(in_channels, out_channels, stride)]
    blocks += [block(out_channels, out_channels, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the paper's table 1, or one CIFAR net of section 4.2.

    Attributes:
        block: Builds one block from (in_channels, out_channels, stride).
        depths: Blocks per stage.
        widths: Output channels per stage.
        stem_channels: Output channels of the first convolution.
        cifar: Whether the paper's stem is the 3×3 of the 32-pixel nets.
    """

    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_channels: int = 64
    cifar: bool = False


_BASIC = (64, 128, 256, 512)
_BOTTLENECK = (256, 512, 1024, 2048)
_CIFAR = (16, 32, 64)


def _cifar(layers: int, block: Callable[..., nn.Module]) -> Variant:
    """Return the CIFAR net of ``layers = 6n + 2``."""
    return Variant(block, ((layers - 2) // 6,) * 3, _CIFAR, stem_channels=16, cifar=True)


def bottlenecks(layers: int, block: Callable[..., nn.Module] = Bottleneck) -> Variant:
    """Return the ImageNet net of ``layers`` = 50, 101 or 152, built of another bottleneck."""
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
    return Variant(block, depths[layers], _BOTTLENECK)


_padded = partial(BasicBlock, shortcut=PaddedShortcut)

VARIANTS = {
    "resnet18": Variant(BasicBlock, (2, 2, 2, 2), _BASIC),
    "resnet34": Variant(BasicBlock, (3, 4, 6, 3), _BASIC),
    "resnet50": bottlenecks(50),
    "resnet101": bottlenecks(101),
    "resnet152": bottlenecks(152),
    "plain18": Variant(PlainBlock, (2, 2, 2, 2), _BASIC),
    "plain34": Variant(PlainBlock, (3, 4, 6, 3), _BASIC),
    "cifar_resnet20": _cifar(20, _padded),
    "cifar_resnet32": _cifar(32, _padded),
    "cifar_resnet44": _cifar(44, _padded),
    "cifar_resnet56": _cifar(56, _padded),
    "cifar_resnet110": _cifar(110, _padded),
    "cifar_plain20": _cifar(20, PlainBlock),
    "cifar_plain32": _cifar(32, PlainBlock),
    "cifar_plain44": _cifar(44, PlainBlock),
    "cifar_plain56": _cifar(56, PlainBlock),
    "cifar_plain110": _cifar(110, PlainBlock),
}


@register(VARIANTS)
def resnet(
    variant: Variant,
    common: Common,
    *,
    block: Callable[..., nn.Module] | None = None,
) -> ConvNet:
    """Build a ResNet.

    Args:
        variant: Row of the table.
        common: The options that every family takes.
        block: Replaces the variant's, such as ``partial(Bottleneck, attention=SqueezeExcite)``.
    """
    small = common.small or variant.cifar
    first = ConvNormAct(
        common.in_channels, variant.stem_channels, 3 if small else 7, 1 if small else 2
    )
    stem = named(conv=first) if small else named(conv=first, pool=nn.MaxPool2d(3, 2, padding=1))
    strides = (1,) + (2,) * (len(variant.depths) - 1)
    inputs = (variant.stem_channels, *variant.widths)
    rows = zip(inputs, variant.widths, strides, variant.depths, strict=False)
    model = ConvNet(
        stem,
        [_stage(block or variant.block, *row) for row in rows],
        pooled_classifier(variant.widths[-1], common.num_classes, common.dropout_or(0.0)),
        channels=variant.widths,
        strides=(1 if small else 4, *strides[1:]),
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
