"""MobileNetV2: inverted residuals with linear bottlenecks.

"MobileNetV2: Inverted Residuals and Linear Bottlenecks", Mark Sandler, Andrew Howard,
Menglong Zhu, Andrey Zhmoginov, Liang-Chieh Chen, 2018, arXiv 1801.04381.

Differences from the paper: none in shape. A width multiplier below 1 leaves the last
convolution at 1,280 channels, as the paper says.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.layers.inverted_residual import StageRow, inverted_stages
from convatlas.layers.rounding import mobilenet_width
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["mobilenetv2"]

_conv = partial(ConvNormAct, act=nn.ReLU6)


# (expansion t, channels c, blocks n, stride s): table 2
_ROWS = (
    StageRow(1, 16, 1, 1),
    StageRow(6, 24, 2, 2),
    StageRow(6, 32, 3, 2),
    StageRow(6, 64, 4, 2),
    StageRow(6, 96, 3, 1),
    StageRow(6, 160, 3, 2),
    StageRow(6, 320, 1, 1),
)

# name → width multiplier
VARIANTS = {
    "mobilenetv2_035": 0.35,
    "mobilenetv2_050": 0.5,
    "mobilenetv2_075": 0.75,
    "mobilenetv2_100": 1.0,
    "mobilenetv2_130": 1.3,
    "mobilenetv2_140": 1.4,
}


@register(VARIANTS)
def mobilenetv2(width: float, common: Common) -> ConvNet:
    """Build a MobileNetV2 of a width multiplier; ``stem="small"`` gives its stem stride 1."""
    channels = mobilenet_width(32 * width)
    stem_stride = 1 if common.small else 2
    stem = _conv(common.in_channels, channels, 3, stem_stride)
    stages, widths = inverted_stages(
        _ROWS, channels, _conv, lambda base: mobilenet_width(base * width)
    )
    last = mobilenet_width(1280 * max(1.0, width))
    dropout = common.dropout_or(0.2)
    model = ConvNet(
        stem,
        stages,
        pooled_classifier(last, common.num_classes, dropout, conv=_conv(widths[-1], last)),
        channels=widths,
        strides=[stem_stride, *(row.stride for row in _ROWS[1:])],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
