"""ShuffleNetV2: few channels touched twice, no groups, no sums.

"ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", Ningning Ma, Xiangyu
Zhang, Hai-Tao Zheng, Jian Sun, 2018, arXiv 1807.11164.

Differences from the paper: none in shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.layers.shuffle import ChannelShuffle
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["ShuffleUnit", "shufflenetv2"]


def _branch(in_channels: int, width: int, stride: int) -> nn.Sequential:
    return named(
        expand=ConvNormAct(in_channels, width),
        depthwise=ConvNormAct(width, width, 3, stride, groups=width, act=None),
        project=ConvNormAct(width, width),
    )


class ShuffleUnit(nn.Module):
    """``shuffle(concat(a, f(b)))``, f = 1×1 → 3×3 depthwise → 1×1 (figure 3c, d).

    With stride 1, a and b are the halves of x; with stride 2, b is x, and a is x after a
    3×3 depthwise and a 1×1 convolution of its own.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.shortcut: nn.Module | None = None
        if stride > 1:
            self.shortcut = named(
                depthwise=ConvNormAct(
                    in_channels, in_channels, 3, stride, groups=in_channels, act=None
                ),
                project=ConvNormAct(in_channels, half),
            )
        self.branch = _branch(in_channels if stride > 1 else half, half, stride)
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        if self.shortcut is None:
            kept, changed = x.chunk(2, dim=1)
        else:
            kept, changed = self.shortcut(x), x
        return self.shuffle(torch.cat([kept, self.branch(changed)], dim=1))


_STEM = 24
_DEPTHS = (4, 8, 4)

# name → output channels of the three stages and of conv5: table 5
VARIANTS = {
    "shufflenet_v2_x0_5": (48, 96, 192, 1024),
    "shufflenet_v2_x1_0": (116, 232, 464, 1024),
    "shufflenet_v2_x1_5": (176, 352, 704, 1024),
    "shufflenet_v2_x2_0": (244, 488, 976, 2048),
}


@register(VARIANTS)
def shufflenetv2(widths: tuple[int, int, int, int], common: Common) -> ConvNet:
    """Build a ShuffleNetV2; ``stem="small"`` leaves the stem neither stride nor pooling."""
    *channels, last = widths
    conv = ConvNormAct(common.in_channels, _STEM, 3, 1 if common.small else 2)
    stages: list[nn.Module] = []
    in_channels = _STEM
    for out_channels, depth in zip(channels, _DEPTHS, strict=True):
        units = [ShuffleUnit(in_channels, out_channels, 2)]
        units += [ShuffleUnit(out_channels, out_channels, 1) for _ in range(depth - 1)]
        stages.append(nn.Sequential(*units))
        in_channels = out_channels
    conv5, dropout = ConvNormAct(in_channels, last), common.dropout_or(0.0)
    model = ConvNet(
        conv if common.small else named(conv=conv, pool=nn.MaxPool2d(3, 2, padding=1)),
        stages,
        pooled_classifier(last, common.num_classes, dropout, conv=conv5),
        channels=channels,
        strides=(2 if common.small else 8, 2, 2),
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
