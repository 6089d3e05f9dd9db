"""MobileNet: every convolution split into a depthwise and a pointwise one.

"MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", Andrew
Howard, Menglong Zhu, Bo Chen, Dmitry Kalenichenko, Weijun Wang, Tobias Weyand, Marco Andreetto,
Hartwig Adam, 2017, arXiv 1704.04861.

Differences from the paper: ReLU6 in the place of ReLU, as in the authors' code, and symmetric
padding, as in public PyTorch checkpoints.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.layers.rounding import mobilenet_width
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["mobilenetv1"]

_conv = partial(ConvNormAct, act=nn.ReLU6)


def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return ``act(pointwise(act(depthwise(x))))`` (figure 3)."""
    return named(
        depthwise=_conv(in_channels, in_channels, 3, stride, groups=in_channels),
        pointwise=_conv(in_channels, out_channels),
    )


# (channels, blocks, stride): table 1
_ROWS = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))

# name → width multiplier
VARIANTS = {
    "mobilenetv1_025": 0.25,
    "mobilenetv1_050": 0.5,
    "mobilenetv1_075": 0.75,
    "mobilenetv1_100": 1.0,
    "mobilenetv1_125": 1.25,
}


@register(VARIANTS)
def mobilenetv1(multiplier: float, common: Common) -> ConvNet:
    """Build a MobileNet of a width multiplier; ``stem="small"`` gives its stem stride 1."""
    channels = mobilenet_width(32 * multiplier)
    stem_stride = 1 if common.small else 2
    stem = _conv(common.in_channels, channels, 3, stem_stride)
    stages, widths = [], []
    for base, depth, stride in _ROWS:
        out_channels = mobilenet_width(base * multiplier)
        blocks = []
        for i in range(depth):
            blocks.append(_separable(channels, out_channels, 1 if i else stride))
            channels = out_channels
        stages.append(nn.Sequential(*blocks))
        widths.append(out_channels)
    model = ConvNet(
        stem,
        stages,
        pooled_classifier(channels, common.num_classes, common.dropout_or(0.001)),
        channels=widths,
        strides=[stem_stride, *(row[2] for row in _ROWS[1:])],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
