"""ResNeXt: residual nets whose 3×3 convolutions are grouped.

"Aggregated Residual Transformations for Deep Neural Networks", Saining Xie, Ross Girshick,
Piotr Dollár, Zhuowen Tu, Kaiming He, 2016, arXiv 1611.05431.

Differences from the paper: none in shape. ``resnext101_32x8d`` is wider than the paper's nets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from convatlas.models.registry import register
from convatlas.models.resnet import Bottleneck, bottlenecks, resnet

__all__ = ["aggregated", "resnext"]


def aggregated(cardinality: int, width: int) -> Callable[..., nn.Module]:
    """Return the bottleneck of ``cardinality`` paths, each ``width`` wide in the first stage.

    The paper's figure 3c: ``relu(x + f(x))``, f = 1×1 → grouped 3×3 → 1×1.
    """
    return partial(Bottleneck, width_ratio=cardinality * width / 256, groups=cardinality)


VARIANTS = {
    "resnext50_32x4d": bottlenecks(50, aggregated(32, 4)),
    "resnext101_32x4d": bottlenecks(101, aggregated(32, 4)),
    "resnext101_32x8d": bottlenecks(101, aggregated(32, 8)),
    "resnext101_64x4d": bottlenecks(101, aggregated(64, 4)),
}

resnext = register(VARIANTS)(resnet)
