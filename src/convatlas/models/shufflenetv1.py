"""ShuffleNet: grouped 1×1 convolutions whose channels are shuffled in between.

"ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", Xiangyu
Zhang, Xinyu Zhou, Mengxiao Lin, Jian Sun, 2017, arXiv 1707.01083.

Differences from the paper: the stem's width at other scales than 1 is that of the authors' code;
without groups nothing is shuffled, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.layers.shuffle import ChannelShuffle
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["GroupedUnit", "shufflenetv1"]


class GroupedUnit(nn.Module):
    """``relu(x + f(x))``, f = grouped 1×1 → shuffle → 3×3 depthwise → grouped 1×1 (figure 2b).

    With stride 2, ``relu(concat(average(x), f(x)))`` (figure 2c).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: 1 or 2.
        groups: Groups of the 1×1 convolutions.
        first_groups: Groups of the first one; 1 where the input has too few channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, groups: int, first_groups: int
    ) -> None:
        super().__init__()
        width = out_channels // 4
        added = out_channels - in_channels if stride > 1 else out_channels
        self.reduce = ConvNormAct(in_channels, width, groups=first_groups)
        self.shuffle = ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.depthwise = ConvNormAct(width, width, 3, stride, groups=width, act=None)
        self.expand = ConvNormAct(width, added, groups=groups, act=None)
        self.shortcut = nn.AvgPool2d(3, 2, padding=1) if stride > 1 else None
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.expand(self.depthwise(self.shuffle(self.reduce(x))))
        if self.shortcut is None:
            return self.act(x + y)
        return self.act(torch.cat([self.shortcut(x), y], dim=1))


_DEPTHS = (4, 8, 4)


@dataclass(frozen=True, slots=True)
class Variant:
    """Groups, width of the stem, and output channels of the first stage; the others double it."""

    groups: int
    stem: int
    width: int


# Scale 1: table 1; other scales: the authors' code.
VARIANTS = {
    "shufflenet_v1_x0_5_g3": Variant(3, 12, 120),
    "shufflenet_v1_x0_5_g8": Variant(8, 16, 192),
    "shufflenet_v1_x1_0_g1": Variant(1, 24, 144),
    "shufflenet_v1_x1_0_g2": Variant(2, 24, 200),
    "shufflenet_v1_x1_0_g3": Variant(3, 24, 240),
    "shufflenet_v1_x1_0_g4": Variant(4, 24, 272),
    "shufflenet_v1_x1_0_g8": Variant(8, 24, 384),
    "shufflenet_v1_x1_5_g3": Variant(3, 24, 360),
    "shufflenet_v1_x1_5_g8": Variant(8, 24, 576),
    "shufflenet_v1_x2_0_g3": Variant(3, 48, 480),
    "shufflenet_v1_x2_0_g8": Variant(8, 48, 768),
}


@register(VARIANTS)
def shufflenetv1(variant: Variant, common: Common) -> ConvNet:
    """Build a ShuffleNet; ``stem="small"`` leaves the stem neither stride nor pooling."""
    conv = ConvNormAct(common.in_channels, variant.stem, 3, 1 if common.small else 2)
    channels = [variant.width * 2**i for i in range(len(_DEPTHS))]
    stages: list[nn.Module] = []
    in_channels, groups = variant.stem, variant.groups
    for out_channels, depth in zip(channels, _DEPTHS, strict=True):
        first_groups = groups if stages else 1
        units = [
            GroupedUnit(in_channels, out_channels, 2, groups=groups, first_groups=first_groups)
        ]
        units += [
            GroupedUnit(out_channels, out_channels, 1, groups=groups, first_groups=groups)
            for _ in range(depth - 1)
        ]
        stages.append(nn.Sequential(*units))
        in_channels = out_channels
    model = ConvNet(
        conv if common.small else named(conv=conv, pool=nn.MaxPool2d(3, 2, padding=1)),
        stages,
        pooled_classifier(in_channels, common.num_classes, common.dropout_or(0.0)),
        channels=channels,
        strides=(2 if common.small else 8, 2, 2),
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
