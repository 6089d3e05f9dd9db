"""The width and depth rounding rules of the papers, each named after its paper."""

from __future__ import annotations

import math

__all__ = ["efficientnet_depth", "mobilenet_width", "nearest_multiple"]


def mobilenet_width(width: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of ``divisor``, never below 90 % of ``width``.

    Source: MobileNetV2's reference implementation (``make_divisible``); EfficientNet and
    MobileNetV3 use the same rule.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def efficientnet_depth(layers: int, multiplier: float) -> int:
    """Round the scaled number of layers up (EfficientNet, section 3.3)."""
    return math.ceil(layers * multiplier)


def nearest_multiple(width: float, divisor: int) -> int:
    """Round to the nearest multiple of ``divisor``, halves to the even one.

    Source: RegNet, arXiv 2003.13678, section 3.3, and its reference implementation (pycls).
    """
    return round(width / divisor) * divisor
