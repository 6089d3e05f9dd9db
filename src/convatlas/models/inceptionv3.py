"""Inception v2 and v3.

"Rethinking the Inception Architecture for Computer Vision", Christian Szegedy,
Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna, 2015, arXiv 1512.00567.

Differences from the paper: ``inception_v3`` has the stem and the widths of the authors'
released model, which table 1 gives otherwise or leaves open, and its first modules keep a 5×5
kernel, as there. ``inception_v2`` is table 1; the widths inside its modules, which the table
leaves open, are those of v3, with 128 reduced channels on the 17×17 map, which keeps the net
below the paper's 25 million parameters. The auxiliary classifier pools with 5×5 and stride 3 as
released; a map too small for that (an image below 299 pixels) is pooled to 5×5 instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.layers.branches import (
    Step,
    inception_conv,
    inception_stem,
    inception_stem_end,
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
from convatlas.models.auxiliary import AuxiliaryConvNet, Beside
from convatlas.models.registry import Common, register

__all__ = ["inception_v3"]


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


def _begin_v2(small: bool) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return the first stage, and what stands before the modules of the second: 288 channels."""
    pool = nn.Identity() if small else nn.MaxPool2d(3, 2)
    return named(pool=pool, conv=inception_conv(64, 80, 3, pad=small)), {
        "conv1": inception_conv(80, 192, 3, 1 if small else 2, pad=small),
        "conv2": inception_conv(192, 288, 3),
    }


def _begin_v3(small: bool) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return the same of the released model: 192 channels."""
    pool = nn.Identity() if small else nn.MaxPool2d(3, 2)
    return inception_stem_end(small=small), {"pool": pool}


@dataclass(frozen=True, slots=True)
class Variant:
    """What table 1 and the released model differ in.

    Attributes:
        begin: Returns the first stage and the beginning of the second; called with ``small``.
        first_channels: Channels after the first stage.
        small_channels: Input channels of the modules on the 35×35 map, which end with 288.
        kernel_size: Side of the kernel of these modules' second branch.
        reduced: Reduced channels of each module on the 17×17 map.
    """

    begin: Callable[[bool], tuple[nn.Module, dict[str, nn.Module]]]
    first_channels: int
    small_channels: tuple[int, ...]
    kernel_size: int
    reduced: tuple[int, ...]


VARIANTS = {
    "inception_v2": Variant(_begin_v2, 80, (288, 288, 288), 3, (128,) * 5),
    "inception_v3": Variant(_begin_v3, 192, (192, 256, 288), 5, (128, 160, 160, 192)),
}


def _stage_35(variant: Variant, begin: dict[str, nn.Module]) -> nn.Sequential:
    widths = (*variant.small_channels[1:], 288)
    modules = {
        name: inception_block_i(
            c, 64, (48, 64), (64, 96, 96), pooled(c, out - 224), kernel_size=variant.kernel_size
        )
        for name, c, out in zip("bcd", variant.small_channels, widths, strict=True)
    }
    return named(**begin, **modules)


def _stage_17(variant: Variant, beside: Beside) -> nn.Sequential:
    modules = {
        f"module{i}": inception_block_ii(768, 192, (r, r, 192), (r, r, r, r, 192), pooled(768, 192))
        for i, r in enumerate(variant.reduced, start=1)
    }
    shrink = reduction(288, three=[(384, 3)], deep=[(64, 1), (96, 3), (96, 3)])
    return named(shrink=shrink, **modules, auxiliary=beside)


def _stage_8() -> nn.Sequential:
    seven: list[Step] = [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)]
    shrink = reduction(768, three=[(192, 1), (320, 3)], seven=seven)
    modules = (
        inception_block_iii(c, 320, 384, [(448, 1), (384, 3)], 384, pooled(c, 192))
        for c in (1280, 2048)
    )
    return nn.Sequential(shrink, *modules)


@register(VARIANTS)
def inception_v3(variant: Variant, common: Common, *, auxiliary: bool = True) -> ConvNet:
    """Build an Inception v2 or v3.

    ``stem="small"`` pads every convolution of the stem and leaves out its strides and poolings.

    Args:
        variant: Row of the table.
        common: The options that every family takes.
        auxiliary: Whether the classifier beside the last 17×17 module is there.
    """
    classes = common.num_classes
    beside = Beside(*([_auxiliary(classes)] if auxiliary and classes else []))
    first, begin = variant.begin(common.small)
    model = AuxiliaryConvNet(
        inception_stem(common.in_channels, small=common.small),
        [first, _stage_35(variant, begin), _stage_17(variant, beside), _stage_8()],
        pooled_classifier(2048, classes, common.dropout_or(0.5)),
        taps=(f"stages.2.module{len(variant.reduced)}",),
        beside=beside,
        channels=(variant.first_channels, 288, 768, 2048),
        strides=(1, 1, 2, 2) if common.small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=7 if common.small else 75,
    )
    he_normal(model)
    return model
