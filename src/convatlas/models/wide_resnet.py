"""Wide ResNet for ImageNet: bottlenecks whose 3×3 convolutions are twice as wide.

"Wide Residual Networks", Sergey Zagoruyko, Nikos Komodakis, 2016, arXiv 1605.07146.

Differences from the paper: WRN-50-2 strides in the 3×3 convolution, as ``resnet50`` does; the
101-layer net is public implementations' addition. The paper's CIFAR nets are not built here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register
from convatlas.models.resnet import Bottleneck, Variant, bottlenecks, resnet

__all__ = ["wide_resnet"]

_doubled = partial(Bottleneck, width_ratio=0.5)

VARIANTS = {
    "wide_resnet50_2": bottlenecks(50, _doubled),
    "wide_resnet101_2": bottlenecks(101, _doubled),
}


@register(VARIANTS)
def wide_resnet(
    variant: Variant,
    common: Common,
    *,
    block: Callable[..., nn.Module] | None = None,
) -> ConvNet:
    """Build a Wide ResNet; ``block`` replaces the variant's, as in ``resnet``."""
    return resnet(variant, common, block=block)
