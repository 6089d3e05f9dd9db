"""The factorised Inception blocks I, II and III, and the reduction between them.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015,
arXiv 1512.00567, figures 5 (block I), 6 (block II), 7 (block III) and 10 (reduction).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from convatlas.layers.branches import Branches, Step, chain, inception_conv
from convatlas.layers.conv import named

__all__ = ["inception_block_i", "inception_block_ii", "inception_block_iii", "reduction"]


def inception_block_i(
    in_channels: int,
    one: int,
    three: tuple[int, int],
    deep: tuple[int, int, int],
    pool: nn.Module,
    *,
    kernel_size: int = 3,
    conv: Callable[..., nn.Module] = inception_conv,
) -> Branches:
    """Return block I, the module of figure 5: the 5×5 kernel is two 3×3.

    Args:
        in_channels: Channels of the input.
        one: Output channels of the 1×1 branch.
        three: Channels of the 3×3 branch: reduced, output.
        deep: Channels of the branch with two 3×3: reduced, between them, output.
        pool: The pooling branch, such as ``pooled`` returns.
        kernel_size: Side of the 3×3 branch's kernel.
        conv: Convolution with its normalisation and activation.
    """
    return Branches(
        one=conv(in_channels, one, 1),
        three=chain(in_channels, (three[0], 1), (three[1], kernel_size), conv=conv),
        deep=chain(in_channels, (deep[0], 1), (deep[1], 3), (deep[2], 3), conv=conv),
        pool=pool,
    )


def inception_block_ii(
    in_channels: int,
    one: int,
    once: Sequence[int],
    twice: Sequence[int],
    pool: nn.Module,
    *,
    side: int = 7,
) -> Branches:
    """Return block II, the module of figure 6: n×n is 1×n and n×1.

    Args:
        in_channels: Channels of the input.
        one: Output channels of the 1×1 branch.
        once: Channels after the 1×1, 1×n and n×1 kernels of the second branch.
        twice: Channels after the 1×1, n×1, 1×n, n×1 and 1×n kernels of the third.
        pool: The pooling branch.
        side: The n.
    """
    wide, tall = (1, side), (side, 1)
    (a, b, c), (d, e, f, g, h) = once, twice
    return Branches(
        one=inception_conv(in_channels, one),
        once=chain(in_channels, (a, 1), (b, wide), (c, tall)),
        twice=chain(in_channels, (d, 1), (e, tall), (f, wide), (g, tall), (h, wide)),
        pool=pool,
    )


def inception_block_iii(
    in_channels: int, one: int, three: int, deep: Sequence[Step], split: int, pool: nn.Module
) -> Branches:
    """Return block III, the module of figure 7: 1×3 and 3×1 side by side widen the coarsest map.

    Args:
        in_channels: Channels of the input.
        one: Output channels of the 1×1 branch.
        three: Channels to which the second branch reduces before it splits.
        deep: The convolutions of the third branch before it splits.
        split: Output channels of each of the four halves.
        pool: The pooling branch.
    """

    def halves(channels: int) -> Branches:
        return Branches(
            wide=inception_conv(channels, split, (1, 3)),
            tall=inception_conv(channels, split, (3, 1)),
        )

    return Branches(
        one=inception_conv(in_channels, one),
        three=named(reduce=inception_conv(in_channels, three), split=halves(three)),
        deep=named(reduce=chain(in_channels, *deep), split=halves(deep[-1][0])),
        pool=pool,
    )


def reduction(in_channels: int, **branches: Sequence[Step]) -> Branches:
    """Return the module of figure 10: convolutions and a pooling halve the map side by side.

    Args:
        in_channels: Channels of the input.
        **branches: The convolutions of each branch; nothing is padded where the map shrinks.
    """
    chains = {name: chain(in_channels, *steps, stride=2) for name, steps in branches.items()}
    return Branches(**chains, pool=nn.MaxPool2d(3, 2))
