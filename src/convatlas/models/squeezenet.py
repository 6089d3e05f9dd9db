"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

"SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
Forrest Iandola, Song Han, Matthew Moskewicz, Khalid Ashraf, William Dally, Kurt Keutzer, 2016,
arXiv 1602.07360.

Differences from the paper: the first convolution is not padded, and poolings round their size
up. ``squeezenet1_1`` is the authors' later release: a smaller stem, poolings moved forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.layers.conv import named
from convatlas.layers.head import convolved_classifier
from convatlas.layers.init import faint_class_maps, he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["Fire", "squeezenet"]


class Fire(nn.Module):
    """``concat(e1(s), e3(s))``, s = squeeze 1×1, e1 = expand 1×1, e3 = expand 3×3 (figure 1)."""

    def __init__(self, in_channels: int, squeezed: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, half, 1)
        self.expand3x3 = nn.Conv2d(squeezed, half, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        squeezed = self.act(self.squeeze(x))
        return self.act(torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1))


@dataclass(frozen=True, slots=True)
class Variant:
    """Channels and kernel size of conv1, and per stage the channels of its fire modules.

    Attributes:
        stem: Output channels and kernel size of the first convolution.
        stages: Output channels of every fire module; poolings stand between the stages.
        min_input_size: Smallest input, in pixels.
    """

    stem: tuple[int, int]
    stages: tuple[tuple[int, ...], ...]
    min_input_size: int


VARIANTS = {
    "squeezenet1_0": Variant((96, 7), ((128, 128, 256), (256, 384, 384, 512), (512,)), 21),
    "squeezenet1_1": Variant((64, 3), ((128, 128), (256, 256), (384, 384, 512, 512)), 17),
}
_SQUEEZE_RATIO = 8  # table 1: s1×1 is an eighth of e1×1 + e3×3


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _stages(variant: Variant, in_channels: int) -> list[nn.Module]:
    stages: list[nn.Module] = []
    for widths in variant.stages:
        modules: list[nn.Module] = [_pool()] if stages else []
        for out_channels in widths:
            modules.append(Fire(in_channels, out_channels // _SQUEEZE_RATIO, out_channels))
            in_channels = out_channels
        stages.append(nn.Sequential(*modules))
    return stages


@register(VARIANTS)
def squeezenet(variant: Variant, common: Common) -> ConvNet:
    """Build a SqueezeNet.

    ``stem="small"`` makes conv1 a padded 3×3 with stride 1 and leaves out its pooling.
    """
    channels, kernel_size = variant.stem
    if common.small:
        stem = named(conv=nn.Conv2d(common.in_channels, channels, 3, padding=1), act=nn.ReLU())
    else:
        conv = nn.Conv2d(common.in_channels, channels, kernel_size, 2)
        stem = named(conv=conv, act=nn.ReLU(), pool=_pool())
    widths = [stage[-1] for stage in variant.stages]
    classifier = convolved_classifier(widths[-1], common.num_classes)
    model = ConvNet(
        stem,
        _stages(variant, channels),
        named(
            dropout=nn.Dropout(common.dropout_or(0.5)),
            classifier=classifier,
        ),
        channels=widths,
        strides=(1 if common.small else 4, 2, 2),
        in_channels=common.in_channels,
        min_input_size=4 if common.small else variant.min_input_size,
    )
    he_normal(model, "fan_in")
    faint_class_maps(classifier)
    return model
