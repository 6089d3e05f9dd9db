"""MobileNetV3: inverted residuals with hard-swish, found by two searches and trimmed by hand.

"Searching for MobileNetV3", Andrew Howard, Mark Sandler, Grace Chu, Liang-Chieh Chen, Bo Chen,
Mingxing Tan, Weijun Wang, Yukun Zhu, Ruoming Pang, Vijay Vasudevan, Quoc Le, Hartwig Adam, 2019,
arXiv 1905.02244.

Differences from the paper: none in shape; batch norms use TensorFlow's epsilon 1e-3 and the
paper's decay 0.99.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import classifier
from convatlas.layers.init import he_normal
from convatlas.layers.inverted_residual import InvertedResidual
from convatlas.layers.rounding import mobilenet_width
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["mobilenetv3"]

_STEM = 16
_conv = partial(ConvNormAct, norm=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01))
_ACTIVATIONS = {"RE": nn.ReLU, "HS": nn.Hardswish}

# kernel size, expanded width, output channels, squeeze-and-excite, activation, stride
Row = tuple[int, int, int, bool, str, int]


@dataclass(frozen=True, slots=True)
class Variant:
    """The rows of a table of the paper, grouped into stages, and the width of the head.

    Attributes:
        stages: Per stage its blocks; a stage begins where the stride does.
        hidden: Width of the last but one layer.
    """

    stages: tuple[tuple[Row, ...], ...]
    hidden: int


# Table 1.
_LARGE = (
    ((3, 16, 16, False, "RE", 1),),
    ((3, 64, 24, False, "RE", 2), (3, 72, 24, False, "RE", 1)),
    ((5, 72, 40, True, "RE", 2), (5, 120, 40, True, "RE", 1), (5, 120, 40, True, "RE", 1)),
    (
        (3, 240, 80, False, "HS", 2),
        (3, 200, 80, False, "HS", 1),
        (3, 184, 80, False, "HS", 1),
        (3, 184, 80, False, "HS", 1),
        (3, 480, 112, True, "HS", 1),
        (3, 672, 112, True, "HS", 1),
    ),
    ((5, 672, 160, True, "HS", 2), (5, 960, 160, True, "HS", 1), (5, 960, 160, True, "HS", 1)),
)

# Table 2.
_SMALL = (
    ((3, 16, 16, True, "RE", 2),),
    ((3, 72, 24, False, "RE", 2), (3, 88, 24, False, "RE", 1)),
    (
        (5, 96, 40, True, "HS", 2),
        (5, 240, 40, True, "HS", 1),
        (5, 240, 40, True, "HS", 1),
        (5, 120, 48, True, "HS", 1),
        (5, 144, 48, True, "HS", 1),
    ),
    ((5, 288, 96, True, "HS", 2), (5, 576, 96, True, "HS", 1), (5, 576, 96, True, "HS", 1)),
)

VARIANTS = {
    "mobilenetv3_small": Variant(_SMALL, 1024),
    "mobilenetv3_large": Variant(_LARGE, 1280),
}


def _attention(width: int) -> SqueezeExcite:
    """Return the paper's gate: a quarter of the width, in eights, and a hard sigmoid."""
    return SqueezeExcite(width, mobilenet_width(width / 4), gate=nn.Hardsigmoid)


def _block(in_channels: int, row: Row) -> InvertedResidual:
    kernel_size, width, out_channels, attentive, act, stride = row
    return InvertedResidual(
        in_channels,
        out_channels,
        stride,
        width=width,
        kernel_size=kernel_size,
        conv=partial(_conv, act=_ACTIVATIONS[act]),
        attention=_attention if attentive else None,
    )


def _head(in_channels: int, hidden: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Return the efficient last stage (figure 5): pool first, then widen."""
    width = 6 * in_channels
    return named(
        conv=_conv(in_channels, width, act=nn.Hardswish),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        hidden=nn.Linear(width, hidden),
        act=nn.Hardswish(),
        dropout=nn.Dropout(dropout),
        classifier=classifier(hidden, num_classes),
    )


@register(VARIANTS)
def mobilenetv3(variant: Variant, common: Common) -> ConvNet:
    """Build a MobileNetV3; ``stem="small"`` gives its stem stride 1."""
    stem_stride = 1 if common.small else 2
    stages: list[nn.Module] = []
    channels = _STEM
    for rows in variant.stages:
        blocks = []
        for row in rows:
            blocks.append(_block(channels, row))
            channels = row[2]
        stages.append(nn.Sequential(*blocks))
    strides = [rows[0][-1] for rows in variant.stages]
    model = ConvNet(
        _conv(common.in_channels, _STEM, 3, stem_stride, act=nn.Hardswish),
        stages,
        _head(channels, variant.hidden, common.num_classes, common.dropout_or(0.2)),
        channels=[rows[-1][2] for rows in variant.stages],
        strides=[stem_stride * strides[0], *strides[1:]],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
