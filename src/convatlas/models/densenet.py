"""DenseNet: every layer sees the maps of all layers before it.

"Densely Connected Convolutional Networks", Gao Huang, Zhuang Liu, Laurens van der Maaten,
Kilian Weinberger, 2016, arXiv 1608.06993; ``checkpointing``: "Memory-Efficient Implementation of
DenseNets", Geoff Pleiss et al., 2017, arXiv 1707.06990.

Differences from the paper: none in shape. A transition belongs to the stage that it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convatlas.layers.conv import ConvNormAct, named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["DenseBlock", "DenseLayer", "densenet"]

_BOTTLENECK = 4


def _norm_act_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Return the composite function: normalise, rectify, convolve."""
    return named(
        norm=nn.BatchNorm2d(in_channels),
        act=nn.ReLU(inplace=True),
        conv=nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        ),
    )


@contextmanager
def _kept_statistics(layer: nn.Module) -> Iterator[None]:
    """Give the running statistics back afterwards: a second pass must not count twice."""
    before = [(buffer, buffer.clone()) for buffer in layer.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


class DenseLayer(nn.Module):
    """``h([x_0, …, x_l])``, h = 1×1 → 3×3, each after its norm and ReLU (equation 2).

    Args:
        in_channels: Channels of all maps before it.
        growth: Channels that it adds, k.
        checkpointing: Whether to compute the concatenation and the 1×1 again in the backward
            pass instead of storing what they need, so that memory is linear in depth.
    """

    def __init__(self, in_channels: int, growth: int, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.squeeze = _norm_act_conv(in_channels, _BOTTLENECK * growth, 1)
        self.grow = _norm_act_conv(_BOTTLENECK * growth, growth, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the new map (N, k, H, W) from all ``maps`` (N, C_i, H, W) before."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            squeezed = checkpoint(
                self._squeezed,
                *maps,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing in it is random
                context_fn=self._contexts,
            )
        else:
            squeezed = self._squeezed(*maps)
        return self.grow(squeezed)

    def _squeezed(self, *maps: Tensor) -> Tensor:
        return self.squeeze(torch.cat(maps, 1))

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _kept_statistics(self.squeeze)


class DenseBlock(nn.ModuleList):
    """``[x_0, …, x_L]``: the block's input and the output of each of its L layers, side by side."""

    def __init__(
        self, in_channels: int, growth: int, depth: int, *, checkpointing: bool = False
    ) -> None:
        super().__init__(
            DenseLayer(in_channels + i * growth, growth, checkpointing=checkpointing)
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + L · k, H, W)."""
        maps = [x]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the paper's table 1, or one BC net of section 4.2.

    Attributes:
        growth: Channels that each layer adds, k.
        depths: Layers per dense block.
        cifar: Whether the stem is one 3×3 convolution, for 32-pixel images.
    """

    growth: int
    depths: tuple[int, ...]
    cifar: bool = False


def _cifar(layers: int, growth: int) -> Variant:
    """Return the BC net of ``layers = 6n + 4``."""
    return Variant(growth, ((layers - 4) // 6,) * 3, cifar=True)


VARIANTS = {
    "densenet121": Variant(32, (6, 12, 24, 16)),
    "densenet161": Variant(48, (6, 12, 36, 24)),
    "densenet169": Variant(32, (6, 12, 32, 32)),
    "densenet201": Variant(32, (6, 12, 48, 32)),
    "densenet264": Variant(32, (6, 12, 64, 48)),
    "cifar_densenet_bc_100_12": _cifar(100, 12),
    "cifar_densenet_bc_190_40": _cifar(190, 40),
}


def _stem(variant: Variant, common: Common) -> nn.Module:
    channels = 2 * variant.growth
    if variant.cifar:
        return nn.Conv2d(common.in_channels, channels, 3, padding=1, bias=False)
    if common.small:
        return ConvNormAct(common.in_channels, channels, 3)
    return named(
        conv=ConvNormAct(common.in_channels, channels, 7, 2), pool=nn.MaxPool2d(3, 2, padding=1)
    )


@register(VARIANTS)
def densenet(variant: Variant, common: Common, *, checkpointing: bool = False) -> ConvNet:
    """Build a DenseNet.

    Args:
        variant: Row of the table.
        common: The options that every family takes.
        checkpointing: Train with memory linear in depth, for one more forward pass of each block.
    """
    channels = 2 * variant.growth
    last = len(variant.depths) - 1
    stages: list[nn.Module] = []
    widths: list[int] = []
    for i, depth in enumerate(variant.depths):
        parts: dict[str, nn.Module] = {}
        if i:
            parts["transition"] = _norm_act_conv(channels, channels // 2, 1)
            parts["pool"] = nn.AvgPool2d(2)
            channels //= 2
        parts["block"] = DenseBlock(channels, variant.growth, depth, checkpointing=checkpointing)
        channels += depth * variant.growth
        if i == last:
            parts["norm"], parts["act"] = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        stages.append(named(**parts))
        widths.append(channels)
    small = common.small or variant.cifar
    model = ConvNet(
        _stem(variant, common),
        stages,
        pooled_classifier(channels, common.num_classes, common.dropout_or(0.0)),
        channels=widths,
        strides=[1 if small else 4] + [2] * last,
        in_channels=common.in_channels,
        min_input_size=2**last if small else 29,
    )
    he_normal(model)
    return model
