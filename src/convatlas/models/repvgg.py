"""RepVGG: trained with branches, deployed as a plain stack of 3×3 convolutions.

"RepVGG: Making VGG-style ConvNets Great Again", Xiaohan Ding, Xiangyu Zhang, Ningning Ma,
Jungong Han, Guiguang Ding, Jian Sun, 2021, arXiv 2101.03697.

Differences from the paper: none. The networks are built as they are trained;
``reparameterise`` turns them into what is deployed.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["RepBlock", "reparameterise", "repvgg"]


class RepBlock(nn.Module):
    """``relu(bn(x) + bn(3×3(x)) + bn(1×1(x)))``; the first only where the shape stays (figure 2b).

    Stride and groups are those of both convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        same = stride == 1 and in_channels == out_channels
        self.identity = nn.BatchNorm2d(out_channels) if same else None
        self.conv3 = ConvNormAct(in_channels, out_channels, 3, stride, groups, act=None)
        self.conv1 = ConvNormAct(in_channels, out_channels, 1, stride, groups, act=None)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.conv1(x) + self.conv3(x)
        return self.act(y if self.identity is None else y + self.identity(x))


def reparameterise(model: ConvNet) -> ConvNet:
    """Return a copy whose blocks are one 3×3 convolution and ReLU, with equal logits.

    In evaluation mode the branches are linear: with the norms folded in (equation 3), the 1×1 and
    the identity are 3×3 kernels with a zero border, and the three add up (figure 4).
    """
    deployed = deepcopy(model)
    for name, block in model.named_modules():
        if isinstance(block, RepBlock):
            deployed.set_submodule(name, named(conv=_fused(block), act=nn.ReLU(inplace=True)))
    return deployed


def _fused(block: RepBlock) -> nn.Conv2d:
    """Return the convolution that computes the sum of the block's branches."""
    dense, point, identity = cast(tuple[Any, ...], (block.conv3, block.conv1, block.identity))
    conv: nn.Conv2d = deepcopy(dense.conv)
    terms = [(conv.weight, dense.norm), (F.pad(point.conv.weight, (1, 1, 1, 1)), point.norm)]
    if identity is not None:
        terms.append((nn.init.dirac_(torch.empty_like(conv.weight), conv.groups), identity))
    folded = [
        fuse_conv_bn_weights(kernel, None, n.running_mean, n.running_var, n.eps, n.weight, n.bias)
        for kernel, n in terms
    ]
    weights, biases = zip(*folded, strict=True)
    conv.weight, conv.bias = nn.Parameter(sum(weights)), nn.Parameter(sum(biases))
    return conv


_A, _B = (2, 4, 14, 1), (4, 6, 16, 1)

# name → layers of the stages, width multipliers a of all stages but the last and b of the last
# (table 3), channel groups of every other layer (section 3.4)
VARIANTS = {
    "repvgg_a0": (_A, 0.75, 2.5, 1),
    "repvgg_a1": (_A, 1.0, 2.5, 1),
    "repvgg_a2": (_A, 1.5, 2.75, 1),
    "repvgg_b0": (_B, 1.0, 2.5, 1),
    "repvgg_b1": (_B, 2.0, 4.0, 1),
    "repvgg_b1g4": (_B, 2.0, 4.0, 4),
    "repvgg_b2": (_B, 2.5, 5.0, 1),
    "repvgg_b2g4": (_B, 2.5, 5.0, 4),
    "repvgg_b3": (_B, 3.0, 5.0, 1),
    "repvgg_b3g4": (_B, 3.0, 5.0, 4),
}


@register(VARIANTS)
def repvgg(variant: tuple[tuple[int, ...], float, float, int], common: Common) -> ConvNet:
    """Build a RepVGG as it is trained; ``stem="small"`` gives its stem stride 1."""
    depths, a, b, groups = variant
    widths = [int(64 * a), int(128 * a), int(256 * a), int(512 * b)]
    channels, stem_stride = min(64, widths[0]), 1 if common.small else 2
    stem = RepBlock(common.in_channels, channels, stem_stride)
    stages = []
    for depth, width in zip(depths, widths, strict=True):
        blocks = []
        for i in range(depth):
            blocks.append(RepBlock(channels, width, 1 if i else 2, groups if i % 2 else 1))
            channels = width
        stages.append(nn.Sequential(*blocks))
    model = ConvNet(
        stem,
        stages,
        pooled_classifier(channels, common.num_classes, common.dropout_or(0.0)),
        channels=widths,
        strides=(2 * stem_stride, 2, 2, 2),
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
