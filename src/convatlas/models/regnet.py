"""RegNetX and RegNetY: AnyNets whose widths are computed from four numbers.

"Designing Network Design Spaces", Ilija Radosavovic, Raj Prateek Kosaraju, Ross Girshick,
Kaiming He, Piotr Dollár, 2020, arXiv 2003.13678.

Differences from the paper: a width that its group width does not divide goes to the nearest
multiple in the authors' release (pycls), and to one of 90 % of the width or more in torchvision.
Nets of which torchvision has checkpoints follow torchvision, the others pycls; the two differ in
``regnet_x_400mf``, ``regnet_y_800mf`` and ``regnet_y_8gf``, where ``rounding="pycls"`` builds the
authors'. ``regnet_y_128gf`` is a later, larger net of the space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

from convatlas.errors import OptionError
from convatlas.layers.rounding import mobilenet_width, nearest_multiple
from convatlas.models.anatomy import ConvNet
from convatlas.models.anynet import Design, anynet
from convatlas.models.registry import Common, register

__all__ = ["Variant", "design", "regnet"]

_ROUNDINGS = {"pycls": nearest_multiple, "torchvision": mobilenet_width}


@dataclass(frozen=True, slots=True)
class Variant:
    """One net of the design space, in the paper's symbols (section 3.3).

    Attributes:
        d: Number of blocks.
        w_0: Width of the first block.
        w_a: Slope of the line that the widths follow.
        w_m: Ratio of the widths of one stage and the stage before.
        group_width: Channels of each group of the 3×3, g.
        squeeze_ratio: 0.25 for the Y nets, 0 for the X nets.
        rounding: How a width becomes a multiple of g, ``"pycls"`` or ``"torchvision"``.
    """

    d: int
    w_0: int
    w_a: float
    w_m: float
    group_width: int
    squeeze_ratio: float = 0.0
    rounding: str = "torchvision"


def design(variant: Variant, rounding: str | None = None) -> Design:
    """Return the depths, widths and groups that the four numbers mean (equations 2–4).

    Args:
        variant: Row of the table.
        rounding: Replaces the row's.

    Raises:
        OptionError: No such rounding.
    """
    rounding = rounding or variant.rounding
    if rounding not in _ROUNDINGS:
        raise OptionError(f'rounding must be "pycls" or "torchvision", got {rounding!r}')
    w_0, w_a, w_m = variant.w_0, variant.w_a, variant.w_m
    powers = [round(math.log((w_0 + w_a * j) / w_0, w_m)) for j in range(variant.d)]
    stages = [(nearest_multiple(w_0 * w_m**s, 8), len(list(js))) for s, js in groupby(powers)]
    groups = [min(variant.group_width, width) for width, _ in stages]
    multiple = _ROUNDINGS[rounding]
    return Design(
        depths=tuple(depth for _, depth in stages),
        widths=tuple(multiple(w, g) for (w, _), g in zip(stages, groups, strict=True)),
        group_widths=tuple(groups),
        bottleneck_ratios=(1.0,) * len(stages),
        squeeze_ratio=variant.squeeze_ratio,
    )


def _y(*numbers: float, rounding: str = "torchvision") -> Variant:
    d, w_0, w_a, w_m, g = numbers
    return Variant(int(d), int(w_0), w_a, w_m, int(g), squeeze_ratio=0.25, rounding=rounding)


VARIANTS = {
    "regnet_x_200mf": Variant(13, 24, 36.44, 2.49, 8, rounding="pycls"),
    "regnet_x_400mf": Variant(22, 24, 24.48, 2.54, 16),
    "regnet_x_600mf": Variant(16, 48, 36.97, 2.24, 24, rounding="pycls"),
    "regnet_x_800mf": Variant(16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": Variant(18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": Variant(25, 88, 26.31, 2.25, 48),
    "regnet_x_4gf": Variant(23, 96, 38.65, 2.43, 40, rounding="pycls"),
    "regnet_x_6_4gf": Variant(17, 184, 60.83, 2.07, 56, rounding="pycls"),
    "regnet_x_8gf": Variant(23, 80, 49.56, 2.88, 120),
    "regnet_x_12gf": Variant(19, 168, 73.36, 2.37, 112, rounding="pycls"),
    "regnet_x_16gf": Variant(22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": Variant(23, 320, 69.86, 2.0, 168),
    "regnet_y_200mf": _y(13, 24, 36.44, 2.49, 8, rounding="pycls"),
    "regnet_y_400mf": _y(16, 48, 27.89, 2.09, 8),
    "regnet_y_600mf": _y(15, 48, 32.54, 2.32, 16, rounding="pycls"),
    "regnet_y_800mf": _y(14, 56, 38.84, 2.4, 16),
    "regnet_y_1_6gf": _y(27, 48, 20.71, 2.65, 24),
    "regnet_y_3_2gf": _y(21, 80, 42.63, 2.66, 24),
    "regnet_y_4gf": _y(22, 96, 31.41, 2.24, 64, rounding="pycls"),
    "regnet_y_6_4gf": _y(25, 112, 33.22, 2.27, 72, rounding="pycls"),
    "regnet_y_8gf": _y(17, 192, 76.82, 2.19, 56),
    "regnet_y_12gf": _y(19, 168, 73.36, 2.37, 112, rounding="pycls"),
    "regnet_y_16gf": _y(18, 200, 106.23, 2.48, 112),
    "regnet_y_32gf": _y(20, 232, 115.89, 2.53, 232),
    "regnet_y_128gf": _y(27, 456, 160.83, 2.52, 264),
}


@register(VARIANTS)
def regnet(variant: Variant, common: Common, *, rounding: str | None = None) -> ConvNet:
    """Build a RegNet.

    Args:
        variant: Row of the table.
        common: The options that every family takes.
        rounding: ``"pycls"`` or ``"torchvision"``; None for the variant's.
    """
    return anynet(design(variant, rounding), common)
