"""ResNet, its plain twins, and ResNet-D.

"Deep Residual Learning for Image Recognition", Kaiming He, Xiangyu Zhang, Shaoqing Ren,
Jian Sun, 2015, arXiv 1512.03385; ResNet-D: "Bag of Tricks for Image Classification with
Convolutional Neural Networks", Tong He and others, 2018, arXiv 1812.01187, section 4.

Differences from the paper: a bottleneck that halves the map does so in its 3×3 convolution,
as public implementations do (often called v1.5); the ``_v1`` nets are the paper's. Every other
size, including the parameter-free shortcuts of the CIFAR nets, is the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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


def averaged_projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return ResNet-D's shortcut: averaging 2×2 before a 1×1 convolution drops no pixel."""
    project = projection(in_channels, out_channels, 1)
    if stride == 1:
        return project
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return named(pool=pool, project=project)


def deep_stem(in_channels: int, out_channels: int, _: int, stride: int) -> nn.Sequential:
    """Return ResNet-D's stem: three 3×3 convolutions, the first two half as wide."""
    half = out_channels // 2
    return named(
        conv1=ConvNormAct(in_channels, half, 3, stride),
        conv2=ConvNormAct(half, half, 3),
        conv3=ConvNormAct(half, out_channels, 3),
    )


class PaddedShortcut(nn.Module):
    """The shortcut of option A: every ``stride``-th pixel between new channels of zeros.

    The paper does not say where the zeros stand. Half of them stand on either side, as in the
    CIFAR checkpoints that circulate.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, H, W) as (N, C + new, H / stride, W / stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


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
        self.branch_end = nn.Identity()
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        residual = self.branch_end(self.attention(self.conv2(self.conv1(x))))
        residual += self.shortcut(x)
        return self.act(residual)


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
        self.branch_end = nn.Identity()
        self.shortcut = shortcut(in_channels, out_channels, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        residual = self.attention(self.conv3(self.conv2(self.conv1(x))))
        residual = self.branch_end(residual)
        residual += self.shortcut(x)
        return self.act(residual)


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


_POOL = partial(nn.MaxPool2d, 3, 2, padding=1)


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the paper's table 1, or one CIFAR net of section 4.2.

    Attributes:
        block: Builds one block from (in_channels, out_channels, stride).
        depths: Blocks per stage.
        widths: Output channels per stage.
        stem_channels: Output channels of the stem.
        cifar: Whether the paper's stem is the 3×3 of the 32-pixel nets.
        stem: Builds the stem from (in_channels, out_channels, kernel_size, stride).
        pool: Makes the pooling after the stem.
        end: Makes what stands between the last sum and the global pooling, or None.
        dropout: Probability before the classifier.
        min_input_size: Smallest input in pixels.
    """

    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_channels: int = 64
    cifar: bool = False
    stem: Callable[[int, int, int, int], nn.Module] = ConvNormAct
    pool: Callable[[], nn.Module] = _POOL
    end: Callable[[int], nn.Module] | None = None
    dropout: float = 0.0
    min_input_size: int = 1


def cifar(depth: int, block: Callable[..., nn.Module], width: int = 16) -> Variant:
    """Return a net for 32-pixel images: three stages of ``depth`` blocks, the first ``width``."""
    return Variant(block, (depth,) * 3, (width, 2 * width, 4 * width), stem_channels=16, cifar=True)


def basics(layers: int, block: Callable[..., nn.Module] = BasicBlock) -> Variant:
    """Return the ImageNet net of ``layers`` = 18 or 34, built of another block of two 3×3."""
    return Variant(block, {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[layers], (64, 128, 256, 512))


def bottlenecks(layers: int, block: Callable[..., nn.Module] = Bottleneck) -> Variant:
    """Return the ImageNet net of ``layers`` = 50, 101, 152 or 200, built of another bottleneck."""
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
    return Variant(block, depths[layers], (256, 512, 1024, 2048))


_padded = partial(BasicBlock, shortcut=PaddedShortcut)
_published = partial(Bottleneck, stride_in="1x1")
_basic_d = partial(BasicBlock, shortcut=averaged_projection)
_bottleneck_d = partial(Bottleneck, shortcut=averaged_projection)

VARIANTS = {
    **{f"resnet{n}": basics(n) for n in (18, 34)},
    **{f"resnet{n}": bottlenecks(n) for n in (50, 101, 152)},
    **{f"resnet{n}_v1": bottlenecks(n, _published) for n in (50, 101, 152)},
    **{f"resnet{n}d": replace(basics(n, _basic_d), stem=deep_stem) for n in (18, 34)},
    **{
        f"resnet{n}d": replace(bottlenecks(n, _bottleneck_d), stem=deep_stem)
        for n in (50, 101, 152)
    },
    **{f"plain{n}": basics(n, PlainBlock) for n in (18, 34)},
    **{f"cifar_resnet{6 * n + 2}": cifar(n, _padded) for n in (3, 5, 7, 9, 18, 200)},
    **{f"cifar_plain{6 * n + 2}": cifar(n, PlainBlock) for n in (3, 5, 7, 9, 18)},
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
    kernel_size, stride = (3, 1) if small else (7, 2)
    stem = variant.stem(common.in_channels, variant.stem_channels, kernel_size, stride)
    strides = (1,) + (2,) * (len(variant.depths) - 1)
    inputs = (variant.stem_channels, *variant.widths)
    rows = zip(inputs, variant.widths, strides, variant.depths, strict=False)
    channels, dropout = variant.widths[-1], common.dropout_or(variant.dropout)
    end = {} if variant.end is None else {"end": variant.end(channels)}
    model = ConvNet(
        named(conv=stem) if small else named(conv=stem, pool=variant.pool()),
        [_stage(block or variant.block, *row) for row in rows],
        pooled_classifier(channels, common.num_classes, dropout, **end),
        channels=variant.widths,
        strides=(1 if small else 4, *strides[1:]),
        in_channels=common.in_channels,
        min_input_size=1 if small else variant.min_input_size,
    )
    he_normal(model)
    return model
