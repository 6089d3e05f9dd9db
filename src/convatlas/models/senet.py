"""SE-ResNet and SE-ResNeXt: squeeze-and-excitation at the end of every bottleneck.

"Squeeze-and-Excitation Networks", Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Enhua Wu, 2017,
arXiv 1709.01507.

Differences from the paper: bottlenecks stride in the 3×3 convolution, as ``resnet50`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register
from convatlas.models.resnet import Bottleneck, Variant, bottlenecks, resnet
from convatlas.models.resnext import aggregated

__all__ = ["senet"]

# relu(x + se(f(x))): figure 3
_squeezed = partial(Bottleneck, attention=SqueezeExcite)
_squeezed_paths = partial(aggregated(32, 4), attention=SqueezeExcite)

VARIANTS = {
    "seresnet50": bottlenecks(50, _squeezed),
    "seresnet101": bottlenecks(101, _squeezed),
    "seresnet152": bottlenecks(152, _squeezed),
    "seresnext50_32x4d": bottlenecks(50, _squeezed_paths),
    "seresnext101_32x4d": bottlenecks(101, _squeezed_paths),
}


@register(VARIANTS)
def senet(
    variant: Variant,
    common: Common,
    *,
    block: Callable[..., nn.Module] | None = None,
) -> ConvNet:
    """Build an SE-ResNet or SE-ResNeXt; ``block`` replaces the variant's, as in ``resnet``."""
    return resnet(variant, common, block=block)
