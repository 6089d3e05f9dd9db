"""Inception v4.

"Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
Christian Szegedy, Sergey Ioffe, Vincent Vanhoucke, Alex Alemi, 2016, arXiv 1602.07261.

Differences from the paper: none in shape.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.layers.branches import Branches, chain, inception_conv, inception_stem, pooled
from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["inception_v4"]

_WIDTHS = (192, 384, 1024, 1536)
_WIDE, _TALL = (1, 3), (3, 1)
_WIDE7, _TALL7 = (1, 7), (7, 1)

_pooled = partial(pooled, count_padding=False)


def _halve(small: bool) -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 1, padding=1) if small else nn.MaxPool2d(3, 2)


def _stage_73(small: bool) -> nn.Sequential:
    """Return the middle of figure 3: 64 channels to 192."""
    stride = 1 if small else 2
    return named(
        a=Branches(pool=_halve(small), conv=inception_conv(64, 96, 3, stride, pad=small)),
        b=Branches(
            three=named(reduce=inception_conv(160, 64), conv=inception_conv(64, 96, 3, pad=small)),
            seven=named(
                reduce=chain(160, (64, 1), (64, _WIDE7), (64, _TALL7)),
                conv=inception_conv(64, 96, 3, pad=small),
            ),
        ),
    )


def _module_a() -> Branches:
    """Return figure 4, on the 35×35 map."""
    return Branches(
        one=inception_conv(384, 96),
        three=chain(384, (64, 1), (96, 3)),
        deep=chain(384, (64, 1), (96, 3), (96, 3)),
        pool=_pooled(384, 96),
    )


def _module_b() -> Branches:
    """Return figure 5, on the 17×17 map."""
    return Branches(
        one=inception_conv(1024, 384),
        seven=chain(1024, (192, 1), (224, _WIDE7), (256, _TALL7)),
        deep=chain(1024, (192, 1), (192, _TALL7), (224, _WIDE7), (224, _TALL7), (256, _WIDE7)),
        pool=_pooled(1024, 128),
    )


def _split(in_channels: int) -> Branches:
    return Branches(
        wide=inception_conv(in_channels, 256, _WIDE), tall=inception_conv(in_channels, 256, _TALL)
    )


def _module_c() -> Branches:
    """Return figure 6, on the 8×8 map."""
    return Branches(
        one=inception_conv(1536, 256),
        three=named(reduce=inception_conv(1536, 384), split=_split(384)),
        deep=named(reduce=chain(1536, (384, 1), (448, _TALL), (512, _WIDE)), split=_split(512)),
        pool=_pooled(1536, 256),
    )


def _reduction_a() -> Branches:
    """Return figure 7 with k, l, m, n = 192, 224, 256, 384: 35×35 to 17×17."""
    return Branches(
        three=chain(384, (384, 3), stride=2),
        deep=chain(384, (192, 1), (224, 3), (256, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


def _reduction_b() -> Branches:
    """Return figure 8: 17×17 to 8×8."""
    return Branches(
        three=chain(1024, (192, 1), (192, 3), stride=2),
        seven=chain(1024, (256, 1), (256, _WIDE7), (320, _TALL7), (320, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


# name → modules A, B and C
VARIANTS = {"inception_v4": (4, 7, 3)}


@register(VARIANTS)
def inception_v4(depths: tuple[int, int, int], common: Common) -> ConvNet:
    """Build an Inception v4; ``stem="small"`` pads the layers before module A, with stride 1."""
    small = common.small
    a, b, c = depths
    shrink = Branches(
        conv=inception_conv(192, 192, 3, 1 if small else 2, pad=small), pool=_halve(small)
    )
    model = ConvNet(
        inception_stem(common.in_channels, small=small),
        [
            _stage_73(small),
            nn.Sequential(shrink, *(_module_a() for _ in range(a))),
            nn.Sequential(_reduction_a(), *(_module_b() for _ in range(b))),
            nn.Sequential(_reduction_b(), *(_module_c() for _ in range(c))),
        ],
        pooled_classifier(_WIDTHS[-1], common.num_classes, common.dropout_or(0.2)),
        channels=_WIDTHS,
        strides=(1, 1, 2, 2) if small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=7 if small else 75,
    )
    he_normal(model)
    return model
