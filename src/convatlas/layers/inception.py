"""The Inception module, and the naive one that it improves on.

Source: Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv 1409.4842, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from convatlas.layers.branches import Branches
from convatlas.layers.conv import ConvNormAct, named

__all__ = ["inception", "naive_inception"]

# (in_channels, out_channels, kernel_size) → a convolution that keeps the map's size
Conv = Callable[[int, int, int], nn.Module]


def naive_inception(
    in_channels: int, one: int, three: int, five: int, *, conv: Conv = ConvNormAct
) -> Branches:
    """Return the module of figure 2a, whose pooling hands on all channels of the input.

    Args:
        in_channels: Channels of the input.
        one: Output channels of the 1×1 branch.
        three: Output channels of the 3×3 branch.
        five: Output channels of the 5×5 branch.
        conv: Convolution with its normalisation and activation.
    """
    return Branches(
        one=conv(in_channels, one, 1),
        three=conv(in_channels, three, 3),
        five=conv(in_channels, five, 5),
        pool=nn.MaxPool2d(3, 1, padding=1),
    )


def inception(
    in_channels: int,
    one: int,
    three: tuple[int, int],
    five: tuple[int, int],
    pool: int,
    *,
    conv: Conv = ConvNormAct,
    large_kernel: int = 5,
) -> Branches:
    """Return the module of figure 2b: 1×1 convolutions reduce the channels first.

    Args:
        in_channels: Channels of the input.
        one: Output channels of the 1×1 branch.
        three: Reduced and output channels of the 3×3 branch.
        five: Reduced and output channels of the 5×5 branch.
        pool: Output channels of the pooling branch.
        conv: Convolution with its normalisation and activation.
        large_kernel: Side of the 5×5 branch's kernel.
    """
    return Branches(
        one=conv(in_channels, one, 1),
        three=named(reduce=conv(in_channels, three[0], 1), conv=conv(*three, 3)),
        five=named(reduce=conv(in_channels, five[0], 1), conv=conv(*five, large_kernel)),
        pool=named(
            pool=nn.MaxPool2d(3, 1, padding=1, ceil_mode=True), project=conv(in_channels, pool, 1)
        ),
    )
