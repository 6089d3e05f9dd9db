"""ConvNeXt: a residual net modernised step by step towards a Transformer's design.

"A ConvNet for the 2020s", Zhuang Liu, Hanzi Mao, Chao-Yuan Wu, Christoph Feichtenhofer,
Trevor Darrell, Saining Xie, 2022, arXiv 2201.03545.

Differences from the paper: none. A downsampling belongs to the stage that it opens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.residual import DropPath
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["Block", "LayerNorm2d", "convnext"]

_EPS = 1e-6
_LAYER_SCALE = 1e-6


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation of each pixel over its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) over C."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Block(nn.Module):
    """``x + γ · f(x)``, f = depthwise 7×7 → norm → 1×1 widening fourfold → GELU → 1×1 (figure 4).

    The 1×1 convolutions are linear layers over the last axis, as in public checkpoints.

    Args:
        channels: Channels of the input and the output.
        drop_path: Probability of leaving out f while training.
    """

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), _LAYER_SCALE))
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.expand = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.project = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.project(self.act(self.expand(self.norm(y))))
        return x + self.drop_path(self.layer_scale * y.permute(0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class Variant:
    """One net of section 3: blocks B and channels C per stage, and the stochastic depth."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    drop_path: float


VARIANTS = {
    "convnext_tiny": Variant((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "convnext_small": Variant((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "convnext_base": Variant((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    "convnext_large": Variant((3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
    "convnext_xlarge": Variant((3, 3, 27, 3), (256, 512, 1024, 2048), 0.5),
}


def _stages(variant: Variant) -> list[nn.Module]:
    stages: list[nn.Module] = []
    total, built = sum(variant.depths), 0
    for i, (depth, channels) in enumerate(zip(variant.depths, variant.widths, strict=True)):
        blocks = []
        for _ in range(depth):
            blocks.append(Block(channels, variant.drop_path * built / (total - 1)))
            built += 1
        parts: dict[str, nn.Module] = {}
        if i:
            before = variant.widths[i - 1]
            parts = {"norm": LayerNorm2d(before), "downsample": nn.Conv2d(before, channels, 2, 2)}
        stages.append(named(**parts, blocks=nn.Sequential(*blocks)))
    return stages


@register(VARIANTS)
def convnext(variant: Variant, common: Common) -> ConvNet:
    """Build a ConvNeXt; ``stem="small"`` makes its stem a 3×3 convolution of stride 1."""
    first = variant.widths[0]
    if common.small:
        conv = nn.Conv2d(common.in_channels, first, 3, padding=1)
    else:
        conv = nn.Conv2d(common.in_channels, first, 4, 4)
    last = variant.widths[-1]
    head = dict(
        pooled_classifier(last, common.num_classes, common.dropout_or(0.0)).named_children()
    )
    model = ConvNet(
        named(conv=conv, norm=LayerNorm2d(first)),
        _stages(variant),
        named(pool=head.pop("pool"), norm=LayerNorm2d(last), **head),
        channels=variant.widths,
        strides=(1 if common.small else 4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=8 if common.small else 32,
    )
    _truncated_normal(model)
    return model


def _truncated_normal(model: nn.Module) -> None:
    """Draw all weights from a normal of deviation 0.02, cut off at ±2; set biases to 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
