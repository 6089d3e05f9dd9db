"""ConvNeXt: a residual net modernised step by step towards a Transformer's design.

"A ConvNet for the 2020s", Zhuang Liu, Hanzi Mao, Chao-Yuan Wu, Christoph Feichtenhofer,
Trevor Darrell, Saining Xie, 2022, arXiv 2201.03545.

Differences from the paper: none. A downsampling belongs to the stage that it opens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import truncated_normal
from convatlas.layers.norm import LayerNorm2d
from convatlas.layers.residual import DropPath, drop_path_rates
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["Block", "LayerScale", "Variant", "convnext"]

_EPS = 1e-6
_norm = partial(LayerNorm2d, eps=_EPS)


class LayerScale(nn.Module):
    """``γ · x`` with one learned γ per channel, which begins at 1e-6 (arXiv 2103.17239)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``x`` (N, C, H, W)."""
        return self.layer_scale * x


class Block(nn.Module):
    """``x + γ · f(x)``, f = depthwise 7×7 → norm → 1×1 widening fourfold → GELU → 1×1 (figure 4).

    The 1×1 convolutions are linear layers over the last axis, as in public checkpoints.

    Args:
        channels: Channels of the input and the output.
        drop_path: Probability of leaving out f while training.
        scale: Makes γ for the channels.
        response: Makes what follows GELU, for the fourfold channels of a map (N, H, W, 4C).
    """

    def __init__(
        self,
        channels: int,
        drop_path: float = 0.0,
        *,
        scale: Callable[[int], nn.Module] = LayerScale,
        response: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.scale = scale(channels)
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.expand = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.response = response(4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.project(self.response(self.act(self.expand(self.norm(y)))))
        return x + self.drop_path(self.scale(y.permute(0, 3, 1, 2)))


@dataclass(frozen=True, slots=True)
class Variant:
    """One net of section 3: blocks B and channels C per stage, and the stochastic depth."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    drop_path: float
    block: Callable[[int, float], nn.Module] = Block


VARIANTS = {
    "convnext_tiny": Variant((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "convnext_small": Variant((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "convnext_base": Variant((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    "convnext_large": Variant((3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
    "convnext_xlarge": Variant((3, 3, 27, 3), (256, 512, 1024, 2048), 0.5),
}


def _stages(variant: Variant) -> list[nn.Module]:
    stages: list[nn.Module] = []
    rates = drop_path_rates(variant.depths, variant.drop_path)
    for i, channels in enumerate(variant.widths):
        parts: dict[str, nn.Module] = {}
        if i:
            before = variant.widths[i - 1]
            parts = {"norm": _norm(before), "downsample": nn.Conv2d(before, channels, 2, 2)}
        blocks = [variant.block(channels, rate) for rate in rates[i]]
        stages.append(named(**parts, blocks=nn.Sequential(*blocks)))
    return stages


@register(VARIANTS)
def convnext(variant: Variant, common: Common) -> ConvNet:
    """Build a ConvNeXt; ``stem="small"`` makes its stem a 3×3 convolution of stride 1."""
    first = variant.widths[0]
    window = (3, 1, 1) if common.small else (4, 4)
    conv, last = nn.Conv2d(common.in_channels, first, *window), variant.widths[-1]
    head = dict(
        pooled_classifier(last, common.num_classes, common.dropout_or(0.0)).named_children()
    )
    model = ConvNet(
        named(conv=conv, norm=_norm(first)),
        _stages(variant),
        named(pool=head.pop("pool"), norm=_norm(last), **head),
        channels=variant.widths,
        strides=(1 if common.small else 4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=8 if common.small else 32,
    )
    truncated_normal(model, nn.Conv2d, nn.Linear)
    return model
