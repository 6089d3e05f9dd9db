"""EfficientNet and its Lite form.

"EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", Mingxing Tan,
Quoc Le, 2019, arXiv 1905.11946; Lite: the authors' release of 2020 for mobile accelerators.

Differences from the paper: B0–B7 pad symmetrically, as public PyTorch checkpoints do; B0–B4
use torch's batch-norm epsilon 1e-5, B5–B7 the paper's 1e-3. Lite drops squeeze-and-excitation,
uses ReLU6, keeps stem and head unscaled, and pads as TensorFlow does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct, SameConv2d
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.layers.inverted_residual import ConvBrick, InvertedResidual
from convatlas.layers.rounding import efficientnet_depth, mobilenet_width
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["efficientnet"]

_DROP_PATH = 0.2


@dataclass(frozen=True, slots=True)
class Variant:
    """Compound scaling: multipliers of width and depth, the dropout, and the bricks."""

    width: float
    depth: float
    dropout: float
    norm_eps: float = 1e-5
    lite: bool = False

    @property
    def conv(self) -> ConvBrick:
        """The convolution brick with this variant's padding, norm and activation."""
        momentum = 0.1 if self.norm_eps == 1e-5 else 0.01
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=momentum)
        if self.lite:
            return partial(ConvNormAct, conv=SameConv2d, norm=norm, act=nn.ReLU6)
        return partial(ConvNormAct, norm=norm, act=nn.SiLU)

    def attention(self, in_channels: int) -> Callable[[int], nn.Module] | None:
        """Return what makes the attention of a block; its ratio counts from the block's input."""
        if self.lite:
            return None
        return partial(SqueezeExcite, reduced=max(1, in_channels // 4), act=nn.SiLU)

    def channels(self, base: int) -> int:
        """Return ``base`` channels scaled."""
        return mobilenet_width(base * self.width)

    def layers(self, base: int, *, first_or_last: bool) -> int:
        """Return ``base`` blocks scaled; Lite keeps those of the first and last stage."""
        fixed = self.lite and first_or_last
        return base if fixed else efficientnet_depth(base, self.depth)


# (expansion, channels, blocks, stride, kernel size): table 1
_ROWS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

VARIANTS = {
    "efficientnet_b0": Variant(1.0, 1.0, 0.2),
    "efficientnet_b1": Variant(1.0, 1.1, 0.2),
    "efficientnet_b2": Variant(1.1, 1.2, 0.3),
    "efficientnet_b3": Variant(1.2, 1.4, 0.3),
    "efficientnet_b4": Variant(1.4, 1.8, 0.4),
    "efficientnet_b5": Variant(1.6, 2.2, 0.4, norm_eps=1e-3),
    "efficientnet_b6": Variant(1.8, 2.6, 0.5, norm_eps=1e-3),
    "efficientnet_b7": Variant(2.0, 3.1, 0.5, norm_eps=1e-3),
    "efficientnet_lite0": Variant(1.0, 1.0, 0.2, norm_eps=1e-3, lite=True),
    "efficientnet_lite1": Variant(1.0, 1.1, 0.2, norm_eps=1e-3, lite=True),
    "efficientnet_lite2": Variant(1.1, 1.2, 0.3, norm_eps=1e-3, lite=True),
    "efficientnet_lite3": Variant(1.2, 1.4, 0.3, norm_eps=1e-3, lite=True),
    "efficientnet_lite4": Variant(1.4, 1.8, 0.3, norm_eps=1e-3, lite=True),
}


def _stages(variant: Variant, in_channels: int) -> tuple[list[nn.Module], list[int]]:
    last = len(_ROWS) - 1
    depths = [variant.layers(row[2], first_or_last=i in (0, last)) for i, row in enumerate(_ROWS)]
    stages: list[nn.Module] = []
    widths: list[int] = []
    built = 0
    for (expansion, base, _, stride, kernel_size), depth in zip(_ROWS, depths, strict=True):
        out_channels = variant.channels(base)
        blocks = []
        for i in range(depth):
            block_in = out_channels if i else in_channels
            blocks.append(
                InvertedResidual(
                    block_in,
                    out_channels,
                    1 if i else stride,
                    width=expansion * block_in,
                    kernel_size=kernel_size,
                    conv=variant.conv,
                    attention=variant.attention(block_in),
                    drop_path=_DROP_PATH * built / sum(depths),
                )
            )
            built += 1
        stages.append(nn.Sequential(*blocks))
        widths.append(out_channels)
        in_channels = out_channels
    return stages, widths


@register(VARIANTS)
def efficientnet(variant: Variant, common: Common) -> ConvNet:
    """Build an EfficientNet; ``stem="small"`` gives its stem stride 1."""
    channels, last = (32, 1280) if variant.lite else (variant.channels(32), variant.channels(1280))
    stem_stride = 1 if common.small else 2
    stages, widths = _stages(variant, channels)
    dropout = common.dropout_or(variant.dropout)
    model = ConvNet(
        variant.conv(common.in_channels, channels, 3, stem_stride),
        stages,
        pooled_classifier(last, common.num_classes, dropout, conv=variant.conv(widths[-1], last)),
        channels=widths,
        strides=[stem_stride, *(row[3] for row in _ROWS[1:])],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
