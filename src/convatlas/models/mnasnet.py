"""MnasNet: the first network found by a search that measured latency on a phone.

"MnasNet: Platform-Aware Neural Architecture Search for Mobile", Mingxing Tan, Bo Chen, Ruoming
Pang, Vijay Vasudevan, Mark Sandler, Andrew Howard, Quoc Le, 2018, arXiv 1807.11626.

Differences from the paper: this is MnasNet-B1, the search without squeeze-and-excitation; the
last convolution keeps 1,280 channels at every width, as public checkpoints have it.
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

__all__ = ["mnasnet"]

# TensorFlow's decay 0.9997 of the running statistics, as torch counts it.
_conv = partial(ConvNormAct, norm=partial(nn.BatchNorm2d, momentum=1 - 0.9997))
_LAST = 1280

# (expansion, channels, blocks, stride, kernel size): B1 of the authors' code
_ROWS = (
    StageRow(1, 16, 1, 1, 3),
    StageRow(3, 24, 3, 2, 3),
    StageRow(3, 40, 3, 2, 5),
    StageRow(6, 80, 3, 2, 5),
    StageRow(6, 96, 2, 1, 3),
    StageRow(6, 192, 4, 2, 5),
    StageRow(6, 320, 1, 1, 3),
)

# name → width multiplier
VARIANTS = {
    "mnasnet_050": 0.5,
    "mnasnet_075": 0.75,
    "mnasnet_100": 1.0,
    "mnasnet_130": 1.3,
    "mnasnet_140": 1.4,
}


@register(VARIANTS)
def mnasnet(multiplier: float, common: Common) -> ConvNet:
    """Build a MnasNet-B1 of a width multiplier; ``stem="small"`` gives its stem stride 1."""
    channels = mobilenet_width(32 * multiplier)
    stem_stride = 1 if common.small else 2
    stages, widths = inverted_stages(
        _ROWS, channels, _conv, lambda base: mobilenet_width(base * multiplier)
    )
    last, dropout = _conv(widths[-1], _LAST), common.dropout_or(0.2)
    model = ConvNet(
        _conv(common.in_channels, channels, 3, stem_stride),
        stages,
        pooled_classifier(_LAST, common.num_classes, dropout, conv=last),
        channels=widths,
        strides=[stem_stride, *(row.stride for row in _ROWS[1:])],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
