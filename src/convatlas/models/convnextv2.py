"""ConvNeXt V2: channels that compete, so that masked pre-training does not make them alike.

"ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", Sanghyun Woo,
Shoubhik Debnath, Ronghang Hu, Xinlei Chen, Zhuang Liu, In So Kweon, Saining Xie, 2023,
arXiv 2301.00808.

Differences from the paper: none in shape; the masked pre-training is not part of the network.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from convatlas.models.anatomy import ConvNet
from convatlas.models.convnext import Block, Variant, convnext
from convatlas.models.registry import Common, register

__all__ = ["GlobalResponseNorm", "convnextv2"]


class GlobalResponseNorm(nn.Module):
    """``x + γ · x · g / mean(g) + β``, g = each channel's L2 norm over the map (algorithm 1).

    γ and β, one per channel, begin at 0, which is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        response = x.norm(dim=(1, 2), keepdim=True)
        contrast = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        return x + self.weight * (x * contrast) + self.bias


# The contrast makes a layer scale needless (section 3.3).
_block = partial(Block, scale=nn.Identity, response=GlobalResponseNorm)


def _variant(first: int, depths: tuple[int, ...], drop_path: float) -> Variant:
    return Variant(depths, tuple(first << i for i in range(4)), drop_path, _block)


# Section 4.1, and the stochastic depth of the fine-tuning.
VARIANTS = {
    "convnextv2_atto": _variant(40, (2, 2, 6, 2), 0.1),
    "convnextv2_femto": _variant(48, (2, 2, 6, 2), 0.1),
    "convnextv2_pico": _variant(64, (2, 2, 6, 2), 0.1),
    "convnextv2_nano": _variant(80, (2, 2, 8, 2), 0.1),
    "convnextv2_tiny": _variant(96, (3, 3, 9, 3), 0.2),
    "convnextv2_base": _variant(128, (3, 3, 27, 3), 0.1),
    "convnextv2_large": _variant(192, (3, 3, 27, 3), 0.2),
    "convnextv2_huge": _variant(352, (3, 3, 27, 3), 0.3),
}


@register(VARIANTS)
def convnextv2(variant: Variant, common: Common) -> ConvNet:
    """Build a ConvNeXt V2; ``stem="small"`` makes its stem a 3×3 convolution of stride 1."""
    return convnext(variant, common)
