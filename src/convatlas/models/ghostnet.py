"""GhostNet: half of the maps are computed, the other half are cheap copies of them.

"GhostNet: More Features from Cheap Operations", Kai Han, Yunhe Wang, Qi Tian, Jianyuan Guo,
Chunjing Xu, Chang Xu, 2019, arXiv 1911.11907.

Differences from the paper: none in shape; kernel sizes and the rounding of widths to multiples of
4 are those of the authors' code.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import classifier
from convatlas.layers.init import he_normal
from convatlas.layers.inverted_residual import ConvBrick
from convatlas.layers.rounding import mobilenet_width
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["GhostBottleneck", "GhostModule", "ghostnet"]

_LAST = 1280
_linear = partial(ConvNormAct, act=None)


def _attention(width: int) -> SqueezeExcite:
    return SqueezeExcite(width, mobilenet_width(width / 4, 4), gate=nn.Hardsigmoid)


class GhostModule(nn.Module):
    """``cat(y, Φ(y))``, y = 1×1(x), Φ = depthwise 3×3: the paper's s = 2, d = 3 (equation 3).

    ``conv`` makes both convolutions with norm and activation; ``out_channels`` is even.
    """

    def __init__(self, in_channels: int, out_channels: int, conv: ConvBrick = ConvNormAct) -> None:
        super().__init__()
        self.primary = conv(in_channels, out_channels // 2)
        self.cheap = conv(out_channels // 2, out_channels // 2, 3, groups=out_channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], dim=1)


# kernel size, expanded width, output channels, squeeze-and-excite, stride
Row = tuple[int, int, int, bool, int]

# Table 1, per stage; a stage begins where the stride does.
_STAGES: tuple[tuple[Row, ...], ...] = (
    ((3, 16, 16, False, 1),),
    ((3, 48, 24, False, 2), (3, 72, 24, False, 1)),
    ((5, 72, 40, True, 2), (5, 120, 40, True, 1)),
    (
        *((3, 240, 80, False, 2), (3, 200, 80, False, 1), *[(3, 184, 80, False, 1)] * 2),
        *((3, 480, 112, True, 1), (3, 672, 112, True, 1)),
    ),
    ((5, 672, 160, True, 2), *((5, 960, 160, i % 2 == 1, 1) for i in range(4))),
)

# name → width multiplier
VARIANTS = {"ghostnet_050": 0.5, "ghostnet_100": 1.0, "ghostnet_130": 1.3}


class GhostBottleneck(nn.Module):
    """``f(x) + shortcut(x)``, f = ghost → depthwise, if it strides → attention → ghost (figure 3).

    ``row`` is a row of table 1, its widths multiplied.
    """

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        kernel, width, out_channels, attentive, stride = row
        self.expand = GhostModule(in_channels, width)
        self.depthwise = (
            _linear(width, width, kernel, stride, width) if stride > 1 else nn.Identity()
        )
        self.attention = _attention(width) if attentive else nn.Identity()
        self.project = GhostModule(width, out_channels, _linear)
        self.shortcut = nn.Sequential()
        if stride > 1 or in_channels != out_channels:
            self.shortcut.append(_linear(in_channels, in_channels, kernel, stride, in_channels))
            self.shortcut.append(_linear(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.attention(self.depthwise(self.expand(x)))
        return self.project(y) + self.shortcut(x)


@register(VARIANTS)
def ghostnet(multiplier: float, common: Common) -> ConvNet:
    """Build a GhostNet of a width multiplier; ``stem="small"`` gives its stem stride 1."""

    def scaled(width: int) -> int:
        return mobilenet_width(multiplier * width, 4)

    channels, stem_stride = scaled(16), 1 if common.small else 2
    stages: list[nn.Module] = []
    for rows in _STAGES:
        blocks = []
        for kernel_size, width, out_channels, attentive, stride in rows:
            row = (kernel_size, scaled(width), scaled(out_channels), attentive, stride)
            blocks.append(GhostBottleneck(channels, row))
            channels = row[2]
        stages.append(nn.Sequential(*blocks))
    # The second 1×1 comes after the pooling, without a norm.
    width = scaled(_STAGES[-1][-1][1])
    head = named(
        conv=ConvNormAct(channels, width),
        pool=nn.AdaptiveAvgPool2d(1),
        hidden=nn.Conv2d(width, _LAST, 1),
        act=nn.ReLU(inplace=True),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(common.dropout_or(0.2)),
        classifier=classifier(_LAST, common.num_classes),
    )
    model = ConvNet(
        ConvNormAct(common.in_channels, scaled(16), 3, stem_stride),
        stages,
        head,
        channels=[scaled(rows[-1][2]) for rows in _STAGES],
        strides=[stem_stride, *(rows[0][-1] for rows in _STAGES[1:])],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
