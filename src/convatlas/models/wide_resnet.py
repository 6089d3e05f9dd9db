"""Wide ResNet: few blocks of wide 3×3 convolutions, for CIFAR and for ImageNet.

"Wide Residual Networks", Sergey Zagoruyko, Nikos Komodakis, 2016, arXiv 1605.07146.

Differences from the paper: WRN-50-2 strides in the 3×3 convolution, as ``resnet50`` does; the
101-layer net is public implementations' addition. ``block=partial(Preactivated, dropout=0.3)``
gives a CIFAR net the dropout of section 2.4 inside its blocks.
"""

from __future__ import annotations

from functools import partial

from convatlas.models.registry import register
from convatlas.models.resnet import Bottleneck, Variant, bottlenecks, cifar, resnet
from convatlas.models.resnetv2 import Preactivated, preactivated

__all__ = ["wide_resnet"]

_doubled = partial(Bottleneck, width_ratio=0.5)


def _wide(layers: int, factor: int) -> Variant:
    """Return WRN-``layers``-``factor``: 6n + 4 layers, ``factor`` times the widths (table 1)."""
    return preactivated(cifar((layers - 4) // 6, Preactivated, 16 * factor))


VARIANTS = {
    "wide_resnet50_2": bottlenecks(50, _doubled),
    "wide_resnet101_2": bottlenecks(101, _doubled),
    **{f"wrn_{n}_{k}": _wide(n, k) for n, k in ((16, 8), (28, 10), (40, 4))},
}

wide_resnet = register(VARIANTS)(resnet)
