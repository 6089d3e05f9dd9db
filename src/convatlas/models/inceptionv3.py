"""Inception v3.

"Rethinking the Inception Architecture for Computer Vision", Christian Szegedy,
Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna, 2015, arXiv 1512.00567.

Differences from the paper: the stem and the widths are those of the authors' released model,
which the paper's table 1 leaves open or gives otherwise, and the small modules keep a 5×5
kernel, as there. The auxiliary classifier pools with 5×5 and stride 3 as released; a map too
small for that (an image below 299 pixels) is pooled to 5×5 instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.layers.branches import Branches, chain, inception_conv, inception_stem, pooled
from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.auxiliary import AuxiliaryConvNet, Beside
from convatlas.models.registry import Common, register

__all__ = ["inception_v3"]

_WIDTHS = (192, 288, 768, 2048)
_WIDE, _TALL = (1, 3), (3, 1)
_WIDE7, _TALL7 = (1, 7), (7, 1)


_pooled = partial(pooled, count_padding=True)


def _small_kernels(in_channels: int, pool: int) -> Branches:
    """Return the module of figure 5: the larger kernel is two 3×3."""
    return Branches(
        one=inception_conv(in_channels, 64),
        five=chain(in_channels, (48, 1), (64, 5)),
        deep=chain(in_channels, (64, 1), (96, 3), (96, 3)),
        pool=_pooled(in_channels, pool),
    )


def _factorised(in_channels: int, reduced: int) -> Branches:
    """Return the module of figure 6: n×n is 1×n and n×1, here with n = 7."""
    r = reduced
    return Branches(
        one=inception_conv(in_channels, 192),
        seven=chain(in_channels, (r, 1), (r, _WIDE7), (192, _TALL7)),
        deep=chain(in_channels, (r, 1), (r, _TALL7), (r, _WIDE7), (r, _TALL7), (192, _WIDE7)),
        pool=_pooled(in_channels, 192),
    )


def _expanded(in_channels: int) -> Branches:
    """Return the module of figure 7: 1×3 and 3×1 side by side widen the coarsest map."""

    def split() -> Branches:
        return Branches(wide=inception_conv(384, 384, _WIDE), tall=inception_conv(384, 384, _TALL))

    return Branches(
        one=inception_conv(in_channels, 320),
        three=named(reduce=inception_conv(in_channels, 384), split=split()),
        deep=named(reduce=chain(in_channels, (448, 1), (384, 3)), split=split()),
        pool=_pooled(in_channels, 192),
    )


def _reduction_35(in_channels: int) -> Branches:
    """Return the module of figure 10: convolution and pooling halve the map side by side."""
    return Branches(
        three=chain(in_channels, (384, 3), stride=2),
        deep=chain(in_channels, (64, 1), (96, 3), (96, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


def _reduction_17(in_channels: int) -> Branches:
    return Branches(
        three=chain(in_channels, (192, 1), (320, 3), stride=2),
        seven=chain(in_channels, (192, 1), (192, _WIDE7), (192, _TALL7), (192, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


class FivePool(nn.Module):
    """Average pooling 5×5 with stride 3, or to 5×5 where that would leave less."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, ≥ 5, ≥ 5)."""
        if min(x.shape[-2:]) < 17:
            return F.adaptive_avg_pool2d(x, 5)
        return F.avg_pool2d(x, 5, 3)


def _auxiliary(num_classes: int) -> nn.Sequential:
    return named(
        shrink=FivePool(),
        reduce=inception_conv(768, 128),
        conv=inception_conv(128, 768, 5, pad=False),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(768, num_classes),
    )


def _stages(reduced: Sequence[int], beside: Beside, small: bool) -> list[nn.Module]:
    factorised = {
        name: _factorised(768, channels) for name, channels in zip("bcde", reduced, strict=True)
    }
    pool = nn.Identity if small else lambda: nn.MaxPool2d(3, 2)
    return [
        named(
            pool=pool(),
            reduce=inception_conv(64, 80),
            conv=inception_conv(80, _WIDTHS[0], 3, pad=small),
        ),
        named(
            pool=pool(),
            b=_small_kernels(192, pool=32),
            c=_small_kernels(256, pool=64),
            d=_small_kernels(288, pool=64),
        ),
        named(
            a=_reduction_35(288),
            **factorised,
            auxiliary=beside,
        ),
        named(a=_reduction_17(768), b=_expanded(1280), c=_expanded(2048)),
    ]


# name → reduced channels of the four modules on the 17×17 map
VARIANTS = {"inception_v3": (128, 160, 160, 192)}


@register(VARIANTS)
def inception_v3(reduced: Sequence[int], common: Common, *, auxiliary: bool = True) -> ConvNet:
    """Build an Inception v3.

    ``stem="small"`` pads every convolution of the stem and leaves out its strides and poolings.

    Args:
        reduced: Row of the table.
        common: The options that every family takes.
        auxiliary: Whether the classifier beside the last 17×17 module is there.
    """
    classes = common.num_classes
    beside = Beside(*([_auxiliary(classes)] if auxiliary and classes else []))
    model = AuxiliaryConvNet(
        inception_stem(common.in_channels, small=common.small),
        _stages(reduced, beside, common.small),
        pooled_classifier(_WIDTHS[-1], classes, common.dropout_or(0.5)),
        taps=("stages.2.e",),
        beside=beside,
        channels=_WIDTHS,
        strides=(1, 1, 2, 2) if common.small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=7 if common.small else 75,
    )
    he_normal(model)
    return model
