"""SE-ResNet, SE-ResNeXt and SENet-154: squeeze-and-excitation at the end of every block.

"Squeeze-and-Excitation Networks", Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Enhua Wu, 2017,
arXiv 1709.01507.

Differences from the paper: bottlenecks stride in the 3×3 convolution, as ``resnet50`` does. The
nets of 18 and 34 layers are public implementations', whose gates have 8 channels inside or more.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct
from convatlas.models.registry import register
from convatlas.models.resnet import (
    BasicBlock,
    Bottleneck,
    basics,
    bottlenecks,
    deep_stem,
    projection,
    resnet,
)
from convatlas.models.resnext import aggregated

__all__ = ["senet"]


def _gate(channels: int) -> SqueezeExcite:
    return SqueezeExcite(channels, max(channels // 16, 8))


def _large_projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1:
        return projection(in_channels, out_channels, 1)
    return ConvNormAct(in_channels, out_channels, 3, stride, act=None)


class _HalvedBottleneck(Bottleneck):
    """The bottleneck of SENet-154: 64 groups, a 1×1 half as wide, a 3×3 shortcut (section 6.1)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            in_channels, out_channels, stride, shortcut=_large_projection, attention=SqueezeExcite
        )
        width = out_channels // 2
        self.conv1 = ConvNormAct(in_channels, width)
        self.conv2 = ConvNormAct(width, out_channels, 3, stride, groups=64)
        self.conv3 = ConvNormAct(out_channels, out_channels, act=None)


# relu(x + se(f(x))): figure 3
_squeezed = partial(Bottleneck, attention=SqueezeExcite)
_squeezed_paths = partial(aggregated(32, 4), attention=SqueezeExcite)

VARIANTS = {
    **{f"seresnet{n}": basics(n, partial(BasicBlock, attention=_gate)) for n in (18, 34)},
    **{f"seresnet{n}": bottlenecks(n, _squeezed) for n in (50, 101, 152)},
    "seresnext50_32x4d": bottlenecks(50, _squeezed_paths),
    "seresnext101_32x4d": bottlenecks(101, _squeezed_paths),
    "senet154": replace(
        bottlenecks(152, _HalvedBottleneck),
        stem_channels=128,
        stem=deep_stem,
        pool=partial(nn.MaxPool2d, 3, 2, ceil_mode=True),
        dropout=0.2,
        min_input_size=3,
    ),
}

senet = register(VARIANTS)(resnet)
