"""Inception v4.

"Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
Christian Szegedy, Sergey Ioffe, Vincent Vanhoucke, Alex Alemi, 2016, arXiv 1602.07261.

Differences from the paper: none in shape.
"""

from __future__ import annotations

from torch import nn

from convatlas.layers.branches import (
    Branches,
    Step,
    chain,
    inception_conv,
    inception_stem,
    pooled,
)
from convatlas.layers.conv import named
from convatlas.layers.factorised_inception import (
    inception_block_i,
    inception_block_ii,
    inception_block_iii,
    reduction,
)
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["inception_v4"]

_WIDTHS = (192, 384, 1024, 1536)
_WIDE7, _TALL7 = (1, 7), (7, 1)


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


def _pooled(in_channels: int, out_channels: int) -> nn.Sequential:
    return pooled(in_channels, out_channels, nn.AvgPool2d(3, 1, 1, count_include_pad=False))


def _module_a() -> Branches:
    """Return figure 4, on the 35×35 map."""
    return inception_block_i(384, 96, (64, 96), (64, 96, 96), _pooled(384, 96))


def _module_b() -> Branches:
    """Return figure 5, on the 17×17 map."""
    twice = (192, 192, 224, 224, 256)
    return inception_block_ii(1024, 384, (192, 224, 256), twice, _pooled(1024, 128))


def _module_c() -> Branches:
    """Return figure 6, on the 8×8 map."""
    deep: list[Step] = [(384, 1), (448, (3, 1)), (512, (1, 3))]
    return inception_block_iii(1536, 256, 384, deep, 256, _pooled(1536, 256))


def _reduction_a() -> Branches:
    """Return figure 7 with k, l, m, n = 192, 224, 256, 384: 35×35 to 17×17."""
    return reduction(384, three=[(384, 3)], deep=[(192, 1), (224, 3), (256, 3)])


def _reduction_b() -> Branches:
    """Return figure 8: 17×17 to 8×8."""
    seven: list[Step] = [(256, 1), (256, _WIDE7), (320, _TALL7), (320, 3)]
    return reduction(1024, three=[(192, 1), (192, 3)], seven=seven)


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
